"""Where cells are worked on: in this process, on workers of its own, or on those of a scheduler somewhere else."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from leadline.errors import UsageError, needing
from leadline.sweeps.cells import SweepFolder
from leadline.sweeps.grid import Cell
from leadline.sweeps.work import work

Done = Callable[[], None]

_ALLOWED_FAILURES = 20
"""A cell whose worker died so often is not tried again before the next call."""


def require_packages(*, spread: bool) -> None:
    """Refuse to begin without what writes the table or, for work that is `spread`, hands it out (`UsageError`)."""
    for name in ("pyarrow", *(("distributed",) if spread else ())):
        with needing("sweep", "a sweep"):
            import_module(name)


def from_anywhere(model: str) -> str:
    """Return a model's name as workers in other folders understand it."""
    file, colon, name = model.rpartition(":")
    return f"{os.path.abspath(file)}:{name}" if colon and file.endswith(".py") else model


def work_here(cells: Sequence[Cell], folder: Path, done: Done) -> None:
    """Work on cells one after another."""
    for cell in cells:
        work(cell, from_anywhere(cell.model), folder)
        done()


def work_on_dask(
    cells: Sequence[Cell], folder: Path, done: Done, *, workers: int | None, scheduler: str | None
) -> None:
    """Work on cells by Dask: on `workers` processes of one thread, or on those that a scheduler has.

    A cell whose worker died is given to another one. All workers write into the folder, which they must see.
    """
    with _quiet():
        import dask
        from distributed import as_completed

    patient = dask.config.set({"distributed.scheduler.allowed-failures": _ALLOWED_FAILURES})
    with _quiet(), patient, _client(workers, scheduler) as client:
        futures = {
            client.submit(work, cell, from_anywhere(cell.model), folder, key=f"leadline-{cell.key}", pure=True): cell
            for cell in cells
        }
        try:
            for future in as_completed(list(futures), loop=client.loop):
                _settle(future, futures.pop(future), SweepFolder(folder))
                done()
        finally:
            client.cancel(list(futures))


def _settle(future: Any, cell: Cell, where: SweepFolder) -> None:
    """Note down a cell that its workers did not live to write, and refuse to go on where no file arrived."""
    if future.status == "error":
        error = future.exception()
        if type(error).__name__ != "KilledWorker":
            raise error
        if not where.finished(cell.key):
            where.save(cell, {}, f"every worker died that took this cell: {str(error).splitlines()[0]}")
    elif where.record(cell.key) is None:
        raise UsageError(f"the workers do not see {where.path}: give a folder that all machines share")
    future.release()


@contextmanager
def _client(workers: int | None, scheduler: str | None) -> Iterator[Any]:
    from distributed import Client, LocalCluster, WorkerPlugin

    class Steadfast(WorkerPlugin):  # type: ignore[misc,unused-ignore]
        """Leaves Ctrl-C, which reaches every process of a terminal, to the one that started the workers."""

        def setup(self, worker: Any) -> None:  # noqa: ARG002
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    if scheduler is not None:
        try:
            client = Client(scheduler, timeout=30, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            raise UsageError(f"no scheduler answers at {scheduler}: start one with `dask scheduler`") from error
        with client:
            yield client
        return
    how: dict[str, Any] = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": None}
    with (
        LocalCluster(**how, processes=True, silence_logs=logging.CRITICAL) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.register_plugin(Steadfast())
        yield client


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what Dask says of workers that come and go."""
    loggers = [logging.getLogger(name) for name in ("distributed", "tornado", "asyncio")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
