"""From a traced graph to a system of several rates: the walk of a uniform one, with rules for what changes the grid."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

from leadline.errors import NotUniform
from leadline.graph import Reading
from leadline.recurrence._system import _leaves, _ordered, _walk
from leadline.recurrence.ir import Tap, Variable
from leadline.recurrence.rates.ir import Rate, RatedSystem, way
from leadline.recurrence.rates.lowering import RatedLowering
from leadline.recurrence.rates.rules_rates import own_rule
from leadline.recurrence.reading.field import Field, axis_of
from leadline.recurrence.reading.lowering import Fixed, copied, refuse

if TYPE_CHECKING:
    from leadline.graph.layout import Axes


def rated_system_of(reading: Reading) -> RatedSystem:
    """Return the system of a reading whose positions change their rate; `NotUniform` names what has no reading."""
    return reading.once("rated system", lambda: _lowered(reading))


def _lowered(reading: Reading) -> RatedSystem:
    graph, layout = reading.graph, reading.layout
    positions = _ordered(layout, reading.order)
    if not reading.has_values:
        raise NotUniform("equations are read off weights, and tensors on the meta device have none")
    sizes: dict[str, int] = {}
    for name, axes in reading.input_axes.items():
        for axis, size in zip(axes, reading.input_shape(name), strict=True):
            sizes.setdefault(axis, size)
    low = RatedLowering(graph, positions, tuple(sizes[axis] for axis in positions), sizes.get("b", 1), special=own_rule)
    values = _leaves(low, reading)
    end = graph.outputs[reading.output]
    _walk(low, end, values)
    low.node = graph.nodes[end.node]
    result = values[end]
    if not isinstance(result, Field):
        raise refuse(low.node, "the output rests on no streamed input" if isinstance(result, Fixed) else result.why)
    shape = _shape(low, result, layout.outputs[reading.output])
    output = low.emit(copied(low.tap(result)), result.dims, result.sizes, "output").variable
    inputs = tuple(reading.input_axes)
    rates = _rates(low, _given(low, reading.input_axes, reading))
    variables = tuple(_by_rate(low, v, rates) for v in low.variables if v.name in rates)
    return RatedSystem(low.axes, low.sizes, variables, inputs, output, shape, low.looped, rates).live()


def _shape(low: RatedLowering, result: Field, axes: Axes) -> tuple[int, ...]:
    """Return the sizes of the output's channels; `NotUniform` if its axes are others than the layout says."""
    assert low.node is not None
    channels = []
    for axis, dim, size in zip(axes, result.dims, result.shape, strict=True):
        if axis in low.axes:
            if dim and axis_of(dim) != low.axes.index(axis):
                raise refuse(low.node, f"the output's axis {axis} holds something else than the layout says")
        elif axis != "b":
            channels.append(size)
            if any(f.role >= 0 for f in dim):
                raise refuse(low.node, f"the output's axis {axis} holds something else than the layout says")
    return tuple(channels)


def _given(low: RatedLowering, inputs: Mapping[str, Axes], reading: Reading) -> dict[str, Rate]:
    """Return the rates of the inputs: of the positions of the first one, or several of them, each has its own."""
    rates = {}
    for name, axes in inputs.items():
        own = dict(zip(axes, reading.input_shape(name), strict=True))
        rates[name] = tuple(Fraction(own.get(a, n), n) for a, n in zip(low.axes, low.sizes, strict=True))
    return rates


def _rates(low: RatedLowering, rates: dict[str, Rate]) -> dict[str, Rate]:
    """Give every variable its rate: what it reads has one, or else what reads it."""
    known = -1
    while len(rates) > known:
        known = len(rates)
        for variable, tap, factor in _reads(low.variables):
            if tap.source in rates:
                rate = tuple(r * f for r, f in zip(rates[tap.source], factor, strict=True))
                if rates.setdefault(variable.name, rate) != rate:
                    raise NotUniform(
                        f"{variable.name} at {variable.place} combines positions of different rates; "
                        "the graph level still answers: leadline.check(model, ...)"
                    )
        for variable, tap, factor in _reads(low.variables):
            if variable.name in rates and tap.source not in rates:
                rates[tap.source] = tuple(r / f for r, f in zip(rates[variable.name], factor, strict=True))
    return rates


def _reads(variables: Sequence[Variable]) -> Iterator[tuple[Variable, Tap, Rate]]:
    """Go through all taps, and by how much the rate of the reader is larger than that of its source."""
    for variable in variables:
        for tap in variable.equation.taps:
            ways = [way(tap, axis) for axis in range(len(tap.offset))]
            yield variable, tap, tuple(Fraction(w.phases, w.stride) for w in ways)


def _by_rate(low: RatedLowering, variable: Variable, rates: Mapping[str, Rate]) -> Variable:
    """Count a variable's margin from its own rate."""
    sizes = variable.range(low.sizes)
    points = [rate * size for rate, size in zip(rates[variable.name], low.sizes, strict=True)]
    if points[0].denominator != 1:
        raise NotUniform(
            f"{variable.name} at {variable.place} has {rates[variable.name][0]} points for each position along "
            f"{low.axes[0]}: give inputs whose length is a multiple of {rates[variable.name][0].denominator}"
        )
    return replace(variable, margin=tuple(n - math.floor(p) for n, p in zip(sizes, points, strict=True)))
