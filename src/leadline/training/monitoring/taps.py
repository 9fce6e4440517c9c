"""Where a training's own backward pass is listened to: at the boundaries between the stages of a model.

Listening is all that happens: what modules take and return stays as it is. The floating inputs of the model alone are
replaced by differentiable copies, so that the gradient goes back to where the first stage begins; that changes no
number of the training. Nothing of the graph is held once a forward pass has ended: its nodes hold the listeners.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge
from torch.utils import _pytree as pytree

from leadline.jacobian.calls import GradientFlow, ModuleCall, differentiable, let_go, origin, recorded
from leadline.jacobian.stages import Chain, stages_among
from leadline.training.monitoring.moments import LOST
from leadline.training.monitoring.through_time import ThroughTime

Edges = dict[int, GradientEdge]

_LONG = 10_000  # nodes, from which on a graph that was looked at must be let go of in order (`let_go`)


@dataclass
class Heard:
    """What came back to each boundary of the stages since listening began: sums on the model's own device."""

    squares: dict[int, Tensor] = field(default_factory=dict)
    lost: dict[str, Tensor] = field(default_factory=dict)
    values: Tensor | None = None

    def add(self, boundary: int, gradient: Tensor, scale: float = 1.0) -> None:
        """Take in a gradient that came back to a boundary, or `scale` times the squares of a part of it."""
        with torch.no_grad():
            size = gradient.detach().abs()
            square = scale * torch.linalg.vector_norm(size, dtype=torch.float64) ** 2
            self.squares[boundary] = self.squares[boundary] + square if boundary in self.squares else square
            alive = size > 0
            for name, least in LOST.items():
                gone = (alive & (size <= least)).sum() if _holds(size.dtype, least) else alive.sum() * 0
                self.lost[name] = self.lost[name] + gone if name in self.lost else gone
            self.values = alive.sum() if self.values is None else self.values + alive.sum()


def _holds(dtype: torch.dtype, least: float) -> bool:
    """Whether a format has numbers that small at all."""
    return torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps <= least


@dataclass(frozen=True)
class Hook:
    """What is called before or after a module; copies of the module, and files that it is saved to, hold nothing."""

    called: Callable[..., Any]

    def __call__(self, *args: Any) -> Any:
        """Call it."""
        return self.called(*args)

    def __reduce__(self) -> tuple[Any, ...]:
        return Hook, (_nothing,)


def _nothing(*_: Any) -> None:
    """Stand in a copy of a module for what was called."""


class Taps:
    """Listeners at the boundaries of a model's stages, which are found in the first forward pass that is heard."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.chain: Chain | None = None
        self.heard = Heard()
        self.boundaries, self.stride = 0, 1
        self._times: ThroughTime | None = None
        self._calls: list[ModuleCall] = []
        self._entering: dict[tuple[str, int], Edges] = {}
        self._leaving: dict[tuple[str, int], Edges] = {}
        self._counts: dict[str, int] = {}
        self._inside = False
        self._walked: list[Node] = []

    @contextmanager
    def open(self) -> Iterator[None]:
        """Listen while the context is open."""
        self.heard, self._times = Heard(), None
        with ExitStack() as stack:
            before = self.model.register_forward_pre_hook(Hook(self._begun), with_kwargs=True, prepend=True)
            stack.callback(before.remove)
            if self.chain is None:
                self._calls = stack.enter_context(recorded(self.model, Hook))
            for path, module in self._listened():
                for handle in (
                    module.register_forward_pre_hook(Hook(self._entered(path)), with_kwargs=True),
                    module.register_forward_hook(Hook(self._left(path))),
                ):
                    stack.callback(handle.remove)
            stack.callback(self._forget)
            stack.callback(self.model.register_forward_hook(Hook(self._ended)).remove)
            yield

    @property
    def came_back(self) -> bool:
        """Whether a gradient has come back since listening began."""
        return bool(self.heard.squares) or (self._times is not None and bool(self._times.back))

    @property
    def names(self) -> tuple[str, ...]:
        """The stages whose beginnings are boundaries: of steps through time every so many."""
        assert self.chain is not None
        if self.chain.recurrent is None:
            return self.chain.names(self.boundaries)
        return self.chain.names(self.boundaries * self.stride + 1)[:: self.stride][: self.boundaries]

    def finish(self) -> None:
        """Take in what can only be computed after the backward pass: the steps of a fused recurrence."""
        if self._times is not None:
            self.stride = self._times.stride
            for boundary, gradient, scale in self._times.gradients():
                self.heard.add(boundary, gradient, scale)
                self.boundaries = max(self.boundaries, boundary + 1)
            self._times = None

    def _listened(self) -> list[tuple[str, nn.Module]]:
        """Return the modules whose calls matter: all of them, until the stages are known."""
        named = dict(self.model.named_modules())
        if self.chain is None:
            return list(named.items())
        source = [self.chain.source[0]] if self.chain.source else []
        paths = (
            [self.chain.recurrent] if self.chain.recurrent else [path for path, _ in self.chain.calls] or ["", *source]
        )
        return [(path, named[path]) for path in dict.fromkeys(paths)]

    def _forget(self) -> None:
        for held in (self._calls, self._entering, self._leaving, self._counts):
            held.clear()

    def _begun(self, _: nn.Module, args: Any, kwargs: Any) -> Any:
        """Begin a forward pass, on differentiable copies of the floating inputs.

        What came back before counts with it, unless it was thrown away: a step that a gradient scaler leaves out, or
        another try of a closure.
        """
        self._forget()
        if self.came_back and not any(map(_holds_gradient, self.model.parameters())):
            self.heard, self._times = Heard(), None
        let_go(self._walked)  # of the step before, whose graph is gone
        self._inside = torch.is_grad_enabled()
        return pytree.tree_map(_differentiable, (args, kwargs)) if self._inside else None

    def _entered(self, path: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            if not self._inside:  # what checkpoints compute again
                return
            self._counts[path] = self._counts.get(path, -1) + 1
            self._entering[path, self._counts[path]] = _edges((args, kwargs))
            if isinstance(module, nn.RNNBase) and self._times is None and not module.bidirectional:
                self._times = ThroughTime.of(module, args, kwargs)

        return hook

    def _left(self, path: str) -> Callable[..., None]:
        def hook(module: nn.Module, _: Any, output: Any) -> None:
            if not self._inside:
                return
            self._leaving[path, self._counts[path]] = _edges(output)
            if self._times is not None and self._times.layer is module and not self._times.listening:
                self._times.listen(output)

        return hook

    def _ended(self, _: nn.Module, __: Any, output: Any) -> None:
        """Find the stages if they are not known, and listen at their boundaries."""
        starts = list(differentiable(output).values())
        if starts and self._inside:
            if self.chain is None:
                self.chain = self._found(starts[0])
            if self.chain.recurrent is None:
                self._times = None
                for boundary, edges in enumerate(self._between(self.chain, output)):
                    for edge in edges:
                        _listen(self.heard, boundary, edge)
                    self.boundaries = max(self.boundaries, boundary + 1)
        self._inside = False
        self._forget()

    def _found(self, start: Tensor) -> Chain:
        first: dict[str, int] = {}
        for call in self._calls:  # which count on from passes without a gradient
            call.nth -= first.setdefault(call.path, call.nth)
        flow = GradientFlow(self._calls)
        chain = stages_among(self._calls, start, flow, fronts=False)
        nodes = flow.nodes()
        if len(nodes) > _LONG:
            self._walked = nodes
        return Chain() if chain.recurrent is not None and self._times is None else chain  # packed sequences

    def _between(self, chain: Chain, output: Any) -> list[Sequence[GradientEdge]]:
        """Return the edges of the graph at which each stage begins, and at which the last one ends."""
        if not chain.calls:
            first = self._leaving.get(chain.source, {}) if chain.source else self._entering.get(("", 0), {})
            return [list(first.values()), list(_edges(output).values())]
        found: list[Sequence[GradientEdge]] = []
        for call in chain.calls:
            entering = self._entering.get(call, {})
            found.append([entering[place] for place in chain.carried if place in entering])
        found.append(list(self._leaving.get(chain.calls[-1], {}).values())[: len(chain.carried)])
        return [[_sum_behind(edge) for edge in edges] for edges in found] if chain.sums else found


def _holds_gradient(parameter: Tensor) -> bool:
    gradient = parameter.grad
    return gradient is not None and (gradient.layout != torch.strided or bool(gradient.any()))


def _differentiable(value: Any) -> Any:
    """Return a floating tensor without a gradient as a copy that has one; anything else as it is."""
    plain = isinstance(value, Tensor) and value.layout == torch.strided and not value.is_nested
    if not plain or not value.is_floating_point() or value.requires_grad or value.is_inference():
        return value
    return value.detach().requires_grad_().clone()  # into which the model may write


def _edges(tree: Any) -> Edges:
    return {place: get_gradient_edge(tensor) for place, tensor in differentiable(tree).items()}


def _sum_behind(edge: GradientEdge) -> GradientEdge:
    """Return the place in the graph where what enters a layer begins: a sum, or what another layer made."""
    made = origin(edge.node)
    return edge if made is edge.node else GradientEdge(made, 0)


def _listen(heard: Heard, boundary: int, edge: GradientEdge) -> None:
    """Let what comes back to an edge be taken in, by the node of the graph itself."""

    def hook(gradients: Sequence[Tensor | None]) -> None:
        gradient = gradients[edge_number]
        if gradient is not None:
            heard.add(boundary, gradient)

    edge_number = edge.output_nr
    edge.node.register_prehook(hook)
