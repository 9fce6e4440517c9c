"""A system of several rates as a uniform one, whose positions are frames: a variable for each sample of a frame."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from itertools import accumulate
from typing import Any

import numpy as np
import torch

from leadline.errors import NotUniform
from leadline.recurrence.ir import Attention, Equation, Input, Pointwise, System, Table, Tap, Variable
from leadline.recurrence.rates.ir import RatedSystem, RatedTap, way
from leadline.recurrence.reading.lowering import copied

GIVEN = "given"
MOST = 20_000  # equations, beyond which a uniform system of samples serves nobody


def by_frame(system: RatedSystem) -> System:
    """Return the uniform system over frames, whose input and output hold all samples of a frame as channels.

    Several inputs stand in the frame one after the other. `NotUniform` names what has no such form: several axes,
    paddings by what lies within, attention between several positions of a frame, more than `MOST` equations.
    """
    return _Unrolling(system).made()


@dataclass(frozen=True)
class _Unrolling:
    system: RatedSystem

    def made(self) -> System:
        """Return the whole system."""
        system = self.system
        if len(system.axes) > 1:
            raise NotUniform("frames of a grid have no uniform system")
        if sum(self.samples(v.name) for v in system.variables) > MOST:
            raise NotUniform(f"frames of {system.frame[0]} positions have more than {MOST:,} equations")
        if system[system.output].margin != (0,):
            raise NotUniform("the output has other positions than the input has frames")
        frames = (system.sizes[0] // system.frame[0],)
        variables = _in_order([*self._variables()])
        return System(system.axes, frames, variables, (GIVEN,), "frames", self._shape(), system.looped).live()

    @cached_property
    def _first(self) -> dict[str, int]:
        """Return the channel of a frame at which each input begins."""
        widths = [self.samples(name) * self.system[name].channels for name in self.system.inputs]
        return dict(zip(self.system.inputs, accumulate([0, *widths]), strict=False))

    def _given(self) -> Variable:
        """Return the input of a frame."""
        inputs = [self.system[name] for name in self.system.inputs]
        width = sum(self.samples(v.name) * v.channels for v in inputs)
        integer = all(isinstance(v.equation, Input) and v.equation.integer for v in inputs)
        return Variable(GIVEN, width, Input(integer), (0,), inputs[0].place)

    def _shape(self) -> tuple[int, ...]:
        return (self.samples(self.system.output) * self.system[self.system.output].channels,)

    def samples(self, name: str) -> int:
        """Return how many points of a variable a frame holds."""
        return int(self.system.rates[name][0] * self.system.frame[0])

    def _variables(self) -> Iterator[Variable]:
        system = self.system
        yield self._given()
        for variable in system.variables:
            count, (margin,) = self.samples(variable.name), variable.margin
            if isinstance(variable.equation, Input):
                continue
            if isinstance(variable.equation, Attention) and count > 1:
                raise NotUniform(f"{variable.name} at {variable.place} attends from {count} positions of one frame")
            for number in range(count):
                ends = (math.ceil((margin - number) / count),)
                equation = self._equation(variable, number, count)
                name = _sample(variable.name, number)
                yield replace(variable, name=name, equation=equation, margin=ends, uncropped=None)
        output = system[system.output]
        every = np.arange(output.channels)
        taps = [Tap(_sample(output.name, i), (0,), every) for i in range(self.samples(output.name))]
        equation = _concat(taps) if len(taps) > 1 else copied(taps[0])
        yield Variable("frames", self._shape()[0], equation, (0,), output.place)

    def _equation(self, variable: Variable, number: int, count: int) -> Equation:
        """Return the equation of one sample of a frame."""
        equation: Any = variable.equation

        def moved(value: Any) -> Any:
            if isinstance(value, Tap):
                return self._tap(value, variable, number, count)
            if isinstance(value, Table):
                return Table(value.values[number::count])
            return tuple(map(moved, value)) if isinstance(value, tuple) else value

        named = {f.name: getattr(equation, f.name) for f in fields(equation)}
        holding = {name: value for name, value in named.items() if isinstance(value, Tap | tuple)}
        made: Equation = replace(equation, **{name: moved(value) for name, value in holding.items()})
        return made

    def _tap(self, tap: Tap, reader: Variable, number: int, count: int) -> Tap:
        along, source = way(tap, 0), self.system[tap.source]
        if along.edge is not None:
            raise NotUniform(f"{reader.name} at {reader.place} pads by what lies within")
        points = self.samples(tap.source)
        ahead, within = divmod(along.stride * number - along.offset, points * along.phases)
        point, phase = divmod(within, along.phases)
        assert along.stride * count == points * along.phases, "rates are multiples of each other"
        channels = tap.channels
        if isinstance(tap, RatedTap):
            channels = channels.reshape(along.phases, -1)[phase]
        offset = (-ahead,)
        if isinstance(source.equation, Input):
            start = self._first[tap.source] + point * source.channels
            return Tap(GIVEN, offset, channels + start, tap.fill, tap.initial)
        return Tap(_sample(tap.source, point), offset, channels, tap.fill, tap.initial)


def _sample(name: str, number: int) -> str:
    return f"{name}.{number}"


def _concat(taps: list[Tap]) -> Pointwise:
    return Pointwise("concat", tuple(taps), lambda *values: torch.cat(values, -1))


def _in_order(variables: list[Variable]) -> tuple[Variable, ...]:
    """Put variables into an order in which the values of one frame can be computed."""
    before = {v.name: [tap.source for tap in v.equation.taps if tap.offset == (0,)] for v in variables}
    named = {v.name: v for v in variables}
    try:
        return tuple(named[name] for name in TopologicalSorter(before).static_order())
    except CycleError as error:
        raise NotUniform("the samples of a frame rest on each other in a circle") from error
