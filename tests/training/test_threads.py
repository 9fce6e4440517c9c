"""Threads of one process: trainings follow one another, analyses and samples wait for a step, and nothing mixes."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
import torch
from helpers.densities import build_tiny
from helpers.folders import contents

import leadline
from leadline.data import Split, load
from leadline.errors import UsageError
from leadline.training import TrainConfig, train
from leadline.training.session import Session

FEW = Split(load("digits").test.examples[:12])
DATA = dataclasses.replace(load("digits"), validation=FEW, test=FEW)
CONFIG = TrainConfig(steps=8, batch=4, warmup=2, validate_every=3, threads=1, device="cpu")


def run(path: Path, seed: int = 0) -> None:
    config = dataclasses.replace(CONFIG, seed=seed)
    train("tiny", {"width": 4, "dropout": 0.5}, DATA, config, path, build=build_tiny)


def test_trainings_in_threads_are_those_of_one_after_the_other(tmp_path: Path) -> None:
    states = torch.get_rng_state(), torch.get_num_threads()
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(run, [tmp_path / f"together{seed}" for seed in range(3)], range(3)))
    for seed in range(3):
        run(tmp_path / f"alone{seed}", seed)
        assert contents(tmp_path / f"alone{seed}") == contents(tmp_path / f"together{seed}")
    assert torch.equal(torch.get_rng_state(), states[0])
    assert torch.get_num_threads() == states[1]


def test_two_threads_in_one_folder_follow_one_another(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        ended = [pool.submit(run, tmp_path / "r") for _ in range(2)]
        errors = [str(e) for e in (future.exception() for future in ended) if e is not None]
    assert len(errors) == 1
    assert "already holds a run" in errors[0]


def test_analyses_meanwhile_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path / "alone")
    model, x = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Dropout(0.5)), torch.randn(2, 3)
    real, begun, counts = Session.step, Event(), []

    def signalled(self: Session) -> None:
        begun.set()
        real(self)

    def analyse() -> None:
        begun.wait(60)
        counts.extend(leadline.gradient(model, x).seed for _ in range(3))

    monkeypatch.setattr(Session, "step", signalled)
    with ThreadPoolExecutor(2) as pool:
        for future in (pool.submit(run, tmp_path / "beside"), pool.submit(analyse)):
            future.result()
    assert len(counts) == 3
    assert contents(tmp_path / "alone") == contents(tmp_path / "beside")


def test_a_training_within_a_training_is_refused(tmp_path: Path) -> None:
    def nested(name: str, **settings: object) -> object:
        run(tmp_path / "inner")
        return build_tiny(name, **settings)

    with pytest.raises(UsageError, match="within another"):
        train("tiny", {}, DATA, CONFIG, tmp_path / "outer", build=nested)
    assert list(tmp_path.iterdir()) == []
