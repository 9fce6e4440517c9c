"""The processes that train one model together: which of them this is, what they agree on, and what they add up.

Each takes its share of every batch, and the gradients are summed, so that a step is that of one process up to rounding.
One of them, the first, leads: it reads the clock and writes the run folder, and the others hear what it decided.

``torchrun``, or ``accelerate launch`` on several accelerators, starts them; alone, nothing is sent and nothing changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from leadline.data import Batch
from leadline.errors import LeadlineError, needing
from leadline.training.randomness import seed_everything

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """The `rank` of this process among `count`.

    Examples
    --------
    >>> alone = Processes()
    >>> alone.leads, alone.agreed(lambda: 3)
    (True, 3)
    """

    rank: int = 0
    count: int = 1

    @classmethod
    def here(cls, device: str | None = None) -> Processes:
        """Return those that a launcher has started, connected with each other; this one alone without a launcher."""
        if not torch.distributed.is_available() or not _launched():
            return cls()
        with needing("train", "training"):
            from accelerate import PartialState
        # On a CPU accelerate connects processes only where it is told that they run there.
        bare = device is None and not torch.accelerator.is_available()
        state = PartialState(cpu=device == "cpu" or bare)
        return cls(state.process_index, state.num_processes)

    @property
    def leads(self) -> bool:
        """Whether this is the one that reads the clock and writes files."""
        return self.rank == 0

    def agreed(self, work: Callable[[], T]) -> T:
        """Return what `work` returns, or raise what it raises, in the process that leads; the others do not run it."""
        if self.count == 1:
            return work()
        from accelerate.utils import broadcast_object_list

        box: list[object] = [None, None]
        if self.leads:
            try:
                box[0] = work()
            except LeadlineError as error:
                box[1] = error
        broadcast_object_list(box)
        if isinstance(box[1], LeadlineError):
            raise box[1]
        return box[0]  # type: ignore[return-value]

    def share(self, parts: Iterable[Batch]) -> list[Batch]:
        """Return this process's part of the parts of a batch."""
        return list(parts)[self.rank :: self.count]

    def summed(self, *values: Tensor) -> Sequence[Tensor]:
        """Return the sums over all processes, in one message for each dtype."""
        if self.count == 1:
            return values
        from accelerate.utils import reduce

        found = list(values)
        for dtype in {value.dtype for value in values}:
            places = [place for place, value in enumerate(values) if value.dtype == dtype]
            flat = reduce(torch.cat([values[place].flatten() for place in places]), "sum")
            pieces = flat.split([values[place].numel() for place in places])
            for place, piece in zip(places, pieces, strict=True):
                found[place] = piece.view_as(values[place])
        return found

    def added(self, numbers: Mapping[Any, float]) -> dict[Any, float]:
        """Return the sums of numbers by name over all processes, some of which may lack some."""
        if self.count == 1:
            return dict(numbers)
        from accelerate.utils import gather_object

        total: dict[Any, float] = {}
        for part in gather_object([dict(numbers)]):
            total |= {name: total.get(name, 0.0) + number for name, number in part.items()}
        return total

    @torch.no_grad()
    def sum_gradients(self, model: nn.Module, loss: Tensor) -> Tensor:
        """Add up the gradients of all shares of a batch, in place, and return the sum of their losses.

        What layers keep of their inputs (the statistics of batch norm) becomes the mean over processes.
        """
        if self.count == 1:
            return loss
        trained = [p for p in model.parameters() if p.requires_grad]
        kept = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
        total, *sums = self.summed(loss, *gradients, *kept)
        for parameter, gradient in zip(trained, sums, strict=False):
            parameter.grad = gradient
        for buffer, value in zip(kept, sums[len(trained) :], strict=True):
            buffer.copy_(value / self.count)
        return total

    def seed(self, seed: int, step: int) -> None:
        """Let every process draw numbers of its own (dropout), of each step anew, however many go on with the run."""
        if self.count > 1:
            seed_everything(hash((seed, step, self.rank)) % 2**32)


ALONE = Processes()


def _launched() -> bool:
    """Say whether a launcher has told this process of others."""
    import os

    return int(os.environ.get("WORLD_SIZE", "1")) > 1
