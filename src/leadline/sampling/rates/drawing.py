"""Drawing from a model of several rates: after each symbol whatever rests on no later one is computed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from torch import Tensor

from leadline.errors import NotCausal, NotUniform
from leadline.recurrence import ir
from leadline.recurrence.rates.ir import RatedSystem
from leadline.recurrence.rates.needs import needs
from leadline.recurrence.rates.order import circles
from leadline.sampling.rates.channels import channel_times
from leadline.sampling.rates.machine import RatedEquations
from leadline.sampling.rates.source import RatedSource

if TYPE_CHECKING:
    from leadline.recurrence.ir import Channels
    from leadline.sampling.plan import Points


Due: TypeAlias = "dict[int, list[tuple[ir.Variable, Points, Channels | None]]]"


@dataclass(frozen=True, eq=False)
class Order:
    """What is computed when: after so many symbols, in this order, these channels of these points of each variable.

    Symbols are drawn position after position, row after row, and those of a point one after the other, where it has
    several. The `lag` is 1 where the output at a position rests on earlier symbols alone, and 0 where on its own, too.
    """

    source: RatedSource
    length: int

    @property
    def system(self) -> RatedSystem:
        """The equations."""
        return self.source.system

    @property
    def sizes(self) -> tuple[int, ...]:
        """Positions of symbols along every axis."""
        return self.source.sizes_at(self.length)

    @cached_property
    def inputs(self) -> list[Channels]:
        """The input's channels of each symbol of a point."""
        inside = self.source.inside
        every = np.arange(self.system[self.system.inputs[0]].channels)
        return [every] if inside is None else inside.channels(self.source.reading, self.source.streamed[0])

    @cached_property
    def outputs(self) -> list[Channels]:
        """The output's channels of each symbol of a point."""
        inside, every = self.source.inside, np.arange(self.system[self.system.output].channels)
        return [every] if inside is None else inside.channels(self.source.reading, None)

    def checked(self) -> tuple[int, Due]:
        """Return the lag, and what is due after each number of symbols.

        `NotCausal` if an output rests on later symbols, `NotUniform` if outputs are not at the inputs' positions.
        """
        system, count = self.system, len(self.inputs)
        points = self.sizes if self.source.inside is None else self.sizes[:-1]
        if len(system.inputs) > 1 or system.range(system.output, self.length) != points:
            raise NotUniform("symbols are drawn where a model has one input, and an output at each of its positions")
        known: Mapping[str, Points]
        place = np.arange(1, int(np.prod(self.sizes)) + 1).reshape(*points, count)
        if count == 1:
            times = needs(system, self.length, lambda *_: place[..., 0], len(points))
            ahead = times[system.output] - place[..., 0]
            known = {name: time[..., None] for name, time in times.items()}
        else:
            given = np.empty((*points, system[system.inputs[0]].channels), np.int64)
            for symbol, channels in enumerate(self.inputs):
                given[..., channels] = place[..., symbol : symbol + 1]
            known = channel_times(system, self.length, given)
            drawn_from = [known[system.output][..., channels].max(axis=-1) for channels in self.outputs]
            ahead = np.stack(drawn_from, -1) - place
        if int(ahead.max()) > 0:
            at = np.unravel_index(int(ahead.argmax()), ahead.shape)
            raise NotCausal(
                f"the output at {tuple(map(int, at))} rests on an input {int(ahead.max())} positions later: "
                "nothing can be drawn from it"
            )
        return int(ahead.max() < 0), self._due(known)

    def _due(self, known: Mapping[str, Points]) -> Due:
        """Return what is due after each number of symbols: channels that are known together are computed together."""
        due: Due = defaultdict(list)
        for group in circles(self.system.variables):
            for variable, points in self._points(group, known):
                times = known[variable.name][tuple(points.T)]
                columns, kind = times[:, :1], np.zeros(times.shape[1], np.int64)
                if (times != columns).any():
                    columns, kind = np.unique(times, axis=1, return_inverse=True)
                for k, time in enumerate(columns.T):
                    channels = np.flatnonzero(kind.reshape(-1) == k) if columns.shape[1] > 1 else None
                    order = np.argsort(time, kind="stable")
                    values, starts = np.unique(time[order], return_index=True)
                    for value, part in zip(values, np.split(points[order], starts[1:]), strict=True):
                        due[int(value)].append((variable, part, channels))
        return due

    def _points(self, group: list[ir.Variable], known: Mapping[str, Points]) -> Iterator[tuple[ir.Variable, Points]]:
        """Return all points of a group of variables: one by one, where they rest on each other."""
        every = [(v, np.argwhere(np.ones(known[v.name].shape[:-1], bool)).astype(np.int64)) for v in group]
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
        self.order = order
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

    def logits(self, symbol: Points) -> Tensor:
        """Return what the output says at the place of a symbol, (batch, channels)."""
        inside = self.order.source.inside is not None
        found = self.read(self.system.output, (symbol[:-1] if inside else symbol)[None])[0]
        return found[:, torch.from_numpy(self.order.outputs[symbol[-1]])] if inside else found

    def give(self, symbol: Points, values: Tensor) -> None:
        """Store what the model reads of a symbol, (batch, channels)."""
        name = self.system.inputs[0]
        if self.order.source.inside is None:
            self.write(name, symbol[None], values[None])
        else:
            self._write_some(name, symbol[None, :-1], values[None], self.order.inputs[symbol[-1]])

    def _write_some(self, name: str, points: Points, values: Tensor, channels: Channels) -> None:
        """Store values of some channels; the others stay as they are, so that nothing is read before it is known."""
        rows, own = self.read(name, points).to(values.dtype), torch.from_numpy(channels)
        rows[..., own] = values
        self.write(name, points, rows)

    @torch.no_grad()
    def after(self, symbols: int) -> None:
        """Compute what so many symbols decide."""
        for variable, points, channels in self._due.get(symbols, ()):
            if isinstance(variable.equation, ir.Input):
                continue
            values = self._value(variable.equation, points)
            if channels is None:
                self.write(variable.name, points, values)
            else:
                self._write_some(variable.name, points, values[..., torch.from_numpy(channels)], channels)
