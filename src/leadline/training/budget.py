"""From minutes to steps: a short calibration before training, so that training itself goes by steps alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from leadline.errors import UsageError

MARGIN = 0.9
"""The part of the budget that is planned for; the rest absorbs a machine that becomes slower meanwhile."""


@dataclass(frozen=True)
class Plan:
    """How many steps fit, what one of them takes, and what is left aside for the final scores, in seconds."""

    steps: int
    step_seconds: float
    reserve: float


def plan_steps(
    minutes: float,
    *,
    step: Callable[[], None],
    validate: Callable[[], float],
    final: Callable[[float], float],
    validations: int,
    spent: float = 0.0,
) -> Plan:
    """Measure steps and a validation on a throw-away copy of the model, and count the steps that fit.

    Parameters
    ----------
    minutes
        The whole budget.
    step
        Takes one training step.
    validate
        Validates once and returns the seconds it took.
    final
        Turns the seconds of a validation into those of the final scores.
    validations
        How many validations are planned.
    spent
        Seconds of the budget that are gone already.

    Raises
    ------
    UsageError
        If not even one step fits.
    """
    begin = time.perf_counter()
    step()  # the first one allocates and warms caches: not representative
    laps = []
    while len(laps) < 3 or (sum(laps) < 0.02 * 60 * minutes and len(laps) < 50):
        start = time.perf_counter()
        step()
        laps.append(time.perf_counter() - start)
    once = sorted(laps)[len(laps) // 2]
    validation = validate()
    reserve = final(validation)
    spent += time.perf_counter() - begin
    left = MARGIN * 60 * minutes - spent - reserve - validations * validation
    if left < once:
        raise UsageError(
            f"{minutes:g} minutes are too few on this machine: a step takes {once:.3g} s, {validations} validations and "
            f"the final scores {validations * validation + reserve:.3g} s; give more minutes, or a smaller model"
        )
    return Plan(int(left / once), once, reserve)
