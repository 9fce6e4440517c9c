"""What training changes: weights, their average, the best average so far, the optimiser, and the random states."""

import copy
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from leadline.errors import CheckpointError
from leadline.files.reading import as_record
from leadline.training.budget import Schedule
from leadline.training.randomness import random_record, random_tensors, restore_random
from leadline.training.records import StateRecord
from leadline.training.restoring import load_weights, part, refuse_other_weights, restore_optimizer

_PLAIN = ("step", "best_step", "validated", "losses", "norms", "clipped", "seconds", "run")


@dataclass
class TrainingState:
    """All that a checkpoint holds; `tensors` and `record` write it down, `restore` reads it back.

    `averaged` is a second module that carries the moving average of the weights of `model`; `best` are the averaged
    weights of the best validation so far, with its value in bits per dimension and its step. `step` counts the steps
    done, which gives the position in the data; `validated` is that of the last validation, `losses` the sum of those
    since, `norms` that of their gradients' norms, of which `clipped` were cut down, `log` what `metrics.jsonl` holds,
    and `seconds` the wall time over all resumptions. `run` tells runs apart by what was asked for.
    """

    model: nn.Module
    averaged: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    step: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)
    best_bits: float = math.inf
    best_step: int = 0
    validated: int = 0
    losses: float = 0.0
    norms: float = 0.0
    clipped: int = 0
    log: bytes = b""
    seconds: float = 0.0
    run: str = ""

    def average(self, decay: float) -> None:
        """Move the average towards the weights; early on it follows faster, so that it forgets the initial ones."""
        rate = 1 - min(decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for mean, value in zip(self.averaged.parameters(), self.model.parameters(), strict=True):
                mean.lerp_(value, rate)
            for mine, theirs in zip(self.averaged.buffers(), self.model.buffers(), strict=True):
                mine.copy_(theirs)

    def note(self, loss: float, norm: float, ceiling: float) -> None:
        """Add up what the next line of the log tells of its steps: losses, and gradients' norms before clipping."""
        self.losses += loss
        self.norms += norm
        self.clipped += norm > ceiling

    def told(self) -> dict[str, float | None]:
        """Return what is told of each step since the last validation: loss in bits, gradient's norm, share clipped."""
        steps = self.step - self.validated
        sums = {"train": self.losses / math.log(2), "gradient": self.norms, "clipped": float(self.clipped)}
        self.losses, self.norms, self.clipped = 0.0, 0.0, 0
        return {name: total / steps if steps else None for name, total in sums.items()}

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
        named |= {f"random.{name}": tensor for name, tensor in random_tensors().items()}
        named["log"] = torch.frombuffer(bytearray(self.log + b"."), dtype=torch.uint8)[:-1]  # it may be empty
        return named

    def record(self) -> dict[str, Any]:
        """Return everything that is not a tensor, as JSON can hold it."""
        return {name: getattr(self, name) for name in _PLAIN} | {
            "best_bits": self.best_bits if math.isfinite(self.best_bits) else None,
            "schedule": asdict(self.schedule),
            "random": random_record(),
        }

    def restore(self, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
        """Go back to what a checkpoint holds, random states included.

        Raises `CheckpointError` if the checkpoint belongs to another model, or holds no state that training leaves.
        """
        held = as_record(dict(record), StateRecord, "the checkpoint's state", CheckpointError)
        if held.run != self.run:
            raise CheckpointError("the checkpoint belongs to another run, of other settings or other data")
        load_weights(self.model, part(tensors, "model"))
        load_weights(self.averaged, part(tensors, "averaged"))
        best = part(tensors, "best")
        if best:
            refuse_other_weights(self.averaged, best)
        self.best = best
        restore_optimizer(self.optimizer, part(tensors, "optimizer"), held.step)
        for name in _PLAIN:
            setattr(self, name, getattr(held, name))
        self.best_bits = math.inf if held.best_bits is None else held.best_bits
        self.schedule = Schedule.of(record["schedule"])
        if "log" not in tensors or tensors["log"].dtype != torch.uint8 or tensors["log"].ndim != 1:
            raise CheckpointError("the checkpoint is damaged: it holds no log")
        self.log = tensors["log"].numpy().tobytes()
        restore_random(part(tensors, "random"), held.random)


def duplicate(model: nn.Module) -> nn.Module:
    """Return a copy of a module that shares nothing with it and takes no gradients."""
    return copy.deepcopy(model).requires_grad_(False)
