"""Recurrent layers stay whole while a model is traced, and cost what one operation does, however long the sequence.

Traced as they are, torch's fused recurrences run step by step on tensors without values: minutes for 20,000 steps.
"""

from collections.abc import Mapping, Sequence
from types import BuiltinFunctionType
from typing import Any

import torch
from torch import Tensor
from torch._subclasses import FakeTensor
from torch.overrides import TorchFunctionMode

from leadline.graph.table import OPERATIONS, Cell

_SETTINGS = "bool has_biases, int num_layers, float dropout, bool train, bool bidirectional, bool batch_first"
_CELLS = {  # of the layers in the table
    record.packet: record.recurrence.cell
    for record in OPERATIONS.values()
    if record.recurrence is not None and not (record.recurrence.step or record.recurrence.grid)
}


def _shapes(
    x: Tensor,
    hx: Tensor | Sequence[Tensor],
    params: Sequence[Tensor],  # noqa: ARG001 - the operator's schema
    *settings: Any,
) -> tuple[Tensor, ...]:
    """Return outputs and last states without values, laid out as torch does: time is the slowest axis in memory."""
    states = [hx] if isinstance(hx, Tensor) else hx
    *_, bidirectional, batch_first = settings
    width = states[0].shape[-1] * (1 + bidirectional)
    steps = x.transpose(0, 1) if batch_first else x
    if steps.shape[0] == 0:
        raise RuntimeError("a recurrence over a sequence without steps")
    out = x.new_empty(*steps.shape[:-1], width)
    return (out.transpose(0, 1) if batch_first else out, *map(torch.empty_like, states))


def _defined(name: str, states: str, results: int) -> tuple[Any, Any]:
    """Define a stand-in that knows its shapes alone; return it with the operation that it stands for."""
    torch.library.define(
        f"leadline::{name}",
        f"(Tensor input, {states} hx, Tensor[] params, {_SETTINGS}) -> ({', '.join(['Tensor'] * results)})",
    )
    torch.library.register_fake(f"leadline::{name}", _shapes)
    return getattr(torch.ops.leadline, name).default, getattr(torch.ops.aten, name).input


_ATEN: Mapping[Any, Any] = dict(
    _defined(name, "Tensor[]", 3) if cell is Cell.LSTM else _defined(name, "Tensor", 2) for name, cell in _CELLS.items()
)
_STAND_INS = {stand_in._schema.name.partition("::")[2]: stand_in for stand_in in _ATEN}


class WholeRecurrences(TorchFunctionMode):
    """Put stand-ins in the place of fused recurrences over sequences; packed ones are left."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the stand-in of a recurrence, and any other function as it is."""
        name = func.__name__ if isinstance(func, BuiltinFunctionType) else ""
        whole = name in _STAND_INS and len(args) == 9 and isinstance(args[2], list | tuple)
        if whole and isinstance(args[0], FakeTensor):  # not constants that the trace computes with
            state = list(args[1]) if isinstance(args[1], list | tuple) else args[1]
            return _STAND_INS[name](args[0], state, list(args[2]), *args[3:])
        return func(*args, **(kwargs or {}))


def meant(target: Any) -> Any:
    """Return the operation that a stand-in stands for; any other is meant itself."""
    return _ATEN.get(target, target)
