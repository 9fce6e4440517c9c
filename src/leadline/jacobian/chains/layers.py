"""The layers of a fused recurrence one by one, and the steps of one of them: what goes into each can be seen.

The results are those of the fused module up to rounding; dropout between layers draws other masks.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout
from torch.nn.utils.rnn import PackedSequence

from leadline.errors import NotDifferentiable

State = list[Tensor]
Enter = Callable[[int, Tensor], Tensor]
Step = Callable[[int, State], State]


@contextmanager
def layer_by_layer(
    module: nn.RNNBase, enter: Enter | None = None, step: Step | None = None, of: tuple[int, bool] = (0, False)
) -> Iterator[None]:
    """Run a recurrent module layer by layer, in its first call.

    `enter` is called with the number of each layer and the sequence that goes into it, and returns what does; `step`
    with the number of each step of one layer and the state before it, and with that after the last, `of` which layer
    and whether backwards.

    Raises `NotDifferentiable` for packed sequences.

    Examples
    --------
    >>> module, x, seen = nn.LSTM(2, 3, num_layers=2, bidirectional=True), torch.ones(4, 1, 2), []
    >>> with layer_by_layer(module, lambda layer, x: seen.append((layer, *x.shape)) or x):
    ...     y, _ = module(x)
    >>> seen, torch.allclose(y, module(x)[0], atol=1e-6)
    ([(0, 4, 1, 2), (1, 4, 1, 6)], True)
    """
    fused, called = module.forward, list[bool]()

    def forward(x: Any, hx: Any = None) -> Any:
        if called:
            return fused(x, hx)
        called.append(True)
        if isinstance(x, PackedSequence):
            raise NotDifferentiable("packed sequences have no time axis of one batch size: pad them instead")
        return _Run(module, enter, step, of)(x, hx)

    module.forward = forward
    try:
        yield
    finally:
        del module.forward


class _Run:
    """One call of a recurrent module."""

    def __init__(self, module: nn.RNNBase, enter: Enter | None, step: Step | None, of: tuple[int, bool]) -> None:
        self.module, self.enter, self.step, self.of = module, enter, step, of
        self.directions = 1 + module.bidirectional

    def __call__(self, x: Tensor, hx: Any) -> tuple[Tensor, Any]:
        module, single = self.module, x.ndim == 2
        x = x.unsqueeze(1) if single else x.transpose(0, 1) if module.batch_first else x
        states = self._initial(x) if hx is None else [*hx] if isinstance(hx, tuple) else [hx]
        states = [state.unsqueeze(1) for state in states] if single and hx is not None else states
        finals = list[State]()
        for layer in range(module.num_layers):
            x = x if self.enter is None else self.enter(layer, x)
            if layer and module.dropout:
                x = dropout(x, module.dropout, module.training)
            parts = []
            for backwards in (False, True)[: self.directions]:
                place = layer * self.directions + backwards
                part, after = self._through(layer, backwards, x, [state[place : place + 1] for state in states])
                parts.append(part)
                finals.append(after)
            x = torch.cat(parts, -1)
        ends = [torch.cat(each) for each in zip(*finals, strict=True)]
        ends = [end.squeeze(1) for end in ends] if single else ends
        out = x.squeeze(1) if single else x.transpose(0, 1) if module.batch_first else x
        return out, tuple(ends) if len(ends) > 1 else ends[0]

    def _initial(self, x: Tensor) -> State:
        module, count = self.module, self.module.num_layers * self.directions
        widths = [module.proj_size or module.hidden_size] + [module.hidden_size] * isinstance(module, nn.LSTM)
        return [x.new_zeros(count, x.shape[1], width) for width in widths]

    def _through(self, layer: int, backwards: bool, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Run one direction of one layer; step by step if those are to be seen."""
        x = x.flip(0) if backwards else x
        if self.step is None or (layer, backwards) != self.of:
            out, state = self._cell(layer, backwards, x, state)
        else:
            parts = []
            for t in range(len(x)):
                state = self.step(t, state)
                part, state = self._cell(layer, backwards, x[t : t + 1], state)
                parts.append(part)
            state, out = self.step(len(x), state), torch.cat(parts)
        return out.flip(0) if backwards else out, state

    def _cell(self, layer: int, backwards: bool, x: Tensor, state: State) -> tuple[Tensor, State]:
        module, place = self.module, layer * self.directions + backwards
        held: list[Any] = module._flat_weights
        each = len(held) // (module.num_layers * self.directions)
        how = (held[place * each : (place + 1) * each], module.bias, 1, 0.0, module.training, False, False)
        match module.mode:
            case "LSTM":
                out, *after = torch.lstm(x, state, *how)
            case "GRU":
                out, *after = torch.gru(x, state[0], *how)
            case "RNN_RELU":
                out, *after = torch.rnn_relu(x, state[0], *how)
            case _:
                out, *after = torch.rnn_tanh(x, state[0], *how)
        return out, after
