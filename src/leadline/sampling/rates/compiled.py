"""Frames on a uniform plan: each sample of a frame is a variable, so that the compiled path runs them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from leadline.errors import LeadlineError, needing
from leadline.recurrence.analysis.schedule import Schedule, delays, raster
from leadline.recurrence.ir import System
from leadline.recurrence.rates.unrolled import GIVEN, by_frame
from leadline.sampling.fusion import fused
from leadline.sampling.plan import Plan
from leadline.sampling.rates.source import RatedSource

if TYPE_CHECKING:
    from leadline.sampling.compiled.machine import NumbaMachine


@dataclass(frozen=True, eq=False)
class FramePlan:
    """How the frames of a source are computed by the compiled path; `refusal` says why they are not."""

    source: RatedSource

    @cached_property
    def system(self) -> System:
        """The uniform equations of a frame."""
        return by_frame(self.source.system, self.delay)

    @cached_property
    def delay(self) -> int:
        """Frames that outputs wait for: where paddings mirror the first ones, as if they did everywhere."""
        system = by_frame(self.source.system)
        return max(0, delays(system, (1,))[system.output])

    @cached_property
    def refusal(self) -> str:
        """Why there is no compiled stream; nothing where there is one."""
        try:
            self.machine(1)
        except LeadlineError as error:
            return str(error)
        return ""

    @cached_property
    def _plan(self) -> Plan:
        system = self.system
        schedule = raster(system, 0)
        system = fused(system)
        schedule = Schedule(system, system.sizes, schedule.slope, delays(system, schedule.slope))
        frame, source = self.source.system.frame[0], self.source
        bound = source.bound_to_length
        return Plan(schedule, system.sizes[0], None if bound else lambda length: source.goes_on(length * frame))

    def machine(self, batch: int, ended: int | None = None) -> NumbaMachine:
        """Return a machine for a new sequence, or for one that has `ended` after so many frames, to go on there."""
        with needing("fast", 'backend="numba"'):
            from leadline.sampling.compiled.machine import NumbaMachine
        plan = self._plan
        if ended is not None:
            sizes = (ended + self.delay,)
            plan = EndedPlan(replace(plan.schedule, sizes=sizes), plan.capacity, None, before=plan)
        return NumbaMachine(plan, batch, self.source.dtype)


@dataclass(frozen=True, eq=False)
class EndedPlan(Plan):
    """The plan of a sequence that has ended, whose state is that of the plan `before`."""

    before: Plan | None = None

    @property
    def slots(self) -> Mapping[str, int]:
        """How many points of every variable are kept."""
        assert self.before is not None
        return self.before.slots


class CompiledFrames:
    """Runs a sequence frame by frame; positions that make no whole frame yet wait for the rest of it."""

    def __init__(self, plan: FramePlan, batch: int) -> None:
        self.plan, self.batch, self.known = plan, batch, 0
        self._machine = plan.machine(batch)
        self._frames = 0
        self._rest: dict[str, Tensor] = {}
        self._spare: CompiledFrames | None = None

    def copy(self) -> CompiledFrames:
        """Return what goes on from the same state by itself, until the next copy is asked for."""
        if self._spare is None:
            self._spare = CompiledFrames(self.plan, self.batch)
        other = self._spare
        other.known, other._frames, other._rest = self.known, self._frames, dict(self._rest)
        other._machine.go_on_from(self._machine)
        return other

    @property
    def state_bytes(self) -> int:
        """Bytes of all rings, for one sample."""
        return self._machine.state_bytes

    def feed(self, values: Mapping[str, Tensor], known: int) -> Tensor:
        """Take the next positions of the input, and return the outputs of the frames that are whole now."""
        system, frame = self.plan.source.system, self.plan.source.system.frame[0]
        whole = known // frame - self._frames
        framed = []
        for name, new in values.items():
            rows = torch.cat([self._rest[name], new]) if name in self._rest else new
            per = int(system.rates[name][0] * frame)
            framed.append(rows[: whole * per].unflatten(0, (whole, per)).transpose(1, 2).flatten(2))
            self._rest[name] = rows[whole * per :]
        self.known = known
        if not whole:
            return self._nothing()
        together = (
            framed[0] if len(framed) == 1 else torch.cat([part.to(self.plan.source.dtype) for part in framed], -1)
        )
        return self._fed(together.contiguous())

    def _fed(self, frames: Tensor) -> Tensor:
        """Run frames, and return the outputs at their samples, but for those of before the first frame."""
        system = self.plan.source.system
        found = self._machine.feed(frames, self._frames)
        found = found[max(0, self.plan.delay - self._frames) :]
        self._frames += len(frames)
        per, channels = int(system.rates[system.output][0] * system.frame[0]), system[system.output].channels
        outputs: Tensor = found.unflatten(-1, (per, channels)).transpose(1, 2).flatten(0, 1)
        return outputs

    def finish(self) -> Tensor:
        """End the sequence, and return the outputs that waited for it."""
        if not self.plan.delay:
            return self._nothing()
        machine = self.plan.machine(self.batch, ended=self._frames)
        machine.go_on_from(self._machine)
        self._machine = machine
        width, dtype = self.plan.system[GIVEN].channels, self.plan.source.dtype
        return self._fed(torch.zeros(self.plan.delay, self.batch, width, dtype=dtype))

    def _nothing(self) -> Tensor:
        system = self.plan.source.system
        return torch.zeros(0, self.batch, system[system.output].channels, dtype=self.plan.source.dtype)
