"""How a model is taught in a trial, and how well it then does."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from leadline.errors import UsageError
from leadline.sweeps.trials.materials import Material


@dataclass(frozen=True)
class Lesson:
    """How long and how fast a student learns: `steps` at a rate `lr`, of `batch` examples each.

    ``"sgd"`` is plain gradient descent, ``"adam"`` Adam with PyTorch's settings; no gradient is clipped.
    """

    lr: float
    steps: int
    batch: int
    optimizer: Literal["sgd", "adam"] = "sgd"

    def __post_init__(self) -> None:
        if not (self.lr > 0 and self.steps >= 1 and self.batch >= 2):
            raise UsageError(f"a lesson takes a positive rate, a step and two examples, not {self}")


class Student(nn.Sequential):
    """A model, what it is to learn, and its lesson."""

    def __init__(self, material: Material, lesson: Lesson, *parts: nn.Module) -> None:
        super().__init__(*parts)
        self.material, self.lesson = material, lesson


@dataclass(frozen=True)
class Learnt:
    """How a student does after its lesson, on examples that it has not seen.

    `score` is the share of right answers, or what its material says, `loss` the mean loss, in the material's unit;
    `validation` is its merit on others, by which a learning rate may be chosen: the score, or of a text the bits that
    are saved. `steps` is how many it took before the loss was not finite, or all.
    """

    score: float
    loss: float
    validation: float
    steps: int


def teach(student: nn.Module, seed: int = 0) -> Learnt:
    """Teach a copy of a student, with batches drawn by a seed; raises `UsageError` if the model is not one.

    Examples
    --------
    >>> from leadline.sweeps.trials.materials import Digits
    >>> plain = Student(Digits(), Lesson(lr=0.1, steps=50, batch=64), nn.Linear(64, 10))
    >>> teach(plain).score > 0.5
    True
    """
    if not isinstance(student, Student):
        raise UsageError("measures of a trial need a model with a lesson: see leadline.sweeps.trials.tasks")
    material, lesson, taught = student.material, student.lesson, copy.deepcopy(student).train()
    drawn = torch.Generator().manual_seed(seed)
    optimizers = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}
    optimizer = optimizers[lesson.optimizer](taught.parameters(), lr=lesson.lr)
    done = 0
    for _ in range(lesson.steps):
        x, truth = material.batch(lesson.batch, drawn)
        loss = material.loss(taught(x), truth)
        if not math.isfinite(float(loss.detach())):
            break
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        done += 1
    with torch.no_grad():
        (others, right), (unseen, truth) = material.unseen
        said = taught.eval()(unseen)
        validation = material.merit(taught(others), right)
        left = float(material.loss(said, truth)) / material.loss_unit
        return Learnt(material.score(said, truth), left, validation, done)
