"""Sequential depth for all sizes at once: a potential from above, an explicit family of paths from below."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product

import sympy

from leadline.errors import NotUniform
from leadline.recurrence.analysis.affine import Potential, smallest_potential
from leadline.recurrence.analysis.longest import (
    Longest,
    Point,
    generation_edges,
    longest_paths,
    recurrent_variables,
    training_edges,
)
from leadline.recurrence.ir import Edge, Offset, System
from leadline.results import Status


@dataclass(frozen=True, eq=False)
class PathFamily:
    """Paths for every size from `base` on: a path on the base grid, into which loops are inserted.

    A loop leads from a point of the path to the same variable one point further along an axis; inserting it as often
    as the grid has grown along that axis, and shifting the rest of the path with it, stays within the grown grid.
    """

    base: tuple[int, ...]
    path: tuple[Point, ...]
    loops: tuple[tuple[Point, ...], ...]
    length: int
    gains: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Depth:
    """The number of sequential steps as a function of the grid's sizes.

    `upper` holds at all sizes, `lower` (None if no family was found) from those of `region` on; both are expressions in
    the symbols of the axes, and `status` is `proved` where they are the same. `potential` and `family` are the two
    proofs.
    """

    upper: sympy.Expr
    lower: sympy.Expr | None
    status: Status
    region: Mapping[str, int]
    potential: Potential
    family: PathFamily | None

    def at(self, **sizes: int) -> int:
        """Return the upper bound at given sizes; inside the region of a proved depth, the depth itself."""
        return int(sympy.floor(self.upper.subs({symbol(name): size for name, size in sizes.items()})))

    def __str__(self) -> str:
        where = ", ".join(f"{axis} ≥ {size}" for axis, size in self.region.items())
        if self.status is Status.PROVED:
            return f"{self.upper} (proved for {where})"
        return f"between {self.lower if self.lower is not None else 0} and {self.upper} ({self.status})"


def symbol(axis: str) -> sympy.Symbol:
    """Return the symbol of an axis's size: T for t, H for h."""
    return sympy.Symbol(axis.upper() if len(axis) == 1 else axis, integer=True, positive=True)


def training_depth(system: System) -> Depth:
    """Return the steps of a forward pass that must follow one another, the inputs all given.

    Chains begin at inputs: what rests on padding and other constants only is there from the start. Raises `NotUniform`
    if no affine potential bounds them.

    Examples
    --------
    >>> from leadline.recurrence.examples import grid_recurrence
    >>> print(training_depth(grid_recurrence(layers=3)))
    H + W + 1 (proved for h ≥ 1, w ≥ 1)
    """
    return _depth(system, *training_chains(system))


def generation_depth(system: System, lag: int = 1) -> Depth:
    """Return the steps that must follow one another when every input is drawn from an output; see `feedback`.

    Those of the first output count, though it may rest on constants only.
    """
    return _depth(system, generation_edges(system, lag), {v.name: v.equation.cost for v in system.variables})


def training_chains(system: System) -> tuple[tuple[Edge, ...], dict[str, int | None]]:
    """Return the steps that chains from the inputs take, and 0 for inputs, None for all else that such chains reach."""
    reached: dict[str, int | None] = dict.fromkeys(system.inputs, 0)
    steps = training_edges(system)
    for _ in system.variables:
        reached = dict.fromkeys((s.reader for s in steps if s.source in reached), None) | reached
    return tuple(step for step in steps if step.source in reached), reached


def _depth(system: System, steps: tuple[Edge, ...], floors: Mapping[str, int | None]) -> Depth:
    """Bound the chains that begin at variables with a floor, by a potential not below their floors."""
    sizes = [max(n, 4) for n in system.sizes]
    potential = smallest_potential(steps, floors, [float(n) for n in sizes])
    if potential is None:
        raise NotUniform("no affine potential bounds the paths through these equations: their depth is not linear")
    upper = _upper(system, potential)
    begins = {name: floor for name, floor in floors.items() if floor is not None}
    family = next(_families(system, steps, potential, upper, begins), None)
    if family is None:
        return Depth(upper, None, Status.BOUND, {}, potential, None)
    lower = sympy.expand(
        family.length + sum(g * (symbol(a) - n) for a, n, g in zip(system.axes, family.base, family.gains, strict=True))
    )
    status = Status.PROVED if sympy.expand(upper - lower) == 0 else Status.BOUND
    return Depth(upper, lower, status, dict(zip(system.axes, family.base, strict=True)), potential, family)


def _upper(system: System, potential: Potential) -> sympy.Expr:
    """Return the potential where it is highest: at the last corner of the grid, for the highest variable."""
    highest = max(
        potential.level[v.name] + sum(a * m for a, m in zip(potential.slope, v.margin, strict=True))
        for v in system.variables
        if v.name in potential.level
    )
    corner = [_rational(a) * (symbol(axis) - 1) for a, axis in zip(potential.slope, system.axes, strict=True)]
    return sympy.expand(_rational(highest) + sum(corner))


def _rational(value: Fraction) -> sympy.Rational:
    return sympy.Rational(value.numerator, value.denominator)


def _families(
    system: System, steps: tuple[Edge, ...], potential: Potential, upper: sympy.Expr, begins: Mapping[str, int]
) -> Iterator[PathFamily]:
    """Yield families whose length meets the upper bound, the smallest base first."""
    if any(slope.denominator != 1 for slope in potential.slope):
        return
    gains = tuple(int(slope) for slope in potential.slope)
    for base in _bases(system, potential):
        longest = longest_paths(system, steps, base, begins=begins)
        at_base = {symbol(a): n for a, n in zip(system.axes, base, strict=True)}
        if longest.total == upper.subs(at_base):
            family = _family(system, steps, base, longest, gains)
            if family is not None:
                yield family


def _bases(system: System, potential: Potential) -> Iterator[tuple[int, ...]]:
    """Yield small grids, thin ones first: wide enough for the furthest tap in the end."""
    furthest = [1 + max((abs(e.offset[a]) for e in system.edges), default=0) for a in range(len(system.axes))]
    slopes = [int(s) for s in potential.slope]
    ratio = max(slopes, default=1) // max(1, min(filter(None, slopes), default=1))
    limits = [min(2 + max(r, ratio + 1), 64) for r in furthest]
    grids = product(*(range(1, limit + 1) for limit in limits))
    for base in sorted(grids, key=lambda g: (sum(g), g))[:200]:
        if all(min(v.range(base)) > 0 for v in system.variables):
            yield base


def _family(
    system: System, steps: tuple[Edge, ...], base: tuple[int, ...], longest: Longest, gains: tuple[int, ...]
) -> PathFamily | None:
    """Find a pivot on one longest path whose loop along every growing axis gains what the potential allows."""
    path = longest.path(longest.last())
    recurrent = recurrent_variables(system) | set(system.inputs)
    pivots = [point for point in path if point[0] in recurrent][:16] or path[-1:]
    for pivot in pivots:
        loops = [_loop(system, steps, base, pivot, axis, gain) for axis, gain in enumerate(gains)]
        if all(loop is not None for loop in loops):
            return PathFamily(base, tuple(path), tuple(loop or () for loop in loops), longest.total, gains)
    return None


def _loop(
    system: System, steps: tuple[Edge, ...], base: Sequence[int], pivot: Point, axis: int, gain: int
) -> tuple[Point, ...] | None:
    """Return a path from the pivot to its neighbour along `axis` that costs `gain`, on the grid grown by one."""
    if gain == 0:
        return ()
    grown = [n + (a == axis) for a, n in enumerate(base)]
    end: tuple[str, Offset] = (pivot[0], tuple(p + (a == axis) for a, p in enumerate(pivot[1])))
    longest = longest_paths(system, steps, grown, start=pivot)
    return tuple(longest.path(end)) if longest.lengths[end[0]][end[1]] == gain else None
