"""How long a run is: its schedule in steps, and a watch that keeps a run in minutes to its time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from leadline.errors import UsageError

VALIDATIONS = 20
"""Validations, and checkpoints, per run, unless they take too long or the config says otherwise."""

MARGIN = 0.9
"""The part of the time left that is planned for; the rest absorbs a machine that becomes slower meanwhile."""

VALIDATION_SHARE = 0.1
"""The part of the budget that validations may take."""

LOOKS = 40
"""How often a run in minutes looks at the clock and plans anew."""


@dataclass(frozen=True)
class Schedule:
    """How many steps a run takes, how often it validates, and how far on its way each step is.

    The learning rate and the augmentations follow `progress`: 0 up to step `since`, if nothing was planned anew, and 1
    at the end. A schedule that is planned anew in the middle of a run goes on from the progress made, without a jump.

    Examples
    --------
    >>> schedule = Schedule.of_steps(1000)
    >>> schedule.progress(400), schedule.anew(400, steps=500, validate_every=10).progress(450)
    (0.4, 0.7)
    """

    steps: int
    validate_every: int
    since: int = 0
    done: float = 0.0

    @classmethod
    def of_steps(cls, steps: int, warmup: int = 0) -> Schedule:
        """Return the schedule of a run of a given number of steps."""
        return cls(steps, -(-steps // VALIDATIONS), since=warmup)

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Schedule:
        """Return the schedule that a record describes, whatever else it holds."""
        return cls(**{field.name: record[field.name] for field in fields(cls)})

    def progress(self, step: int) -> float:
        """Return which part of the run lies before step `step`, from 0 to 1."""
        if step <= self.since:
            return self.done
        return min(1.0, self.done + (1 - self.done) * (step - self.since) / max(1, self.steps - self.since))

    def anew(self, step: int, *, steps: int, validate_every: int) -> Schedule:
        """Return the schedule of a run that has come to `step` and will now take `steps` in all."""
        return Schedule(steps, validate_every, max(step, self.since), self.progress(step))


@dataclass(frozen=True)
class Plan:
    """The schedule that a run begins with, and the seconds that a validation takes, 0 where nobody measured it."""

    schedule: Schedule
    validation: float = 0.0

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Plan:
        """Return the plan that a record describes, whatever else it holds."""
        return cls(Schedule.of(record["schedule"]), record["validation"])


@dataclass
class Watch:
    """Keeps a run to its `minutes` (None: no limit), by planning the steps that are left anew while it runs.

    `start` is when the run would have begun had it never been stopped, in the seconds of `time.perf_counter`, and
    `most` the steps that it may take at all; a `validation` takes so many seconds, the final scores `final` times that.
    """

    minutes: float | None
    start: float
    most: float = math.inf
    validation: float = 0.0
    final: float = 0.0
    steps: int = 0
    stepping: float = 0.0

    def seconds(self) -> float:
        """Return the wall time of the run so far, over all resumptions."""
        return time.perf_counter() - self.start

    def left(self) -> float:
        """Return the seconds left for steps and validations."""
        if self.minutes is None:
            return math.inf
        return 60 * self.minutes - self.seconds() - self.final * self.validation

    def stepped(self, seconds: float, schedule: Schedule, step: int) -> Schedule:
        """Note how long a step took that led to `step`; now and then, return a schedule that fits what is left."""
        self.steps, self.stepping = self.steps + 1, self.stepping + seconds
        if self.minutes is None or step >= schedule.steps:
            return schedule
        if self.stepping < 60 * self.minutes / LOOKS and self.steps < schedule.steps / LOOKS:
            return schedule
        once, self.steps, self.stepping = self.stepping / self.steps, 0, 0.0
        return fitted(schedule, step, MARGIN * max(0.0, self.left()), once, self.validation, self.most)

    def validated(self, seconds: float) -> None:
        """Note how long a validation took."""
        self.validation = seconds


def fitted(
    schedule: Schedule, step: int, left: float, once: float, validation: float, most: float = math.inf
) -> Schedule:
    """Return the schedule that ends in `left` seconds, or after `most` steps, where a step takes `once`.

    About as many validations are still made as were planned, unless they would take too much of the time.

    Examples
    --------
    >>> fitted(Schedule.of_steps(1000), 500, left=60.0, once=1.0, validation=0.1)
    Schedule(steps=559, validate_every=6, since=500, done=0.5)
    """
    ahead = (schedule.steps - step) / schedule.validate_every
    ahead = max(1, round(min(ahead, VALIDATION_SHARE * left / validation) if validation else ahead))
    steps = int(max(1, min((left - ahead * validation) / once, most - step)))
    return schedule.anew(step, steps=step + steps, validate_every=-(-steps // ahead))


def rehearsed(
    minutes: float,
    *,
    step: Callable[[], None],
    validate: Callable[[], float],
    final: float,
    spent: float = 0.0,
    warmup: int = 0,
) -> Plan:
    """Measure steps and a validation on a throw-away copy of the model, and count the steps that fit into `minutes`.

    `step` takes one training step, `validate` returns the seconds that a validation takes; the final scores take as
    long as `final` validations, and `spent` seconds are gone already. Raises `UsageError` if not even one step fits.
    """
    begin, budget = time.perf_counter(), 60 * minutes
    once, validation = pace(step, 0.02 * budget), validate()
    validations = min(VALIDATIONS, max(1, int(VALIDATION_SHARE * budget / validation)))
    reserve = final * validation
    spent += time.perf_counter() - begin
    left = MARGIN * budget - spent - reserve - validations * validation
    if left < once:
        raise UsageError(
            f"{minutes:g} minutes are too few on this machine: start-up took {spent:.3g} s, a step takes {once:.3g} s, "
            f"validation and final scores {validations * validation + reserve:.3g} s; "
            "give more minutes, fewer validation_examples, or a smaller model"
        )
    steps = int(left / once)
    return Plan(replace(Schedule.of_steps(steps, warmup), validate_every=-(-steps // validations)), validation)


def pace(step: Callable[[], None], seconds: float) -> float:
    """Return how long a step takes: the median of at least three, and of as many as fit into `seconds`."""
    step()  # the first one allocates and warms caches: not representative
    laps: list[float] = []
    while len(laps) < 3 or (sum(laps) < seconds and len(laps) < 50):
        start = time.perf_counter()
        step()
        laps.append(time.perf_counter() - start)
    return sorted(laps)[len(laps) // 2]
