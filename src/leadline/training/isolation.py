"""Random states and the number of threads, set for training and put back afterwards."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed torch, Python's `random` and numpy's global generator: a user's model may draw from any of them."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002


@contextmanager
def isolated(threads: int | None) -> Iterator[None]:
    """Use `threads` CPU threads inside (None: as before), and leave threads and random states as they were."""
    before = torch.get_num_threads()
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    torch.set_num_threads(threads or before)
    try:
        with torch.random.fork_rng():
            yield
    finally:
        torch.set_num_threads(before)
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
