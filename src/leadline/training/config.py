"""How to train: one frozen record, all of it written into the run folder."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

from leadline.errors import SEEDS, UsageError, near_misses
from leadline.key_values import require

MOST_THREADS = 1024  # with a hundred times as many, the thread library itself comes down
SCHEDULES = ("cosine", "constant", "linear", "one-cycle")
_RISE = 0.3
_MOST = {"threads": MOST_THREADS, "workers": MOST_THREADS, "seed": SEEDS - 1}


@dataclass(frozen=True)
class TrainConfig:
    """Settings of the training loop.

    Attributes
    ----------
    steps, minutes
        How long to train. `minutes` is wall time for everything, validation and the final test score included: a short
        calibration turns it into a number of steps, which is planned anew while the run goes on, so that the learning
        rate comes down in time on a machine that has become slower. Its figures depend on how fast the machine is;
        those of a run of `steps` do not. With both, the run ends where the first of them does.
    batch, accumulate, lr, warmup, weight_decay, clip
        Examples per step, which go through the model in `accumulate` parts, for less memory; AdamW's peak learning
        rate, reached linearly in `warmup` steps; decay of weights with two axes or more; the gradient norm's ceiling.
    schedule
        What the learning rate does after the warm-up: ``cosine`` or ``linear`` to zero, ``constant``; or ``one-cycle``,
        which has no warm-up: along cosines from lr / 25 to lr in the first three tenths, then to lr / 10,000.
    patience
        End after so many validations that are no better than the best one; None: train to the end.
    ema
        Decay of the averaged weights, which are what is validated, kept and scored: ``min(ema, (1 + n) / (10 + n))``
        after n updates.
    validate_every, checkpoint_every
        In steps; None: 20 times a run.
    validation_examples
        Validate on the first this many examples only; None: on all. The test score always takes the whole test part.
    shift, shift_chance, turn, warp, bend
        Augmentation of training images: moved by up to `shift` pixels with probability `shift_chance`; turned or
        mirrored with probability `turn`; slanted and stretched by whole pixels with probability `warp`; bent smoothly,
        by parts of pixels, with probability `bend`.
    fade
        The part of the run, after the warm-up, in which these probabilities fall to zero, in a straight line: above 1,
        they have not come to zero at the end. None: they stay.
    crop, burn_in
        Audio: samples per training crop, and how many of them are context only when the crop starts inside a clip.
    seed
        Seeds the order of the data, crops, shifts and dropout.
    threads
        CPU threads, at most 1024. None: torch's number or, for a run in minutes, one if that is faster; the run records
        how many, and goes on with as many. Bit-for-bit results hold for one number of threads.
    monitor
        Record the gradient by stage at every so many steps, as `leadline.monitor` does, in ``metrics.jsonl``.
    reach
        Measure how far back it reaches at every so many steps, on the first example of the first batch:
        a multiple of `monitor`, which is as much where it is not given.
    precision, device
        ``no`` or ``bf16``; ``cpu``, ``cuda``, ``mps``, or None for the accelerator that `accelerate` finds.
    compile
        Let torch's compiler fuse the model's training step: the same numbers up to rounding, after a first step that
        takes long. Steps that a monitor records, and scores, are computed as they stand.
    workers
        Threads that make the next batches meanwhile: the same ones, bit for bit.

    Raises
    ------
    UsageError
        If a value makes no sense; the message names it.

    Examples
    --------
    >>> TrainConfig(steps=100, lr=0.01, warmup=10).learning_rate(4, progress=0.0)
    0.005
    """

    steps: int | None = None
    minutes: float | None = None
    batch: int = 32
    accumulate: int = 1
    lr: float = 1e-3
    warmup: int = 100
    weight_decay: float = 0.01
    clip: float = 1.0
    schedule: str = "cosine"
    patience: int | None = None
    ema: float = 0.999
    validate_every: int | None = None
    checkpoint_every: int | None = None
    validation_examples: int | None = None
    shift: int = 0
    shift_chance: float = 1.0
    turn: float = 0.0
    warp: float = 0.0
    bend: float = 0.0
    fade: float | None = None
    crop: int = 2048
    burn_in: int = 0
    seed: int = 0
    threads: int | None = None
    monitor: int | None = None
    reach: int | None = None
    precision: str = "no"
    device: str | None = None
    compile: bool = False
    workers: int = 0

    def __post_init__(self) -> None:
        if self.steps is None and self.minutes is None:
            raise UsageError("say how long to train: steps=… or minutes=…")
        every = ("validate_every", "checkpoint_every", "monitor", "reach")
        positive = ("steps", "batch", "accumulate", "patience", *every, "validation_examples", "crop", "threads")
        natural = ("warmup", "weight_decay", "shift", "burn_in", "seed", "workers")
        for name, least in (dict.fromkeys(positive, 1) | dict.fromkeys(natural, 0)).items():
            value = getattr(self, name)
            most = _MOST.get(name, math.inf)
            if value is not None and not least <= value <= most:
                bound = f"at least {least}" if value < least else f"at most {most}"
                raise UsageError(f"{name} must be {bound}, got {value}")
        for name in ("minutes", "lr", "clip"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise UsageError(f"{name} must be a positive number, got {value}")
        if self.fade is not None and not 0 <= self.fade < math.inf:
            raise UsageError(f"fade must be at least 0, got {self.fade}")
        for name in ("ema", "shift_chance", "turn", "warp", "bend"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} must lie between 0 and 1, got {getattr(self, name)}")
        words: dict[str, tuple[str | None, ...]] = {
            "precision": ("no", "bf16"), "device": (None, "cpu", "cuda", "mps"), "schedule": SCHEDULES,
        }  # fmt: skip
        for name, allowed in words.items():
            if getattr(self, name) not in allowed:
                raise UsageError(f"{name} must be {' or '.join(map(str, allowed))}, got {getattr(self, name)!r}")
        self._refuse_pairs()

    def _refuse_pairs(self) -> None:
        """Refuse settings that do not go together."""
        if self.reach is not None and self.reach % (self.monitor or self.reach):
            raise UsageError(f"reach={self.reach} must be a multiple of monitor={self.monitor}, which records it")
        if self.burn_in >= self.crop:
            raise UsageError(f"burn_in={self.burn_in} leaves nothing of a crop of {self.crop} samples to learn from")
        if self.accumulate > self.batch:
            raise UsageError(
                f"a batch of {self.batch} examples cannot go through in accumulate={self.accumulate} parts"
            )

    def learning_rate(self, step: int, progress: float) -> float:
        """Return the learning rate of step `step` (from 0), where `progress` of what follows the warm-up is done."""
        if self.schedule == "one-cycle":
            rising, first, last = progress < _RISE, self.lr / 25, self.lr / 10_000
            part = progress / _RISE if rising else (progress - _RISE) / (1 - _RISE)
            low, high = (first, self.lr) if rising else (self.lr, last)
            return low + (high - low) * 0.5 * (1 - math.cos(math.pi * part))
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        left = {"cosine": 0.5 * (1 + math.cos(math.pi * progress)), "linear": 1 - progress, "constant": 1.0}
        return self.lr * left[self.schedule]

    def strength(self, progress: float) -> float:
        """Return the strength of the augmentations, from 1 to 0, where `progress` of the run is done."""
        if self.fade is None:
            return 1.0
        return max(0.0, 1 - progress / self.fade) if self.fade else 0.0

    def replace(self, **changes: Any) -> TrainConfig:
        """Return a copy with some settings changed; unknown names and values of another type raise `UsageError`."""
        known = get_type_hints(TrainConfig)
        for name, value in changes.items():
            if name not in known:
                raise UsageError(f"training has no setting {name!r}; {near_misses(name, known)}")
            require(f"the training setting {name}", known[name], value)
        return dataclasses.replace(self, **changes)

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as JSON can hold them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> TrainConfig:
        """Return the config that `as_dict` described."""
        return cls(steps=1).replace(**{"steps": None, "minutes": None} | dict(settings))
