"""Growth laws: how connections, depth, context and state grow with the sizes of an architecture, as exact formulas.

The sizes of the grid come out of the equations symbolically. How the coefficients depend on the other sizes (depth,
width …) is fitted over exact numbers at small sizes: polynomials, with powers of two where polynomials do not fit. A
formula is accepted only if it reproduces exact counts at fresh, larger sizes; otherwise it is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import sympy

from leadline.errors import NotUniform, UsageError
from leadline.graph.layout import LayoutLike
from leadline.recurrence.connections import connections, in_region, region
from leadline.recurrence.depth import Depth, generation_depth, symbol, training_depth
from leadline.recurrence.ir import System
from leadline.recurrence.lower import system
from leadline.recurrence.reach import find_leak, seen_from
from leadline.recurrence.window import state
from leadline.results import Status


@dataclass(frozen=True)
class Law:
    """A formula in the sizes, how it is known, and where it holds.

    `status` is about the sizes of the grid: `proved` where the formula holds for all of them in the region, `bound` if
    it is an upper bound. In the sizes that `fitted` names, the formula was fitted exactly to counts and verified at the
    fresh sizes in `checked`.
    """

    expression: sympy.Expr
    status: Status
    region: Mapping[str, int]
    fitted: tuple[str, ...]
    checked: tuple[Mapping[str, int], ...]

    def at(self, **sizes: int) -> int:
        """Return the value at given sizes.

        Raises
        ------
        UsageError
            If a size is missing or below the region of validity.
        """
        for name, least in self.region.items():
            if sizes.get(name, least) < least:
                raise UsageError(f"this law holds from {name} = {least} on, not at {sizes[name]}")
        value = self.expression.subs({sympy.Symbol(k, integer=True, positive=True): v for k, v in sizes.items()})
        if value.free_symbols:
            raise UsageError(f"the law needs the sizes {', '.join(map(str, value.free_symbols))}")
        return int(value)

    def __str__(self) -> str:
        where = ", ".join(f"{name} ≥ {least}" for name, least in self.region.items() if least > 1)
        return f"{sympy.factor(self.expression)}" + (f" for {where}" if where else "")


@dataclass(frozen=True)
class Laws:
    """The growth laws of an architecture; `generation_steps` is None for models that are not causal."""

    connections: Law
    training_steps: Law
    generation_steps: Law | None
    context: Law
    state: Law | None


def law(
    build: Callable[..., tuple[Any, tuple[Any, ...]]], *, layout: LayoutLike = None, **sizes: Iterable[int]
) -> Laws:
    """Find formulas for an architecture's connections, sequential steps, context and state.

    Parameters
    ----------
    build
        ``build(**sizes)`` returns the model and its inputs.
    layout
        The axes; see `leadline.system`. A size that has the name of a position axis (in either case) is that axis's.
    **sizes
        For each parameter of `build` its values: all but the last are fitted, the last is kept for the check. A size
        of the grid is taken at its largest value.

    Raises
    ------
    NotUniform
        If no formula fits exactly, or it fails at the fresh sizes.

    Examples
    --------
    >>> from torch import nn, zeros
    >>> def build(k, T):
    ...     return nn.Linear(k, k), (zeros(1, T, k),)
    >>> print(law(build, layout="b t c -> b t v", k=range(1, 6), T=(4, 5)).connections)
    T*k**2
    """
    family = _Family(build, layout, {name: tuple(values) for name, values in sizes.items()})
    return Laws(
        family.law(lambda s: (in_region(connections(s)), Status.PROVED, dict(region(s)))),
        family.law(lambda s: _of_depth(training_depth(s))),
        family.law(_generation) if family.lag is not None else None,
        family.law(_context),
        family.law(lambda s: (state(s), Status.PROVED, {})) if family.lag is not None else None,
    )


def _of_depth(depth: Depth) -> tuple[sympy.Expr, Status, Mapping[str, int]]:
    return depth.upper, depth.status, depth.region


def _lag(s: System) -> int | None:
    """Return the lag at which the model generates; None if it does not."""
    lags = (1, 0) if len(s.axes) == 1 else (1,)
    return next((lag for lag in lags if find_leak(s, lag) is None), None)


def _generation(s: System) -> tuple[sympy.Expr, Status, Mapping[str, int]]:
    return _of_depth(generation_depth(s, _lag(s) or 0))


def _context(s: System) -> tuple[sympy.Expr, Status, Mapping[str, int]]:
    """Return the most positions that an output of the last row sees: multilinear in the grid's sizes, from these on.

    Raises
    ------
    NotUniform
        If it is not, as where the grid is smaller than the context.
    """
    corners = list(product((0, 1), repeat=len(s.axes)))
    counts = {c: _seen(s, tuple(n + e for n, e in zip(s.sizes, c, strict=True))) for c in corners}
    total = sympy.Integer(0)
    for corner, count in counts.items():
        steps = [symbol(a) - n for a, n in zip(s.axes, s.sizes, strict=True)]
        total += count * sympy.Mul(*(x if e else 1 - x for x, e in zip(steps, corner, strict=True)))
    total = sympy.expand(total)
    larger = tuple(n + 3 + a for a, n in enumerate(s.sizes))
    if total.subs({symbol(a): n for a, n in zip(s.axes, larger, strict=True)}) != _seen(s, larger):
        raise NotUniform(f"the context is cut off by a grid of {s.sizes}; give larger sizes")
    return total, Status.PROVED, dict(zip(s.axes, s.sizes, strict=True))


def _seen(s: System, sizes: tuple[int, ...]) -> int:
    shape = s[s.output].range(sizes)
    points = product(*((n - 1,) if axis < len(shape) - 1 or axis == 0 else range(n) for axis, n in enumerate(shape)))
    return max(int(np.logical_or.reduce(list(seen_from(s, p, sizes).values())).sum()) for p in points)


Reading = Callable[[System], tuple[sympy.Expr, Status, Mapping[str, int]]]


class _Family:
    """The systems of an architecture at the sizes asked for, each derived once."""

    def __init__(self, build: Callable[..., Any], layout: LayoutLike, sizes: Mapping[str, tuple[int, ...]]) -> None:
        self.build, self.layout, self.sizes = build, layout, sizes
        self._systems: dict[tuple[int, ...], System] = {}
        base = self.system(tuple(values[0] for values in sizes.values()))
        axes = {axis.lower() for axis in base.axes}
        self.grid = tuple(name for name in sizes if name.lower() in axes)
        self.free = tuple(name for name in sizes if name not in self.grid)
        self.lag = _lag(base)

    def system(self, values: tuple[int, ...]) -> System:
        if values not in self._systems:
            made, inputs = self.build(**dict(zip(self.sizes, values, strict=True)))
            self._systems[values] = system(made.eval(), *inputs, layout=self.layout)
        return self._systems[values]

    def law(self, reading: Reading) -> Law:
        """Fit each coefficient of the grid's sizes over the other sizes, and check the whole at fresh ones."""
        largest = {name: max(self.sizes[name]) for name in self.grid}
        points = [dict(zip(self.free, p, strict=True)) for p in product(*(self.sizes[n][:-1] for n in self.free))]
        fresh = {name: self.sizes[name][-1] for name in self.free}
        rows = [reading(self.system(self._values(largest | point))) for point in points]
        symbols = [symbol(name.lower()) if len(name) == 1 else symbol(name) for name in self.grid]
        polys = [sympy.Poly(row[0], *symbols) if symbols else None for row in rows]
        monomials = sorted({m for p in polys if p is not None for m in p.monoms()}) or [()]
        total = sympy.Integer(0)
        for monomial in monomials:
            values = [row[0] if p is None else p.coeff_monomial(monomial) for row, p in zip(rows, polys, strict=True)]
            total += self._fit(points, values) * sympy.Mul(*(s**e for s, e in zip(symbols, monomial, strict=True)))
        total = sympy.expand(total)
        wanted, status, where = reading(self.system(self._values(largest | fresh)))
        here = {sympy.Symbol(n, integer=True, positive=True): v for n, v in fresh.items()}
        if sympy.expand(total.subs(here) - wanted) != 0:
            raise NotUniform(f"no formula: {total} fits the small sizes, but at {fresh} the count is {wanted}")
        worst = Status.PROVED if all(r[1] is Status.PROVED for r in rows) and status is Status.PROVED else Status.BOUND
        return Law(total, worst, {n.upper() if len(n) == 1 else n: v for n, v in where.items()}, self.free, (fresh,))

    def _values(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        return tuple(sizes[name] for name in self.sizes)

    def _fit(self, points: Sequence[Mapping[str, int]], values: Sequence[sympy.Expr]) -> sympy.Expr:
        """Return the simplest combination of the bases that is exact at all points.

        Raises
        ------
        NotUniform
            If none is.
        """
        names = [sympy.Symbol(name, integer=True, positive=True) for name in self.free]
        choices = [[b for b in _bases(n) if len(b) <= len(self.sizes[str(n)]) - 1] for n in names]
        for bases in sorted(product(*choices), key=lambda bases: int(np.prod([len(b) for b in bases]))):
            found = _solve([sympy.Mul(*term) for term in product(*bases)], names, points, values)
            if found is not None:
                return found
        raise NotUniform(
            "no formula of powers up to the cube and powers of two fits the exact counts; give more values of each size"
        )


def _bases(n: sympy.Symbol) -> list[list[sympy.Expr]]:
    """Return what a formula may be made of in one size, simple ones first."""
    one, power = sympy.Integer(1), sympy.Integer(2) ** n
    return [[one], [one, n], [one, n, n**2], [one, n, power], [one, n, n**2, power], [one, n, n**2, n**3]]


def _solve(
    terms: Sequence[sympy.Expr],
    names: Sequence[sympy.Symbol],
    points: Sequence[Mapping[str, int]],
    values: Sequence[Any],
) -> sympy.Expr | None:
    """Solve for the coefficients over the rationals; None unless all points are met and the terms are independent."""
    rows = [[t.subs({n: p[str(n)] for n in names}) for t in terms] for p in points]
    matrix, wanted = sympy.Matrix(rows), sympy.Matrix(list(values))
    if matrix.rank() < len(terms):
        return None
    coefficients = (matrix.T * matrix).LUsolve(matrix.T * wanted)
    if any(matrix * coefficients - wanted):
        return None
    return sympy.Add(*(c * t for c, t in zip(coefficients, terms, strict=True)))
