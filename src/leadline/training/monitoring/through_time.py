"""The steps of a fused recurrence: its own backward pass says nothing of them, so that they are gone through again.

After the training's backward pass the layer runs once more, a few steps at a time, on a few samples of what it was
given, and the gradient that came back to its output goes back through them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge
from torch.nn.utils.rnn import PackedSequence
from torch.utils import _pytree as pytree

from leadline.jacobian.boundaries import initial_state
from leadline.jacobian.kernels import same_noise

SAMPLES = 4
"""So many samples of a batch are gone through again."""

STOPS = 12
"""At so many steps, equally spaced, the gradient is looked at: every one of them is a call of the layer."""


@dataclass
class ThroughTime:
    """A call of a fused recurrence: what it was given, without its graph, and what came back to its outputs."""

    layer: nn.RNNBase
    given: list[Any]
    batch: int
    length: int
    back: dict[int, Tensor] = field(default_factory=dict)
    listening: bool = False

    @classmethod
    def of(cls, layer: nn.RNNBase, args: Any, kwargs: Any) -> ThroughTime | None:
        """Note down what a layer is given; None for packed sequences, whose steps have different batch sizes."""
        given = [*args, *kwargs.values()]
        if not given or isinstance(given[0], PackedSequence):
            return None
        x: Tensor = given[0]
        detached = pytree.tree_map_only(Tensor, Tensor.detach, given)
        batch = x.shape[0 if layer.batch_first else 1] if x.ndim == 3 else 1
        return cls(layer, detached, batch, x.shape[1 if layer.batch_first and x.ndim == 3 else 0])

    @property
    def stride(self) -> int:
        """How many steps apart the gradient is looked at."""
        return max(1, math.ceil(self.length / STOPS))

    def listen(self, output: Any) -> None:
        """Keep what comes back to each output of the layer."""
        self.listening = True
        for place, tensor in enumerate(pytree.tree_leaves(output)):
            if tensor.requires_grad:
                edge = get_gradient_edge(tensor)
                edge.node.register_prehook(self._keeper(place, edge.output_nr))

    def _keeper(self, place: int, number: int) -> Any:
        def hook(gradients: Sequence[Tensor | None]) -> None:
            if (gradient := gradients[number]) is not None:
                self.back[place] = gradient.detach()

        return hook

    def gradients(self) -> Iterator[tuple[int, Tensor, float]]:
        """Yield the gradient at the state before a step, of every so many, and for how many times its squares stand."""
        if not self.back:
            return
        with torch.enable_grad(), same_noise(0):
            outputs, crossing = self._again()
        ends, back = [outputs[place] for place in self.back], [self._part(g, place) for place, g in self.back.items()]
        states = [state for each in crossing for state in each]
        found = iter(torch.autograd.grad(ends, states, back, allow_unused=True))
        scale = max(1.0, self.batch / SAMPLES)
        for boundary, each in enumerate(crossing):
            for gradient in [next(found) for _ in each]:
                if gradient is not None:
                    yield boundary, gradient, scale

    def _again(self) -> tuple[list[Tensor], list[list[Tensor]]]:
        """Run the layer; return its outputs, and the states that it passed on."""
        x, *given = self._few(self.given)
        state = [*pytree.tree_leaves(given[0])] if given and given[0] is not None else initial_state(self.layer, x)
        axis = 1 if self.layer.batch_first and x.ndim == 3 else 0
        parts, crossing = [], list[list[Tensor]]()
        for start in range(0, self.length, self.stride):
            own = [t if t.requires_grad else t.detach().requires_grad_() for t in state]
            crossing.append([t.clone() for t in own] if len(own) > 1 else own)  # an LSTM's h comes from its c
            state = crossing[-1]
            passed = x.narrow(axis, start, min(self.stride, self.length - start))
            part, after = self.layer.forward(passed, tuple(state) if len(state) > 1 else state[0])
            state = [*after] if isinstance(after, tuple) else [after]
            parts.append(part)
        return [torch.cat(parts, axis), *state], crossing

    def _few(self, given: list[Any]) -> list[Any]:
        x, *state = given
        return [self._part(x, 0), *pytree.tree_map_only(Tensor, lambda t: self._part(t, 1), state)]

    def _part(self, tensor: Tensor, place: int) -> Tensor:
        """Return the first samples of a tensor: of input and output (place 0) or of a state."""
        if tensor.ndim < 3:
            return tensor
        return tensor.narrow(0 if self.layer.batch_first and place == 0 else 1, 0, min(self.batch, SAMPLES))
