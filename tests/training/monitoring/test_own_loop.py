"""Our own loop records the gradient in its log and in trackers, and stays what it was."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from accelerate.tracking import GeneralTracker
from helpers.densities import build_tiny
from helpers.folders import contents

from leadline import reach
from leadline.audit.named_model import from_specimen
from leadline.data import TrainingBatches, load
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


def test_the_log_tells_how_far_gradients_reach_and_draws_it(tmp_path: Path) -> None:
    """The oracle: the reach that `leadline.reach` measures of the untrained model, on the example of the first step."""
    run(tmp_path / "r", dataclasses.replace(CONFIG, reach=4))
    measured = [line for line in lines(tmp_path / "r") if "reach/within 99%" in line]
    assert [line["step"] for line in measured] == [0, 4, 8]
    assert all(line["reach/within 50%"] <= line["reach/within 99%"] for line in measured)
    assert all("gradient/rate" in line or "gradient/norm/the end" in line for line in measured)
    (drawn,) = (c for c in monitor_curves(load_run(tmp_path / "r", build=build_tiny)) if "reaches" in c.caption)
    assert drawn.x == (0, 4, 8)
    assert dict(drawn.series)["within 99%"] == tuple(line["reach/within 99%"] for line in measured)


def test_the_first_reach_is_that_of_the_untrained_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[tuple[Any, Any]] = []
    real = Session.open

    def opened(specimen: Any, *given: Any, **named: Any) -> Session:
        begun.append((specimen, copy.deepcopy(specimen.model).train()))
        return real(specimen, *given, **named)

    monkeypatch.setattr(Session, "open", opened)
    run(tmp_path / "r", dataclasses.replace(CONFIG, reach=12, monitor=None))
    ((specimen, untrained),) = begun
    x = TrainingBatches(DIGITS, CONFIG.batch, CONFIG.seed).at(0).x[:1]
    found = reach(untrained, x, layout=specimen.layout, seed=0)
    (line,) = [line for line in lines(tmp_path / "r") if "reach/within 99%" in line]
    assert [line[f"reach/within {share:.0%}"] for share in (0.5, 0.9, 0.99)] == [
        found.within(share) for share in (0.5, 0.9, 0.99)
    ]


def test_reach_is_measured_where_the_gradient_is_recorded() -> None:
    with pytest.raises(UsageError, match="multiple of monitor=2"):
        dataclasses.replace(CONFIG, reach=3)
    with pytest.raises(UsageError, match="reach must be at least 1"):
        dataclasses.replace(CONFIG, reach=0)


def test_a_run_from_before_there_was_a_setting_goes_on(tmp_path: Path) -> None:
    run(tmp_path / "r")
    described = tmp_path / "r" / "run.json"
    record = json.loads(described.read_text())
    del record["train"]["reach"]
    described.write_text(json.dumps(record))
    assert run(tmp_path / "r", resume=True).steps == 12
    with pytest.raises(UsageError, match="its reach is None, not 2"):
        run(tmp_path / "r", dataclasses.replace(CONFIG, reach=2), resume=True)


def test_a_run_that_is_watched_gives_the_same_numbers(tmp_path: Path) -> None:
    plain = run(tmp_path / "plain", dataclasses.replace(CONFIG, monitor=None))
    watched = run(tmp_path / "watched", dataclasses.replace(CONFIG, reach=4))
    assert watched.test == plain.test
    scores = [line for line in lines(tmp_path / "watched") if "validation" in line]
    for line in (*scores, *(before := lines(tmp_path / "plain"))):
        line.pop("seconds")
    assert scores == before


def test_a_watched_run_resumes_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    real = Session.step
    config = dataclasses.replace(CONFIG, reach=6)
    run(tmp_path / "whole", config)
    for stop in (1, 4, 7, 10):

        def fatal(self: Session, stop: int = stop) -> None:
            if self.state.step == stop:
                raise Killed
            real(self)

        with monkeypatch.context() as patch:
            patch.setattr(Session, "step", fatal)
            with pytest.raises(Killed):
                run(tmp_path / "broken", config, resume=True)
    run(tmp_path / "broken", config, resume=True)
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
