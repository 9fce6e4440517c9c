"""What training changes: weights, their average, the best average so far, the optimiser, and the random states."""

import copy
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from leadline.errors import CheckpointError
from leadline.training.budget import Schedule
from leadline.training.randomness import random_record, random_tensors, restore_random

_COUNTS = ("step", "best_step", "validated")
_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass
class TrainingState:
    """All that a checkpoint holds; `tensors` and `record` write it down, `restore` reads it back.

    `averaged` is a second module that carries the moving average of the weights of `model`; `best` are the averaged
    weights of the best validation so far, with its value in bits per dimension and its step. `step` counts the steps
    done, which gives the position in the data; `validated` is that of the last validation, `recent` the losses since,
    `history` the lines of the log, and `seconds` the wall time over all resumptions. `run` tells runs apart by what was
    asked for.
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
    recent: list[Tensor] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
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
        named["recent"] = torch.stack(self.recent) if self.recent else torch.zeros(0)
        return named

    def record(self) -> dict[str, Any]:
        """Return everything that is not a tensor, as JSON can hold it."""
        return {name: getattr(self, name) for name in (*_COUNTS, "seconds", "history", "run")} | {
            "best_bits": self.best_bits if math.isfinite(self.best_bits) else None,
            "schedule": asdict(self.schedule),
            "random": random_record(),
        }

    def restore(self, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
        """Go back to what a checkpoint holds, random states included.

        Raises `CheckpointError` if the checkpoint belongs to another model, or holds no state that training leaves.
        """
        if record.get("run") != self.run:
            raise CheckpointError(
                "the checkpoint belongs to another run: it was asked for other settings, or other data"
            )
        load_weights(self.model, part(tensors, "model"))
        load_weights(self.averaged, part(tensors, "averaged"))
        self.best = part(tensors, "best")
        if self.best:
            load_weights(duplicate(self.averaged), self.best)
        try:
            self._restore_optimizer(part(tensors, "optimizer"))
            for name in _COUNTS:
                setattr(self, name, int(record[name]))
            self.seconds, self.history = float(record["seconds"]), list(record["history"])
            self.best_bits = math.inf if record["best_bits"] is None else float(record["best_bits"])
            self.schedule = Schedule(**record["schedule"])
            self.recent = list(tensors["recent"].to(self._device()).unbind())
            _require(self.step >= 0 and self.schedule.steps >= 1 and self.schedule.validate_every >= 1, "its counts")
            _require(tensors["recent"].dtype == torch.float32 and len(self.recent) <= self.step, "its recent losses")
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"the checkpoint holds no state of training: it lacks or misreads {error}") from error
        restore_random(part(tensors, "random"), record.get("random", {}))

    def _restore_optimizer(self, tensors: Mapping[str, Tensor]) -> None:
        """Load the moments, each held against its parameter: the optimiser itself would take any."""
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        entries: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            number, key = name.split(".", 1)
            entries.setdefault(int(number), {})[key] = tensor
        for index, entry in entries.items():
            what = f"the optimiser's state of parameter {index}"
            _require(0 <= index < len(parameters) and set(entry) == {"step", *_MOMENTS}, what)
            parameter, moments = parameters[index], [entry[name] for name in _MOMENTS]
            _require(all((m.shape, m.dtype) == (parameter.shape, parameter.dtype) for m in moments), what)
            _require(all(bool(m.isfinite().all()) for m in moments), what)
            _require(entry["step"].shape == () and 1 <= float(entry["step"]) < math.inf, what)
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": entries, "param_groups": groups})

    def _device(self) -> torch.device:
        return next((p.device for p in self.model.parameters()), torch.device("cpu"))


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(what)


def part(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with ``name.``, without that beginning."""
    return {key.removeprefix(f"{name}."): tensor for key, tensor in tensors.items() if key.startswith(f"{name}.")}


def load_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load a state dict, whole; raises `CheckpointError` if names or shapes differ."""
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"the checkpoint belongs to another model: {error}") from error


def duplicate(model: nn.Module) -> nn.Module:
    """Return a copy of a module that shares nothing with it and takes no gradients."""
    return copy.deepcopy(model).requires_grad_(False)
