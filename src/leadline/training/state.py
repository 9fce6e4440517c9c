"""What training changes: weights, their average, the best average so far, the optimiser, and the random states."""

import copy
import json
import math
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from leadline.errors import CheckpointError
from leadline.files.reading import as_record
from leadline.training.records import StateRecord
from leadline.training.restoring import load_weights, part, refuse_other_weights, restore_optimizer, restore_random

_PLAIN = ("step", "best_step", "validated", "seconds")


@dataclass
class TrainingState:
    """All that a checkpoint holds; `tensors` and `record` write it down, `restore` reads it back.

    `averaged` is a second module that carries the moving average of the weights of `model`; `best` are the averaged
    weights of the best validation so far, with its value in bits per dimension and its step. `step` counts the steps
    done, which gives the position in the data; `validated` is that of the last validation, `seconds` the wall time over
    all resumptions.
    """

    model: nn.Module
    averaged: nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)
    best_bits: float = math.inf
    best_step: int = 0
    validated: int = -1
    seconds: float = 0.0

    def average(self, decay: float) -> None:
        """Move the average towards the weights; early on it follows faster, so that it forgets the initial ones."""
        rate = 1 - min(decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for mean, value in zip(self.averaged.parameters(), self.model.parameters(), strict=True):
                mean.lerp_(value, rate)
            for mine, theirs in zip(self.averaged.buffers(), self.model.buffers(), strict=True):
                mine.copy_(theirs)

    def keep_if_best(self, bits: float) -> bool:
        """Keep a copy of the averaged weights if `bits` is the lowest so far; say whether it is."""
        self.validated = self.step
        if bits >= self.best_bits:
            return False
        self.best = {name: tensor.detach().cpu().clone() for name, tensor in self.averaged.state_dict().items()}
        self.best_bits, self.best_step = bits, self.step
        return True

    def tensors(self) -> dict[str, Tensor]:
        """Return every tensor under a name of its own."""
        named = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        named |= {f"averaged.{name}": tensor for name, tensor in self.averaged.state_dict().items()}
        named |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        for index, entries in self.optimizer.state_dict()["state"].items():
            named |= {f"optimizer.{index}.{key}": tensor for key, tensor in entries.items()}
        named["random.torch"] = torch.get_rng_state()
        if torch.cuda.is_available():
            named["random.cuda"] = torch.cuda.get_rng_state()
        return named

    def record(self) -> dict[str, Any]:
        """Return everything that is not a tensor, as JSON can hold it."""
        numpy = dict(np.random.get_state(legacy=False))  # noqa: NPY002 - a user's model may draw from it
        numpy = json.loads(json.dumps(numpy, default=lambda array: np.asarray(array).tolist()))
        return {name: getattr(self, name) for name in _PLAIN} | {
            "best_bits": self.best_bits if math.isfinite(self.best_bits) else None,
            "random": {"python": random.getstate(), "numpy": numpy},
        }

    def restore(self, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
        """Go back to what a checkpoint holds, random states included.

        Raises `CheckpointError` if the checkpoint belongs to another model.
        """
        held = as_record(dict(record), StateRecord, "the checkpoint's state", CheckpointError)
        load_weights(self.model, part(tensors, "model"))
        load_weights(self.averaged, part(tensors, "averaged"))
        self.best = part(tensors, "best")
        if self.best:
            refuse_other_weights(self.averaged, self.best)
        restore_optimizer(self.optimizer, part(tensors, "optimizer"), held.step)
        for name in _PLAIN:
            setattr(self, name, record[name])
        self.best_bits = math.inf if held.best_bits is None else held.best_bits
        restore_random(tensors, held.random)


def duplicate(model: nn.Module) -> nn.Module:
    """Return a copy of a module that shares nothing with it and takes no gradients."""
    return copy.deepcopy(model).requires_grad_(False)


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
