"""What a machine needs to run a system front by front: where every value is kept, and which points are due when."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from leadline.recurrence.analysis.schedule import Schedule
from leadline.recurrence.ir import System
from leadline.recurrence.scores import Attention

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Points: TypeAlias = NDArray[np.int64]

ENDLESS = 2**40


@dataclass(frozen=True, eq=False)
class Plan:
    """A schedule, and a ring of slots for each variable, long enough for its last reader.

    Variables that attention reads grow with the sequence, up to `capacity` points. A plan with only one axis may go on
    past that, as far as `goes_on` says that the model does. Where several symbols stand at a point, `draws` names the
    output of each input.
    """

    schedule: Schedule
    capacity: int
    goes_on: Callable[[int], bool] | None
    draws: Mapping[str, str] = field(default_factory=dict)

    @property
    def endless(self) -> bool:
        """Whether rings are laid out for any number of points."""
        return self.goes_on is not None

    def reaches(self, length: int) -> bool:
        """Whether a sequence of a length can be run."""
        return length <= self.capacity or (not self.grown and self.goes_on is not None and self.goes_on(length))

    @property
    def system(self) -> System:
        """The equations."""
        return self.schedule.system

    @cached_property
    def ranges(self) -> Mapping[str, tuple[int, ...]]:
        """The range of every variable; rows are endless if the plan is."""
        sizes = (ENDLESS,) if self.endless else self.schedule.sizes
        return {v.name: v.range(sizes) for v in self.system.variables}

    @cached_property
    def grown(self) -> frozenset[str]:
        """The variables that attention reads."""
        equations = [v.equation for v in self.system.variables if isinstance(v.equation, Attention)]
        return frozenset(tap.source for equation in equations for tap, grows in equation.read if grows)

    @cached_property
    def slots(self) -> Mapping[str, int]:
        """How many points of every variable are kept: point number n stands in slot ``n mod slots``."""
        lifetimes = self.schedule.lifetimes()
        output = self.system.output
        for symbol, drawn_from in (self.draws or {self.system.inputs[0]: output}).items():
            kept = 1 + self.schedule.delay[symbol] - self.schedule.delay[drawn_from]
            lifetimes[drawn_from] = max(lifetimes[drawn_from], kept)
        # a variable may have no points on a grid this thin; what its readers mask is still looked up somewhere
        return {v.name: max(1, self._slots(v.name, lifetimes[v.name])) for v in self.system.variables}

    def _slots(self, name: str, lifetime: int) -> int:
        """Return the ring's length: points in one row follow each other by one front, rows by the slope."""
        if name in self.grown:
            return self.capacity + max(0, self.system[name].margin[0])
        width = int(np.prod(self.ranges[name][1:]))
        total = width * self.ranges[name][0]
        slope = self.schedule.slope
        if len(slope) == 1:
            return min(total, lifetime // max(1, slope[0]) + 1)
        if slope[0] == 0:  # every front holds points of all rows
            return total
        last = sum(s * (n - 1) for s, n in zip(slope[1:], self.ranges[name][1:], strict=True))
        if slope[0] > last and len(slope) == 2 and slope[1]:  # points follow one another by so many fronts at least
            return min(total, lifetime // min(slope[1], slope[0] - last) + 1)
        return min(total, ((last + lifetime) // slope[0] + 1) * width)

    @property
    def first(self) -> int:
        """The first front: what rests on no input may be due before the first input."""
        return min(0, *self.schedule.delay.values())

    def fronts(self, at: int, rows: int) -> tuple[int, int]:
        """Return the first and the last front of the grid's rows from `at` on; with the first, what comes before."""
        sizes = (rows, *self.schedule.sizes[1:])
        length = sum(s * (n - 1) for s, n in zip(self.schedule.slope, sizes, strict=True))
        start, last = self.schedule.slope[0] * at, max(self.schedule.delay[name] for name in self.system.inputs)
        return start if at else self.first, start + length + last

    def inside(self, front: int, rows: int, name: str | None = None) -> Points:
        """Return the points of the grid's first rows, without any margin, that are due in a front, of an input."""
        points = self.points(name or self.system.inputs[0], front)
        return points[(points < np.array((rows, *self.schedule.sizes[1:]))).all(axis=1)]

    @property
    def width(self) -> int:
        """The largest number of points of a variable in a front."""
        if len(self.schedule.slope) == 1:
            return 1
        return max((len(points) for fronts in self._fronts.values() for points in fronts.values()), default=1)

    @property
    def step(self) -> tuple[int, int]:
        """The step from one point of a front to the next, on a grid of two axes; on one, from one front to the next."""
        if len(self.schedule.slope) == 1:
            return 1, 0
        si, sj = (*self.schedule.slope, 1)[:2]
        common = math.gcd(si, sj)
        return sj // common, -si // common if sj else 1

    def points(self, name: str, front: int) -> Points:
        """Return the points of a variable that are due in a front, shape (points, axes)."""
        due = front - self.schedule.delay[name]
        if len(self.schedule.slope) == 1:
            slope = self.schedule.slope[0]
            inside = due % slope == 0 and 0 <= due // slope < self.ranges[name][0]
            return np.array([[due // slope]] if inside else np.empty((0, 1)), np.int64)
        return self._fronts[self.ranges[name]].get(due, np.empty((0, len(self.schedule.slope)), np.int64))

    @cached_property
    def _fronts(self) -> Mapping[tuple[int, ...], Mapping[int, Points]]:
        """Return the points of each front, for every range of more than one axis."""
        found: dict[tuple[int, ...], Mapping[int, Points]] = {}
        for sizes in set(self.ranges.values()):
            points = np.argwhere(np.ones(sizes, bool)).astype(np.int64)
            if len(points) == 0:
                found[sizes] = {}
                continue
            fronts = points @ np.array(self.schedule.slope)
            order = np.argsort(fronts, kind="stable")
            values, starts = np.unique(fronts[order], return_index=True)
            found[sizes] = dict(zip(values.tolist(), np.split(points[order], starts[1:]), strict=True))
        return found

    def slot(self, name: str, points: Points) -> Points:
        """Return the slots of points of a variable."""
        return self.number(name, points) % self.slots[name]

    def number(self, name: str, points: Points) -> Points:
        """Return the numbers of points of a variable, row by row."""
        number = np.zeros(len(points), np.int64)
        for axis, size in enumerate(self.ranges[name]):
            number = number * (size if axis else 1) + points[:, axis]
        return number
