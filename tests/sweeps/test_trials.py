"""Trials: ranks and their correlation, cells by other means, and what is said of them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import nn

import leadline
from leadline.errors import UsageError
from leadline.report.swept.trials import describe_trial, trial_cards
from leadline.sweeps import Swept
from leadline.sweeps.trials._trial import ACCURACY, CHOSEN_BY, LOST, MEASURES, RATE, Trial, trial
from leadline.sweeps.trials.correlation import correlated, ranks, spearman
from leadline.sweeps.trials.lessons import Lesson, Student, digits, teach
from leadline.sweeps.trials.tasks import bn_placement

pytest.importorskip("pyarrow")
pytest.importorskip("sklearn")

numbers = st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=3, max_size=12)


@given(numbers)
def test_ranks_and_their_correlation_are_scipy_s(pairs: list[tuple[int, int]]) -> None:
    a, b = (np.array(side, dtype=float) for side in zip(*pairs, strict=True))
    assert ranks(a).tolist() == stats.rankdata(a).tolist()
    if len(set(a)) == 1 or len(set(b)) == 1:
        assert math.isnan(spearman(a, b))
    else:
        assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)


def test_an_interval_is_as_wide_as_seeds_disagree() -> None:
    apart = [[float(n)] * 5 for n in range(6)]
    sure = correlated(apart, apart)
    assert (sure.value, sure.low, sure.high, sure.n) == (1.0, 1.0, 1.0, 6)
    drawn = np.random.default_rng(0)
    noise = correlated(apart, drawn.normal(size=(6, 5)).tolist())
    assert noise.low <= noise.value <= noise.high
    assert noise.high - noise.low > 0.5
    assert correlated(apart, [[1.0] * 5] * 6).value != correlated(apart, apart).value  # all alike: nothing is said


def test_most_intervals_hold_the_correlation_of_true_values() -> None:
    """Twenty models of five seeds, of which many more would tell what the ranks of their true values are."""
    drawn, missed = np.random.default_rng(1), 0
    for attempt in range(40):
        x = drawn.normal(size=(20, 1))
        y = 0.5 * x + drawn.normal(size=(20, 1))
        noisy = [each + 0.3 * drawn.normal(size=(20, 5)) for each in (x, y)]
        found = correlated(*(each.tolist() for each in noisy), seed=attempt)
        missed += not found.low <= stats.spearmanr(x[:, 0], y[:, 0]).statistic <= found.high
    assert missed <= 8


def by_hand(student: Student, seed: int) -> tuple[float, float]:
    """Shares of validation and test that are right after the same lesson, without an optimiser or a copy."""
    (x, y), validation, test = digits()
    drawn = torch.Generator().manual_seed(seed)
    for _ in range(student.lesson.steps):
        chosen = torch.randint(len(x), (student.lesson.batch,), generator=drawn)
        lines = student(x[chosen]).log_softmax(1)[torch.arange(len(chosen)), y[chosen]]
        gradients = torch.autograd.grad(-lines.mean(), list(student.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(student.parameters(), gradients, strict=True):
                parameter -= student.lesson.lr * gradient
    student.eval()
    right = [(student(part).argmax(1) == truth).sum().item() / len(truth) for part, truth in (validation, test)]
    return right[0], right[1]


def test_a_trial_is_what_the_functions_and_a_loop_by_hand_say(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"placement": ["after"], "layers": [2, 3], "lr": [0.01, 0.2]}
    more = {"steps": 3, "width": 8, "batch": 32}
    found = trial("bn-placement", tmp_path, settings={**settings, **more}, seeds=2, workers=0)
    assert found.swept.failed == 0, [row["error"] for row in found.swept.rows]
    assert len(found.points) == 2
    for point in found.points:
        means = {}
        for lr in settings["lr"]:
            shares, rates = [], []
            for seed in (0, 1):
                torch.manual_seed(seed)
                student, x = bn_placement(**{**point.settings, **more, "lr": lr})  # type: ignore[arg-type]
                depth = float(str(point.settings["layers"]))
                rates.append(leadline.gradient(student, x, seed=seed).rate.value * depth)
                shares.append(by_hand(student, seed))
            means[lr] = (*np.mean(shares, axis=0).tolist(), float(np.mean(rates)))
        best = max(means, key=lambda lr: means[lr][0])
        assert point.settings["lr"] == best
        assert point.accuracy.value == pytest.approx(means[best][1])
        assert point.verdict.value == pytest.approx(means[best][2], nan_ok=True)
    assert set(found.by_depth) == {2, 3}
    assert trial("bn-placement", tmp_path, settings={**settings, **more}, seeds=2, workers=0) == found


def test_a_lesson_leaves_the_student_as_it_was_and_says_where_it_broke_off() -> None:
    torch.manual_seed(0)
    student, _ = bn_placement("after", 2, steps=3)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    assert teach(student, 1) == teach(student, 1)
    assert teach(student, 1) != teach(student, 2)
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    broken = teach(Student(Lesson(lr=1e30, steps=20, batch=8), nn.Linear(64, 8), nn.Linear(8, 10)))
    assert broken.steps < 20
    with pytest.raises(UsageError, match="need a model with a lesson"):
        teach(nn.Linear(64, 10))
    with pytest.raises(UsageError, match="positive rate"):
        Lesson(lr=0.0, steps=1, batch=8)


def made(verdicts: dict[str, float], accuracies: dict[str, float]) -> Trial:
    """A trial of one depth, whose seeds differ a little."""
    rows = tuple(
        {"placement": place, "layers": 10, "lr": 0.1, "seed": seed, RATE: verdicts[place] / 10,
         **dict.fromkeys(MEASURES[1:]), LOST: 7 if place == "plain" else None, CHOSEN_BY: 0.5,
         ACCURACY: accuracies[place] + 0.001 * seed, "error": None}
        for place in verdicts for seed in (0, 1)
    )  # fmt: skip
    settings = {"placement": tuple(verdicts), "layers": (10,), "lr": (0.1,)}
    return Trial("bn-placement", Swept("made", settings, 2, MEASURES, rows, "leadline 0"))


def test_what_is_said_follows_the_correlation() -> None:
    verdicts = {"plain": 8.0, "branch": -2.0, "before": 1.0, "after": 4.0}
    agrees = made(verdicts, {"plain": 0.2, "branch": 0.8, "before": 0.9, "after": 0.5})
    assert agrees.correlation.value == 1.0
    assert "predicts training" in trial_cards(agrees)[0].text
    against = made(verdicts, {"plain": 0.9, "branch": 0.5, "before": 0.2, "after": 0.8})
    assert against.correlation.value == -1.0
    assert "does not predict" in trial_cards(against)[0].text
    assert trial_cards(made(verdicts, dict.fromkeys(verdicts, 0.5)))[0].mark in ("unknown", "notice")
    page = describe_trial(agrees)
    (curve,) = page.sections[0].blocks
    assert curve.x == (1.0, 2.0, 4.0, 8.0)  # type: ignore[union-attr]
    assert curve.names == ("placement=before", "placement=branch", "placement=after", "placement=plain")  # type: ignore[union-attr]
    (table,) = page.sections[1].blocks
    assert [row[3] for row in table.rows] == [row[-1] for row in table.rows] == ["4", "2", "1", "3"]  # type: ignore[union-attr]


def test_slips_are_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="bn-placement"):
        trial("bn-placment", tmp_path / "out")
    with pytest.raises(UsageError, match="did you mean 'layers'"):
        trial("bn-placement", tmp_path / "out", settings={"lairs": 3})
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_placements_rank_as_their_gradients_do(tmp_path: Path) -> None:
    """Depths 10 and 40, five seeds: 120 networks, in three to four CPU minutes."""
    found = trial("bn-placement", tmp_path, workers=0)
    assert found.swept.failed == 0
    assert len(found.points) == 8
    print(found, {depth: str(rho) for depth, rho in found.by_depth.items()})
    for point in sorted(found.points, key=lambda point: abs(point.verdict.value)):
        print(dict(point.settings), f"rate × depth {point.verdict.value:.3f}", f"accuracy {point.accuracy}")
    assert found.correlation.value >= 0.9
    assert found.correlation.low > 0.5
