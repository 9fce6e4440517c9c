"""Trials: ranks and their correlation, cells by other means, and what is said of them."""

from __future__ import annotations

import dataclasses
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
from leadline.document import Document, Section
from leadline.errors import UsageError
from leadline.report.swept.trial_tables import formats_table, models_table, rates_table
from leadline.report.swept.trials import describe_trial, trial_cards
from leadline.sweeps import Swept
from leadline.sweeps.trials._trial import CHOSEN_BY, LEARNT, LOSS, SCORE, Tried, trial
from leadline.sweeps.trials.correlation import agreement, correlated, ranks, spearman
from leadline.sweeps.trials.lessons import Lesson, Student, teach
from leadline.sweeps.trials.materials import Digits
from leadline.sweeps.trials.tasks import TASKS, bn_placement
from leadline.sweeps.trials.verdicts import BRAIN_ENDS, ENDS, GROWTH, RATE

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


def by_hand(student: Student, seed: int) -> tuple[float, float, float]:
    """Shares of validation and test that are right, and the loss, after the same lesson without an optimiser."""
    validation, test = Digits().unseen
    drawn = torch.Generator().manual_seed(seed)
    for _ in range(student.lesson.steps):
        x, y = Digits().batch(student.lesson.batch, drawn)
        lines = student(x).log_softmax(1)[torch.arange(len(y)), y]
        gradients = torch.autograd.grad(-lines.mean(), list(student.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(student.parameters(), gradients, strict=True):
                parameter -= student.lesson.lr * gradient
    student.eval()
    right = [(student(part).argmax(1) == truth).sum().item() / len(truth) for part, truth in (validation, test)]
    unseen, truth = test
    with torch.no_grad():
        of_truth = student(unseen).double().softmax(1)[torch.arange(len(truth)), truth]
    return right[0], right[1], -of_truth.log().mean().item()


def test_a_trial_is_what_the_functions_and_a_loop_by_hand_say(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"placement": ["after"], "layers": [2, 3], "lr": [0.01, 0.2]}
    more = {"steps": 3, "width": 8, "batch": 32}
    found = trial("bn-placement", tmp_path, settings={**settings, **more}, seeds=2, workers=0)
    assert found.failed == 0, [row["error"] for row in found.taught.rows]
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
        assert point.score.value == pytest.approx(means[best][1])
        assert point.loss.value == pytest.approx(means[best][2], rel=1e-5)
        assert point.verdicts["rate × depth"].value == pytest.approx(means[best][3], nan_ok=True)
    assert set(found.by_depth) == {2, 3}
    assert trial("bn-placement", tmp_path, settings={**settings, **more}, seeds=2, workers=0) == found


def test_a_lesson_leaves_the_student_as_it_was_and_says_where_it_broke_off() -> None:
    torch.manual_seed(0)
    student, _ = bn_placement("after", 2, steps=3)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    assert teach(student, 1) == teach(student, 1)
    assert teach(student, 1) != teach(student, 2)
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    broken = teach(Student(Digits(), Lesson(lr=1e30, steps=20, batch=8), nn.Linear(64, 8), nn.Linear(8, 10)))
    assert broken.steps < 20
    with pytest.raises(UsageError, match="need a model with a lesson"):
        teach(nn.Linear(64, 10))
    with pytest.raises(UsageError, match="positive rate"):
        Lesson(lr=0.0, steps=1, batch=8)


def made(
    verdicts: dict[str, float],
    scores: dict[str, float],
    losses: dict[str, float] | None = None,
    lrs: tuple[float, ...] = (0.1,),
) -> Tried:
    """A trial of one depth, whose seeds differ a little, and of rates of which the first is the best on validation."""
    lost = {place: 1 - score for place, score in scores.items()} if losses is None else losses
    cells = [(place, seed) for place in verdicts for seed in (0, 1)]
    judged = tuple(
        {"placement": place, "layers": 10, "seed": seed, RATE.measure: verdicts[place] / 10,
         GROWTH.measure: 2 * verdicts[place], ENDS.measure: 7 if place == "plain" else None,
         BRAIN_ENDS.measure: 0, "error": None}
        for place, seed in cells
    )  # fmt: skip
    taught = tuple(
        {"placement": place, "layers": 10, "lr": lr, "seed": seed, **dict.fromkeys(LEARNT), CHOSEN_BY: 0.5 - lr,
         SCORE: scores[place] + 0.001 * seed, LOSS: lost[place] - 0.001 * seed, "error": None}
        for place, seed in cells for lr in lrs
    )  # fmt: skip
    settings = {"placement": tuple(verdicts), "layers": (10,)}
    asked = tuple(verdict.measure for verdict in TASKS["bn-placement"].verdicts)
    return Tried(
        "bn-placement",
        Swept("made", settings, 2, asked, judged, "leadline 0"),
        Swept("made", {**settings, "lr": lrs}, 2, LEARNT, taught, "leadline 0"),
    )


def test_what_is_said_follows_the_correlation() -> None:
    verdicts = {"plain": 8.0, "branch": -2.0, "before": 1.0, "after": 4.0}
    agrees = made(verdicts, {"plain": 0.2, "branch": 0.8, "before": 0.9, "after": 0.5})
    assert agrees.correlation.value == 1.0
    assert "predicts training" in trial_cards(agrees)[0].text
    against = made(verdicts, {"plain": 0.9, "branch": 0.5, "before": 0.2, "after": 0.8})
    assert against.correlation.value == -1.0
    assert "does not predict" in trial_cards(against)[0].text
    assert trial_cards(made(verdicts, dict.fromkeys(verdicts, 0.5)))[0].mark in ("unknown", "notice")
    assert [card.subject for card in trial_cards(agrees)] == ["rate × depth", "growth", "float16 ends", "bfloat16 ends"]
    page = describe_trial(agrees)
    curve = page.sections[0].blocks[0].blocks[0]  # type: ignore[union-attr]
    assert curve.x == (1.0, 2.0, 4.0, 8.0)  # type: ignore[union-attr]
    assert curve.names == ("placement=before", "placement=branch", "placement=after", "placement=plain")  # type: ignore[union-attr]
    (table,) = section(page, "Models").blocks
    ranked = [(row[4], row[-2]) for row in table.rows]  # type: ignore[union-attr]
    assert ranked == [("4", "4"), ("2", "2"), ("1", "1"), ("3", "3")]
    (table,) = section(page, "Number formats").blocks
    assert [row[1] for row in table.rows] == ["7", *["beyond 100"] * 3]  # type: ignore[union-attr]
    assert [row[2] for row in table.rows] == ["unknown"] * 4  # type: ignore[union-attr]


def section(page: Document, heading: str) -> Section:
    """The one section of a heading."""
    (found,) = (each for each in page.sections if each.heading == heading)
    return found


def test_a_loss_stands_beside_the_score_and_is_ranked_too() -> None:
    """Losses in another order than the scores, one of them not finite: none is worse."""
    verdicts = {"plain": 8.0, "branch": -2.0, "before": 1.0, "after": 4.0}
    losses = {"plain": 0.4, "branch": 0.5, "before": 2.25, "after": math.nan}
    found = made(verdicts, {"plain": 0.2, "branch": 0.8, "before": 0.9, "after": 0.5}, losses)
    promises = [-abs(value) for value in verdicts.values()]
    known = [-value if math.isfinite(value) else -9.0 for value in losses.values()]
    assert found.loss_correlations["rate × depth"].value == pytest.approx(stats.spearmanr(promises, known).statistic)
    assert found.correlation.value == 1.0
    assert [point.loss.value for point in found.points[:3]] == pytest.approx([0.3995, 0.4995, 2.2495])
    assert math.isinf(found.points[3].loss.value)
    *finite, last = [row[-1] for row in models_table(found).rows]
    assert [float(text.split(" ± ")[0]) for text in finite] == pytest.approx([0.3995, 0.4995, 2.2495], abs=0.001)
    assert last == "not finite"
    assert "with the loss -0.40" in trial_cards(found)[0].text
    curve = section(describe_trial(found), "Verdict and training").blocks[0].blocks[-1]  # type: ignore[union-attr]
    assert curve.y_label == "cross entropy (nats) after it"
    assert curve.names == ("placement=before", "placement=branch", "placement=plain")


def test_all_learning_rates_are_shown_and_the_best_is_marked() -> None:
    scores, losses = {"plain": 0.2504, "before": 0.5004}, {"plain": math.nan, "before": 1.0005}
    found = made({"plain": 8.0, "before": 1.0}, scores, losses, lrs=(0.1, 0.2))
    table = rates_table(found)
    assert table is not None
    assert table.head == ("placement", "lr=0.1", "lr=0.2")
    assert table.rows == (
        ("plain", "25.1%, not finite *", "25.1%, not finite"),
        ("before", "50.1%, 1 *", "50.1%, 1"),
    )
    assert rates_table(made({"plain": 8.0, "before": 1.0}, scores)) is None
    formats = formats_table(found)
    assert formats is not None
    assert formats.head == ("placement", "float16 ends", "bfloat16 ends")


def test_results_that_are_older_than_a_verdict_go_without_it() -> None:
    whole = made({"plain": 8.0, "before": 1.0}, {"plain": 0.25, "before": 0.5})
    old = dataclasses.replace(whole.judged, measures=(RATE.measure, GROWTH.measure))
    found = Tried(whole.name, old, whole.taught)
    assert [verdict.name for verdict in found.verdicts] == ["rate × depth", "growth"]
    assert set(found.correlations) == set(found.loss_correlations) == {"rate × depth", "growth"}
    assert formats_table(found) is None
    assert "Number formats" not in [each.heading for each in describe_trial(found).sections]


def test_what_a_verdict_gets_wrong_is_named() -> None:
    """A promise of 1 against one of 8, and a score of 0.2 against one of 0.9; their seeds differ by far less."""
    wrong = made({"plain": 8.0, "before": 1.0}, {"plain": 0.9, "before": 0.2})
    assert wrong.agreements["rate × depth"].against == ((1, 0),)
    said, table = section(describe_trial(wrong), "Where the verdict fails").blocks
    assert "0 of 1 pairs alike" in said.text  # type: ignore[union-attr]
    assert table.rows[0][:2] == ("placement=before", "placement=plain")  # type: ignore[union-attr]
    right = made({"plain": 8.0, "before": 1.0}, {"plain": 0.2, "before": 0.9})
    (said,) = section(describe_trial(right), "Where the verdict fails").blocks
    assert "1 of 1 pairs alike" in said.text  # type: ignore[union-attr]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=7))
def test_pairs_are_told_apart_where_their_intervals_are(pairs: list[tuple[int, int]]) -> None:
    """Seeds at ±0.01 around whole numbers: what differs is sure; at ±10 nothing is, of either side."""
    near, wide = ([[[n - by, n, n + by] for n in side] for side in zip(*pairs, strict=True)] for by in (0.01, 10.0))
    found = agreement(*near, range(len(pairs)))
    signs = [
        (np.sign(pairs[i][0] - pairs[j][0]) * np.sign(pairs[i][1] - pairs[j][1]), i, j)
        for i in range(len(pairs))
        for j in range(i)
    ]
    assert found.alike == sum(sign > 0 for sign, _, _ in signs)
    assert found.unsure == sum(sign == 0 for sign, _, _ in signs)
    assert {frozenset(pair) for pair in found.against} == {frozenset((i, j)) for sign, i, j in signs if sign < 0}
    assert all(pairs[a][0] > pairs[b][0] and pairs[a][1] < pairs[b][1] for a, b in found.against)
    assert agreement(*wide, range(len(pairs))).unsure == len(signs)


def test_slips_are_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="bn-placement"):
        trial("bn-placment", tmp_path / "out")
    with pytest.raises(UsageError, match="did you mean 'layers'"):
        trial("bn-placement", tmp_path / "out", settings={"lairs": 3})
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_placements_rank_as_their_gradients_do(tmp_path: Path) -> None:
    """Depths 10 and 40, five seeds: 120 networks, in two CPU minutes."""
    found = trial("bn-placement", tmp_path, workers=0)
    assert found.failed == 0
    assert len(found.points) == 8
    print(found, {depth: str(rho) for depth, rho in found.by_depth.items()})
    print(*models_table(found).rows, sep="\n")
    assert found.correlation.value >= 0.9
    assert found.correlation.low > 0.5
    assert found.agreements["rate × depth"].against == ()
