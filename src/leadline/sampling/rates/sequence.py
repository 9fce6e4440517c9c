"""One sequence of a stream in frames: how far it is, and what may come next."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from leadline.errors import UsageError
from leadline.recurrence.rates.ir import RatedSystem
from leadline.sampling.rates.compiled import CompiledFrames
from leadline.sampling.rates.early import Early
from leadline.sampling.rates.machine import RatedMachine
from leadline.sampling.rates.source import RatedSource


class Sequence:
    """A sequence that `step` goes on with."""

    def __init__(self, source: RatedSource, machine: RatedMachine | CompiledFrames | Early) -> None:
        self.source, self.system, self.machine = source, source.system, machine
        self.points = dict.fromkeys(source.system.inputs, 0)
        self.lost = False

    def go_on(self, given: Mapping[str, Tensor]) -> Tensor:
        """Take the next points of the inputs, and return the outputs that are known now."""
        if self.lost:
            raise UsageError("an error has ended this sequence midway: begin another one with reset()")
        names = list(given)
        known = self.machine.known + given[names[0]].shape[0]
        for name in names[1:]:
            points, rate = self.points[name] + given[name].shape[0], self.system.rates[name][0]
            if points != int(rate * known):
                raise UsageError(
                    f"{known} positions of {names[0]} go with {int(rate * known)} of {name}, and {points} were given"
                )
        self.lost = True  # unless the machine comes through
        found = self.machine.feed(given, known)
        self.points = {name: self.points[name] + rows.shape[0] for name, rows in given.items()}
        self.lost = False
        return found

    def refuse_beyond(self, length: int) -> None:
        """Refuse positions that are not known to have these equations."""
        frame = self.system.frame[0]
        if length > self.system.sizes[0] and not self.source.goes_on(-(-length // frame) * frame):
            raise UsageError(
                f"this stream holds {self.system.sizes[0]} positions and {length} are asked for: attention, positional "
                "tables, and models that change with their length need `reset(length=...)` with the whole length"
            )

    def finish(self) -> Tensor:
        """End the sequence, and return what waited for it."""
        known, frame = self.machine.known, self.system.frame[0]
        if known % frame and not isinstance(self.machine, Early):
            raise UsageError(f"the sequence ends within a frame: {known} positions are no multiple of {frame}")
        if not self.source.goes_on(-(-known // frame) * frame):
            raise UsageError(
                f"the model is not the same at {known} positions as at the {self.system.sizes[0]} of this sequence: "
                f"say reset(length={known}) before it begins"
            )
        return self.machine.finish()


def on_torch(source: RatedSource, batch: int) -> RatedMachine:
    """Return a machine of tensors for a new sequence."""
    return RatedMachine(source.system, batch, source.dtype)


def between(system: RatedSystem, given: Mapping[str, Tensor], start: int, stop: int) -> dict[str, Tensor]:
    """Return what belongs to some positions of all inputs."""
    rates = {name: system.rates[name][0] for name in given}
    return {name: rows[int(rates[name] * start) : int(rates[name] * stop)] for name, rows in given.items()}
