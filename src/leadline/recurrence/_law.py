"""Growth laws: how connections, depth, context and state grow with the sizes of an architecture, as exact formulas.

The sizes of the grid come out of the equations symbolically. How the coefficients depend on the other sizes (depth,
width …) is fitted over exact numbers at small sizes: polynomials, with powers of two where polynomials do not fit. A
formula is accepted only if it reproduces exact counts at fresh, larger sizes; otherwise it is refused.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import sympy

from leadline.domains.engine import NoRule
from leadline.domains.operations.multiplications import forward_macs
from leadline.errors import NotUniform, UsageError
from leadline.graph.layout import BATCH, Layout, LayoutLike, Order
from leadline.graph.reading import Reading
from leadline.recurrence._system import system_of
from leadline.recurrence.analysis.connections import connections, in_region, region_of
from leadline.recurrence.analysis.dense import dense_macs
from leadline.recurrence.analysis.depth import Depth, generation_depth, symbol, training_depth
from leadline.recurrence.analysis.fits import fit, size
from leadline.recurrence.analysis.notation import growth, written
from leadline.recurrence.analysis.receptive_field import find_leak, most_seen
from leadline.recurrence.analysis.window import state, window_region
from leadline.recurrence.ir import System
from leadline.results import Status


@dataclass(frozen=True)
class Law:
    """A formula in the sizes, how it is known, and where it holds.

    `status` is about the sizes of the grid: `proved` where the formula holds for all of them in the region, `bound` if
    it is an upper bound. In the sizes that `fitted` names, formula and region were fitted exactly to counts and
    verified at the fresh sizes in `checked`.
    """

    expression: sympy.Expr
    status: Status
    region: Mapping[str, sympy.Expr]
    fitted: tuple[str, ...]
    checked: tuple[Mapping[str, int], ...]

    def at(self, **sizes: int) -> int:
        """Return the value at given sizes; of a bound, the whole number below it.

        Raises `UsageError` if a size is missing or below the region of validity.
        """
        given = {size(name): value for name, value in sizes.items()}
        for name, expression in self.region.items():
            least = _number(expression, given)
            if sizes.get(name, least) < least:
                raise UsageError(f"this law holds from {name} = {least} on, not at {sizes[name]}")
        return _number(self.expression, given)

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
        return ", ".join(
            f"{name} ≥ {written(part)}"
            for name, least in self.region.items()
            for part in (least.args if isinstance(least, sympy.Max) else (least,))
            if least != 1
        )

    def __str__(self) -> str:
        return self.formula + (f" for {self.where}" if self.where else "")


def _number(expression: sympy.Expr, given: Mapping[sympy.Symbol, int]) -> int:
    value = expression.subs(given)
    if value.free_symbols:
        raise UsageError(f"the law needs the sizes {', '.join(sorted(map(str, value.free_symbols)))}")
    return int(sympy.floor(value))


@dataclass(frozen=True)
class Laws:
    """The growth laws of an architecture.

    Attributes
    ----------
    connections
        Multiply-accumulate edges between units that exist, of one sample: no masked pairs, masked taps and padding.
    macs
        Dense multiply-accumulates of one sample, masked pairs and padding too. How they grow with the grid is fitted as
        well: each product at every place, attention at every pair of places. None where that does not give the counts.
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
    macs: Law | None
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
        The axes, and which output is meant; see `leadline.system`. Without a layout that one is taken which alone is
        usual at all sizes, or alone gives the equations.
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
    return Laws(
        found.law("connections", _connections),
        found.macs(),
        found.law("steps of training", lambda s: _of_depth(training_depth(s))),
        None if found.lag is None else found.law("steps of generation", found.generation),
        found.law("the context", most_seen),
        None if found.lag is None else found.law("the state", lambda s: (state(s), Status.PROVED, window_region(s))),
    )


Formula = tuple[sympy.Expr, Status, Mapping[str, int]]


def _connections(s: System) -> Formula:
    found = connections(s)
    return in_region(found), Status.PROVED, region_of(found, s)


def _of_depth(depth: Depth) -> Formula:
    """Take the upper bound, which holds everywhere, and where it is known to be attained."""
    return depth.upper, depth.status, depth.region if depth.status is Status.PROVED else {}


def _lag(s: System) -> int | None:
    """Return the lag at which the model generates; None if it does not."""
    lags = (1, 0) if len(s.axes) == 1 else (1,)
    return next((lag for lag in lags if find_leak(s, lag) is None), None)


def _fits(layout: Layout, reading: Reading, sizes: Mapping[str, int]) -> bool:
    """Whether position axes have the sizes that are given under their names, in either case."""
    given = {name.lower(): value for name, value in sizes.items()}
    (axes,), (tensor,) = layout.inputs.values(), reading.tensors.values()
    return all(
        given.get(axis, size) == size
        for axis, size in zip(axes or (), tensor.shape, strict=True)
        if axis in layout.positions
    )


def _per_sample(reading: Reading) -> int | None:
    """Return the dense multiply-accumulates of one sample; None if samples do not share them evenly."""
    name, axes = next(iter(reading.input_axes.items()))
    batch = dict(zip(axes, reading.input_shape(name), strict=True)).get(BATCH, 1)
    try:
        each, rest = divmod(forward_macs(reading.graph), batch)
    except NoRule:
        return None
    return None if rest else each


class _Architecture:
    """The systems of an architecture at the sizes asked for, each derived once."""

    def __init__(
        self, build: Callable[..., Any], axes: Mapping[str, Any], sizes: Mapping[str, tuple[int, ...]]
    ) -> None:
        if not all(sizes.values()):
            raise UsageError(f"{next(n for n, v in sizes.items() if not v)} is given no values")
        self.build, self.read_as, self.sizes = build, axes, sizes
        self._systems: dict[tuple[int, ...], System] = {}
        self._macs: dict[tuple[int, ...], int | None] = {}
        if axes["layout"] is None:
            self.read_as = {**axes, "layout": self._layout()}
        base = self.system({name: values[0] for name, values in sizes.items()})
        self.axes, self.lag = base.axes, _lag(base)
        positions = {axis.lower() for axis in base.axes}
        self.free = tuple(name for name in sizes if name.lower() not in positions)
        largest = {name: max(values[:-1] or values) for name, values in sizes.items() if name not in self.free}
        grid = product(*(self.sizes[name][:-1] or self.sizes[name] for name in self.free))
        self.points = [largest | dict(zip(self.free, point, strict=True)) for point in grid]
        self.fresh = {name: values[-1] for name, values in sizes.items()}

    def _layout(self) -> Layout | None:
        """Return the only usual layout that fits at all sizes; None if there are several still, or none."""
        fitting: list[Layout] | None = None
        for sizes in (dict(zip(self.sizes, values, strict=True)) for values in product(*self.sizes.values())):
            reading = self.reading(sizes)
            own = [layout for layout in reading.usual_layouts if _fits(layout, reading, sizes)]
            fitting = own if fitting is None else [layout for layout in fitting if str(layout) in map(str, own)]
            if len(fitting) < 2:
                break
        return fitting[0] if fitting is not None and len(fitting) == 1 else None

    def reading(self, sizes: Mapping[str, int]) -> Reading:
        """Return the reading, in evaluation mode, of the model at some sizes."""
        made, inputs = self.build(**{name: sizes[name] for name in self.sizes})
        args, named = ((), inputs) if isinstance(inputs, Mapping) else (inputs, {})
        return Reading(made, args, named, **self.read_as).in_evaluation()

    def system(self, sizes: Mapping[str, int]) -> System:
        """Return the equations at some sizes."""
        key = tuple(sizes[name] for name in self.sizes)
        if key not in self._systems:
            reading = self.reading(sizes)
            self._systems[key] = system_of(reading)
            self._macs[key] = _per_sample(reading)
        return self._systems[key]

    def macs(self) -> Law | None:
        """Return the law of dense multiply-accumulates; None if they do not have its form."""

        def formula(s: System) -> Formula:
            key = next(key for key, system in self._systems.items() if system is s)
            counted = self._macs[key]
            found = None if counted is None else dense_macs(s, counted)
            if found is None:
                raise NotUniform("the multiply-accumulates are not the same at every place")
            return found, Status.PROVED, {}

        try:
            law = self.law("multiply-accumulates", formula)
        except NotUniform:
            return None
        return replace(law, fitted=(*law.fitted, *law.region))

    def generation(self, s: System) -> Formula:
        """Return the steps of generation; raises `NotUniform` if the model generates at another lag than at first."""
        if self.lag is None or _lag(s) != self.lag:
            raise NotUniform(f"the model generates at a lag of {self.lag} at some sizes and of {_lag(s)} at others")
        return _of_depth(generation_depth(s, self.lag))

    def law(self, what: str, formula: Callable[[System], Formula]) -> Law:
        """Fit formula and region over the free sizes, and check both at fresh ones."""
        rows = [formula(self.system(point)) for point in self.points]
        wanted, status, where = formula(self.system(self.fresh))
        total = self._fitted(what, [row[0] for row in rows], wanted)
        region = {
            str(symbol(axis)): self._from_on(what, [row[2].get(axis, 1) for row in rows], where.get(axis, 1))
            for axis in self.axes
        }
        proved = all(row[1] is Status.PROVED for row in rows) and status is Status.PROVED
        return Law(total, Status.PROVED if proved else Status.BOUND, region, self.free, (self.fresh,))

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
