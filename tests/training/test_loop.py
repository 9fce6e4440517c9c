"""The loop: it learns, keeps the best average, resumes bit for bit, stops on what is not finite, and refuses misuse."""

import dataclasses
import errno
import json
import math
import os
from pathlib import Path

import pytest
import torch
from helpers.densities import build_tiny
from helpers.folders import contents
from hypothesis import given, settings
from hypothesis import strategies as st

from leadline.data import load
from leadline.errors import CheckpointError, Diverged, StorageError, UsageError
from leadline.likelihoods import Bernoulli, Categorical
from leadline.training import RunResult, TrainConfig, load_checkpoint, load_run, score, train
from leadline.training.budget import Schedule
from leadline.training.session import Session
from leadline.zoo import Specimen

CONFIG = TrainConfig(steps=12, batch=16, warmup=3, validate_every=4, checkpoint_every=3, threads=1, device="cpu")
DIGITS = load("digits")


def run(path: Path, config: TrainConfig = CONFIG, *, resume: bool = False, **settings: object) -> RunResult:
    return train("tiny", settings, DIGITS, config, path, resume=resume, build=build_tiny)


class Killed(BaseException):
    """Stands in for SIGKILL: nothing catches it."""


def killed_at(path: Path, step: int, monkeypatch: pytest.MonkeyPatch, config: TrainConfig = CONFIG) -> None:
    real = Session.step

    def fatal(self: Session) -> None:
        if self.state.step == step:
            raise Killed
        real(self)

    with monkeypatch.context() as patch:
        patch.setattr(Session, "step", fatal)
        with pytest.raises(Killed):
            run(path, config, resume=True)


def test_a_run_learns_and_its_folder_tells_the_story(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, steps=90, lr=0.02, validate_every=30)
    result = run(tmp_path / "r", config, dropout=0.0)
    assert result.test.bits_per_dim < 3.3 < math.log2(17)
    assert result.test.symbols == 447 * 64
    assert result.steps == result.planned == 90
    back = load_run(tmp_path / "r", build=build_tiny)
    assert back.result == result
    assert back.settings == {"dropout": 0.0}
    assert back.config == config
    assert not back.specimen.model.training
    again = score(back.specimen.model, Categorical(17), back.dataset().test)
    assert again.nats == pytest.approx(result.test.nats, rel=1e-12)
    metrics = [json.loads(line) for line in (tmp_path / "r" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in metrics] == [30, 60, 90]
    best = min(metrics, key=lambda line: line["validation"])
    assert best["step"] == result.best_step
    assert best["validation"] == pytest.approx(result.validation.bits_per_dim, rel=1e-9)
    assert result.parameters == sum(p.numel() for p in back.specimen.model.parameters())


def test_the_best_average_is_kept_and_not_the_last(tmp_path: Path) -> None:
    # A learning rate that ruins the model after its first steps: the early average is the better one.
    config = dataclasses.replace(CONFIG, steps=40, lr=30.0, warmup=40, clip=1e9, validate_every=2, ema=0.5)
    result = run(tmp_path / "r", config)
    assert result.best_step < 40
    metrics = [json.loads(line) for line in (tmp_path / "r" / "metrics.jsonl").read_text().splitlines()]
    assert metrics[-1]["validation"] > result.validation.bits_per_dim
    assert min(line["validation"] for line in metrics) == pytest.approx(result.validation.bits_per_dim, rel=1e-9)


@settings(max_examples=4)
@given(stops=st.lists(st.integers(0, 11), min_size=1, max_size=3).map(sorted))
def test_a_run_that_is_stopped_anywhere_resumes_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, stops: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("resume")
    run(folder / "whole")
    with pytest.MonkeyPatch.context() as patch:
        for step in stops:
            killed_at(folder / "broken", step, patch)
    torch.rand(5)  # the world goes on between
    result = run(folder / "broken", resume=True)
    assert contents(folder / "whole") == contents(folder / "broken")
    steps = [json.loads(line)["step"] for line in (folder / "broken" / "metrics.jsonl").read_text().splitlines()]
    assert steps == [4, 8, 12]
    assert run(folder / "broken", resume=True) == result  # a finished run is returned as it is


def test_training_leaves_random_states_and_threads(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    run(tmp_path / "r")
    assert torch.equal(before, torch.get_rng_state())
    assert torch.get_num_threads() == 1


def test_the_seed_decides(tmp_path: Path) -> None:
    runs = [run(tmp_path / str(i), dataclasses.replace(CONFIG, seed=seed)) for i, seed in enumerate((0, 0, 1))]
    assert runs[0].test == runs[1].test != runs[2].test


def test_lag_zero_and_bernoulli_models_are_trained_too(tmp_path: Path) -> None:
    result = train("tiny", {"lag": 0}, DIGITS, CONFIG, tmp_path / "a", lag=0, build=build_tiny)
    assert result.test.unscored == 447
    assert load_run(tmp_path / "a", build=build_tiny).lag == 0
    bits = load("digits", binarise="dynamic")
    result = train("tiny-bernoulli", {"classes": 2}, bits, CONFIG, tmp_path / "b", build=build_tiny)
    model = load_run(tmp_path / "b", build=build_tiny).specimen.model
    assert score(model, Bernoulli(), bits.test).nats == pytest.approx(result.test.nats)
    assert result.test.binarisation == bits.binarisation


def test_audio_is_trained_on_crops_and_scored_whole(tmp_path: Path) -> None:
    tones = load("tones", clips=10, length=60, levels=16)
    config = dataclasses.replace(CONFIG, crop=20, burn_in=4)
    result = train("tiny", {"classes": 16, "shape": [20]}, tones, config, tmp_path / "a", build=build_tiny)
    assert result.test.symbols == tones.test.symbols


def test_minutes_become_steps_that_fit(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, steps=None, minutes=0.06, validate_every=None, checkpoint_every=None)
    result = run(tmp_path / "r", config)
    record = json.loads((tmp_path / "r" / "run.json").read_text())
    assert record["plan"]["schedule"]["steps"] > 0
    assert result.planned >= result.steps > 0
    # the guard stops it on time even if the machine slows down; a step and the final scores may run over
    assert result.seconds < 1.5 * 60 * config.minutes
    capped = run(tmp_path / "s", dataclasses.replace(config, steps=2))
    assert capped.planned == 2
    with pytest.raises(UsageError, match="too few on this machine"):
        run(tmp_path / "t", dataclasses.replace(config, minutes=1e-5))


def poisoned(name: str, **settings: object) -> Specimen:
    specimen = build_tiny(name, **settings)
    calls = iter(range(1000))

    def poison(model: torch.nn.Module, _: object, logits: torch.Tensor) -> torch.Tensor:
        return logits * math.nan if model.training and next(calls) == 7 else logits

    specimen.model.register_forward_hook(poison)
    return specimen


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, checkpoint_every=3)
    where = r"the loss is nan at step 7: all parameters are finite; the batch holds .* \["
    with pytest.raises(Diverged, match=where) as stop:
        train("tiny", {}, DIGITS, config, tmp_path / "r", build=poisoned)
    assert f"the last good checkpoint, of step 6, is {tmp_path / 'r' / 'checkpoint.safetensors'}" in str(stop.value)
    tensors, state = load_checkpoint(tmp_path / "r" / "checkpoint.safetensors")
    assert state["step"] == 6
    assert all(torch.isfinite(t).all() for t in tensors.values())
    assert load_run(tmp_path / "r", build=build_tiny).result is None


def test_a_parameter_that_is_not_finite_is_named(tmp_path: Path) -> None:
    def broken(name: str, **settings: object) -> Specimen:
        specimen = build_tiny(name, **settings)
        torch.nn.init.constant_(specimen.model.out.bias, math.nan)
        return specimen

    with pytest.raises(Diverged, match=r"step 0: parameter out\.bias is not finite.* after 0 steps, before the first"):
        train("tiny", {}, DIGITS, CONFIG, tmp_path / "r", build=broken)


def test_a_full_disk_stops_the_run_and_keeps_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, writes = os.replace, iter(range(1000))

    def full(source: Path, target: Path) -> None:
        if "checkpoint" in target.name and next(writes) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StorageError, match="No space left"):
        run(tmp_path / "r")
    monkeypatch.undo()
    assert load_checkpoint(tmp_path / "r" / "checkpoint.safetensors")[1]["step"] == 6
    run(tmp_path / "whole")
    run(tmp_path / "r", resume=True)
    assert contents(tmp_path / "whole") == contents(tmp_path / "r")


def test_misuse_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "r")
    with pytest.raises(UsageError, match="already holds a run"):
        run(tmp_path / "r")
    with pytest.raises(UsageError, match=r"its lr is 0\.001, not 0\.5"):
        run(tmp_path / "r", dataclasses.replace(CONFIG, lr=0.5), resume=True)
    with pytest.raises(UsageError, match="its width is None, not 9"):
        run(tmp_path / "r", resume=True, width=9)
    with pytest.raises(UsageError, match="no likelihood"):
        train(
            "tiny",
            {},
            DIGITS,
            CONFIG,
            tmp_path / "s",
            build=lambda name, **kw: dataclasses.replace(build_tiny(name, **kw), likelihood=None),
        )
    with pytest.raises(UsageError, match="shift, turn, warp and bend move"):
        train(
            "tiny",
            {"classes": 256, "shape": [9]},
            load("tones"),
            dataclasses.replace(CONFIG, shift=1),
            tmp_path / "t",
            build=build_tiny,
        )
    with pytest.raises(UsageError, match="process of its own"):
        run(tmp_path / "u", dataclasses.replace(CONFIG, precision="bf16"))
    with pytest.raises(UsageError, match="how long"):
        TrainConfig()
    with pytest.raises(UsageError, match="did you mean 'batch'"):
        CONFIG.replace(bach=3)
    with pytest.raises(UsageError, match="leaves nothing"):
        CONFIG.replace(crop=10, burn_in=10)
    assert TrainConfig.from_dict(CONFIG.as_dict()) == CONFIG


def test_foreign_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not a run folder"):
        load_run(tmp_path / "none")
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(CheckpointError, match="damaged"):
        load_run(tmp_path)
    (tmp_path / "run.json").write_text('{"format": "other"}')
    with pytest.raises(CheckpointError, match="does not describe a run"):
        load_run(tmp_path)
    run(tmp_path / "r")
    with pytest.raises(CheckpointError, match="belongs to another model"):
        load_run(tmp_path / "r", build=lambda name, **_: build_tiny(name, width=9))
    (tmp_path / "r" / "checkpoint.safetensors").write_bytes(b"\x80\x04junk")
    with pytest.raises(CheckpointError, match="pickle"):
        load_run(tmp_path / "r", build=build_tiny)


def test_the_schedule_warms_up_and_follows_a_cosine() -> None:
    config = TrainConfig(steps=100, lr=2.0, warmup=10)
    schedule = Schedule.of_steps(100, warmup=10)
    rates = [config.learning_rate(step, schedule.progress(step)) for step in range(101)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[9] == rates[10] == pytest.approx(2.0)
    assert rates[55] == pytest.approx(1.0)
    assert rates[100] == pytest.approx(0.0, abs=1e-12)


def test_the_average_is_the_recursion_written_out() -> None:
    session = Session.open(build_tiny("tiny"), DIGITS, dataclasses.replace(CONFIG, ema=0.9), 1, Schedule.of_steps(30))
    expected = [p.detach().double().clone() for p in session.state.model.parameters()]
    for n in range(1, 30):
        session.step()
        decay = min(0.9, (1 + n) / (10 + n))
        expected = [
            decay * e + (1 - decay) * p.double()
            for e, p in zip(expected, session.state.model.parameters(), strict=True)
        ]
    for e, p in zip(expected, session.state.averaged.parameters(), strict=True):
        torch.testing.assert_close(p.double(), e.detach(), atol=1e-6, rtol=1e-5)
