"""The random states of a process, that a user's model may draw from: seeded, written down, read back, put back."""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leadline.errors import CheckpointError

_NUMPY_WORDS = 624


def seed_everything(seed: int) -> None:
    """Seed torch, Python's `random` and numpy's global generator: a user's model may draw from any of them."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002


def random_tensors() -> dict[str, Tensor]:
    """Return the states of torch's generators."""
    cuda = {"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {}
    return {"torch": torch.get_rng_state(), **cuda}


def random_record() -> dict[str, Any]:
    """Return the states of the other generators, as JSON can hold them."""
    state: Any = np.random.get_state(legacy=False)  # noqa: NPY002
    words = {"key": state["state"]["key"].tolist(), "pos": int(state["state"]["pos"])}
    gauss = {"has_gauss": int(state["has_gauss"]), "gauss": float(state["gauss"])}
    return {"python": random.getstate(), "numpy": {"bit_generator": state["bit_generator"], "state": words, **gauss}}


def restore_random(tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
    """Go back to what `random_tensors` and `random_record` gave; raises `CheckpointError` for anything else."""
    try:
        torch.set_rng_state(tensors["torch"])
        if "cuda" in tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(tensors["cuda"])
        version, words, gauss = record["python"]
        random.setstate((version, tuple(words), gauss))
        inner = record["numpy"]["state"]
        if len(inner["key"]) != _NUMPY_WORDS or not 0 <= inner["pos"] <= _NUMPY_WORDS:  # numpy does not look
            raise ValueError("numpy's state is of another size")
        np.random.set_state(record["numpy"])  # noqa: NPY002
    except (KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise CheckpointError(f"the checkpoint's random states cannot be restored: {error}") from error


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
