"""Schedules and the watch of a run in minutes, on machines that change their speed while it runs."""

import math
import time
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadline.errors import UsageError
from leadline.training import TrainConfig
from leadline.training.budget import Schedule, Watch, fitted

SPEEDS = st.lists(st.floats(0.3, 3.0), min_size=1, max_size=6)


@dataclass
class Machine:
    """Takes `once` seconds for a step at first, then `speeds` times as long in equal parts of its budget."""

    minutes: float
    once: float
    validation: float
    speeds: list[float]
    now: float = 0.0
    progress: list[float] = field(default_factory=list)
    validations: int = 0

    def slow(self) -> float:
        return self.speeds[min(int(self.now / (60 * self.minutes) * len(self.speeds)), len(self.speeds) - 1)]

    def train(self, schedule: Schedule, most: float = float("inf")) -> Schedule:
        """Do what the loop does, by a clock of its own."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(time, "perf_counter", lambda: self.now)
            watch, step, validated = Watch(self.minutes, 0.0, most, self.validation, final=2.0), 0, 0
            while step < schedule.steps and watch.left() > 0:
                self.progress.append(schedule.progress(step))
                took = self.once * self.slow()
                self.now, step = self.now + took, step + 1
                schedule = watch.stepped(took, schedule, step)
                if step - validated >= schedule.validate_every:
                    took, validated, self.validations = self.validation * self.slow(), step, self.validations + 1
                    self.now += took
                    watch.validated(took)
            self.progress.append(schedule.progress(step))
        return schedule


@settings(max_examples=15)
@given(SPEEDS, st.floats(0.01, 0.2))
def test_a_run_in_minutes_comes_to_its_end_in_time(speeds: list[float], validation: float) -> None:
    machine = Machine(1.0, 0.125, validation, speeds)
    machine.train(Schedule.of_steps(400))
    longest = machine.once * 3 + 3 * validation * 3  # a step, a validation and the final scores, at their slowest
    assert machine.now <= 60 + longest
    assert machine.progress == sorted(machine.progress)
    assert machine.progress[-1] >= 0.9  # so the learning rate has come down, and augmentations have faded
    if speeds == sorted(speeds):  # one that becomes faster in the end may be through earlier
        assert machine.now >= 0.8 * 60


def test_a_machine_that_keeps_its_speed_keeps_the_plan() -> None:
    machine = Machine(1.0, 0.05, 0.05, [1.0])
    last = machine.train(Schedule.of_steps(1000), most=1000)
    assert last.steps == 1000
    assert machine.validations == pytest.approx(20, abs=2)


@given(
    st.integers(1, 500), st.integers(0, 50), st.lists(st.tuples(st.integers(1, 50), st.integers(1, 500)), max_size=4)
)
def test_progress_goes_on_where_it_was(steps: int, warmup: int, changes: list[tuple[int, int]]) -> None:
    schedule, step, seen = Schedule.of_steps(steps, warmup), 0, [0.0]
    for further, more in changes:
        step += further
        seen.append(schedule.progress(step))
        before = schedule.progress(step)
        schedule = schedule.anew(step, steps=step + more, validate_every=1)
        assert schedule.progress(step) == before
    seen += [schedule.progress(n) for n in range(step, schedule.steps + 1)]
    assert seen == sorted(seen)
    assert 0 <= seen[-1] <= 1
    assert seen[-1] == 1 or schedule.steps <= schedule.since


@given(st.integers(1, 99), st.floats(0, 100), st.floats(0.001, 10), st.floats(0, 10), st.integers(1, 200))
def test_a_schedule_that_is_fitted_fits(step: int, left: float, once: float, validation: float, most: int) -> None:
    made = fitted(Schedule.of_steps(100), step, left, once, validation, max(most, step + 1))
    assert step < made.steps <= max(most, step + 1)
    validations = -(-(made.steps - step) // made.validate_every)
    assert made.steps == step + 1 or (made.steps - step) * once + validations * validation <= left + 1e-6
    assert 1 <= validations <= 20


def test_strength_follows_the_progress() -> None:
    config = TrainConfig(steps=1, fade=0.5)
    assert [config.strength(p) for p in (0.0, 0.25, 0.5, 1.0)] == [1.0, 0.5, 0.0, 0.0]
    assert [config.replace(fade=fade).strength(0.9) for fade in (None, 0.0)] == [1.0, 0.0]
    assert config.replace(fade=2.0).strength(1.0) == 0.5  # they have not come to zero at the end
    for fade in (-0.1, math.inf, math.nan):
        with pytest.raises(UsageError, match="fade must be"):
            config.replace(fade=fade)
