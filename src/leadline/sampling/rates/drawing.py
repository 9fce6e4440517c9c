"""Drawing from a model of several rates: after each symbol whatever rests on no later one is computed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from leadline.errors import NotCausal, NotUniform
from leadline.recurrence import ir
from leadline.recurrence.rates.ir import RatedSystem
from leadline.recurrence.rates.needs import needs
from leadline.recurrence.rates.order import circles
from leadline.sampling.rates.machine import RatedEquations

if TYPE_CHECKING:
    from leadline.sampling.plan import Points


@dataclass(frozen=True, eq=False)
class Order:
    """What is computed when: after so many symbols, in this order, these points of each variable.

    Symbols are drawn position after position, row after row. The `lag` is 1 where the output at a position rests on
    earlier symbols alone, and 0 where on its own, too.
    """

    system: RatedSystem
    length: int

    @property
    def sizes(self) -> tuple[int, ...]:
        """Positions along every axis."""
        return (self.length, *self.system.sizes[1:])

    def checked(self) -> tuple[int, dict[int, list[tuple[ir.Variable, Points]]]]:
        """Return the lag, and what is due after each number of symbols.

        `NotCausal` if an output rests on later symbols, `NotUniform` if outputs are not at the inputs' positions.
        """
        system = self.system
        if len(system.inputs) > 1 or system.range(system.output, self.length) != self.sizes:
            raise NotUniform("symbols are drawn where a model has one input, and an output at each of its positions")
        place = np.arange(1, int(np.prod(self.sizes)) + 1).reshape(self.sizes)
        times = needs(system, self.length, lambda *_: place, len(self.sizes))
        ahead = times[system.output] - place
        if int(ahead.max()) > 0:
            at = np.unravel_index(int(ahead.argmax()), self.sizes)
            raise NotCausal(
                f"the output at {tuple(map(int, at))} rests on an input {int(ahead.max())} positions later: "
                "nothing can be drawn from it"
            )
        due: dict[int, list[tuple[ir.Variable, Points]]] = defaultdict(list)
        for group in circles(system.variables):
            for variable, points in self._points(group, times):
                number = times[variable.name][tuple(points.T)]
                for time in np.unique(number):
                    due[int(time)].append((variable, points[number == time]))
        return int(ahead.max() < 0), due

    def _points(self, group: list[ir.Variable], times: Mapping[str, Points]) -> Iterator[tuple[ir.Variable, Points]]:
        """Return all points of a group of variables: one by one, where they rest on each other."""
        every = [(v, np.argwhere(np.ones(times[v.name].shape, bool)).astype(np.int64)) for v in group]
        if len(group) == 1 and all(tap.source != group[0].name for tap in group[0].equation.taps):
            yield from every
            return
        single = [
            (tuple(n / rate for n, rate in zip(point.tolist(), self.system.rates[v.name], strict=True)), i, point)
            for i, (v, points) in enumerate(every)
            for point in points
        ]
        for _, i, point in sorted(single, key=lambda entry: entry[:2]):
            yield group[i], point[None]


class Picture(RatedEquations):
    """All values of a grid of known size, computed as its symbols become known."""

    def __init__(self, order: Order, batch: int, dtype: torch.dtype) -> None:
        super().__init__(order.system, batch, dtype)
        self.lag, self._due = order.checked()
        self.ends = {name: order.system.range(name, order.length) for name in order.system.named}
        self._values = {
            v.name: torch.zeros(*(max(1, n) for n in self.ends[v.name]), batch, v.channels, dtype=dtype)
            for v in order.system.variables
        }

    def read(self, name: str, points: Points) -> Tensor:
        """Return values of shape (points, batch, channels)."""
        return self._values[name][tuple(map(torch.from_numpy, points.T))]

    def write(self, name: str, points: Points, values: Tensor) -> None:
        """Store values of shape (points, batch, channels)."""
        if self._values[name].dtype != values.dtype:  # integers, or a precision that the model changes to
            self._values[name] = self._values[name].to(values.dtype)
        self._values[name][tuple(map(torch.from_numpy, points.T))] = values

    @torch.no_grad()
    def after(self, symbols: int) -> None:
        """Compute what so many symbols decide."""
        for variable, points in self._due.get(symbols, ()):
            if not isinstance(variable.equation, ir.Input):
                self.write(variable.name, points, self._value(variable.equation, points))
