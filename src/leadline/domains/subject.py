"""A traced model with its axes, order and ranks: what causality and context both start from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from leadline.errors import LayoutError, ModelError
from leadline.graph import Graph, Layout, resolve, trace
from leadline.graph.layout import BATCH, Axes, LayoutLike, Order


@dataclass(frozen=True)
class Subject:
    """What is asked about: a graph, one of its outputs, and how to read the axes of both ends."""

    graph: Graph
    layout: Layout
    output: str
    order: Order

    @property
    def inputs(self) -> dict[str, Axes]:
        """Axes of the inputs that are no conditioning."""
        return {name: axes for name, axes in self.layout.inputs.items() if axes is not None}

    @property
    def output_axes(self) -> Axes:
        """Axes of the output asked about."""
        return self.layout.outputs[self.output]

    def input_shape(self, name: str) -> tuple[int, ...]:
        """Shape of an input."""
        return self.graph.nodes[self.graph.inputs[name]].shape

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the output asked about."""
        return self.graph.meta(self.graph.outputs[self.output]).shape

    def sizes(self) -> dict[str, int]:
        """Size of every position axis.

        Raises
        ------
        LayoutError
            If an axis has different sizes in different tensors, so that its positions have no common order.
        """
        sizes: dict[str, int] = {}
        tensors = [(name, axes, self.input_shape(name)) for name, axes in self.inputs.items()]
        for name, axes, shape in [*tensors, (self.output, self.output_axes, self.output_shape)]:
            for axis, size in zip(axes, shape, strict=True):
                if axis in self.layout.positions and sizes.setdefault(axis, size) != size:
                    raise LayoutError(
                        f"the position axis {axis!r} has {sizes[axis]} places elsewhere and {size} in {name}: "
                        "positions of different number have no common order"
                    )
        return sizes

    def ranks(self) -> Int[Tensor, "..."]:
        """Return the rank of every position, over `layout.positions`."""
        if not self.layout.positions:
            raise LayoutError(f"the layout '{self.layout}' shares no axis between inputs and output: nothing to order")
        return self.layout.ranks(self.sizes(), self.order)

    def along(self, ranks: Int[Tensor, "..."], name: str, axes: Axes, shape: tuple[int, ...]) -> Int[Tensor, "..."]:
        """Lay ranks over positions out over a tensor's axes.

        Raises
        ------
        LayoutError
            If the tensor lacks an axis along which the ranks differ.
        """
        for place, axis in reversed(list(enumerate(self.layout.positions))):
            if axis not in axes:
                if bool((ranks != ranks.select(place, 0).unsqueeze(place)).any()):
                    raise LayoutError(
                        f"{name} has no axis {axis!r}, which the order runs over; map it to None if all may see it"
                    )
                ranks = ranks.select(place, 0)
        held = [axis for axis in self.layout.positions if axis in axes]
        ranks = ranks.permute([held.index(axis) for axis in axes if axis in held])
        places = iter(ranks.shape)
        return ranks.reshape([next(places) if axis in held else 1 for axis in axes]).expand(shape)


def subject(
    model: nn.Module,
    inputs: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    layout: LayoutLike,
    order: Order,
    output: str | None,
    traced: Graph | None = None,
) -> Subject:
    """Trace a model, unless that is done, and give its tensors their axes.

    Raises
    ------
    TraceError
        If the model cannot be traced.
    LayoutError
        If the axes cannot be told apart or do not fit.
    ModelError
        If a tensor that has axes is empty.
    """
    graph = traced or trace(model, *inputs, **kwargs)
    given = {
        name: _hollow(graph.nodes[index].shape, graph.nodes[index].meta.dtype) for name, index in graph.inputs.items()
    }
    made = {name: _hollow((m := graph.meta(ref)).shape, m.dtype) for name, ref in graph.outputs.items()}
    resolved = resolve(layout, given, made, output=output)
    found = Subject(graph, resolved, next(iter(resolved.outputs)), order)
    shapes = {name: found.input_shape(name) for name in found.inputs} | {found.output: found.output_shape}
    for name, shape in shapes.items():
        if 0 in shape:
            raise ModelError(f"{name} of shape {shape} has no elements, so no positions: give longer inputs")
    return found


def _hollow(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def batch_ranks(shape: tuple[int, ...], axes: Axes) -> Int[Tensor, "..."] | None:
    """Index of the sample of every element; None without a batch axis."""
    if BATCH not in axes:
        return None
    place = axes.index(BATCH)
    return torch.arange(shape[place]).reshape([-1 if d == place else 1 for d in range(len(shape))]).expand(shape)
