"""From minutes to steps: a short calibration before training, so that training itself goes by steps alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from leadline.errors import UsageError

VALIDATIONS = 20
"""Validations, and checkpoints, per run, unless they take too long or the config says otherwise."""

MARGIN = 0.9
"""The part of the budget that is planned for; the rest absorbs a machine that becomes slower meanwhile."""

VALIDATION_SHARE = 0.1
"""The part of the budget that validations may take."""


@dataclass(frozen=True)
class Budget:
    """How long a run is: its steps, how often it validates, and the seconds it leaves aside for the final scores."""

    steps: int
    validate_every: int
    reserve: float = 0.0

    @classmethod
    def of_steps(cls, steps: int) -> Budget:
        """Return the plan of a run of a given number of steps.

        Examples
        --------
        >>> Budget.of_steps(1000)
        Budget(steps=1000, validate_every=50, reserve=0.0)
        """
        return cls(steps, -(-steps // VALIDATIONS))


def plan(
    minutes: float, *, step: Callable[[], None], validate: Callable[[], float], final: float, spent: float = 0.0
) -> Budget:
    """Measure steps and a validation on a throw-away copy of the model, and count the steps that fit into `minutes`.

    `step` takes one training step, `validate` returns the seconds that a validation takes; the final scores take as
    long as `final` validations, and `spent` seconds are gone already. Raises `UsageError` if not even one step fits.
    """
    begin, budget = time.perf_counter(), 60 * minutes
    step()  # the first one allocates and warms caches: not representative
    laps: list[float] = []
    while len(laps) < 3 or (sum(laps) < 0.02 * budget and len(laps) < 50):
        start = time.perf_counter()
        step()
        laps.append(time.perf_counter() - start)
    once, validation = sorted(laps)[len(laps) // 2], validate()
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
    return Budget(steps, -(-steps // validations), reserve)
