"""An architecture at the sizes asked for: its equations, and formulas fitted over them.

The sizes of the grid come out of the equations symbolically, and `validity` says for which of them. How the
coefficients depend on the other sizes (depth, width …) is fitted over exact numbers at small sizes: polynomials, with
powers of two where polynomials do not fit. A formula is accepted only if it reproduces exact counts at fresh, larger
sizes; otherwise it is refused.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, reduce
from itertools import pairwise, product
from math import gcd, prod
from typing import Any

import sympy

from leadline.domains.engine import NoRule
from leadline.domains.operations.convolutions import convolution_of
from leadline.domains.operations.multiplications import forward_macs
from leadline.errors import NotUniform, UsageError
from leadline.graph import Graph, Kind, Node
from leadline.graph.layout import BATCH, Layout
from leadline.graph.reading import Reading
from leadline.graph.user_code import running
from leadline.recurrence._system import system_of
from leadline.recurrence.analysis.connections import connections, in_region, region_of
from leadline.recurrence.analysis.dense import dense_macs
from leadline.recurrence.analysis.depth import Depth, generation_depth, symbol, training_depth
from leadline.recurrence.analysis.fits import fit, size
from leadline.recurrence.analysis.notation import written
from leadline.recurrence.analysis.receptive_field import find_leak, most_seen
from leadline.recurrence.analysis.window import state, window_region
from leadline.recurrence.ir import System
from leadline.recurrence.laws import Law
from leadline.recurrence.validity import Sized, Validity, validity
from leadline.results import Status

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


def _fits(layout: Layout, reading: Reading, sizes: Mapping[str, int]) -> bool:
    """Whether position axes have the sizes that are given under their names, in either case."""
    given = {name.lower(): value for name, value in sizes.items()}
    (axes,), (tensor,) = layout.inputs.values(), reading.tensors.values()
    return all(
        given.get(axis, size) == size
        for axis, size in zip(axes or (), tensor.shape, strict=True)
        if axis in layout.positions
    )


def _per_sample(reading: Reading) -> tuple[int, bool] | None:
    """Return the dense multiply-accumulates of one sample, and whether all are those of the grid's places.

    None if samples do not share them evenly.
    """
    name, axes = next(iter(reading.input_axes.items()))
    batch = dict(zip(axes, reading.input_shape(name), strict=True)).get(BATCH, 1)
    graph, points = reading.graph, batch * prod(reading.sizes.values())
    alike = not any(_elsewhere(graph.nodes[index], graph, points) for index in graph.live())
    try:
        each, rest = divmod(forward_macs(graph), batch)
    except NoRule:
        return None
    return None if rest else (each, alike)


def _elsewhere(node: Node, graph: Graph, points: int) -> bool:
    """Whether an operation multiplies at other places than those of the grid, which may grow otherwise."""
    meta = node.outputs[0] if node.kind in (Kind.CONTRACTION, Kind.CONVOLUTION) else None
    if meta is None:
        return False
    channels = meta.shape[-1 - convolution_of(node, graph).axes] if node.kind is Kind.CONVOLUTION else 1
    return bool(channels) and (meta.numel // channels) % points != 0


class Architecture:
    """The systems of an architecture at the sizes asked for, each derived once."""

    def __init__(
        self, build: Callable[..., Any], axes: Mapping[str, Any], sizes: Mapping[str, tuple[int, ...]]
    ) -> None:
        if not all(sizes.values()):
            raise UsageError(f"{next(n for n, v in sizes.items() if not v)} is given no values")
        self.build, self.read_as, self.sizes = build, axes, sizes
        self._systems: dict[tuple[int, ...], System] = {}
        self._macs: dict[tuple[int, ...], tuple[int, bool] | None] = {}
        self._contexts: dict[Any, Formula] = {}
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
        self.formulas: dict[str, Callable[[System], Formula]] = {
            "connections": _connections,
            "steps of training": lambda s: _of_depth(training_depth(s)),
            "the context": self._most_seen,
        }
        if self.lag is not None:
            self.formulas |= {"steps of generation": self.generation, "the state": _of_state}

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
        """Return the reading, in evaluation mode, of a model of some sizes, built anew."""
        given = {name: sizes[name] for name in self.sizes}
        with running(f"build({', '.join(f'{name}={value}' for name, value in given.items())})", ()):
            built = self.build(**given)
        if not (isinstance(built, tuple | list) and len(built) == 2):
            raise UsageError(f"build returns a model and its inputs, not {type(built).__name__}")
        made, inputs = built
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

    def _most_seen(self, s: System) -> Formula:
        """Return the context as a formula, found once for all systems that read the same places."""
        key = s.axes, s.inputs, s.output, tuple((v.name, v.margin) for v in s.variables), s.edges
        if key not in self._contexts:
            self._contexts[key] = most_seen(s)
        return self._contexts[key]

    @cached_property
    def validity(self) -> Validity:
        """The sizes of the grid for which the equations stay the same."""
        named = {name: axis for name in self.sizes for axis in self.axes if name.lower() == axis.lower()}
        small = self.points[0]
        regions = [formula(self.system(small))[2] for formula in self.formulas.values()]
        region = {axis: max(int(found.get(axis, 1)) for found in regions) for axis in self.axes}
        of = Sized(self.build, self.reading, self._derived, named, self.system(self.fresh).looped)
        return validity(of, self.fresh, small, region)

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
        return {what: self._total(what, formula) for what, formula in self.formulas.items()}

    def _total(self, what: str, formula: Callable[[System], Formula]) -> sympy.Expr:
        values = [formula(self.system(point))[0] for point in self.points]
        return self._fitted(what, values, formula(self.system(self.fresh))[0])

    def macs(self) -> tuple[Law | None, str]:
        """Return the law of dense multiply-accumulates; None, and why, if they do not have its form."""

        def formula(s: System) -> Formula:
            key = next(key for key, system in self._systems.items() if system is s)
            counted = self._macs[key]
            found = None if counted is None else dense_macs(s, counted[0], alike=counted[1])
            if found is None:
                raise NotUniform(
                    "the dense multiply-accumulates are not those of the equations: some products are shared by "
                    "places, or are computed where no place of the grid needs them; `count` has them at one size"
                )
            return found, Status.PROVED, {}

        try:
            law = self._law("multiply-accumulates", formula, self._total("multiply-accumulates", formula))
        except NotUniform as error:
            return None, str(error)
        return replace(law, fitted=(*law.fitted, *law.region), status=Status.FITTED), ""

    def generation(self, s: System) -> Formula:
        """Return the steps of generation; raises `NotUniform` if the model generates at another lag than at first."""
        if self.lag is None or _lag(s) != self.lag:
            raise NotUniform(f"the model generates at a lag of {self.lag} at some sizes and of {_lag(s)} at others")
        return _of_depth(generation_depth(s, self.lag))

    def law(self, what: str) -> Law:
        """Fit formula and region over the free sizes, and check both at fresh ones."""
        return self._law(what, self.formulas[what], self._totals[what])

    def _law(self, what: str, formula: Callable[[System], Formula], total: sympy.Expr) -> Law:
        rows = [formula(self.system(point)) for point in (*self.points, self.fresh)]
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
            total,
            known if exact else Status.BOUND,
            region,
            self.free,
            (self.fresh, *self.validity.tried),
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
