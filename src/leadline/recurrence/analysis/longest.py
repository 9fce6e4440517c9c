"""What follows what, and the longest paths on a grid of given sizes: exact, by relaxation over all points.

While training all inputs are there at once; while generating, each is drawn from an output.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from leadline.errors import ModelError, NotUniform
from leadline.recurrence.ir import Edge, Offset, System

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Lengths: TypeAlias = dict[str, NDArray[np.int64]]


def training_edges(system: System) -> tuple[Edge, ...]:
    """Return the dependences of a forward pass on known inputs, each with the cost of its reader."""
    return tuple(dict.fromkeys(system.edges))


def generation_edges(system: System, lag: int = 1) -> tuple[Edge, ...]:
    """Return the dependences of generation: the input at p is drawn from the output at p, or at p - 1 for a lag of 0.

    Density models have a lag of 1, their output p being the distribution of the input p; language models, whose output
    is that of the next input, 0. Raises `NotUniform` for a lag of 0 on a grid of several axes.
    """
    return training_edges(system) + _draws(system, lag, 0)


def drawing_edges(system: System, lag: int = 1) -> tuple[Edge, ...]:
    """Return the dependences of generation where only a drawing costs anything: the longest path counts fronts."""
    return tuple(replace(edge, cost=0) for edge in training_edges(system)) + _draws(system, lag, 1)


def _draws(system: System, lag: int, cost: int) -> tuple[Edge, ...]:
    if lag < 1 and len(system.axes) > 1:
        raise NotUniform(
            f"the next position after a row's end is the start of the next row, which no constant offset along "
            f"{', '.join(system.axes)} reaches; use a model whose output is the distribution at its own position"
        )
    offset = (1,) if lag < 1 else (0,) * len(system.axes)
    return tuple(Edge(name, system.output, offset, cost) for name in system.inputs)


def recurrent_variables(system: System) -> frozenset[str]:
    """Return the variables that rest on themselves: those between the ends of a tap on a later variable."""
    order = [v.name for v in system.variables]
    place = {name: i for i, name in enumerate(order)}
    loops: set[str] = set()
    for edge in system.edges:
        loops.update(order[place[edge.reader] : place[edge.source] + 1])
    return frozenset(loops)


Point: TypeAlias = tuple[str, Offset]

_UNREACHED = -(2**40)


def overlap(
    reader: Sequence[int], source: Sequence[int], offset: Offset
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where a tap stays within the range of its source: slices of the reader, and of the source.

    Examples
    --------
    >>> overlap((5,), (5,), (2,))
    ((slice(2, 5, None),), (slice(0, 3, None),))
    """
    mine, theirs = [], []
    for n, m, d in zip(reader, source, offset, strict=True):
        low, high = max(0, d), max(0, d, min(n, m + d))
        mine.append(slice(low, high))
        theirs.append(slice(low - d, high - d))
    return tuple(mine), tuple(theirs)


@dataclass(frozen=True, eq=False)
class Longest:
    """The longest path that ends at each point of each variable, on one grid."""

    steps: tuple[Edge, ...]
    lengths: Lengths

    @property
    def total(self) -> int:
        """The longest of all."""
        return max(int(values.max()) for values in self.lengths.values() if values.size)

    def path(self, end: Point) -> list[Point]:
        """Return one longest path to `end`, from its first point on, found by going back along tight steps."""
        points, rest = [end], self._before(end)
        while rest is not None:
            points.append(rest)
            rest = self._before(rest)
        return points[::-1]

    def last(self) -> Point:
        """Return the end of a longest path."""
        name = max((n for n, values in self.lengths.items() if values.size), key=lambda n: int(self.lengths[n].max()))
        place = np.unravel_index(int(self.lengths[name].argmax()), self.lengths[name].shape)
        return name, tuple(map(int, place))

    def _before(self, end: Point) -> Point | None:
        name, place = end
        for step in self.steps:
            if step.reader == name:
                values = self.lengths[step.source]
                for origin in _origins(step, place, values.shape):
                    reached = values[origin] > _UNREACHED // 2
                    if reached and values[origin] + step.cost == self.lengths[name][place]:
                        return step.source, origin
        return None


def _origins(step: Edge, place: Offset, shape: tuple[int, ...]) -> list[Offset]:
    """Return the points within the source's range that one step reads from `place`, nearest first."""
    origin = tuple(p - d for p, d in zip(place, step.offset, strict=True))
    if place[0] < step.first:
        return []
    if step.growing:
        return [(p,) for p in range(min(origin[0], shape[0] - 1), -1, -1)]
    return [origin] if all(0 <= p < n for p, n in zip(origin, shape, strict=False)) else []


def _window(step: Edge, reader: Sequence[int], source: Sequence[int]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    mine, theirs = overlap(reader, source, step.offset)
    start, late = mine[0].start, max(0, step.first - mine[0].start)
    return (
        (slice(start + late, max(start + late, mine[0].stop)), *mine[1:]),
        (slice(theirs[0].start + late, max(theirs[0].start + late, theirs[0].stop)), *theirs[1:]),
    )


def longest_paths(
    system: System,
    steps: Sequence[Edge],
    sizes: Sequence[int],
    *,
    start: Point | None = None,
    begins: Mapping[str, int] | None = None,
) -> Longest:
    """Compute the longest path to every point, on a grid of given sizes; the cost of an input is 0.

    Paths begin anywhere, with the cost of their first point; or at the one point `start`; or at any point of the
    variables in `begins`, with the length given there. Points that no such path reaches get a very negative length.
    """
    shapes = {v.name: v.range(sizes) for v in system.variables}
    if start is None and begins is None:
        begins = {v.name: v.equation.cost for v in system.variables}
    lengths = {name: np.full(shape, (begins or {}).get(name, _UNREACHED), np.int64) for name, shape in shapes.items()}
    if start is not None:
        lengths[start[0]][start[1]] = 0
    relax(steps, lengths)
    return Longest(tuple(steps), lengths)


def relax(steps: Sequence[Edge], lengths: Lengths) -> None:
    """Raise every point, in place, to the value of what it reads plus the edge's cost, until nothing changes.

    Raises `ModelError` if the edges contain a cycle with a cost: no order of evaluation exists.
    """
    windows = [(step, *_window(step, lengths[step.reader].shape, lengths[step.source].shape)) for step in steps]
    changed = set(lengths)
    for _ in range(2 + sum(values.size for values in lengths.values())):
        previous, changed = changed, set()
        for step, mine, theirs in windows:
            if step.source in previous or step.source in changed:
                target = lengths[step.reader][mine]
                before = lengths[step.source]
                candidate = (np.maximum.accumulate(before) if step.growing else before)[theirs] + step.cost
                if (candidate > target).any():
                    np.maximum(target, candidate, out=target)
                    changed.add(step.reader)
        if not changed:
            return
    raise ModelError("the equations depend on themselves without advancing: no order of evaluation exists")
