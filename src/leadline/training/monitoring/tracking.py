"""Where a run's numbers go while it runs: its own log, and the trackers that accelerate knows."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leadline.errors import UsageError

if TYPE_CHECKING:
    from accelerate import Accelerator

    from leadline.training.config import TrainConfig

Trackers = Sequence[Any]
"""Names of trackers, or accelerate's own objects for them."""


def tracking(trackers: Trackers, run: Path | None) -> dict[str, Any]:
    """Return what an `Accelerator` is told of trackers; raises `UsageError` where one cannot be had."""
    if not trackers:
        return {}
    from accelerate.tracking import filter_trackers

    folder = None if run is None else str(run.with_name(f"{run.name}-trackers"))
    for tracker in trackers:
        try:
            found = filter_trackers([tracker], folder)
        except ValueError as error:
            raise UsageError(f"accelerate knows no tracker {tracker!r}: {str(error).splitlines()[0]}") from error
        if not found:
            raise UsageError(f"the tracker {tracker!r} is not installed: pip install {tracker}")
    return {"log_with": list(trackers), "project_dir": folder}


@contextmanager
def tracked(accelerator: Accelerator, run: Path, config: TrainConfig) -> Iterator[None]:
    """Begin what the accelerator's trackers keep of a run, and end it."""
    if accelerator.log_with:
        known = {key: value for key, value in config.as_dict().items() if value is not None}
        accelerator.init_trackers(run.name, config=known)
    try:
        yield
    finally:
        for tracker in accelerator.trackers:
            tracker.finish()


def line_of(values: Mapping[str, Any]) -> bytes:
    r"""Return a line of ``metrics.jsonl``; what is not finite has no number there.

    Examples
    --------
    >>> line_of({"step": 3, "train": math.inf})
    b'{"step": 3, "train": null}\n'
    """
    plain = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
    return json.dumps(plain).encode() + b"\n"
