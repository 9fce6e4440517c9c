"""Bounds on how much a perturbation of the inputs is stretched, and their arithmetic, rounded outward."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import Tensor

from leadline.domains.engine import Lookup, NoRule
from leadline.domains.values.intervals import Values
from leadline.graph.ir import Graph, Node, Ref


def above(*factors: float) -> float:
    """Return a product of numbers that are not negative, rounded up: zero if one of them is, else never zero.

    Zero times infinity is zero: what has no bound is finite at every single input.

    Examples
    --------
    >>> above(0.0, math.inf), above(1e-200, 1e-200, 1e200) > 0
    (0.0, True)
    """
    if 0.0 in factors:
        return 0.0
    found = 1.0
    for factor in factors:
        found = found if factor == 1.0 else math.nextafter(found * factor, math.inf)
    return found


def below(*factors: float) -> float:
    """Return such a product, rounded down."""
    if 0.0 in factors:
        return 0.0
    found = 1.0
    for factor in factors:
        found = found if factor == 1.0 else math.nextafter(found * factor, 0.0)
    return found


def total(*terms: float) -> float:
    """Return a sum of numbers that are not negative, rounded up."""
    found = 0.0
    for term in terms:
        found = math.nextafter(found + term, math.inf) if found and term else found + term
    return found


def length(*sides: float) -> float:
    """Return the length of a vector, rounded up."""
    there = [side for side in sides if side]
    return there[0] if len(there) == 1 else math.nextafter(math.hypot(*there), math.inf) if there else 0.0


def kept(p: float) -> float:
    """Return what dropout multiplies by what it keeps; nothing is left of all."""
    return 1 / (1 - p) * (1 + 1e-15) if p < 1 else 0.0


@dataclass(frozen=True)
class Mirrored:
    """At most `hi` times ‖dx‖ long is half a spectrum with those elements counted twice that stand for two.

    The half is along `axis`, of a signal of that `length`.
    """

    hi: float
    axis: int
    length: int


@dataclass(frozen=True)
class Gain:
    """``lo ‖dx‖ ≤ ‖dv‖ ≤ hi ‖dx‖`` for every perturbation dx of the inputs, and one value v.

    Of half a spectrum `mirrored` may say more.
    """

    lo: float
    hi: float
    mirrored: Mirrored | None = None

    @property
    def moves(self) -> bool:
        """Whether the value may depend on the inputs."""
        return self.hi > 0

    def times(self, lo: float, hi: float) -> Gain:
        """Return the gain after a map that stretches by between `lo` and `hi`."""
        return Gain(below(self.lo, lo), above(self.hi, hi))

    def plus(self, other: Gain) -> Gain:
        """Return the gain of a sum: by the triangle inequality, on either side."""
        lo = max(self.lo - other.hi, other.lo - self.hi) if self.hi < math.inf and other.hi < math.inf else 0.0
        both = self.moves and other.moves
        lo = math.nextafter(lo, 0.0) if both else lo
        return Gain(max(0.0, lo), total(self.hi, other.hi))

    def beside(self, other: Gain) -> Gain:
        """Return the gain of two values laid side by side."""
        return Gain(max(self.lo, other.lo), length(self.hi, other.hi))


NOTHING = Gain(0.0, 0.0)
Look: TypeAlias = Lookup[Gain]


@dataclass(frozen=True)
class Known:
    """What rules know besides gains: the graph, and between what numbers values lie."""

    graph: Graph
    values: Values

    def shape(self, ref: Ref) -> tuple[int, ...]:
        """Return a value's shape."""
        return self.graph.meta(ref).shape

    def constant(self, ref: Ref) -> Tensor:
        """Return a value that is known exactly, of real numbers, in its own type; `NoRule` for any other."""
        found = self.values[ref]
        if not found.constant or found.pairs:
            raise NoRule
        return found.lo.to(self.graph.meta(ref).dtype)

    def repeated(self, argument: Any, look: Look, shape: tuple[int, ...]) -> Gain:
        """Return the gain of an argument broadcast to a shape, which repeats each element equally often."""
        if not isinstance(argument, Ref) or not look(argument).moves:
            return NOTHING
        times = math.sqrt(math.prod(shape) / max(1, self.graph.meta(argument).numel))
        return look(argument) if times == 1 else look(argument).times(times, times)


Rule: TypeAlias = Callable[[Node, Look, Known], tuple[Gain, ...]]
