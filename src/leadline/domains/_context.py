"""Context: which input positions one output position may depend on, and to which it is blind."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from leadline.domains.arguments import public, require, whole
from leadline.domains.borders import Border, borders
from leadline.domains.dependence.algebra import Paths, Ranks
from leadline.domains.dependence.flow import Flow
from leadline.domains.dependence.ranks import Search
from leadline.domains.dependence.signals.spectra import signals_of
from leadline.domains.dependence.support import behind, support
from leadline.domains.dependence.witness import follow
from leadline.domains.engine import OnUnknown
from leadline.domains.values.facts import Facts
from leadline.domains.values.pattern import NEGLIGIBLE, facts_of, finite_masks
from leadline.errors import LayoutError
from leadline.graph.ir import Ref
from leadline.graph.layout import BATCH, Axes, LayoutLike, Order, projected
from leadline.graph.reading import Reading
from leadline.results import Coverage, Place, Result

Position: TypeAlias = "int | tuple[int, ...]"
OutputLike: TypeAlias = "str | Position | Mapping[str, Position] | None"
_MOST_CELLS = 1 << 14  # beyond this, stacking offsets is not tried


@dataclass(frozen=True)
class Context(Result):
    """What one output position sees.

    Attributes
    ----------
    position, axes
        The output position, by axis; the axes of each map: an input's position axes, or all but the batch where it
        shares none with the output.
    seen, blind
        Maps over input positions, by input name: where the output may depend on the input; and, for inputs that have an
        order, earlier positions that it does not depend on.
    always_blind
        Those of them that stay blind however many copies of the model are stacked: no sum of the offsets seen reaches
        them. (A deeper model of the same kind may see more: the rows of a Gated PixelCNN widen.) It holds for models
        that treat all positions alike, as convolutions and recurrences do; None where the grid is too large to tell.
    sense
        As in a verdict of causality: `structural`, or `finite-mask` where finite numbers hide some of the positions
        from a softmax, which training can outweigh.
    borders
        The axes of the first input at whose start or end the map stops, where more may be hidden: each with the least
        length that shows the map of the default position whole, if outputs treat all positions alike, found with
        longer inputs where these are too short; or with the reason why none is named, as for a recurrence.
    coverage
        Which operations had a rule.
    """

    derived: ClassVar[tuple[str, ...]] = ("size",)

    position: Mapping[str, int]
    axes: Mapping[str, Axes]
    seen: Mapping[str, Bool[Tensor, "..."]]
    blind: Mapping[str, Bool[Tensor, "..."]]
    always_blind: Mapping[str, Bool[Tensor, "..."] | None]
    sense: Literal["structural", "finite-mask"]
    borders: Mapping[str, Border]
    coverage: Coverage

    @property
    def shown(self) -> dict[str, int | None]:
        """The length that each of the `borders` names; None where it names none."""
        return {axis: border.length for axis, border in self.borders.items()}

    @property
    def map(self) -> Bool[Tensor, "..."]:
        """The map of the only, or the first, input."""
        return next(iter(self.seen.values()))

    @property
    def size(self) -> int:
        """How many positions of the first input are seen."""
        return int(self.map.sum())

    def __str__(self) -> str:
        at = ", ".join(f"{axis}={place}" for axis, place in self.position.items())
        text = f"the output at {at} sees {'at least ' if self.borders else ''}{self.size} positions ({self.sense})"
        return text + "".join(f"; it reaches the border of {axis}: {more}" for axis, more in self.borders.items())

    def box(self, name: str | None = None) -> dict[str, tuple[int, int]] | None:
        """Return the first and last position seen along each axis; None for an empty map."""
        name = next(iter(self.seen)) if name is None else name
        hits = self.seen[name].nonzero()
        if not len(hits):
            return None
        return {axis: (int(hits[:, i].min()), int(hits[:, i].max())) for i, axis in enumerate(self.axes[name])}


@public("context", "output")
def context(
    model: nn.Module,
    *inputs: Any,
    position: Position | None = None,
    layout: LayoutLike = None,
    order: Order = None,
    output: OutputLike = None,
    longer: bool = True,
    on_unknown: OnUnknown = "raise",
    **kwargs: Any,
) -> Context:
    """Map the inputs that one output position may depend on, element by element and exactly as the operations allow.

    The `position` is along the output's position axes as they stand in it (negative counts from the end; default: the
    middle of every axis). Where even the farthest output sees a border, small models are traced with `longer` inputs,
    to tell at which length the map is whole. The rest, and errors, are those of `read`; a position given as `output` is
    deprecated.

    Examples
    --------
    >>> conv = nn.Conv1d(1, 1, 3, dilation=2, padding=2)
    >>> seen = context(conv, torch.zeros(1, 1, 9), position=4, layout="b c t -> b v t")
    >>> seen.map.int().tolist(), seen.box()
    ([0, 0, 1, 0, 1, 0, 1, 0, 0], {'t': (2, 6)})
    """
    name, position = named_position(output, position)
    if position is not None:
        require("context", "position", position)
    reading = Reading(model, inputs, kwargs, layout=layout, order=order, output=name)
    return context_of(reading, position, longer=longer, on_unknown=on_unknown)


def context_of(
    reading: Reading, position: Position | None = None, *, longer: bool = True, on_unknown: OnUnknown = "raise"
) -> Context:
    """Return what one output position of a reading sees, worked out once; see `context`."""
    place = placed(reading, position)
    key = "context", *place.values(), longer, on_unknown
    return reading.once(key, lambda: _seen_from(reading, place, longer, on_unknown))


def _seen_from(reading: Reading, place: Mapping[str, int], longer: bool, on_unknown: OnUnknown) -> Context:
    inputs = reading.input_axes
    axes = {name: _mapped(reading, name) for name in inputs}
    structural, coverage = _maps(reading, place, -torch.inf, on_unknown)
    seen = structural
    if finite_masks(reading):
        seen, coverage = _maps(reading, place, NEGLIGIBLE, on_unknown)
    ordered = [name for name in inputs if axes[name] == reading.layout.positions and _aligned(reading)]
    blind = {name: _earlier(reading, place) & ~seen[name] for name in ordered}
    return Context(
        position=place,
        axes=axes,
        seen=seen,
        blind=blind,
        always_blind={name: _never(seen[name], blind[name], reading, place) for name in ordered},
        sense="structural" if all(torch.equal(seen[name], structural[name]) for name in inputs) else "finite-mask",
        borders=borders(reading, place, _Look(on_unknown), longer=longer)
        if ordered and next(iter(inputs)) in ordered
        else {},
        coverage=coverage,
    )


def _maps(
    reading: Reading, place: Mapping[str, int], floor: float, on_unknown: OnUnknown
) -> tuple[dict[str, Bool[Tensor, "..."]], Coverage]:
    """Return what one output position sees of each input, if logits pushed down by `floor` have no weight."""

    def found() -> tuple[dict[str, Bool[Tensor, "..."]], Coverage]:
        flow = Flow(signals_of(reading), facts_of(reading, floor=floor), Paths(), floor, cancelling=True)
        elements, coverage = support(flow, reading.output, _chosen(reading, place), on_unknown=on_unknown)
        inputs = reading.input_axes
        return {name: projected(elements[name], inputs[name], _mapped(reading, name)) for name in inputs}, coverage

    return reading.once(("maps", *place.values(), floor, on_unknown), found)


class _Look:
    """Looks back for `borders`, in the sense in which the map holds."""

    def __init__(self, on_unknown: OnUnknown) -> None:
        self.on_unknown = on_unknown

    def seen(self, reading: Reading, place: Mapping[str, int]) -> Bool[Tensor, "..."]:
        """Map what an output position sees of the first input."""
        return next(iter(_maps(reading, place, self._floor(reading), self.on_unknown)[0].values()))

    def marked(self, reading: Reading, place: Mapping[str, int]) -> dict[Ref, Bool[Tensor, "..."]]:
        """Return the elements of all values that an output position rests on, compact."""
        flow = Flow(signals_of(reading), self.facts(reading), Paths(), self._floor(reading))
        chosen = {reading.graph.outputs[reading.output]: _chosen(reading, place)}
        return behind(flow, chosen, on_unknown=self.on_unknown)[0]

    def facts(self, reading: Reading) -> Mapping[Ref, Facts]:
        """Return what is known of all values."""
        return facts_of(reading, floor=self._floor(reading))

    def _floor(self, reading: Reading) -> float:
        return NEGLIGIBLE if finite_masks(reading) else -torch.inf


def passage(
    reading: Reading, seen: tuple[int, ...], position: Position | None = None, *, on_unknown: OnUnknown = "raise"
) -> tuple[Place, ...]:
    """Find where one dependence in a map passes, from input to output: operations that combine different elements.

    `seen` is a place in the map of the first input that is marked; the rest is as in `context_of`.
    """
    first, axes = next(iter(reading.input_axes.items()))
    at = dict(zip(_mapped(reading, first), seen, strict=True))
    ranks = torch.zeros(reading.input_shape(first), dtype=torch.int64)
    ranks[tuple(at.get(axis, slice(None)) for axis in axes)] = 1
    search = Search(reading, Flow(signals_of(reading), facts_of(reading), Ranks(), cancelling=True), on_unknown)
    (found,) = search.latest({first: ranks})
    element = ((found.ranks == 1) & _chosen(reading, placed(reading, position))).nonzero()[0]
    return follow(search, found.links, tuple(int(i) for i in element))[2]


def named_position(output: OutputLike, position: Position | None) -> tuple[str | None, Position | None]:
    """Return the output's name and the position in it; `output` once took a position, or one by the output's name."""
    if output is None or isinstance(output, str):
        return output, position
    warnings.warn("output= names an output; give the place in it as position=", DeprecationWarning, stacklevel=3)
    if not isinstance(output, Mapping):
        return None, output
    if len(output) > 1:
        raise LayoutError("ask for one output position at a time")
    return next(iter(output.items()), (None, None))


def placed(reading: Reading, position: Position | None) -> dict[str, int]:
    """Return the place along each position axis of the output; the middle where none is given."""
    axes = [(axis, size) for axis, size in zip(reading.output_axes, reading.output_shape, strict=True)
            if axis in reading.layout.positions]  # fmt: skip
    if position is None:
        return {axis: size // 2 for axis, size in axes}
    given = (int(position),) if whole(position) else tuple(map(int, position))  # type: ignore[arg-type]  # checked above
    if len(given) != len(axes):
        raise LayoutError(f"the output has the position axes {[axis for axis, _ in axes]}, not {len(given)} of them")
    for (axis, size), at in zip(axes, given, strict=True):
        if not -size <= at < size:
            raise LayoutError(f"there is no place {at} along {axis!r}, which has {size}")
    return {axis: at % size for (axis, size), at in zip(axes, given, strict=True)}


def _chosen(reading: Reading, place: Mapping[str, int]) -> Bool[Tensor, "..."]:
    """All channels of the position, in the first sample; compact."""
    sizes = zip(reading.output_axes, reading.output_shape, strict=True)
    chosen = torch.zeros([size if axis == BATCH or axis in place else 1 for axis, size in sizes], dtype=torch.bool)
    chosen[tuple(place.get(axis, 0) for axis in reading.output_axes)] = True
    return chosen


def _mapped(reading: Reading, name: str) -> Axes:
    """Axes of an input's map, in the order of the layout's positions."""
    axes = reading.input_axes[name]
    return tuple(a for a in reading.layout.positions if a in axes) or tuple(a for a in axes if a != BATCH)


def _aligned(reading: Reading) -> bool:
    """Whether inputs and output have the same positions, so that there is an earlier and a later."""
    try:
        sizes = reading.sizes
    except LayoutError:
        return False
    return bool(sizes) and set(sizes) <= set(reading.output_axes)


def _earlier(reading: Reading, place: Mapping[str, int]) -> Bool[Tensor, "..."]:
    ranks = reading.ranks
    return ranks < ranks[tuple(place[axis] for axis in reading.layout.positions)]


def _never(
    seen: Bool[Tensor, "..."], blind: Bool[Tensor, "..."], reading: Reading, place: Mapping[str, int]
) -> Bool[Tensor, "..."] | None:
    """Positions among `blind` that no sum of the offsets in `seen` reaches within the grid."""
    if not bool(blind.any()):
        return blind
    if seen.numel() > _MOST_CELLS:
        return None
    here = torch.tensor([place[axis] for axis in reading.layout.positions])
    offsets, size = seen.nonzero() - here, torch.tensor(seen.shape)
    reached, front = seen.clone(), seen.nonzero()
    while len(front) and bool((blind & ~reached).any()):
        step = (front.unsqueeze(1) + offsets).flatten(0, 1)
        fresh = torch.zeros_like(reached)
        fresh[tuple(step[((step >= 0) & (step < size)).all(1)].T)] = True
        fresh &= ~reached
        reached |= fresh
        front = fresh.nonzero()
    return blind & ~reached
