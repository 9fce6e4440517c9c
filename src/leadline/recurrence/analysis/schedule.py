"""Schedules: at which front every point of every variable is computed, and how long it must be kept.

A schedule is a whole linear form τ over the grid and a delay for each variable: v is computed at p in front
``τ·p + delay[v]``, and no equation reads a later front (Lamport, 1974). Points of one front are independent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType

import numpy as np
import sympy
from numpy.typing import NDArray

from leadline.errors import NotCausal, NotUniform
from leadline.recurrence.analysis.affine import smallest_potential
from leadline.recurrence.analysis.depth import symbol
from leadline.recurrence.analysis.longest import drawing_edges, recurrent_variables, training_edges
from leadline.recurrence.analysis.receptive_field import find_leak
from leadline.recurrence.ir import Edge, Offset, System
from leadline.results import Result


@dataclass(frozen=True, eq=False)
class Schedule:
    """A wavefront over one grid.

    `slope` is the linear form τ; `delay` says of each variable how many fronts after (before, if negative) its own τ·p
    it is computed, 0 for inputs, unless several of a point are drawn one after the other.
    """

    system: System
    sizes: tuple[int, ...]
    slope: tuple[int, ...]
    delay: Mapping[str, int]

    @cached_property
    def fronts(self) -> NDArray[np.int64]:
        """Return the front of every point of the grid, from 0 on."""
        steps = [np.arange(n, dtype=np.int64) * s for n, s in zip(self.sizes, self.slope, strict=True)]
        return sum(np.meshgrid(*steps, indexing="ij"), np.zeros((), np.int64))

    @property
    def length(self) -> int:
        """Return how many fronts hold a point of the grid."""
        return len(np.unique(self.fronts))

    @property
    def widths(self) -> NDArray[np.int64]:
        """Return how many points each front holds."""
        return np.unique(self.fronts, return_counts=True)[1]

    @property
    def parallelism(self) -> float:
        """Return the mean number of points in a front."""
        return float(self.widths.mean())

    @property
    def expression(self) -> sympy.Expr:
        """Return the number of fronts in the sizes of the grid, where every front holds a point."""
        axes = zip(self.slope, self.system.axes, strict=True)
        return sympy.expand(1 + sympy.Add(*(slope * (symbol(axis) - 1) for slope, axis in axes)))

    def lifetimes(self) -> dict[str, int]:
        """Return for how many fronts after its own each variable's value is still read (growing taps apart)."""
        kept = dict.fromkeys(self.delay, 0)
        for edge in self.system.edges:
            late = self.delay[edge.reader] + _dot(self.slope, edge.offset) - self.delay[edge.source]
            kept[edge.source] = max(kept[edge.source], late)
        return kept


def training_schedule(system: System, sizes: Sequence[int] | None = None) -> Schedule:
    """Return the wavefront of a forward pass: the fewest fronts such that no recurrence stays within one.

    Raises `NotUniform` if no linear schedule exists.
    """
    own = [replace(s, cost=int(any(s.offset))) for s in training_edges(system)]
    recurrent = recurrent_variables(system)
    steps = [s if s.reader in recurrent and s.source in recurrent else replace(s, cost=0) for s in own]
    schedule = _scheduled(system, tuple(sizes or system.sizes), tuple(steps))
    if schedule is None:
        raise NotUniform("no linear schedule exists for these equations")
    return schedule


def generation_schedule(system: System, lag: int = 1, sizes: Sequence[int] | None = None) -> Schedule:
    """Return the wavefront of generation: the fewest fronts such that every drawing follows the outputs it rests on.

    Raises
    ------
    NotCausal
        If an output depends on what is drawn from it; the message names one.
    NotUniform
        If the lag is 0 on a grid of several axes.

    Examples
    --------
    >>> from leadline.recurrence.examples import masked
    >>> schedule = generation_schedule(masked(layers=5, sizes=(28, 28)))
    >>> schedule.length, str(schedule.expression)
    (82, '2*H + W - 2')
    """
    sizes = tuple(system.sizes if sizes is None else sizes)
    steps, schedule = drawing_edges(system, lag), None
    if len(sizes) > 1:  # a long thin row may make raster order the shorter one: compare
        schedule = _scheduled(system, sizes, steps)
        if schedule is not None and schedule.delay[system.output] > -lag:
            schedule = None
    ordered = raster(system, lag, sizes)
    return ordered if schedule is None or schedule.length >= ordered.length else schedule


def raster(system: System, lag: int = 1, sizes: Sequence[int] | None = None) -> Schedule:
    """Return the schedule of raster order: one point after another.

    Raises `NotCausal` if an output depends on what is drawn from it; the message names one.
    """
    sizes = tuple(system.sizes if sizes is None else sizes)
    refuse_leaks(system, lag)
    for stretch in range(64):  # taps beyond a row's end may ask for longer strides than the row
        slope = tuple(int(np.prod([n + stretch for n in sizes[a + 1 :]])) for a in range(len(sizes)))
        with suppress(NotUniform):
            delay = delays(system, slope)
            if delay[system.output] <= -lag:
                return Schedule(system, sizes, slope, delay)
    raise NotUniform("no linear order of the points is an order of generation for these equations")


def schedule_within(
    system: System, draws: Mapping[str, str], sizes: Sequence[int], *, wavefront: bool = True
) -> Schedule:
    """Return the schedule of generation where several symbols stand at each point; `draws` names the output of each.

    Symbols are the system's inputs, in their order; the delay of each is the moment at which it is drawn. Without the
    `wavefront`, points follow one another in raster order. Raises `NotUniform` if no linear order of the points is one.
    """
    sizes, found = tuple(sizes), None
    for stretch in range(64):
        slope = tuple(len(draws) * int(np.prod([n + stretch for n in sizes[a + 1 :]])) for a in range(len(sizes)))
        with suppress(NotUniform):
            found = Schedule(system, sizes, slope, delays(system, slope, draws))
            break
    if found is None:
        raise NotUniform("no linear order of the points is an order of generation for these equations")
    if not wavefront or len(sizes) == 1:
        return found
    here = (0,) * len(sizes)
    steps = [replace(edge, cost=0) for edge in training_edges(system)]
    steps += [Edge(name, output, here, 1) for name, output in draws.items()]
    other = _scheduled(system, sizes, tuple(steps), draws)
    return found if other is None or _length(other) >= _length(found) else other


def _length(schedule: Schedule) -> int:
    """Return how many fronts a schedule has, empty ones too."""
    return sum(s * (n - 1) for s, n in zip(schedule.slope, schedule.sizes, strict=True))


def refuse_leaks(system: System, lag: int) -> None:
    """Raise `NotCausal`, naming an output and the input, if an output depends on what is drawn from it."""
    leak = find_leak(system, lag)
    if leak is not None:
        raise NotCausal(
            f"{leak}, which comes {'later' if lag < 1 else 'no earlier'} in the order: no order of generation exists; "
            "look for a mask, a shift or a padding that is one position off"
        )


def delays(system: System, slope: tuple[int, ...], draws: Mapping[str, str] = MappingProxyType({})) -> dict[str, int]:
    """Return the earliest delay of every variable under a linear form; inputs have 0.

    Inputs that `draws` names come no sooner than in the front after their output's, from 0 on.

    Raises `NotUniform` if a recurrence does not advance along the form.
    """
    place = {v.name: i for i, v in enumerate(system.variables)}
    edges = [
        # within a front, variables are computed in order: what stands later must come from an earlier front
        (e.reader, e.source, _dot(slope, e.offset) - (place[e.source] >= place[e.reader]))
        for e in system.edges
    ]
    edges += [(drawn, output, -1) for drawn, output in draws.items()]
    delay = _relaxed(edges, dict.fromkeys(system.inputs, 0))
    free = {v.name: -1 for v in system.variables if v.name not in delay}
    if free:  # what rests on no input may go before the first front, and has to be there for what reads it
        free = _relaxed([edge for edge in edges if edge[0] in free], free)
        late = max((free[s] - step - delay[r] for r, s, step in edges if s in free and r in delay), default=0)
        delay |= {name: value - max(0, late) for name, value in free.items()}
    return delay


def _relaxed(edges: Sequence[tuple[str, str, int]], first: dict[str, int]) -> dict[str, int]:
    """Return the smallest delays, not below `first`, of all variables that rest on those in `first`."""
    delay = dict(first)
    for _ in range(len({reader for reader, _, _ in edges} | delay.keys()) + 2):
        changed = False
        for reader, source, step in edges:
            if source in delay and delay[source] - step > delay.get(reader, -(2**62)):
                delay[reader] = delay[source] - step
                changed = True
        if not changed:
            return delay
    raise NotUniform("a recurrence in these equations does not advance along the order of generation")


def _scheduled(
    system: System, sizes: tuple[int, ...], steps: tuple[Edge, ...], draws: Mapping[str, str] = MappingProxyType({})
) -> Schedule | None:
    floors = dict.fromkeys(system.named, None)
    potential = smallest_potential(steps, floors, [float(max(1, n - 1)) for n in sizes], integer=True)
    if potential is None:
        return None
    slope = tuple(int(s) for s in potential.slope)
    return Schedule(system, sizes, slope, delays(system, slope, draws))


def _dot(slope: Sequence[int], offset: Offset) -> int:
    return sum(a * d for a, d in zip(slope, offset, strict=True))


@dataclass(frozen=True, eq=False)
class Wavefront:
    """When every point of a grid is computed.

    A point p is in front ``slope · p``; `fronts` holds the front of every point, from 0 on. `count` fronts hold points,
    the `widest` so many, and `parallelism` is their mean number.
    """

    axes: tuple[str, ...]
    slope: tuple[int, ...]
    fronts: NDArray[np.int64]
    count: int
    widest: int
    parallelism: float

    @classmethod
    def of(cls, schedule: Schedule) -> Wavefront:
        """Take a schedule's fronts."""
        widths = schedule.widths
        axes, slope = schedule.system.axes, schedule.slope
        return cls(axes, slope, schedule.fronts, len(widths), int(widths.max()), schedule.parallelism)

    def __str__(self) -> str:
        form = " + ".join(f"{s}{a}" if s > 1 else a for s, a in zip(self.slope, self.axes, strict=True) if s)
        return f"front {form or '0'}"


@dataclass(frozen=True)
class Wavefronts(Result):
    """The wavefronts of a forward pass and of generation; None where the model does not generate."""

    training: Wavefront
    generation: Wavefront | None


def wavefronts(system: System, lag: int | None) -> Wavefronts:
    """Return the wavefronts of a grid of several axes, at the sizes that the system was derived at.

    Raises `NotUniform` if no linear form orders the points.

    Examples
    --------
    >>> from leadline.recurrence.examples import masked
    >>> found = wavefronts(masked(layers=3, sizes=(8, 8)), lag=1)
    >>> str(found.generation), found.generation.count, found.training.count
    ('front 2h + w', 22, 1)
    """
    generates = lag is not None and lag >= 1
    generation = Wavefront.of(generation_schedule(system)) if generates else None
    return Wavefronts(Wavefront.of(training_schedule(system)), generation)
