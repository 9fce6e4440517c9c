"""Context: which input positions one output position may depend on, and to which it is blind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from leadline.domains.dependence.algebra import Links, Ranks
from leadline.domains.dependence.flow import Flow
from leadline.domains.dependence.ranks import Search
from leadline.domains.dependence.support import support
from leadline.domains.dependence.witness import follow
from leadline.domains.engine import OnUnknown
from leadline.domains.subject import Subject, subject
from leadline.domains.values.pattern import pattern
from leadline.errors import LayoutError
from leadline.graph import Graph
from leadline.graph.layout import BATCH, Axes, LayoutLike, Order
from leadline.results import Coverage, Place

Position: TypeAlias = "int | tuple[int, ...]"
_MOST_CELLS = 1 << 14  # beyond this, stacking offsets is not tried


@dataclass(frozen=True)
class Context:
    """What one output position sees.

    Attributes
    ----------
    position
        The output position, by axis.
    axes
        The axes of each map: an input's position axes, or all but the batch where it shares none with the output.
    seen
        Maps over input positions, by input name: True where the output may depend on the input.
    blind
        Earlier positions that the output does not depend on, by input name; only for inputs that have an order.
    always_blind
        Those of them that stay blind however many copies of the model are stacked: no sum of the offsets seen reaches
        them. (A deeper model of the same kind may see more: the rows of a Gated PixelCNN widen.) It holds for models
        that treat all positions alike, as convolutions and recurrences do; None where the grid is too large to tell.
    coverage
        Which operations had a rule.
    """

    position: Mapping[str, int]
    axes: Mapping[str, Axes]
    seen: Mapping[str, Bool[Tensor, "..."]]
    blind: Mapping[str, Bool[Tensor, "..."]]
    always_blind: Mapping[str, Bool[Tensor, "..."] | None]
    coverage: Coverage

    @property
    def map(self) -> Bool[Tensor, "..."]:
        """The map of the only, or the first, input."""
        return next(iter(self.seen.values()))

    @property
    def size(self) -> int:
        """How many positions of the first input are seen."""
        return int(self.map.sum())

    def box(self, name: str | None = None) -> dict[str, tuple[int, int]] | None:
        """Return the first and last position seen along each axis; None for an empty map."""
        name = next(iter(self.seen)) if name is None else name
        hits = self.seen[name].nonzero()
        if not len(hits):
            return None
        return {axis: (int(hits[:, i].min()), int(hits[:, i].max())) for i, axis in enumerate(self.axes[name])}


def context(
    model: nn.Module,
    *inputs: Any,
    output: Position | Mapping[str, Position] | None = None,
    layout: LayoutLike = None,
    order: Order = None,
    on_unknown: OnUnknown = "raise",
    traced: Graph | None = None,
    **kwargs: Any,
) -> Context:
    """Map the inputs that one output position may depend on, element by element and exactly as the operations allow.

    Parameters
    ----------
    model
        Any module; it is left as it is.
    *inputs, **kwargs
        What `forward` takes.
    output
        The position, along the output's position axes as they stand in it (negative counts from the end); a dict
        ``{"logits": 5}`` also says which output. None: the middle of every axis.
    layout, order, on_unknown, traced
        As in `causality`.

    Raises
    ------
    LayoutError
        If the axes cannot be told apart, or the position does not exist.
    TraceError
        If the model cannot be traced.
    UnknownOp
        If an operation has no rule and `on_unknown` is ``"raise"``.

    Examples
    --------
    >>> conv = nn.Conv1d(1, 1, 3, dilation=2, padding=2)
    >>> seen = context(conv, torch.zeros(1, 1, 9), output=4, layout="b c t -> b v t")
    >>> seen.map.int().tolist(), seen.box()
    ([0, 0, 1, 0, 1, 0, 1, 0, 0], {'t': (2, 6)})
    """
    name, position = _named(output)
    asked = subject(model, inputs, kwargs, layout, order, name, traced)
    place = _place(asked, position)
    flow = Flow(asked.graph, pattern(asked.graph), Links())
    elements, coverage = support(flow, asked.output, _chosen(asked, place), on_unknown=on_unknown)
    axes = {name: _mapped(asked, name) for name in asked.inputs}
    seen = {name: _projected(elements[name], asked.inputs[name], axes[name]) for name in asked.inputs}
    ordered = [name for name in asked.inputs if axes[name] == asked.layout.positions and _aligned(asked)]
    blind = {name: _earlier(asked, place) & ~seen[name] for name in ordered}
    return Context(
        position=place,
        axes=axes,
        seen=seen,
        blind=blind,
        always_blind={name: _never(seen[name], blind[name], asked, place) for name in ordered},
        coverage=coverage,
    )


def passage(
    model: nn.Module,
    *inputs: Any,
    seen: tuple[int, ...],
    output: Position | Mapping[str, Position] | None = None,
    layout: LayoutLike = None,
    order: Order = None,
    on_unknown: OnUnknown = "raise",
    traced: Graph | None = None,
    **kwargs: Any,
) -> tuple[Place, ...]:
    """Find where one dependence in a map passes, from input to output: operations that combine different elements.

    Parameters
    ----------
    model, inputs, kwargs, output, layout, order, on_unknown, traced
        As in `context`.
    seen
        A place in the map of the first input that is marked.
    """
    name, position = _named(output)
    asked = subject(model, inputs, kwargs, layout, order, name, traced)
    first = next(iter(asked.inputs))
    at = dict(zip(_mapped(asked, first), seen, strict=True))
    ranks = torch.zeros(asked.input_shape(first), dtype=torch.int64)
    ranks[tuple(at.get(axis, slice(None)) for axis in asked.inputs[first])] = 1
    search = Search(asked, Flow(asked.graph, pattern(asked.graph), Ranks()), on_unknown)
    found = search.latest({first: ranks})
    element = ((found.ranks == 1) & _chosen(asked, _place(asked, position))).nonzero()[0]
    return follow(search, found.links, tuple(int(i) for i in element))[2]


def _named(output: Position | Mapping[str, Position] | None) -> tuple[str | None, Position | None]:
    if not isinstance(output, Mapping):
        return None, output
    if len(output) > 1:
        raise LayoutError("ask for one output position at a time")
    return next(iter(output.items()), (None, None))


def _place(asked: Subject, position: Position | None) -> dict[str, int]:
    axes = [(axis, size) for axis, size in zip(asked.output_axes, asked.output_shape, strict=True)
            if axis in asked.layout.positions]  # fmt: skip
    if position is None:
        return {axis: size // 2 for axis, size in axes}
    given = (position,) if isinstance(position, int) else tuple(position)
    if len(given) != len(axes):
        raise LayoutError(f"the output has the position axes {[axis for axis, _ in axes]}, not {len(given)} of them")
    for (axis, size), at in zip(axes, given, strict=True):
        if not -size <= at < size:
            raise LayoutError(f"there is no place {at} along {axis!r}, which has {size}")
    return {axis: at % size for (axis, size), at in zip(axes, given, strict=True)}


def _chosen(asked: Subject, place: Mapping[str, int]) -> Bool[Tensor, "..."]:
    """All channels of the position, in the first sample."""
    chosen = torch.zeros(asked.output_shape, dtype=torch.bool)
    index = [0 if axis == BATCH else place.get(axis, slice(None)) for axis in asked.output_axes]
    chosen[tuple(index)] = True
    return chosen


def _mapped(asked: Subject, name: str) -> Axes:
    """Axes of an input's map, in the order of the layout's positions."""
    axes = asked.inputs[name]
    return tuple(a for a in asked.layout.positions if a in axes) or tuple(a for a in axes if a != BATCH)


def _projected(mask: Bool[Tensor, "..."], axes: Axes, kept: Axes) -> Bool[Tensor, "..."]:
    dropped = [i for i, axis in enumerate(axes) if axis not in kept]
    rest = [axis for axis in axes if axis in kept]
    flat = mask.any(dim=dropped) if dropped else mask
    return flat.permute([rest.index(axis) for axis in kept])


def _aligned(asked: Subject) -> bool:
    """Whether inputs and output have the same positions, so that there is an earlier and a later."""
    try:
        asked.sizes()
    except LayoutError:
        return False
    return bool(asked.layout.positions) and set(asked.layout.positions) <= set(asked.output_axes)


def _earlier(asked: Subject, place: Mapping[str, int]) -> Bool[Tensor, "..."]:
    ranks = asked.ranks()
    return ranks < ranks[tuple(place[axis] for axis in asked.layout.positions)]


def _never(
    seen: Bool[Tensor, "..."], blind: Bool[Tensor, "..."], asked: Subject, place: Mapping[str, int]
) -> Bool[Tensor, "..."] | None:
    """Positions among `blind` that no sum of the offsets in `seen` reaches within the grid."""
    if seen.numel() > _MOST_CELLS:
        return None
    here = torch.tensor([place[axis] for axis in asked.layout.positions])
    offsets, size = seen.nonzero() - here, torch.tensor(seen.shape)
    reached, front = seen.clone(), seen.nonzero()
    while len(front):
        step = (front.unsqueeze(1) + offsets).flatten(0, 1)
        step = step[((step >= 0) & (step < size)).all(1)].unique(dim=0)
        fresh = step[~reached[tuple(step.T)]]
        reached[tuple(fresh.T)] = True
        front = fresh
    return blind & ~reached
