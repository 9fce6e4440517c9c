"""Affine potentials: the smallest ``α·p + β_v`` that grows by at least a given cost along every dependence.

Such a potential bounds every path through the system at every size of the grid; with the cost of one step for a drawn
value it is Lamport's wavefront (1974). It comes out of a linear program in floating point, is rounded to
fractions, and then checked exactly: what is returned holds whatever the solver did.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import scipy

from leadline.recurrence.ir import Edge

_LARGEST_DENOMINATOR = 64


@dataclass(frozen=True)
class Potential:
    """``slope · p + level[v]``: exact fractions, one for each axis, at least 0, and one for each variable."""

    slope: tuple[Fraction, ...]
    level: Mapping[str, Fraction]

    def respects(self, steps: Iterable[Edge]) -> bool:
        """Whether it grows by at least the cost along every step, in exact arithmetic.

        Of a growing edge the last point is enough, since no slope is negative.
        """
        return all(
            sum(a * d for a, d in zip(self.slope, step.offset, strict=True))
            + self.level[step.reader]
            - self.level[step.source]
            >= step.cost
            for step in steps
        )


def smallest_potential(
    steps: Sequence[Edge], floors: Mapping[str, int | None], weights: Sequence[float], *, integer: bool = False
) -> Potential | None:
    """Find the potential with the smallest ``weights · slope + mean excess``; None where no potential exists.

    Levels are at least the `floors` (None: no floor); `weights` are usually the sizes of the grid; `integer` asks for
    whole slopes and levels, as schedules need. The result is verified against every edge in exact arithmetic. It is
    None if the edges admit no potential (a cycle with a cost that does not advance), or if rounding to fractions
    failed.

    Examples
    --------
    >>> potential = smallest_potential([Edge("h", "h", (1,), 1)], {"h": 1}, [10.0])
    >>> potential.slope, potential.level
    ((Fraction(1, 1),), {'h': Fraction(1, 1)})
    """
    names, rank = list(floors), len(weights)
    column = {name: rank + 1 + i for i, name in enumerate(names)}
    width = rank + 1 + len(names)  # slopes, the highest level, then the levels
    rows = sorted({(column[s.reader], column[s.source], s.offset, s.cost) for s in steps})
    matrix, bounds = np.zeros((len(rows) + len(names), width)), np.zeros(len(rows) + len(names))
    for i, (reader, source, offset, cost) in enumerate(rows):
        matrix[i, :rank] = [-d for d in offset]
        matrix[i, reader] -= 1.0
        matrix[i, source] += 1.0
        bounds[i] = -cost
    for i, name in enumerate(names, start=len(rows)):
        matrix[i, column[name]], matrix[i, rank] = 1.0, -1.0
    free = all(floor is None for floor in floors.values())
    tie = 0.0 if free else 1e-3 / (1 + len(names))  # among the best, the one with low levels
    objective = np.concatenate([np.asarray(weights, float), [1.0], np.full(len(names), tie)])
    limits: list[tuple[float | None, float | None]] = (
        [(0.0, None)] * rank + [(None, None)] + [(floors[name], None) for name in names]
    )
    if free:
        limits[rank + 1] = (0.0, 0.0)
    solution = scipy.optimize.linprog(
        objective, A_ub=matrix, b_ub=bounds, bounds=limits, integrality=np.full(width, int(integer)), method="highs"
    )
    if solution.x is None:
        return None
    exact = [Fraction(float(x)).limit_denominator(1 if integer else _LARGEST_DENOMINATOR) for x in solution.x]
    found = Potential(tuple(exact[:rank]), {name: exact[column[name]] for name in names})
    above = all(floor is None or found.level[name] >= floor for name, floor in floors.items())
    return found if above and min(found.slope, default=Fraction(0)) >= 0 and found.respects(steps) else None
