"""Training batches made by threads, ahead of the steps that take them."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from types import TracebackType

import torch

from leadline.data.batches import Batch, TrainingBatches

Wanted = tuple[int, float]
"""The number of a batch, and the strength of its augmentations."""


class BatchesAhead:
    """The same batches as `TrainingBatches.at` returns, those that come next made meanwhile by so many `workers`.

    A batch depends on its number, strength and seed alone, so that threads change none, whichever is ready first. What
    was made ahead for a strength that is no longer asked for, since a schedule was planned anew, is made again.

    Examples
    --------
    >>> from leadline.data import load
    >>> plain = TrainingBatches(load("digits"), size=4, seed=1)
    >>> with BatchesAhead(plain, workers=2) as ahead:
    ...     torch.equal(ahead.at((3, 1.0), coming=[(4, 1.0)]).x, plain.at(3).x)
    True
    """

    def __init__(self, batches: TrainingBatches, workers: int = 0) -> None:
        self.batches, self.workers = batches, workers
        self._made: dict[Wanted, Future[Batch]] = {}
        # Sums over several threads are rounded as many threads round them: each worker counts on as many as we do.
        begin = partial(torch.set_num_threads, torch.get_num_threads())
        self._pool = ThreadPoolExecutor(workers, "leadline-batches", begin) if workers else None

    def at(self, wanted: Wanted, coming: Iterable[Wanted] = ()) -> Batch:
        """Return a batch, and let those that are `coming` be made."""
        if self._pool is None:
            return self.batches.at(*wanted)
        future = self._made.pop(wanted, None)
        known, self._made = self._made, {}
        for other in coming:
            self._made[other] = known.pop(other) if other in known else self._pool.submit(self.batches.at, *other)
        for stale in known.values():
            stale.cancel()
        return self.batches.at(*wanted) if future is None else future.result()

    def close(self) -> None:
        """End the threads, when they have made what they are at."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> BatchesAhead:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
