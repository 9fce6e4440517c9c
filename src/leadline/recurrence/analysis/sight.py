"""The context as a formula: how many positions one output sees, in the sizes of the grid."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import numpy as np
import sympy

from leadline.errors import NotUniform
from leadline.recurrence.analysis.depth import symbol
from leadline.recurrence.analysis.receptive_field import seen_from
from leadline.recurrence.ir import Offset, System
from leadline.results import Status

_POINTS = 1 << 20  # the largest grid on which a context is looked for


def most_seen(system: System) -> tuple[sympy.Expr, Status, Mapping[str, int]]:
    """Return the most positions that an output of the last row sees, and the smallest sizes from which that holds.

    The formula is linear in each size, as where a context is finite or grows by a row at a time. It is read off a grid
    wider than all taps together, which no path without recurrences leaves, and verified at grids twice as wide. Raises
    `NotUniform` if it is not multilinear, as with recurrences that skip positions.

    Examples
    --------
    >>> from leadline.recurrence.examples import dilated
    >>> formula, _, least = most_seen(dilated(layers=3))
    >>> formula, least
    (8, {'t': 8})
    """
    sizes = tuple(
        2 + _farthest(system, a) - min(v.margin[a] for v in system.variables) for a in range(len(system.axes))
    )
    while np.prod(sizes) <= _POINTS:
        formula = _multilinear(system, sizes)
        larger = [tuple(m * n + 3 + a for a, n in enumerate(sizes)) for m in (1, 2)]
        if all(_value(system, formula, grid) == _seen(system, grid) for grid in larger):
            return formula, Status.PROVED, _smallest(system, formula, sizes)
        sizes = tuple(2 * n for n in sizes)
    raise NotUniform("what an output sees follows no formula that is linear in each size of the grid")


def _farthest(system: System, axis: int) -> int:
    """Return how far a path goes along an axis at most, if it meets no variable twice."""
    taps = [variable.equation.taps for variable in system.variables]
    return sum(max((abs(tap.offset[axis]) for tap in read), default=0) for read in taps)


def _multilinear(system: System, sizes: Offset) -> sympy.Expr:
    """Interpolate between a grid and the grids that are larger by one."""
    total = sympy.Integer(0)
    for corner in product((0, 1), repeat=len(sizes)):
        steps = [symbol(axis) - n for axis, n in zip(system.axes, sizes, strict=True)]
        weights = (step if more else 1 - step for step, more in zip(steps, corner, strict=True))
        total += _seen(system, tuple(n + e for n, e in zip(sizes, corner, strict=True))) * sympy.Mul(*weights)
    return sympy.expand(total)


def _smallest(system: System, formula: sympy.Expr, sizes: Offset) -> dict[str, int]:
    """Shrink one axis after the other as far as the formula holds."""
    current = list(sizes)
    for axis in range(len(sizes)):
        while current[axis] > 1:
            current[axis] -= 1
            grid = tuple(current)
            empty = any(min(v.range(grid)) < 1 for v in system.variables)
            if empty or _value(system, formula, grid) != _seen(system, grid):
                current[axis] += 1
                break
    return dict(zip(system.axes, current, strict=True))


def _value(system: System, formula: sympy.Expr, sizes: Offset) -> int:
    return int(formula.subs({symbol(axis): n for axis, n in zip(system.axes, sizes, strict=True)}))


def _seen(system: System, sizes: Offset) -> int:
    """Return the largest number of positions that one output of the last row sees."""
    shape = system[system.output].range(sizes)
    last = [range(n) if axis == len(shape) - 1 and axis else (n - 1,) for axis, n in enumerate(shape)]
    return max(int(np.logical_or.reduce(list(seen_from(system, p, sizes).values())).sum()) for p in product(*last))
