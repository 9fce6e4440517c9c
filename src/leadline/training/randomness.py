"""The random states of a process, that a user's model may draw from: seeded, written down, read back, put back."""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leadline.errors import CheckpointError
from leadline.training.records import RandomRecord


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


def restore_random(tensors: Mapping[str, Tensor], held: RandomRecord) -> None:
    """Go back to what `random_tensors` and `random_record` gave; raises `CheckpointError` for anything else."""
    try:
        torch.set_rng_state(tensors["torch"])
        if "cuda" in tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(tensors["cuda"])
        version, words, gauss = held.python
        random.setstate((version, tuple(words), gauss))
        words_of_numpy = {"key": np.array(held.numpy.state.key, np.uint32), "pos": held.numpy.state.pos}
        numpy = {"bit_generator": "MT19937", "state": words_of_numpy}
        np.random.set_state(numpy | {"has_gauss": held.numpy.has_gauss, "gauss": held.numpy.gauss})  # noqa: NPY002
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(f"the checkpoint's random states are damaged: {error}") from error


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
