"""The tasks of trials: what is built, over which settings, and which verdicts at initialisation are asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, get_args

import torch
from torch import Tensor, nn

from leadline.errors import UsageError, near_misses
from leadline.sweeps.grid import Value
from leadline.sweeps.swept import number_of
from leadline.sweeps.trials.lessons import Lesson, Student
from leadline.sweeps.trials.materials import Adding, Copying, Digits, Material, Recall
from leadline.sweeps.trials.mixers import AT_ONCE, MIXERS, MixerConfig, MixerNet
from leadline.sweeps.trials.stacks import SkipConfig, SkipNet
from leadline.sweeps.trials.texts import BYTES, Text
from leadline.sweeps.trials.verdicts import (
    ALONG_DEPTH,
    ALONG_TIME,
    ALONG_TIME_AT_ONCE,
    ALONG_TIME_BY_LAYERS,
    Verdict,
)
from leadline.zoo import Specimen
from leadline.zoo.batchnorm import BatchNormConfig, BatchNormNet, Placement
from leadline.zoo.recurrent import CELLS, Recurrent, RecurrentConfig, remember


def bn_placement(
    placement: str = "branch", layers: int = 10, lr: float = 0.1, steps: int = 50, width: int = 64, batch: int = 128
) -> tuple[Student, Tensor]:
    """Build a classifier of digits around the zoo's stack with batch normalisation at a placement."""
    where: Any = _one_of("placement", placement, get_args(Placement))
    return _classifier(BatchNormNet(BatchNormConfig(layers, width, where)), Lesson(lr, steps, batch), width)


def residual(
    skip: bool = True, scale: float = 1.0, layers: int = 10, lr: float = 0.03, steps: int = 100, width: int = 64,
    batch: int = 128,
) -> tuple[Student, Tensor]:  # fmt: skip
    """Build a classifier of digits around layers of two matrices, with or without skip connections past them."""
    return _classifier(SkipNet(SkipConfig(layers, width, skip, scale)), Lesson(lr, steps, batch), width)


def adding(
    cell: str = "lstm", forget_bias: float = 0.0, length: int = 30, lr: float = 0.01, steps: int = 300,
    hidden: int = 32, batch: int = 32,
) -> Specimen:  # fmt: skip
    """Build a recurrence that adds two marked numbers, and says the sum at the end."""
    body = _recurrence(cell, forget_bias, RecurrentConfig(2, hidden, 1, length))
    return _sequential(Adding(length), Lesson(lr, steps, batch, "adam"), "b t k", body, nn.Linear(hidden, 1))


def copying(
    cell: str = "lstm", forget_bias: float = 0.0, length: int = 20, lr: float = 0.01, steps: int = 200,
    hidden: int = 32, batch: int = 32, symbols: int = 3, alphabet: int = 8,
) -> Specimen:  # fmt: skip
    """Build a recurrence that says symbols again after a while."""
    material = Copying(length, symbols, alphabet)
    body = _recurrence(cell, forget_bias, RecurrentConfig(hidden, hidden, 1, length))
    parts = nn.Embedding(material.tokens, hidden), body, nn.Linear(hidden, alphabet)
    return _sequential(material, Lesson(lr, steps, batch, "adam"), "b t", *parts)


def recall(
    mixer: str = "attention", skip: bool = True, layers: int = 2, pairs: int = 8, lr: float = 0.003, steps: int = 150,
    width: int = 32, states: int = 16, forget_bias: float = 0.0, batch: int = 16, keys: int = 32, values: int = 8,
) -> Specimen:  # fmt: skip
    """Build a net that says the values of keys which it saw, by attention or what takes its place."""
    _one_of("mixer", mixer, AT_ONCE)
    material, body = Recall(pairs, keys, values), _mixers(mixer, layers, width, states, skip, forget_bias)
    parts = nn.Embedding(material.tokens, width), body, nn.LayerNorm(width), nn.Linear(width, values)
    return _sequential(material, Lesson(lr, steps, batch, "adam"), "b t", *parts)


def text(
    mixer: str = "attention", skip: bool = True, layers: int = 4, length: int = 32, lr: float = 0.003, steps: int = 80,
    width: int = 32, states: int = 16, forget_bias: float = 0.0, batch: int = 16,
) -> Specimen:  # fmt: skip
    """Build a net that says the next byte of a text, by attention or what takes its place."""
    body = _mixers(mixer, layers, width, states, skip, forget_bias)
    parts = nn.Embedding(BYTES, width), body, nn.LayerNorm(width), nn.Linear(width, BYTES)
    return _sequential(Text(length), Lesson(lr, steps, batch, "adam"), "b t", *parts)


def _mixers(mixer: str, layers: int, width: int, states: int, skip: bool, forget_bias: float) -> MixerNet:
    """Build blocks around one way to mix positions."""
    kind: Any = _one_of("mixer", mixer, MIXERS)
    if forget_bias and kind not in GATED:
        raise UsageError(
            f"forget_bias is that of a gate, and mixer={mixer} has none: leave it out, or take gated or lstm"
        )
    return MixerNet(MixerConfig(kind, layers, width, states, skip, forget_bias))


def _one_of(setting: str, value: str, known: Any) -> str:
    if value not in known:
        raise UsageError(f"{setting}={value}: {near_misses(str(value), known)}")
    return value


def _recurrence(cell: str, forget_bias: float, config: RecurrentConfig) -> Recurrent:
    """Build one, with a bias to keep its state."""
    kind: Any = _one_of("cell", cell, CELLS)
    body = Recurrent(kind, config)
    if forget_bias:
        if cell not in GATED:
            raise UsageError("forget_bias is that of a gate, and cell=rnn has none: leave it out, or take gru or lstm")
        remember(body, forget_bias)
    return body


def _classifier(stack: nn.Module, lesson: Lesson, width: int) -> tuple[Student, Tensor]:
    material = Digits()
    student = Student(material, lesson, nn.Linear(64, width), stack, nn.Linear(width, 10))
    return student, material.unseen[0][0][: lesson.batch]


def _sequential(material: Material, lesson: Lesson, axes: str, *parts: nn.Module) -> Specimen:
    """Return a student of sequences, with a few of them; what it says has the same positions."""
    x, _ = material.batch(4, torch.Generator().manual_seed(0))
    return Specimen(Student(material, lesson, *parts), (x,), f"{axes} -> b t v")


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
    depth
        The setting by which the rate is multiplied.
    across
        The setting with which distances along a sequence grow; None: the depth.
    verdicts
        What is asked of untrained models; the first one is the verdict proper.
    score, loss
        What the score is, and the loss with its unit.
    tuned
        The setting of which each point takes the value that does best on validation, as who trains it would.
    only
        Which combinations of settings there are; None: all.
    """

    title: str
    build: Callable[..., tuple[Student, Tensor] | Specimen]
    settings: Mapping[str, tuple[Value, ...]]
    depth: str
    verdicts: tuple[Verdict, ...]
    score: str = "accuracy"
    loss: str = "cross entropy (nats)"
    tuned: str = "lr"
    across: str | None = None
    only: Callable[[Mapping[str, Any]], bool] | None = None

    @property
    def model(self) -> str:
        """The factory as a sweep names it."""
        return f"{self.build.__module__}:{self.build.__name__}"

    def deep(self, verdict: Verdict, settings: Mapping[str, Value]) -> float:
        """Return beside what a verdict counts: the depth, or how long a sequence is."""
        along = verdict.kind == "reach" and self.across
        return number_of(settings[self.across if along and self.across else self.depth])


GATED = frozenset({"gru", "lstm", "gated"})
"""Cells and mixers with a gate by which they keep their state."""


def _has_gates(settings: Mapping[str, Any]) -> bool:
    """Say that what has no gates has no bias of one."""
    kind = settings.get("cell", settings.get("mixer"))
    return not settings.get("forget_bias") or kind in GATED


def _of(**settings: tuple[Value, ...]) -> Mapping[str, tuple[Value, ...]]:
    return MappingProxyType(settings)


TASKS: Mapping[str, Task] = MappingProxyType(
    {
        "bn-placement": Task(
            "where batch normalisation belongs",
            bn_placement,
            _of(placement=("plain", "branch", "before", "after"), layers=(10, 40), lr=(0.03, 0.1, 0.3)),
            "layers",
            ALONG_DEPTH,
        ),
        "residual": Task(
            "what skip connections and their scale do",
            residual,
            _of(skip=(False, True), scale=(0.1, 0.5, 1.0), layers=(5, 20), lr=(0.0001, 0.001, 0.01, 0.1)),
            "layers",
            ALONG_DEPTH,
        ),
        "adding": Task(
            "which recurrence remembers two numbers",
            adding,
            _of(cell=tuple(CELLS), forget_bias=(0.0, 3.0), length=(20, 40), lr=(0.003, 0.01)),
            "length",
            ALONG_TIME,
            "variance explained",
            "squared error",
            only=_has_gates,
        ),
        "copy": Task(
            "which recurrence can say again what it heard",
            copying,
            _of(cell=tuple(CELLS), forget_bias=(0.0, 3.0), length=(8, 16), lr=(0.003, 0.01)),
            "length",
            ALONG_TIME,
            only=_has_gates,
        ),
        "mqar": Task(
            "what can look values up by their keys",
            recall,
            _of(mixer=("attention", "linear", "state-space"), layers=(2,), pairs=(4, 12), lr=(0.003, 0.01)),
            "layers",
            ALONG_TIME_AT_ONCE,
            across="pairs",
            only=_has_gates,
        ),
        "text": Task(
            "what learns English, with residual connections and without",
            text,
            _of(
                mixer=("attention", "gated", "lstm"), skip=(True, False), layers=(2, 4), length=(32,), lr=(0.003, 0.01)
            ),
            "layers",
            ALONG_TIME_BY_LAYERS,
            loss="bits per byte",
            across="length",
            only=_has_gates,
        ),
    }
)
