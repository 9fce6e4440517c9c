"""The tasks of trials: what is built, over which settings, and what the verdict at initialisation is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import Tensor, nn

from leadline.sweeps.grid import Value
from leadline.sweeps.trials.lessons import Lesson, Student, digits
from leadline.zoo.batchnorm import BatchNormConfig, BatchNormNet, Placement


def bn_placement(
    placement: Placement = "branch",
    layers: int = 10,
    lr: float = 0.1,
    steps: int = 50,
    width: int = 64,
    batch: int = 128,
) -> tuple[Student, Tensor]:
    """Build a classifier of digits around the zoo's stack with batch normalisation at a placement."""
    stack = BatchNormNet(BatchNormConfig(layers, width, placement))
    student = Student(Lesson(lr, steps, batch), nn.Linear(64, width), stack, nn.Linear(width, 10))
    (x, _), _, _ = digits()
    return student, x[:batch]


@dataclass(frozen=True)
class Task:
    """A question for a trial.

    Attributes
    ----------
    title
        What is asked.
    build
        The factory of the model with its lesson, and of an input.
    settings
        The values of its settings by default; each combination but those of `tuned` is one point of the trial.
    tuned
        The setting of which each point takes the value that does best on validation, as who trains it would.
    depth
        The setting by which the rate is multiplied.
    """

    title: str
    build: Callable[..., tuple[Student, Tensor]]
    settings: Mapping[str, tuple[Value, ...]]
    tuned: str
    depth: str

    @property
    def model(self) -> str:
        """The factory as a sweep names it."""
        return f"{self.build.__module__}:{self.build.__name__}"


TASKS: Mapping[str, Task] = MappingProxyType(
    {
        "bn-placement": Task(
            "where batch normalisation belongs",
            bn_placement,
            MappingProxyType(
                {"placement": ("plain", "branch", "before", "after"), "layers": (10, 40), "lr": (0.03, 0.1, 0.3)}
            ),
            tuned="lr",
            depth="layers",
        ),
    }
)
