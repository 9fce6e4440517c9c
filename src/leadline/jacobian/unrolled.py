"""Fused recurrent layers, run one time step at a time so that the state between the steps can be seen and changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from leadline.errors import NotDifferentiable

Visit = Callable[[int, list[Tensor]], list[Tensor]]
"""Called with the number of a boundary and the tensors that cross it; what it returns crosses instead."""


@contextmanager
def unrolled(layer: nn.RNNBase, visit: Visit) -> Iterator[None]:
    """Make a recurrent layer step through time, with `visit` called on the state before each step and after the last.

    The results are those of the fused layer up to rounding, for any number of layers, projections and both layouts.
    Raises `NotDifferentiable` for packed sequences, whose steps have different batch sizes, and for bidirectional
    layers.

    Examples
    --------
    >>> layer, x, seen = nn.GRU(2, 3, batch_first=True), torch.ones(1, 4, 2), []
    >>> with unrolled(layer, lambda step, state: seen.append(step) or state):
    ...     stepped, _ = layer(x)
    >>> seen, torch.allclose(stepped, layer(x)[0], atol=1e-6)
    ([0, 1, 2, 3, 4], True)
    """
    if layer.bidirectional:
        raise NotDifferentiable("a bidirectional layer has no state that every path through time crosses")
    fused = layer.forward

    def forward(x: Any, hx: Any = None) -> tuple[Tensor, Any]:
        if isinstance(x, PackedSequence):
            raise NotDifferentiable("packed sequences have no time axis of one batch size: pad them instead")
        axis = 1 if layer.batch_first and x.ndim == 3 else 0
        state = list(hx) if isinstance(hx, tuple) else [hx] if hx is not None else initial_state(layer, x)
        outputs = []
        for step in range(x.shape[axis]):
            state = visit(step, state)
            output, after = fused(x.narrow(axis, step, 1), tuple(state) if len(state) > 1 else state[0])
            state = list(after) if isinstance(after, tuple) else [after]
            outputs.append(output)
        state = visit(x.shape[axis], state)
        return torch.cat(outputs, dim=axis), tuple(state) if len(state) > 1 else state[0]

    layer.forward = forward
    try:
        yield
    finally:
        del layer.forward


def initial_state(layer: nn.RNNBase, x: Tensor) -> list[Tensor]:
    """Return the zero state that a recurrent layer starts from when it is given none."""
    batch = [x.shape[0 if layer.batch_first else 1]] if x.ndim == 3 else []
    widths = [layer.proj_size or layer.hidden_size] + [layer.hidden_size] * isinstance(layer, nn.LSTM)
    return [x.new_zeros(layer.num_layers, *batch, width) for width in widths]
