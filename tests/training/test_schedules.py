"""Schedules, accumulation, patience and extension, by laws."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from helpers.densities import build_tiny
from helpers.folders import contents
from hypothesis import given, settings
from hypothesis import strategies as st

from leadline.data import Batch, Split, load
from leadline.errors import CheckpointError, UsageError
from leadline.training import TrainConfig, train
from leadline.training.budget import Schedule
from leadline.training.config import SCHEDULES
from leadline.training.session import Session
from leadline.zoo import build

DIGITS = load("digits")
FEW = dataclasses.replace(
    DIGITS, validation=Split(DIGITS.validation.examples[:9]), test=Split(DIGITS.test.examples[:9])
)
CONFIG = TrainConfig(steps=6, batch=6, warmup=2, validate_every=2, checkpoint_every=2, threads=1, device="cpu")


@given(st.sampled_from(SCHEDULES), st.integers(0, 50), st.integers(60, 400), st.floats(1e-4, 1.0))
def test_rates_start_low_reach_the_peak_and_end_where_they_should(
    name: str, warmup: int, steps: int, lr: float
) -> None:
    config, schedule = TrainConfig(steps=steps, warmup=warmup, lr=lr, schedule=name), Schedule.of_steps(steps, warmup)
    rates = [config.learning_rate(step, schedule.progress(step)) for step in range(steps + 1)]
    assert max(rates) == pytest.approx(lr, rel=0.01)
    assert min(rates) >= 0
    end = {"cosine": 0.0, "linear": 0.0, "constant": lr, "one-cycle": lr / 10_000}[name]
    assert rates[-1] == pytest.approx(end, abs=1e-12)
    peak = rates.index(max(rates))
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    if name == "linear":
        falls = [a - b for a, b in zip(rates[warmup:], rates[warmup + 1 :], strict=False)]
        assert falls == pytest.approx([falls[0]] * len(falls), abs=1e-12)


@given(st.integers(1, 9), st.integers(1, 12), st.booleans())
def test_parts_of_a_batch_are_the_batch(n: int, number: int, whole: bool) -> None:
    x = torch.arange(n * 3).view(n, 3)
    mask = None if whole else x % 2 == 0
    parts = list(Batch(x, mask, torch.arange(n), tuple(range(n))).parts(number))
    assert torch.equal(torch.cat([part.x for part in parts]), x)
    assert (
        [i for part in parts for i in part.index] == torch.cat([part.labels for part in parts]).tolist() == [*range(n)]
    )
    assert sum(part.symbols for part in parts) == Batch(x, mask, None, tuple(range(n))).symbols
    assert len(parts) <= min(n, number)


@given(n=st.integers(1, 20), number=st.integers(1, 8), members=st.integers(1, 5))
def test_each_member_learns_from_the_same_examples_in_however_many_parts(n: int, number: int, members: int) -> None:
    """A model of members divides each part that it gets as it divides the whole batch."""
    whole = Batch(torch.arange(n)[:, None], None, None, tuple(range(n)))
    alone = [rows.flatten().tolist() for rows in whole.x.tensor_split(members)]
    parts = list(whole.parts(number, members))
    shared = [part.x.tensor_split(members) for part in parts]
    assert [sorted(torch.cat(rows).flatten().tolist()) for rows in zip(*shared, strict=True)] == alone
    assert [i for part in parts for i in part.index] == [i for part in parts for i in part.x.flatten().tolist()]
    sizes = [len(part.x) for part in whole.parts(number)]
    assert max(sizes) - min(sizes) <= 1


@settings(max_examples=4)
@given(st.integers(2, 6), st.integers(2, 3))
def test_members_take_the_step_of_the_batch_in_parts(accumulate: int, members: int) -> None:
    states = []
    for parts in (1, accumulate):
        specimen = build("pixelcnn", layers=1, channels=4, inner=4, head=4, members=members, dropout=0.0, seed=0)
        session = Session.open(specimen, FEW, CONFIG.replace(batch=7, accumulate=parts), 1, Schedule.of_steps(6))
        session.step()
        states.append({name: p.grad.clone() for name, p in specimen.model.named_parameters()})
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], rtol=1e-4, atol=1e-6)


@settings(max_examples=6)
@given(st.integers(2, 6))
def test_a_batch_in_parts_takes_the_step_of_the_batch(accumulate: int) -> None:
    states = []
    for parts in (1, accumulate):
        torch.manual_seed(0)
        specimen = build_tiny("tiny", dropout=0.0)
        specimen.model.norm = torch.nn.Identity()
        session = Session.open(specimen, FEW, CONFIG.replace(accumulate=parts), 1, Schedule.of_steps(6))
        session.step()
        states.append(({k: v.clone() for k, v in specimen.model.state_dict().items()}, session.state.losses))
    (one, loss), (other, same) = states
    assert loss == pytest.approx(same, rel=1e-5)
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=1e-4, atol=1e-5)


def run(path: Path, config: TrainConfig) -> dict[str, object]:
    train("tiny", {"width": 4}, FEW, config, path, build=build_tiny, resume=True)
    return contents(path)


@pytest.mark.parametrize("stop", [2, 4])
def test_a_run_of_constant_rate_that_is_extended_is_one_that_was_never_shorter(stop: int, tmp_path: Path) -> None:
    config = CONFIG.replace(schedule="constant")
    whole = run(tmp_path / "whole", config)
    run(tmp_path / "longer", config.replace(steps=stop))
    longer = run(tmp_path / "longer", config)
    said = longer["run.json"].pop("extensions")  # type: ignore[attr-defined]
    assert said == [{"step": stop, "steps": 6}]
    assert longer == whole


def test_patience_ends_a_run_that_gets_no_better(tmp_path: Path) -> None:
    config = CONFIG.replace(steps=40, lr=1e-12, ema=0.0, patience=3, validate_every=1)
    result = train("tiny", {"width": 4}, FEW, config, tmp_path / "a", build=build_tiny)
    lines = [json.loads(line) for line in (tmp_path / "a" / "metrics.jsonl").read_text().splitlines()]
    since = [line["best"] for line in lines][::-1].index(True)
    assert (since, result.steps, result.planned) == (3, len(lines), 40) or result.steps == 40
    assert result.best_step == result.steps - since
    assert train("tiny", {"width": 4}, FEW, config, tmp_path / "a", build=build_tiny, resume=True) == result


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule": "cosin"}, "schedule must be cosine or constant"),
        ({"accumulate": 7}, "cannot go through in accumulate=7 parts"),
        ({"patience": 0}, "patience must be at least 1"),
        ({"device": "tpu"}, "device must be None or cpu or cuda or mps"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        CONFIG.replace(**changes)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_a_device_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no device cuda"):
        train("tiny", {}, FEW, CONFIG.replace(device="cuda"), tmp_path / "a", build=build_tiny)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, RuntimeError, UsageError])
def test_a_run_without_a_checkpoint_blocks_no_other(
    stop: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(_: Session) -> None:
        raise stop

    with monkeypatch.context() as patch:
        patch.setattr(Session, "step", step)
        with pytest.raises(stop):
            run(tmp_path / "some" / "run", CONFIG)
    assert not (tmp_path / "some").exists()


def test_a_run_that_was_killed_before_its_first_checkpoint_blocks_no_other(tmp_path: Path) -> None:
    class Killed(BaseException):
        """Stands in for SIGKILL."""

    def step(_: Session) -> None:
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "step", step)
        with pytest.raises(Killed):
            run(tmp_path / "a", CONFIG)
    assert (tmp_path / "a" / "run.json").exists()
    other = CONFIG.replace(lr=0.01)
    result = train("tiny", {"width": 4}, FEW, other, tmp_path / "a", build=build_tiny)  # without resume
    assert result.steps == 6
    assert run(tmp_path / "b", other) == contents(tmp_path / "a")


def test_a_run_begins_with_the_best_weights_of_another(tmp_path: Path) -> None:
    first = train("tiny", {"width": 4}, FEW, CONFIG.replace(lr=0.1), tmp_path / "a", build=build_tiny)
    still = CONFIG.replace(steps=1, lr=1e-12)
    how = {"build": build_tiny, "start": tmp_path / "a", "resume": True}
    second = train("tiny", {"width": 4}, FEW, still, tmp_path / "b", **how)
    assert second.validation.nats == pytest.approx(first.validation.nats, rel=0.01)  # it has batch norms
    alone = train("tiny", {"width": 4}, FEW, still, tmp_path / "c", build=build_tiny)
    assert alone.validation.nats != pytest.approx(first.validation.nats, rel=0.05)
    assert contents(tmp_path / "b")["run.json"]["start"]["run"] == str(tmp_path / "a")
    assert train("tiny", {"width": 4}, FEW, still, tmp_path / "b", **how) == second
    with pytest.raises(UsageError, match="its start is"):
        train("tiny", {"width": 4}, FEW, still, tmp_path / "b", build=build_tiny, resume=True)
    with pytest.raises(CheckpointError, match="another model"):
        train("tiny", {"width": 5}, FEW, still, tmp_path / "d", **how)
    assert not (tmp_path / "d").exists()
