"""Constant propagation: which elements are known exactly, and which known constants stand within a sum.

Buffers and constants are known, parameters and inputs are not; arithmetic on known values is carried out. So a zero in
a mask survives ``weight * mask``, and -inf survives ``masked_fill`` and its softmax as a zero.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from leadline.domains.compact import Pool, lifted, shrunk
from leadline.graph.ir import Node, Ref
from leadline.graph.run_node import run_node


@dataclass(frozen=True, eq=False)
class Facts:
    """What is known of a tensor, element by element, in compact tensors (see `leadline.domains.compact`).

    The exact `value` holds where `known` (None: everywhere); it is None if no element is known. The `bias` are
    constants within sums: an element that is not known is anything plus its bias. None: no such constants.
    """

    value: Tensor | None = None
    known: Tensor | None = None
    bias: Tensor | None = None

    @property
    def constant(self) -> bool:
        """Whether every element is known."""
        return self.value is not None and self.known is None

    @property
    def empty(self) -> bool:
        """Whether nothing is known."""
        return self.value is None and self.bias is None

    @property
    def parts(self) -> tuple[Tensor, ...]:
        """The tensors that hold what is known."""
        return tuple(part for part in (self.value, self.known, self.bias) if part is not None)

    def fixed(self) -> Tensor | None:
        """Where an element depends on nothing: it is known, or minus infinity. None: nowhere."""
        if self.value is not None and self.known is None:
            return torch.ones((1,) * self.value.ndim, dtype=torch.bool)
        if self.bias is None:
            return self.known
        sunk = self.bias == -torch.inf
        return sunk if self.known is None else self.known | sunk

    def zeros(self) -> Tensor:
        """Where an element is known to be zero, always a tensor."""
        known = self.where_known()
        return known if self.value is None else known & (self.value == 0)

    def nonzero(self) -> Tensor | None:
        """Where an element may differ from zero. None: everywhere."""
        zeros = self.zeros()
        return shrunk(~zeros) if bool(zeros.any()) else None

    def offset(self) -> Tensor | None:
        """Return the known constants within sums, exact values included; None: no such constants."""
        if self.value is None:
            return self.bias
        value = self.value if self.value.is_floating_point() else self.value.float()
        if self.known is None:
            return value
        rest = torch.zeros(()) if self.bias is None else self.bias
        return torch.where(self.known, value, rest.to(value.dtype))

    def where_known(self) -> Tensor:
        """Return the mask of known elements, always a tensor."""
        if self.value is None:
            return torch.zeros((), dtype=torch.bool)
        return torch.ones((), dtype=torch.bool) if self.known is None else self.known


UNKNOWN = Facts()


def partial(value: Tensor, known: Tensor, bias: Tensor | None = None) -> Facts:
    """Return facts in their simplest form: fully known, partly known, or not known."""
    if bool(known.all()):
        return Facts(value)
    if bias is not None and not bool(bias.any()):
        bias = None
    if not bool(known.any()):
        return UNKNOWN if bias is None else Facts(bias=bias)
    return Facts(torch.where(known, value, torch.zeros((), dtype=value.dtype)), known, bias)


def zero_where(zeros: Tensor, dtype: torch.dtype) -> Facts:
    """Return the facts of a tensor of which some elements are zero, and nothing else is known."""
    return partial(torch.zeros((), dtype=dtype), zeros)


def settled(found: Facts, ndim: int, pool: Pool) -> Facts:
    """Return facts as small as they can be, of `ndim` axes, and the same object for equal ones."""
    if found is UNKNOWN:
        return found
    parts = [
        None if part is None else pool.one(shrunk(lifted(part, ndim)))
        for part in (found.value, found.known, found.bias)
    ]
    return pool.made(parts, lambda: Facts(*parts))


_CPU = torch.device("cpu")
_NONE: Mapping[str, Any] = MappingProxyType({})


def evaluate(
    node: Node, values: Callable[[Ref], Tensor], replaced: Mapping[str, Any] = _NONE
) -> tuple[Tensor | None, ...]:
    """Compute a node on the CPU from its arguments' values; `replaced` are arguments to exchange, by name."""
    parts = run_node(node, values, replaced, _CPU)
    return tuple(part if isinstance(part, Tensor) else None for part in parts)


def evaluated(node: Node, values: Callable[[Ref], Tensor], replaced: Mapping[str, Any] = _NONE) -> Tensor:
    """Compute a node's first output; see `evaluate`."""
    (first, *_) = evaluate(node, values, replaced)
    assert first is not None, f"{node.op} gives no tensor"
    return first
