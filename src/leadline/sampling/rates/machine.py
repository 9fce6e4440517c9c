"""The machine that runs equations of several rates on tensors: whatever can be computed so far, block by block."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from leadline.recurrence import ir
from leadline.recurrence.rates.ir import RatedSystem, RatedTap, RowTap, points_of, way
from leadline.recurrence.rates.order import circles
from leadline.recurrence.scores import Attention
from leadline.sampling.attending import attend
from leadline.sampling.machine import TorchMachine
from leadline.sampling.plan import ENDLESS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from leadline.sampling.plan import Points


class RatedEquations(TorchMachine):
    """Evaluates the equations of a system of several rates at any points, from values that `read` knows."""

    ends: Mapping[str, tuple[int, ...]]

    def __init__(self, system: RatedSystem, batch: int, dtype: torch.dtype) -> None:
        self.system, self.batch, self.dtype = system, batch, dtype
        self._channels = {id(tap): torch.tensor(tap.channels) for v in system.variables for tap in v.equation.taps}
        every = {id(tap): np.arange(system[tap.source].channels) for v in system.variables for tap in v.equation.taps}
        self._whole = {key for key, channels in self._channels.items() if np.array_equal(channels.numpy(), every[key])}

    def _tap(self, tap: ir.Tap, points: Points) -> Tensor:
        """Read a tap at points: (points, batch, channels of the tap), its fill beyond the source's range."""
        ends, samples = self.ends[tap.source], []
        if isinstance(tap, RowTap):
            return self._filled(tap, *tap.places(points, ends))
        for axis, end in enumerate(ends):
            samples.append(way(tap, axis).sample(points[:, axis], end))
        phases = np.array([way(tap, axis).phases for axis in range(len(ends))])
        sample = np.stack(samples, 1)
        place = sample // phases
        inside = ((place >= 0) & (place < np.array(ends))).all(axis=1)
        number = None
        if isinstance(tap, RatedTap) and phases.prod() > 1:
            number = np.ravel_multi_index(tuple((sample % phases).T), tuple(phases))
        return self._filled(tap, place, inside, number)

    def _filled(
        self, tap: ir.Tap, place: Points, inside: NDArray[np.bool_], number: NDArray[np.int64] | None = None
    ) -> Tensor:
        """Read points of a tap's source, or samples of these by their `number`; its fill where there is none."""
        values = self.read(tap.source, np.where(inside[:, None], place, self._some(tap.source)))
        if number is not None:
            phases = np.array(tap.phases if isinstance(tap, RatedTap) else 1)
            by_phase = self._channels[id(tap)].reshape(int(phases.prod()), -1)[torch.from_numpy(number)]
            values = values.gather(-1, by_phase.unsqueeze(1).expand(-1, self.batch, -1))
        elif id(tap) not in self._whole:
            values = values[..., self._channels[id(tap)]]
        if not inside.all():
            values[torch.from_numpy(~inside)] = tap.fill
        return values

    def _some(self, name: str) -> Any:
        """Return a point of a variable that can be read."""
        return np.zeros(len(self.ends[name]), np.int64)

    def _value(self, equation: ir.Equation, points: Points) -> Tensor:
        if isinstance(equation, Attention):  # which is written for one position
            return torch.cat([self._attended(equation, point) for point in points])
        return super()._value(equation, points)

    def _attended(self, equation: Attention, point: NDArray[np.int64]) -> Tensor:
        """Return what attention gives at a point; on a grid all points before it, row after row, are its keys."""
        ends = self.ends[equation.taps[0].source]
        if len(ends) == 1:
            return attend(equation, point[None], self._tap)
        number = int(np.ravel_multi_index(tuple(point[1:]), ends[1:])) + int(point[0]) * math.prod(ends[1:])
        rows = np.array([[number]])
        return attend(equation, rows, lambda tap, keys: self._tap(tap, points_of(keys[:, 0], ends)))


class RatedMachine(RatedEquations):
    """Runs a sequence along the slowest axis: of every variable it keeps the rows that are still read.

    Inputs come in pieces of any length; after each the rows of every variable that can be computed are.
    """

    def __init__(self, system: RatedSystem, batch: int, dtype: torch.dtype) -> None:
        super().__init__(system, batch, dtype)
        self.known = 0  # positions of the first input so far
        self.over = False
        self._rows: dict[str, Tensor] = {}
        self._first = dict.fromkeys(system.named, 0)
        self.done = dict.fromkeys(system.named, 0)
        self._given = 0
        self._readers: dict[str, list[tuple[str, ir.Tap]]] = {name: [] for name in system.named}
        for v in system.variables:
            for tap in v.equation.taps:
                self._readers[tap.source].append((v.name, tap))
        self._groups = circles(system.variables)
        self._set_ends()

    def _set_ends(self) -> None:
        finished = {name: self.system.range(name, self.known) for name in self.system.named}
        self.sure = {name: end[0] for name, end in finished.items()}
        self.ends = finished if self.over else {name: (ENDLESS, *end[1:]) for name, end in finished.items()}

    def copy(self) -> RatedMachine:
        """Return a machine in the same state, which goes on by itself: rows are put together anew, never changed."""
        other = copy.copy(self)
        other._rows, other._first, other.done = dict(self._rows), dict(self._first), dict(self.done)
        return other

    @property
    def state_bytes(self) -> int:
        """Bytes of all rows that are kept, for one sample."""
        return sum(rows.numel() * rows.element_size() for rows in self._rows.values()) // self.batch

    def read(self, name: str, points: Points) -> Tensor:
        """Return values of shape (points, batch, channels)."""
        rows = self._rows.get(name)
        if rows is None or not len(rows):  # none was ever computed: all that is read lies beyond the ends
            return torch.zeros(len(points), self.batch, self.system[name].channels, dtype=self.dtype)
        return rows[(torch.from_numpy(points[:, 0] - self._first[name]), *map(torch.from_numpy, points[:, 1:].T))]

    def _some(self, name: str) -> Any:
        return np.array([self._first[name], *[0] * (len(self.system.axes) - 1)])

    @torch.no_grad()
    def feed(self, values: Mapping[str, Tensor], known: int) -> Tensor:  # type: ignore[override]
        """Take the next values of the inputs, shape (*positions, batch, channels), and return the outputs now known."""
        for name, rows in values.items():
            self._append(name, rows)
        self.known = known
        return self._went_on()

    @torch.no_grad()
    def finish(self) -> Tensor:
        """End the sequence, and return the outputs that rested on its end."""
        self.over = True
        return self._went_on()

    def _went_on(self) -> Tensor:
        self._set_ends()
        for group in self._groups:
            self._compute(group)
        system, output = self.system, self.system.output
        last = min(self.done[output], self.sure[output])
        points = self._points(output, self._given, last)
        shape = last - self._given, *self.ends[output][1:], self.batch, system[output].channels
        found = self.read(output, points).reshape(shape)
        self._given = last
        self._forget(system)
        return found.to(self.dtype)

    def _append(self, name: str, rows: Tensor) -> None:
        old = self._rows.get(name)
        self._rows[name] = rows if old is None else torch.cat([old, rows])
        self.done[name] += len(rows)

    def _points(self, name: str, start: int, stop: int) -> Points:
        widths = self.ends[name][1:]
        points: Points = np.argwhere(np.ones((max(0, stop - start), *widths), bool)).astype(np.int64)
        points[:, 0] += start
        return points

    def _ready(self, variable: ir.Variable) -> int:
        """Return how many rows of a variable can be computed by now, and are sure to be rows of it."""
        ready = self.sure[variable.name]
        for tap in variable.equation.taps:
            if not (self.over and self.done[tap.source] >= self.sure[tap.source]):
                ready = min(ready, way(tap, 0).ready(self.done[tap.source]))
        return ready

    def _compute(self, group: Sequence[ir.Variable]) -> None:
        """Compute what is new of some variables; row by row, where they rest on each other, or one on itself."""
        if len(group) == 1 and all(tap.source != group[0].name for tap in group[0].equation.taps):
            self._extend(group[0], self._ready(group[0]))
            return
        moved = True
        while moved:
            moved = False
            for variable in group:
                if self.done[variable.name] < self._ready(variable):
                    self._extend(variable, self.done[variable.name] + 1)
                    moved = True

    def _extend(self, variable: ir.Variable, stop: int) -> None:
        name, start = variable.name, self.done[variable.name]
        if isinstance(variable.equation, ir.Input) or stop <= start:
            return
        points = self._points(name, start, stop)
        values = self._value(variable.equation, points)
        self._append(name, values.reshape(stop - start, *self.ends[name][1:], self.batch, variable.channels))

    def _forget(self, system: RatedSystem) -> None:
        """Drop the rows that nothing reads any more."""
        for name, readers in self._readers.items():
            kept = [self._oldest(system[reader].equation, tap, self.done[reader]) for reader, tap in readers]
            first = min([*kept, *([self._given] if name == system.output else [])], default=self.done[name])
            first = min(first, self.done[name])
            if first > self._first[name]:
                self._rows[name] = self._rows[name][first - self._first[name] :].clone()
                self._first[name] = first

    def _oldest(self, equation: ir.Equation, tap: ir.Tap, done: int) -> int:
        if isinstance(equation, Attention) and any(at_keys and tap is read for read, at_keys in equation.read):
            return 0 if equation.window is None or len(self.system.axes) > 1 else max(0, done - equation.window + 1)
        return way(tap, 0).oldest(done)
