"""What an output sees: the closure of the taps within a grid, what it must not see, and the context as a formula."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import sympy

from leadline.errors import NotUniform
from leadline.recurrence.analysis.depth import symbol
from leadline.recurrence.analysis.longest import overlap, relax
from leadline.recurrence.ir import Edge, Offset, System
from leadline.results import Status

if TYPE_CHECKING:
    from numpy.typing import NDArray


def seen_from(system: System, point: Offset, sizes: Sequence[int] | None = None) -> dict[str, NDArray[np.bool_]]:
    """Return, for each input, which of its points the output at `point` depends on, on a grid of `sizes`.

    Examples
    --------
    >>> from leadline.recurrence.examples import dilated
    >>> int(seen_from(dilated(layers=3), (20,))["x"].sum())
    8
    """
    sizes = system.sizes if sizes is None else sizes
    seen = {v.name: np.zeros(v.range(sizes), bool) for v in system.variables}
    seen[system.output][point] = True
    changed = {system.output}
    edges = list(reversed(system.edges))
    while changed:
        previous, changed = changed, set()
        for edge in edges:
            if (edge.reader in previous or edge.reader in changed) and _spread(edge, seen):
                changed.add(edge.source)
    return {name: seen[name] for name in system.inputs}


def _spread(edge: Edge, seen: dict[str, NDArray[np.bool_]]) -> bool:
    """Mark what the marked points of the reader read; say whether anything is new."""
    reader, source = seen[edge.reader], seen[edge.source]
    mine, theirs = overlap(reader.shape, source.shape, edge.offset)
    read = np.zeros_like(source)
    read[theirs] = reader[mine]
    if edge.growing:
        last = np.flatnonzero(reader)
        read[: max(0, int(last[-1]) - edge.offset[0] + 1) if last.size else 0] = True
    new = read & ~source
    source |= new
    return bool(new.any())


@dataclass(frozen=True)
class Leak:
    """An output that sees an input that comes too late in the order."""

    source: str
    output: Offset
    input: Offset

    def __str__(self) -> str:
        return f"the output at {self.output} depends on the input {self.source!r} at {self.input}"


def find_leak(system: System, lag: int) -> Leak | None:
    """Return an output that sees an input less than `lag` ranks before its own place in raster order, if there is one.

    The latest input of every output is followed through all points at once.
    """
    ranks = {name: np.arange(np.prod(system.sizes)).reshape(system.sizes) for name in system.inputs}
    for source in system.inputs:
        latest = {v.name: np.full(v.range(system.sizes), -1) for v in system.variables} | {source: ranks[source].copy()}
        relax([replace(edge, cost=0, first=0) for edge in system.edges], latest)
        shape = system[system.output].range(system.sizes)
        grid = tuple(slice(0, n) for n in map(min, shape, system.sizes))
        late = np.argwhere(latest[system.output][grid] > ranks[source][grid] - lag)
        if len(late):
            point = tuple(map(int, late[len(late) // 2]))
            place = np.unravel_index(int(latest[system.output][point]), system.sizes)
            return Leak(source, point, tuple(map(int, place)))
    return None


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
    taps = [v.equation.taps for v in system.variables]
    # along each axis a path goes no further than this, if it meets no variable twice
    farthest = [sum(max((abs(t.offset[a]) for t in read), default=0) for read in taps) for a in range(len(system.axes))]
    sizes = tuple(2 + far - min(v.margin[a] for v in system.variables) for a, far in enumerate(farthest))
    while np.prod(sizes) <= _POINTS:
        formula = _multilinear(system, sizes)
        larger = [tuple(m * n + 3 + a for a, n in enumerate(sizes)) for m in (1, 2)]
        if all(_value(system, formula, grid) == _seen(system, grid) for grid in larger):
            return formula, Status.PROVED, _smallest(system, formula, sizes)
        sizes = tuple(2 * n for n in sizes)
    raise NotUniform("what an output sees follows no formula that is linear in each size of the grid")


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
