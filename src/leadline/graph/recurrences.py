"""Recurrent layers stay whole while a model is traced, and cost what one operation does, however long the sequence.

Traced as they are, torch's fused recurrences run step by step on tensors without values: minutes for 20,000 steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import BuiltinFunctionType
from typing import Any

import torch
from torch import Tensor
from torch._subclasses import FakeTensor
from torch.overrides import TorchFunctionMode

_SETTINGS = "bool has_biases, int num_layers, float dropout, bool train, bool bidirectional, bool batch_first"
_ONE_STATE = "rnn_tanh", "rnn_relu", "gru"


def _one_state(x: Tensor, hx: Tensor, params: Sequence[Tensor], *settings: Any) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    return _outputs(x, hx, settings), torch.empty_like(hx)


def _two_states(
    x: Tensor,
    hx: Sequence[Tensor],
    params: Sequence[Tensor],  # noqa: ARG001 - the operator's schema
    *settings: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    return _outputs(x, hx[0], settings), torch.empty_like(hx[0]), torch.empty_like(hx[1])


def _outputs(x: Tensor, hidden: Tensor, settings: Sequence[Any]) -> Tensor:
    *_, bidirectional, batch_first = settings
    width = hidden.shape[-1] * (1 + bidirectional)
    if batch_first:  # laid out as torch does: time is the slowest axis in memory
        return x.new_empty(x.shape[1], x.shape[0], width).transpose(0, 1)
    return x.new_empty(*x.shape[:-1], width)


def _defined(name: str, states: str, results: int, fake: Callable[..., Any]) -> tuple[Any, Any]:
    """Define a stand-in that knows its shapes alone; return it with the operation that it stands for."""
    torch.library.define(
        f"leadline::{name}",
        f"(Tensor input, {states} hx, Tensor[] params, {_SETTINGS}) -> ({', '.join(['Tensor'] * results)})",
    )
    torch.library.register_fake(f"leadline::{name}", fake)
    return getattr(torch.ops.leadline, name).default, getattr(torch.ops.aten, name).input


_ATEN: Mapping[Any, Any] = dict(
    [*(_defined(name, "Tensor", 2, _one_state) for name in _ONE_STATE), _defined("lstm", "Tensor[]", 3, _two_states)]
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
