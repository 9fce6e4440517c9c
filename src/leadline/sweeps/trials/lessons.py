"""What a model is taught in a trial, and how well it then does: digits, classified by plain gradient descent."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from leadline.data import Split, load
from leadline.errors import UsageError

Examples = tuple[Float[Tensor, "n x"], Integer[Tensor, " n"]]
"""Vectors with their classes."""


@dataclass(frozen=True)
class Lesson:
    """How long and how fast a student learns: `steps` of gradient descent at a rate `lr`, of `batch` examples each."""

    lr: float
    steps: int
    batch: int

    def __post_init__(self) -> None:
        if not (self.lr > 0 and self.steps >= 1 and self.batch >= 2):
            raise UsageError(f"a lesson takes a positive rate, a step and two examples, not {self}")


class Student(nn.Sequential):
    """A classifier of digits, and its lesson."""

    def __init__(self, lesson: Lesson, *parts: nn.Module) -> None:
        super().__init__(*parts)
        self.lesson = lesson


@dataclass(frozen=True)
class Learnt:
    """How a student does after its lesson, on digits that it has not seen.

    `accuracy` is the share that is named rightly, by chance a tenth, and `loss` the mean cross entropy; `validation` is
    the accuracy on others, by which a learning rate may be chosen; `steps` is how many it took before the loss was not
    finite, or all.
    """

    accuracy: float
    loss: float
    validation: float
    steps: int


@cache
def digits() -> tuple[Examples, Examples, Examples]:
    """Return pictures from -1 to 1 with their classes: to learn from, to choose by, and to be tested on."""
    found = load("digits")

    def part(split: Split) -> Examples:
        assert isinstance(split.examples, Tensor)
        assert split.labels is not None
        return split.examples.flatten(1).float() / 8 - 1, split.labels

    return part(found.train), part(found.validation), part(found.test)


def teach(student: nn.Module, seed: int = 0) -> Learnt:
    """Teach a copy of a student, with batches drawn by a seed; raises `UsageError` if the model is not one.

    Examples
    --------
    >>> plain = Student(Lesson(lr=0.1, steps=50, batch=64), nn.Linear(64, 10))
    >>> teach(plain).accuracy > 0.5
    True
    """
    if not isinstance(student, Student):
        raise UsageError("measures of a trial need a model with a lesson: see leadline.sweeps.trials.tasks")
    lesson, taught = student.lesson, copy.deepcopy(student).train()
    (x, y), validation, (unseen, truth) = digits()
    drawn = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(taught.parameters(), lesson.lr)
    done = 0
    for _ in range(lesson.steps):
        chosen = torch.randint(len(x), (lesson.batch,), generator=drawn)
        loss = cross_entropy(taught(x[chosen]), y[chosen])
        if not math.isfinite(float(loss.detach())):
            break
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        done += 1
    with torch.no_grad():
        loss = cross_entropy(taught.eval()(unseen), truth)
        return Learnt(_accuracy(taught, unseen, truth), float(loss), _accuracy(taught, *validation), done)


def _accuracy(model: nn.Module, x: Float[Tensor, "n x"], truth: Integer[Tensor, " n"]) -> float:
    return float((model(x).argmax(1) == truth).float().mean())
