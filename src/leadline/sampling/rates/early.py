"""Outputs that come with their own positions, not with the frames in which a model computes them.

Recurrences that are computed in chunks make all positions of a chunk at once, of all of its inputs, though each output
rests on no later one. What is not there yet of a frame is filled with zeros, on which no output that is given rests,
and the frame is computed on a copy of the state; once it is whole, it is computed for good.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from leadline.sampling.rates.compiled import CompiledFrames
from leadline.sampling.rates.machine import RatedMachine

if TYPE_CHECKING:
    from leadline.recurrence.rates.ir import RatedSystem
    from leadline.sampling.plan import Points
    from leadline.sampling.rates.sequence import Sequence


class Early:
    """Runs a sequence in frames on a machine, and gives an output for every position that is known."""

    def __init__(self, machine: RatedMachine | CompiledFrames, system: RatedSystem) -> None:
        self.machine, self.system, self.batch = machine, system, machine.batch
        self.frame = system.frame[0]
        self._settled, self._given = 0, 0
        self.like: Mapping[str, Tensor] = {}

    @property
    def known(self) -> int:
        """Positions so far."""
        return self.machine.known

    @property
    def state_bytes(self) -> int:
        """Bytes that are kept, for one sample."""
        return self.machine.state_bytes

    def feed(self, values: Mapping[str, Tensor], known: int) -> Tensor:
        """Take the next positions of the inputs, and return their outputs."""
        found = self.machine.feed(values, known)
        found, self._settled = found[self._given - self._settled :], self._settled + len(found)
        self._given = max(self._given, self._settled)
        self.like = {name: part for name, part in values.items() if len(part)} or self.like
        if self._given < known:
            found = torch.cat([found, self._foreseen(known)[self._given - self._settled : known - self._settled]])
            self._given = known
        return found

    def next_output(self) -> Tensor:
        """Return the output at the position after the last known one, where that rests on earlier ones alone."""
        return self._foreseen(self.known + 1)[self.known - self._settled]

    def _foreseen(self, length: int) -> Tensor:
        """Return the outputs that are not settled, of a sequence that goes on with zeros to whole frames."""
        stop = -(-length // self.frame) * self.frame
        blank = {name: torch.zeros(stop - self.known, *part.shape[1:], dtype=part.dtype)
                 for name, part in self.like.items()}  # fmt: skip
        return self.machine.copy().feed(blank, stop)

    def finish(self) -> Tensor:
        """End the sequence, anywhere within a frame: no output waits for more."""
        whole = self.machine.known % self.frame == 0
        found = self.machine.finish() if whole else self._foreseen(self.known)[: self.known - self._settled]
        return found[self._given - self._settled :]


class Drawn:
    """A sequence of symbols that are drawn one after the other, as `Picture` is of a grid."""

    def __init__(self, sequence: Sequence, lag: int, like: Tensor) -> None:
        assert isinstance(sequence.machine, Early), "symbols are drawn one by one where outputs come so"
        self.sequence, self.machine, self.system = sequence, sequence.machine, sequence.system
        self.lag = min(lag, 1)
        self._last = torch.zeros(0)
        self.machine.like = dict.fromkeys(self.system.inputs, like)

    def after(self, _: int) -> None:
        """Compute what so many symbols decide: the next output, where it rests on earlier symbols alone."""
        if self.lag:
            self._last = self.machine.next_output()

    def logits(self, _: Points) -> Tensor:
        """Return the output that was computed last, (batch, channels)."""
        return self._last

    def give(self, _: Points, values: Tensor) -> None:
        """Go on with a symbol."""
        found = self.sequence.go_on({self.system.inputs[0]: values[None]})
        if not self.lag:
            self._last = found[-1]
