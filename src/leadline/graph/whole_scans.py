"""Recurrent layers are traced as one operation in one step, however long the sequence.

On fake tensors torch runs its own decompositions of them, position by position, only to learn the shapes of the outputs
(7 ms a position). In the meantime these stand in torch's table; torch.export replaces others in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch._C import DispatchKey
from torch._subclasses import FakeTensor

Kernel: TypeAlias = Callable[..., tuple[Tensor, ...]]

_SCANS = tuple(getattr(torch.ops.aten, name).input for name in ("lstm", "gru", "rnn_tanh", "rnn_relu"))
_KEYS = (DispatchKey.CompositeImplicitAutograd, DispatchKey.Autograd)


@contextmanager
def whole_scans() -> Iterator[None]:
    """Let recurrent layers on fake tensors make outputs of the right shape, and do nothing else."""
    kept = {op: dict(op.py_kernels) for op in _SCANS}
    try:
        for op, kernels in kept.items():
            op.py_kernels.update({key: _shapes_alone(kernels[key]) for key in _KEYS if key in kernels})
            op._dispatch_cache.clear()
        yield
    finally:
        for op, kernels in kept.items():
            op.py_kernels.clear()
            op.py_kernels.update(kernels)
            op._dispatch_cache.clear()


def _shapes_alone(kernel: Kernel) -> Kernel:
    def outputs(x: Tensor, state: Any, *rest: Any, **options: Any) -> tuple[Tensor, ...]:
        if not isinstance(x, FakeTensor):  # constants that the trace computes with
            return kernel(x, state, *rest, **options)
        *_, bidirectional, batch_first = rest
        states = (state,) if isinstance(state, Tensor) else tuple(state)
        width = states[0].shape[-1] * (1 + bidirectional)
        if batch_first:  # laid out as torch does: time is the slowest axis in memory
            y = x.new_empty(x.shape[1], x.shape[0], width).transpose(0, 1)
        else:
            y = x.new_empty(*x.shape[:-1], width)
        return (y, *(s.new_empty(s.shape) for s in states))

    return outputs
