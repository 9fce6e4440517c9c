"""Growth laws: how connections, depth, context and state grow with the sizes of an architecture, as exact formulas.

The sizes of the grid come out of the equations symbolically, and `validity` says for which of them. How the
coefficients depend on the other sizes (depth, width …) is fitted over exact numbers at small sizes: polynomials, with
powers of two where polynomials do not fit. A formula is accepted only if it reproduces exact counts at fresh, larger
sizes; otherwise it is refused.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, reduce
from itertools import pairwise, product
from math import gcd
from typing import Any

import sympy

from leadline.errors import NotUniform, UsageError
from leadline.graph.layout import LayoutLike, Order
from leadline.graph.reading import Reading
from leadline.recurrence._system import system_of
from leadline.recurrence.analysis.connections import connections, in_region, region_of
from leadline.recurrence.analysis.depth import Depth, generation_depth, symbol, training_depth
from leadline.recurrence.analysis.fits import fit, size
from leadline.recurrence.analysis.notation import growth, written
from leadline.recurrence.analysis.receptive_field import find_leak, most_seen
from leadline.recurrence.analysis.window import state, window_region
from leadline.recurrence.ir import System
from leadline.recurrence.validity import Sized, Validity, validity
from leadline.results import Status


@dataclass(frozen=True)
class Law:
    """A formula in the sizes, how it is known, and where it holds.

    `status` is `proved` where the model's construction shows that the formula holds for all sizes in the region,
    `bound` if it is an upper bound, and `fitted` if it gives what was counted at the sizes in `checked`.
    The region is from the sizes in `region` on, and up to those in `until`, where it ends. In the sizes that `fitted`
    names, formula and region were fitted exactly to counts; where these differ between the values that were given,
    their `steps` say which values are meant: the given ones, and those as far apart. A `doubt` says why nothing is
    proved of the grid.
    """

    expression: sympy.Expr
    status: Status
    region: Mapping[str, sympy.Expr]
    fitted: tuple[str, ...]
    checked: tuple[Mapping[str, int], ...]
    until: Mapping[str, int] = field(default_factory=dict)
    steps: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    doubt: str = ""

    def at(self, **sizes: int) -> int:
        """Return the value at given sizes; of a bound, the whole number below it.

        Raises `UsageError` if a size is missing or outside the region of validity, or if what should be a count is not
        a whole number there.
        """
        given = {size(name): value for name, value in sizes.items()}
        for name, expression in self.region.items():
            least = _number(expression, given)
            if sizes.get(name, least) < least:
                raise UsageError(f"this law holds from {name} = {least} on, not at {sizes[name]}")
            if sizes.get(name, least) > self.until.get(name, sizes.get(name, least)):
                raise UsageError(f"this law holds up to {name} = {self.until[name]}, not at {sizes[name]}")
        for name, (first, step) in self.steps.items():
            if (sizes.get(name, first) - first) % step:
                raise UsageError(f"this law holds for {name} = {first}, {first + step} …, not for {sizes[name]}")
        return _number(self.expression, given, whole=self.status is not Status.BOUND)

    @property
    def formula(self) -> str:
        """The formula as a person writes it: ``k²·(d·(5HW - 3H - 3W + 2) - HW)``."""
        return written(self.expression, [size(name) for name in self.fitted])

    @property
    def growth(self) -> str | None:
        """How fast it grows as all sizes do: ``Θ(H·W·d·k²)``; None where that cannot be read off the formula."""
        return growth(self.expression, self.region)

    @property
    def where(self) -> str:
        """The region in words: ``T ≥ 2^(d - 1)``; empty where the law holds everywhere."""
        within = [f"{self.region[name]} ≤ {name} ≤ {most}" for name, most in self.until.items()]
        from_on = [
            f"{name} ≥ {written(part)}"
            for name, least in self.region.items()
            for part in (least.args if isinstance(least, sympy.Max) else (least,))
            if least != 1 and name not in self.until
        ]
        apart = [f"{name} = {first}, {first + step} …" for name, (first, step) in self.steps.items()]
        return ", ".join((*within, *from_on, *apart))

    def __str__(self) -> str:
        return self.formula + (f" for {self.where}" if self.where else "")


def _number(expression: sympy.Expr, given: Mapping[sympy.Symbol, int], *, whole: bool = False) -> int:
    value = expression.subs(given)
    if value.free_symbols:
        raise UsageError(f"the law needs the sizes {', '.join(sorted(map(str, value.free_symbols)))}")
    if whole and not value.is_integer:
        raise UsageError(f"this law gives {value} there, which counts nothing: give the sizes that are meant to `law`")
    return int(sympy.floor(value))


@dataclass(frozen=True)
class Laws:
    """The growth laws of an architecture.

    Attributes
    ----------
    connections
        Multiply-accumulate edges between units that exist, of one sample.
    training_steps
        Contractions that must follow one another from an input on, all inputs being given.
    generation_steps
        The same while every input is drawn from an output; None for models that are not causal.
    context
        The most positions that one output sees.
    state
        Numbers that generation in raster order keeps, of one sample; None for models that are not causal.
    """

    connections: Law
    training_steps: Law
    generation_steps: Law | None
    context: Law
    state: Law | None


def law(
    build: Callable[..., tuple[Any, Any]],
    *,
    layout: LayoutLike = None,
    order: Order = None,
    output: str | None = None,
    **sizes: Iterable[int],
) -> Laws:
    """Find formulas for an architecture's connections, sequential steps, context and state.

    Parameters
    ----------
    build
        ``build(**sizes)`` returns the model and its inputs: a tuple, or a dict by name.
    layout, order, output
        The axes, and which output is meant; see `leadline.system`.
    **sizes
        For each parameter of `build` its values: all but the last are fitted, the last is kept for the check. A size
        that has the name of a position axis (in either case) is that axis's: it is in the formulas anyway, is traced at
        the largest of these values, and at the last one for the check.

    Raises
    ------
    NotUniform
        If the model is not a system of recurrence equations, no formula fits exactly, or it fails at the fresh sizes.
    UsageError
        If a size is given no values.

    Examples
    --------
    >>> from torch import nn, zeros
    >>> def build(k, T):
    ...     return nn.Linear(k, k), (zeros(1, T, k),)
    >>> found = law(build, layout="b t c -> b t v", k=range(1, 6), T=(4, 5))
    >>> print(found.connections, found.connections.growth)
    T·k² Θ(T·k²)
    """
    found = _Architecture(
        build,
        {"layout": layout, "order": order, "output": output},
        {name: tuple(values) for name, values in sizes.items()},
    )
    laws = {what: found.law(what) for what in found.formulas}
    return Laws(
        laws["connections"],
        laws["steps of training"],
        laws.get("steps of generation"),
        laws["the context"],
        laws.get("the state"),
    )


Formula = tuple[sympy.Expr, Status, Mapping[str, int]]


def _connections(s: System) -> Formula:
    found = connections(s)
    return in_region(found), Status.PROVED, region_of(found, s)


def _of_depth(depth: Depth) -> Formula:
    """Take the upper bound, which holds everywhere, and where it is known to be attained."""
    return depth.upper, depth.status, depth.region if depth.status is Status.PROVED else {}


def _of_state(s: System) -> Formula:
    return state(s), Status.PROVED, window_region(s)


def _at_least(region: sympy.Expr, least: int) -> sympy.Expr:
    """Take the larger of where a formula holds and where the equations do."""
    return region if least <= 1 else sympy.Max(region, least)


def _lag(s: System) -> int | None:
    """Return the lag at which the model generates; None if it does not."""
    lags = (1, 0) if len(s.axes) == 1 else (1,)
    return next((lag for lag in lags if find_leak(s, lag) is None), None)


class _Architecture:
    """The systems of an architecture at the sizes asked for, each derived once."""

    def __init__(
        self, build: Callable[..., Any], axes: Mapping[str, Any], sizes: Mapping[str, tuple[int, ...]]
    ) -> None:
        if not all(sizes.values()):
            raise UsageError(f"{next(n for n, v in sizes.items() if not v)} is given no values")
        self.build, self.read_as, self.sizes = build, axes, sizes
        self._systems: dict[tuple[int, ...], System] = {}
        base = self.system({name: values[0] for name, values in sizes.items()})
        self.axes, self.lag = base.axes, _lag(base)
        positions = {axis.lower() for axis in base.axes}
        self.free = tuple(name for name in sizes if name.lower() not in positions)
        largest = {name: max(values[:-1] or values) for name, values in sizes.items() if name not in self.free}
        grid = product(*(self.sizes[name][:-1] or self.sizes[name] for name in self.free))
        self.points = [largest | dict(zip(self.free, point, strict=True)) for point in grid]
        self.fresh = {name: values[-1] for name, values in sizes.items()}
        self.formulas: dict[str, Callable[[System], Formula]] = {
            "connections": _connections,
            "steps of training": lambda s: _of_depth(training_depth(s)),
            "the context": most_seen,
        }
        if self.lag is not None:
            self.formulas |= {"steps of generation": self.generation, "the state": _of_state}

    def system(self, sizes: Mapping[str, int]) -> System:
        """Return the equations at some sizes."""
        key = tuple(sizes[name] for name in self.sizes)
        if key not in self._systems:
            self._systems[key] = system_of(self.reading(sizes))
        return self._systems[key]

    def reading(self, sizes: Mapping[str, int]) -> Reading:
        """Return the reading of a model of some sizes, built anew."""
        made, inputs = self.build(**{name: sizes[name] for name in self.sizes})
        args, named = ((), inputs) if isinstance(inputs, Mapping) else (inputs, {})
        return Reading(made, args, named, **self.read_as).in_evaluation()

    @cached_property
    def validity(self) -> Validity:
        """The sizes of the grid for which the equations stay the same."""
        named = {name: axis for name in self.sizes for axis in self.axes if name.lower() == axis.lower()}
        small = self.points[0]
        regions = [formula(self.system(small))[2] for formula in self.formulas.values()]
        region = {axis: max(int(found.get(axis, 1)) for found in regions) for axis in self.axes}
        return validity(Sized(self.build, self.reading, self._derived, named), self.fresh, small, region)

    def _derived(self, sizes: Mapping[str, int]) -> list[tuple[sympy.Expr, Status]]:
        """Return all formulas in the sizes of the grid."""
        found = [formula(self.system(sizes)) for formula in self.formulas.values()]
        return [(sympy.expand(expression), status) for expression, status, _ in found]

    @cached_property
    def steps(self) -> dict[str, tuple[int, int]]:
        """The first value and the step of sizes between whose values, as they were given, the laws are others."""
        steps: dict[str, tuple[int, int]] = {}
        for name in self.free:
            values = sorted(set(self.sizes[name]))
            gap = next((low + 1 for low, high in pairwise(values) if high - low > 1), None)
            if gap is None or self._fits(name, gap):
                continue
            steps[name] = values[0], reduce(gcd, (high - low for low, high in pairwise(values)))
        return {name: (first, step) for name, (first, step) in steps.items() if step > 1}

    def _fits(self, name: str, value: int) -> bool:
        """Whether the laws give what is counted at a value between those that were given."""
        point = {**self.fresh, name: value}
        with suppress(Exception):  # there may be no model of that size
            here = {size(free): point[free] for free in self.free}
            return all(
                sympy.expand(self._totals[what].subs(here) - formula(self.system(point))[0]) == 0
                for what, formula in self.formulas.items()
            )
        return False

    @cached_property
    def _totals(self) -> dict[str, sympy.Expr]:
        """The formulas, fitted over the free sizes."""
        return {what: self._total(what) for what in self.formulas}

    def _total(self, what: str) -> sympy.Expr:
        formula = self.formulas[what]
        values = [formula(self.system(point))[0] for point in self.points]
        return self._fitted(what, values, formula(self.system(self.fresh))[0])

    def generation(self, s: System) -> Formula:
        """Return the steps of generation; raises `NotUniform` if the model generates at another lag than at first."""
        if self.lag is None or _lag(s) != self.lag:
            raise NotUniform(f"the model generates at a lag of {self.lag} at some sizes and of {_lag(s)} at others")
        return _of_depth(generation_depth(s, self.lag))

    def law(self, what: str) -> Law:
        """Fit formula and region over the free sizes, and check both at fresh ones."""
        rows = [self.formulas[what](self.system(point)) for point in (*self.points, self.fresh)]
        *fitted, fresh = [row[2] for row in rows]
        region = {
            str(symbol(axis)): _at_least(
                self._from_on(what, [where.get(axis, 1) for where in fitted], fresh.get(axis, 1)),
                self.validity.least.get(axis, 1),
            )
            for axis in self.axes
        }
        exact = all(row[1] is Status.PROVED for row in rows)
        known = Status.FITTED if self.free or self.validity.doubt else Status.PROVED
        return Law(
            self._totals[what],
            known if exact else Status.BOUND,
            region,
            self.free,
            (*self.points, self.fresh, *self.validity.tried),
            {str(symbol(axis)): most for axis, most in self.validity.most.items()},
            self.steps,
            self.validity.doubt,
        )

    def _from_on(self, what: str, values: list[int], wanted: int) -> sympy.Expr:
        """Fit the smallest sizes at which a formula holds; what they are at the smallest points may be an exception.

        Raises `NotUniform` if nothing fits, or not at the fresh sizes.
        """
        with suppress(NotUniform):
            return self._fitted("", values, wanted)
        if wanted <= max(values):
            return sympy.Integer(max(values))
        for name in self.free:
            least = min(point[name] for point in self.points)
            rest = [i for i, point in enumerate(self.points) if point[name] > least]
            first = max(value for i, value in enumerate(values) if i not in rest)
            with suppress(NotUniform):
                found = self._fitted("", [values[i] for i in rest], wanted, [self.points[i] for i in rest])
                return sympy.Max(first, found)
        raise NotUniform(f"where {what} hold: no formula fits {values}")

    def _fitted(
        self, what: str, values: list[Any], wanted: Any, points: list[dict[str, int]] | None = None
    ) -> sympy.Expr:
        """Fit each coefficient of the grid's sizes over the other sizes, and compare at the fresh ones.

        Raises `NotUniform` if nothing fits, or not at the fresh sizes.
        """
        grid = [symbol(axis) for axis in self.axes]
        polys = [sympy.Poly(value, *grid) for value in values]
        free = [{name: point[name] for name in self.free} for point in points or self.points]
        total = sympy.Integer(0)
        for monomial in sorted({m for poly in polys for m in poly.monoms()}):
            try:
                coefficient = fit(free, [poly.coeff_monomial(monomial) for poly in polys])
            except NotUniform as error:
                raise NotUniform(f"{what}: {error}") from error
            total += coefficient * sympy.Mul(*(s**e for s, e in zip(grid, monomial, strict=True)))
        total = sympy.expand(total)
        here = {size(name): self.fresh[name] for name in self.free}
        if sympy.expand(total.subs(here) - wanted) != 0:
            raise NotUniform(
                f"{what}: no formula; {written(total)} fits the small sizes, but at "
                f"{', '.join(f'{name} = {n}' for name, n in self.fresh.items())} it is {written(sympy.sympify(wanted))}"
            )
        return total
