"""Our own loop records the gradient in its log and in trackers, and stays what it was."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from accelerate.tracking import GeneralTracker
from helpers.densities import build_tiny
from helpers.folders import contents

from leadline.audit.named_model import from_specimen
from leadline.data import load
from leadline.document import Curve, Row
from leadline.errors import UsageError
from leadline.report.drawings.monitored import monitor_curves
from leadline.training import TrainConfig, load_run, train
from leadline.training.session import Session

CONFIG = TrainConfig(
    steps=12, batch=8, warmup=3, validate_every=4, checkpoint_every=3, validation_examples=8, threads=1, device="cpu",
    monitor=2,
)  # fmt: skip
DIGITS = load("digits")


def run(path: Path, config: TrainConfig = CONFIG, **how: Any) -> Any:
    return train("tiny", {}, DIGITS, config, path, build=build_tiny, **how)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_the_log_tells_gradients_beside_scores_and_draws_them(tmp_path: Path) -> None:
    run(tmp_path / "r")
    heard = [line for line in lines(tmp_path / "r") if "gradient/norm/the end" in line]
    assert [line["step"] for line in heard] == [0, 2, 4, 6, 8, 10]
    assert all(line["gradient/norm/the end"] > 0 for line in heard)
    curves = monitor_curves(load_run(tmp_path / "r", build=build_tiny))
    assert all(isinstance(curve, Curve) for curve in curves)
    assert curves[0].x == (0, 2, 4, 6, 8, 10)


def test_a_run_that_is_watched_gives_the_same_numbers(tmp_path: Path) -> None:
    plain = run(tmp_path / "plain", dataclasses.replace(CONFIG, monitor=None))
    watched = run(tmp_path / "watched")
    assert watched.test == plain.test
    scores = [line for line in lines(tmp_path / "watched") if "validation" in line]
    for line in (*scores, *(before := lines(tmp_path / "plain"))):
        line.pop("seconds")
    assert scores == before


def test_a_watched_run_resumes_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    real = Session.step
    run(tmp_path / "whole")
    for stop in (1, 4, 7, 10):

        def fatal(self: Session, stop: int = stop) -> None:
            if self.state.step == stop:
                raise Killed
            real(self)

        with monkeypatch.context() as patch:
            patch.setattr(Session, "step", fatal)
            with pytest.raises(Killed):
                run(tmp_path / "broken", resume=True)
    run(tmp_path / "broken", resume=True)
    assert contents(tmp_path / "whole") == contents(tmp_path / "broken")


class Kept(GeneralTracker):
    """A tracker of accelerate's that keeps what it gets."""

    name = "kept"
    requires_logging_directory = False
    main_process_only = False

    def __init__(self) -> None:
        super().__init__()
        self.got: list[tuple[int | None, dict[str, Any]]] = []
        self.config: dict[str, Any] = {}
        self.finished = False

    @property
    def tracker(self) -> Any:
        return self

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.config = values

    def log(self, values: dict[str, Any], step: int | None = None, **_: Any) -> None:
        self.got.append((step, values))

    def finish(self) -> None:
        self.finished = True


def test_trackers_get_scores_and_gradients(tmp_path: Path) -> None:
    tracker = Kept()
    run(tmp_path / "r", trackers=[tracker])
    assert [step for step, values in tracker.got if "validation" in values] == [4, 8, 12]
    assert [step for step, values in tracker.got if "gradient/norm/the end" in values] == [0, 2, 4, 6, 8, 10]
    assert tracker.config["monitor"] == 2
    assert tracker.finished
    with pytest.raises(UsageError, match="knows no tracker"):
        run(tmp_path / "other", trackers=["nowhere"])
    assert not (tmp_path / "other").exists()
    assert from_specimen is not None
    assert Row is not None
