"""Calls of the table's operations at one position: from an operator's schema to arguments that it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from leadline.graph.table import OPERATIONS, Kind

KINDS = {Kind.POINTWISE, Kind.REDUCTION, Kind.CUMULATIVE, Kind.SOFTMAX, Kind.NORMALISATION, Kind.MIXING}
C = 6
_NAMED: dict[str, Any] = {
    "dim": -1, "axis": -1, "ord": 2, "p": 2, "k": 2, "threshold": 0.2, "value": 0.3, "min": -0.3, "max": 0.4,
    "exponent": 1.7, "eps": 0.1, "normalized_shape": [C], "decimals": 0, "N": C, "n": 2,
}  # fmt: skip
Call = Callable[[Tensor], Tensor]


def operations() -> Iterator[tuple[str, Any]]:
    """Yield overloads of the table's operations whose result is no list, by the names that traces have."""
    for name, record in OPERATIONS.items():
        space, _, rest = name.partition(".")
        packet = getattr(torch.ops.aten, rest.partition(".")[0], None)
        if space != "aten" or record.kind not in KINDS or packet is None:
            continue
        for overload in packet.overloads():
            schema = getattr(packet, overload)._schema
            written = any(a.alias_info is not None and a.alias_info.is_write for a in schema.arguments)
            if (
                not written
                and not overload.endswith("_out")
                and rest in (schema.name[6:], f"{schema.name[6:]}.{overload}")
            ):
                yield f"{schema.name[6:]}.{overload}", getattr(packet, overload)


def call_of(operator: Any) -> Call | None:
    """Return a function of rows (b, t, C) that calls an operator on them, the first result; None where none is made."""
    schema = operator._schema
    tensors = [a for a in schema.arguments if str(a.type) == "Tensor" and not a.has_default_value()]

    def call(x: Tensor) -> Tensor:
        given = iter((x, torch.cat([x[..., 1:], x[..., :1]], -1), torch.cat([x[..., 3:], x[..., :3]], -1)))
        arguments: dict[str, Any] = {}
        for a in schema.arguments:
            if a in tensors:
                value = next(given)
                arguments[a.name] = value > 0 if a.name in ("condition", "mask") else value
            elif a.name in _NAMED and (not a.has_default_value() or a.name in ("dim", "min", "max", "k", "eps")):
                value = _NAMED[a.name]
                arguments[a.name] = [value] if str(a.type).startswith("List") and not isinstance(value, list) else value
            elif not a.has_default_value():
                arguments[a.name] = 0.7
        found = operator(**arguments)
        first: Tensor = found[0] if isinstance(found, tuple | list) else found
        if first.dtype != x.dtype and (first.is_complex() or first.is_floating_point()):
            raise TypeError("numbers of another kind")
        return first.to(x.dtype)

    return call if tensors and len(tensors) < 4 else None


def calls() -> dict[str, Call]:
    """Return those calls that torch runs and whose real results lie at the positions of their arguments."""
    x = torch.randn(2, 5, C, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found: dict[str, Call] = {}
    for name, operator in operations():
        call = call_of(operator)
        try:
            result = None if call is None else call(x)
            if call is not None:
                call(x.float())
        except (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError, AttributeError):
            continue
        if call is not None and result is not None and result.shape[:2] == x.shape[:2]:
            found[name] = call
    return found
