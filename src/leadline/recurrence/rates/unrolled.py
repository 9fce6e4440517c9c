"""A system of several rates as a uniform one, whose positions are frames: a variable for each sample of a frame."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property
from graphlib import CycleError
from itertools import accumulate
from typing import Any

import numpy as np
import torch

from leadline.errors import NotUniform
from leadline.recurrence.ir import (
    Constant,
    Contraction,
    Equation,
    Input,
    Pointwise,
    System,
    Table,
    Tap,
    Variable,
)
from leadline.recurrence.rates.ir import RatedSystem, RatedTap, way
from leadline.recurrence.rates.order import in_order
from leadline.recurrence.reading.lowering import copied
from leadline.recurrence.scores import Attention

GIVEN = "given"
MOST = 10_000_000  # products, beyond which a copy of the weights for each sample of a frame serves nobody


def by_frame(system: RatedSystem, delay: int = 0) -> System:
    """Return the uniform system over frames, whose input and output hold all samples of a frame as channels.

    Several inputs stand in the frame one after the other. What is asked for at a frame is the output `delay` frames
    before; of as many frames at the end of the grid there are no inputs. `NotUniform` names what has no such form:
    several axes, paddings after the end by what lies within, attention between several positions of a frame, or too
    many products.
    """
    return _Unrolling(system, delay).made()


@dataclass(frozen=True)
class _Unrolling:
    system: RatedSystem
    delay: int = 0

    def made(self) -> System:
        """Return the whole system."""
        system = self.system
        if len(system.axes) > 1:
            raise NotUniform("frames of a grid have no uniform system")
        sums = [(self.samples(v.name), v.equation) for v in system.variables]
        products = sum(n * equation.macs for n, equation in sums if isinstance(equation, Contraction))
        if products + 1000 * sum(n for n, _ in sums) > MOST:
            raise NotUniform(f"frames of {system.frame[0]} positions are too large: {products:,} products each")
        if system[system.output].margin != (0,):
            raise NotUniform("the output has other positions than the input has frames")
        frames = (system.sizes[0] // system.frame[0] + self.delay,)
        try:
            variables = tuple(in_order([*self._variables()]))
        except CycleError as error:
            raise NotUniform("the samples of a frame rest on each other in a circle") from error
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
        return Variable(GIVEN, width, Input(integer), (-self.delay,), inputs[0].place)

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
            edged = next((t for t in variable.equation.taps if way(t, 0).edge is not None), None)
            if edged is not None:
                yield from self._starts(variable, edged, count)
            for number in range(count):
                ends = (math.ceil((margin - number) / count) - self.delay,)
                made = replace(variable, name=_sample(variable.name, number), margin=ends, uncropped=None)
                if edged is None:
                    yield replace(made, equation=self._equation(variable, number, count))
                else:
                    yield from self._mirrored(made, edged, number, count)
        output = system[system.output]
        every = np.arange(output.channels)
        taps = [Tap(_sample(output.name, i), (self.delay,), every) for i in range(self.samples(output.name))]
        equation = _concat(taps) if len(taps) > 1 else copied(taps[0])
        yield Variable("frames", self._shape()[0], equation, (0,), output.place)

    def _equation(self, variable: Variable, number: int, count: int) -> Equation:
        """Return the equation of one sample of a frame."""
        equation: Any = variable.equation
        if isinstance(equation, Attention):
            return equation.with_taps(lambda tap: self._tap(tap, number, count))

        def moved(value: Any) -> Any:
            if isinstance(value, Tap):
                return self._tap(value, number, count)
            if isinstance(value, Table):
                return Table(value.values[number::count])
            return tuple(map(moved, value)) if isinstance(value, tuple) else value

        named = {f.name: getattr(equation, f.name) for f in fields(equation)}
        holding = {name: value for name, value in named.items() if isinstance(value, Tap | tuple)}
        made: Equation = replace(equation, **{name: moved(value) for name, value in holding.items()})
        return made

    def _starts(self, variable: Variable, tap: Tap, count: int) -> Iterator[Variable]:
        """Return variables that are one in one of the first frames, and zero in all others."""
        if way(tap, 0).after:
            raise NotUniform(f"{variable.name} at {variable.place} pads after the end by what lies within")
        every, ends = np.arange(variable.channels), (-self.delay,)
        one = Pointwise("copy", (Constant(torch.ones(variable.channels, dtype=torch.float64)),), lambda x: x)
        yield Variable(f"{variable.name}.one", variable.channels, one, ends, variable.place)
        for frame in range(-(-way(tap, 0).offset // count)):
            since, after = (Tap(f"{variable.name}.one", (n,), every) for n in (frame, frame + 1))
            only = Pointwise("sub", (since, after), torch.sub)
            yield Variable(f"{variable.name}.only{frame}", variable.channels, only, ends, variable.place)

    def _mirrored(self, made: Variable, tap: Tap, number: int, count: int) -> Iterator[Variable]:
        """Return one sample of a padding by what lies within: in the first frames it is what stands there again.

        Elsewhere those terms are zero, as the padded tensor itself is before its first sample.
        """
        along, points, every = way(tap, 0), self.samples(tap.source), np.arange(made.channels)
        total: Tap = self._at(tap, number - along.offset)
        for frame in range(-(-(along.offset - number) // count)):
            inside = along.offset - (count * frame + number) if along.edge == "reflect" else 0
            again = self._at(tap, inside - points * frame)
            only = Tap(f"{made.name.rpartition('.')[0]}.only{frame}", (0,), every)
            product = replace(made, name=f"{made.name}.{frame}", equation=Pointwise("mul", (only, again), torch.mul))
            yield product
            sums = Pointwise("add", (total, Tap(product.name, (0,), every)), torch.add)
            yield replace(made, name=f"{made.name}.{frame}+", equation=sums)
            total = Tap(f"{made.name}.{frame}+", (0,), every)
        yield replace(made, equation=copied(total))

    def _tap(self, tap: Tap, number: int, count: int) -> Tap:
        along = way(tap, 0)
        assert along.stride * count == self.samples(tap.source) * along.phases, "rates are multiples of each other"
        return self._at(tap, along.stride * number - along.offset)

    def _at(self, tap: Tap, sample: int) -> Tap:
        """Return the tap that reads a sample of its source, counted from the frame's first one."""
        along, source = way(tap, 0), self.system[tap.source]
        ahead, within = divmod(sample, self.samples(tap.source) * along.phases)
        point, phase = divmod(within, along.phases)
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
