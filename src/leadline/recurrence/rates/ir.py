"""Systems whose variables have rates of their own: how many of their points there are for each position of the grid."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from leadline.recurrence.ir import Offset, System, Tap

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Index: TypeAlias = "NDArray[np.int64]"

Rate: TypeAlias = tuple[Fraction, ...]


@dataclass(frozen=True, eq=False)
class RatedTap(Tap):
    """A tap whose reader has another rate than its source, or which reads beyond the source's ends what lies within.

    The source, each point of which holds `phases` samples one after the other, is read as a stream of these samples:
    the reader's point p reads sample ``stride · p - offset``. So a stride reads some samples, and an enlargement, or a
    transposed convolution, is read sample by sample. `channels` hold those of every phase, one phase after the other.
    Beyond the ends `edge` says what is read: nothing, that is the fill; the same samples mirrored (``"reflect"``); or
    the last one (``"replicate"``), for up to `after` samples beyond the end.
    """

    stride: Offset = ()
    phases: Offset = ()
    edge: str | None = None
    after: Offset = ()


@dataclass(frozen=True, eq=False)
class RowTap(Tap):
    """A tap that counts the positions of a grid row after row, and reads `back` before the reader's own.

    So it reads ends of other rows. Its `offset` says from which row on nothing is read.
    """

    back: int = 0

    def places(self, points: Index, ends: tuple[int, ...]) -> tuple[Index, NDArray[np.bool_]]:
        """Return what points read, of a source that ends there, and whether there is such a point."""
        number = np.zeros(len(points), np.int64)
        for axis, end in enumerate(ends):
            number = number * (end if axis else 1) + points[:, axis]
        number -= self.back
        inside = (number >= 0) & (number < math.prod(ends))
        return points_of(np.where(inside, number, 0), ends), inside


def points_of(number: Index, ends: tuple[int, ...]) -> Index:
    """Return the points that have these numbers, row after row."""
    found = np.empty((len(number), len(ends)), np.int64)
    for axis in range(len(ends) - 1, 0, -1):
        number, found[:, axis] = np.divmod(number, ends[axis])
    found[:, 0] = number
    return found


@dataclass(frozen=True)
class Way:
    """How a tap goes along one axis."""

    offset: int
    stride: int = 1
    phases: int = 1
    edge: str | None = None
    after: int = 0
    rows: int = 0

    def sample(self, points: Index, size: int) -> Index:
        """Return the sample that each point reads, of a source of `size` points; beyond its ends: none of its own."""
        index, last = points * self.stride - self.offset, size * self.phases - 1
        if self.edge == "reflect":
            return np.where(index > last, 2 * last - index, np.abs(index))
        return np.clip(index, 0, last) if self.edge == "replicate" else index

    def ready(self, done: int) -> int:
        """Return how many points can be computed when the first `done` points of the source are known."""
        samples = done * self.phases
        if self.edge is not None and (samples == 0 or (self.edge == "reflect" and samples <= self.offset)):
            return 0
        return max(0, -(-(samples + self.offset) // self.stride))

    def oldest(self, done: int) -> int:
        """Return the first point of the source that is still read when `done` points have been computed."""
        behind = self.rows if self.edge is None else self.after + 1  # what stands there again beyond the end
        first = done * self.stride - self.offset - behind
        return max(0, first // self.phases)


def way(tap: Tap, axis: int) -> Way:
    """Return how a tap, of either kind, goes along an axis."""
    if isinstance(tap, RatedTap):
        after = tap.after[axis] if tap.after else 0
        return Way(tap.offset[axis], tap.stride[axis], tap.phases[axis], tap.edge, after)
    return Way(tap.offset[axis], rows=int(isinstance(tap, RowTap) and axis == 0))


@dataclass(frozen=True, eq=False)
class RatedSystem(System):
    """Recurrence equations between variables of different rates.

    Along axis a, where the grid has N positions, variable v has ``rate · N + margin`` points. That is a whole number
    where N is a multiple of the `frame`. The grid is that of the first input.
    """

    rates: Mapping[str, Rate] = field(default_factory=dict)

    @property
    def frame(self) -> tuple[int, ...]:
        """Positions along each axis of the shortest grid on which all variables have whole numbers of points."""
        return tuple(
            math.lcm(*(rate[axis].denominator for rate in self.rates.values())) for axis in range(len(self.axes))
        )

    def range(self, name: str, length: int) -> tuple[int, ...]:
        """Return how many points a variable certainly has once the first `length` positions of the slowest axis are."""
        sizes = (length, *self.sizes[1:])
        points = zip(sizes, self.rates[name], self[name].margin, strict=True)
        return tuple(max(0, math.floor(n * rate) + margin) for n, rate, margin in points)

    def live(self) -> RatedSystem:
        """Drop the variables on which the output does not rest."""
        needed, waiting = set(self.inputs), [self.output]
        while waiting:
            name = waiting.pop()
            if name not in needed or name == self.output:
                waiting += [t.source for t in self[name].equation.taps if t.source not in needed and t.source != name]
            needed.add(name)
        kept = tuple(v for v in self.variables if v.name in needed)
        return replace(self, variables=kept, rates={v.name: self.rates[v.name] for v in kept})
