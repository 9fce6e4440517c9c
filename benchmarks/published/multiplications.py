"""Multiply-adds as torch's own counter has them, and what makes the difference to ours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, flop_registry, sdpa_flop_count, shape_wrapper

aten = torch.ops.aten


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))


def _vector(matrix: Any, *_: Any, **__: Any) -> int:
    return 2 * prod(matrix)


def _added_vector(_: Any, matrix: Any, *__: Any, **___: Any) -> int:
    return 2 * prod(matrix)


def _grouped(rows: Any, groups: Any, *_: Any, **__: Any) -> int:
    """Every row meets the matrix of one group."""
    return 2 * prod(rows) * groups[-1]


def _solved(matrix: Any, columns: Any, *_: Any, **__: Any) -> int:
    """Count products with the inverse, which stand for a substitution where a model is exported."""
    return 2 * prod(columns) * matrix[-1]


def _recurrence(x: Any, from_input: Any, from_state: Any, *_: Any, **__: Any) -> int:
    """Every step of every sample meets both matrices."""
    return 2 * prod(x[:2]) * (prod(from_input) + prod(from_state))


# Operations that multiply and add up, for which torch's counter has no formula.
MISSED: Mapping[Any, Callable[..., int]] = {
    op: shape_wrapper(formula)
    for op, formula in (
        (aten._scaled_dot_product_flash_attention_for_cpu, _attention),
        (aten._grouped_mm, _grouped),
        (aten.mkldnn_rnn_layer, _recurrence),
        (aten.linalg_solve_triangular, _solved),
        (aten.mv, _vector),
        (aten.dot, _vector),
        (aten.addmv, _added_vector),
    )
}


@dataclass(frozen=True)
class Products:
    """Multiply-adds of a model as it runs.

    Attributes
    ----------
    counted
        What torch's counter finds.
    missed
        Those of the operations that it has no formula for, by name.
    unread
        Those, counted or missed, of operations whose result no output reads.
    """

    counted: int
    missed: Mapping[str, int]
    unread: int

    @property
    def all(self) -> int:
        """Those that the outputs rest on."""
        return self.counted + sum(self.missed.values()) - self.unread

    def explained(self, ours: int) -> str:
        """Say what the difference to our count is made of; empty where there is none."""
        if ours == self.counted:
            return ""
        reasons = [f"the counter has no formula for {op}: {macs}" for op, macs in self.missed.items()]
        reasons += [f"no output reads {self.unread}"] if self.unread else []
        reasons += [f"not explained: {ours - self.all}"] if ours != self.all else []
        return "; ".join(reasons)


class _Calls(TorchDispatchMode):
    """Every operation that runs: its name, its multiply-adds, and the storages it reads and writes."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, int, set[int], set[int]]] = []
        self.alive: list[Any] = []  # a storage that is freed would lend its address to another

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = op(*args, **kwargs)
        formula = MISSED.get(op._overloadpacket) or flop_registry.get(op._overloadpacket)
        macs = formula(*args, **kwargs, out_val=out) // 2 if formula else 0
        read, written = _storages((args, kwargs)), _storages(out)
        if op._schema.is_mutable:
            written |= read
        self.calls.append((op._overloadpacket, macs, read, written))
        self.alive.append((args, kwargs, out))
        return out


def _storages(values: Any) -> set[int]:
    tensors = [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor) and leaf.layout is torch.strided]
    return {tensor.untyped_storage()._cdata for tensor in tensors}


def products(model: nn.Module, inputs: Mapping[str, Tensor], pick: Callable[[Any], Any]) -> Products:
    """Run a model with torch's counter, and once more to see which operations the outputs picked rest on."""
    torch.manual_seed(0)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(**inputs)
    torch.manual_seed(0)
    with torch.no_grad(), _Calls() as run:
        out = model(**inputs)
    missed: Counter[str] = Counter()
    unread, live = 0, _storages(pick(out))
    for op, macs, read, written in reversed(run.calls):
        missed[op.__name__.split(".")[-1]] += macs if op in MISSED else 0
        if written & live:
            live |= read
        else:
            unread += macs
    return Products(counter.get_total_flops() // 2, dict(+missed), unread)
