"""Workers, the compiler, bf16 and the gradient's norm: what each may change of a run, and what it may not."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from helpers.densities import build_tiny
from helpers.folders import contents
from hypothesis import given, settings
from hypothesis import strategies as st

from leadline.data import Split, TrainingBatches, load
from leadline.data.ahead import BatchesAhead
from leadline.data.transforms import Turn
from leadline.errors import UsageError
from leadline.training import TrainConfig, load_checkpoint, train
from leadline.training.budget import Schedule
from leadline.training.session import Session
from leadline.zoo import build

DIGITS = load("digits")
FEW = dataclasses.replace(
    DIGITS, validation=Split(DIGITS.validation.examples[:9]), test=Split(DIGITS.test.examples[:9])
)
CONFIG = TrainConfig(steps=6, batch=6, warmup=2, validate_every=2, checkpoint_every=2, threads=1, device="cpu")


@settings(max_examples=15)
@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from([0.0, 0.5, 1.0])), min_size=1, max_size=12), st.data())
def test_batches_that_are_made_ahead_are_the_same(asked: list[tuple[int, float]], data: st.DataObject) -> None:
    """Whatever is foretold, rightly or not."""
    plain = TrainingBatches(DIGITS, size=4, seed=3, augmentations=(Turn(0.7),))
    with BatchesAhead(plain, workers=data.draw(st.integers(0, 3))) as ahead:
        for place, wanted in enumerate(asked):
            coming = asked[place + 1 : place + 1 + data.draw(st.integers(0, 3))] or [(1, 0.5)]
            assert torch.equal(ahead.at(wanted, coming).x, plain.at(*wanted).x)


def test_what_fails_in_a_worker_fails_where_the_batch_is_taken() -> None:
    wide = dataclasses.replace(FEW, train=Split(FEW.train.examples[:, :, :4]))
    with BatchesAhead(TrainingBatches(wide, size=4, seed=3, augmentations=(Turn(0.7),)), workers=1) as ahead:
        with pytest.raises(UsageError, match="only square images"):
            ahead.at((0, 1.0), [(1, 1.0)])
        with pytest.raises(UsageError, match="only square images"):
            ahead.at((1, 1.0))


def test_workers_change_nothing_of_a_run_and_it_resumes_among_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(CONFIG, turn=0.5, fade=1.0)
    train("tiny", {}, FEW, config, tmp_path / "plain", build=build_tiny)
    many, real = dataclasses.replace(config, workers=2), Session.step
    train("tiny", {}, FEW, many, tmp_path / "whole", build=build_tiny)

    def fatal(self: Session) -> None:
        if self.state.step == 3:
            raise KeyboardInterrupt
        real(self)

    with monkeypatch.context() as patch:
        patch.setattr(Session, "step", fatal)
        with pytest.raises(KeyboardInterrupt):
            train("tiny", {}, FEW, many, tmp_path / "broken", build=build_tiny)
    train("tiny", {}, FEW, many, tmp_path / "broken", build=build_tiny, resume=True)
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole")
    plain, whole = (load_checkpoint(tmp_path / name / "checkpoint.safetensors")[0] for name in ("plain", "whole"))
    assert all(torch.equal(plain[name], whole[name]) for name in plain if name != "log")  # which tells the seconds


def test_the_log_tells_the_gradients_norm_before_it_is_clipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, norms, real = dataclasses.replace(CONFIG, clip=0.6), [], Session._step

    def seen(self: Session) -> None:
        batch = self.batches.batches.at(self.state.step)
        twin = build_tiny("tiny", dropout=0.0).model.train()
        twin.load_state_dict(self.state.model.state_dict())
        loss = torch.nn.functional.cross_entropy(twin(batch.x).flatten(0, 2), batch.x.flatten())
        gradients = torch.autograd.grad(loss, list(twin.parameters()))
        norms.append(math.sqrt(sum(float(g.double().square().sum()) for g in gradients)))
        real(self)

    monkeypatch.setattr(Session, "_step", seen)
    train("tiny", {"dropout": 0.0}, FEW, config, tmp_path / "r", build=build_tiny)
    lines = [json.loads(line) for line in (tmp_path / "r" / "metrics.jsonl").read_text().splitlines()]
    for line, pair in zip(lines, zip(norms[::2], norms[1::2], strict=True), strict=True):
        assert line["gradient"] == pytest.approx(sum(pair) / 2, rel=1e-4)
        assert line["clipped"] == sum(norm > 0.6 for norm in pair) / 2
    assert sum(line["clipped"] for line in lines) > 0


def losses(specimen_of: dict[str, object], config: TrainConfig) -> list[float]:
    session = Session.open(build("pixelcnn", **specimen_of), FEW, config, 1, Schedule.of_steps(config.steps or 1))
    found, before = [], 0.0
    for _ in range(config.steps or 1):
        session.step()
        found.append(session.state.losses - before)
        before = session.state.losses
    assert {p.dtype for p in session.state.model.parameters()} == {torch.float32}
    return found


SMALL = {"layers": 2, "channels": 16, "inner": 8, "head": 16, "classes": 17}


@pytest.mark.usefixtures("fresh_accelerator")
def test_bf16_computes_the_same_losses_within_its_rounding() -> None:
    wide = losses(SMALL, CONFIG)
    AcceleratorState._reset_state(reset_partial_state=True)
    narrow = losses(SMALL, dataclasses.replace(CONFIG, precision="bf16"))
    assert narrow != wide
    for ours, theirs in zip(narrow, wide, strict=True):
        assert ours == pytest.approx(theirs, rel=2**-8)  # half a unit of bf16's last place is 2^-9 of a number


@pytest.mark.usefixtures("fresh_accelerator")
def test_a_run_in_bf16_resumes_bit_for_bit_and_is_scored_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, real = dataclasses.replace(CONFIG, precision="bf16"), Session.step

    def fatal(self: Session) -> None:
        if self.state.step == 3:
            raise KeyboardInterrupt
        real(self)

    whole = train("tiny", {}, FEW, config, tmp_path / "whole", build=build_tiny)
    with monkeypatch.context() as patch:
        patch.setattr(Session, "step", fatal)
        with pytest.raises(KeyboardInterrupt):
            train("tiny", {}, FEW, config, tmp_path / "broken", build=build_tiny)
    assert train("tiny", {}, FEW, config, tmp_path / "broken", build=build_tiny, resume=True).test == whole.test
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole")


COMPILED = """
import sys
from pathlib import Path
from leadline.data import load
from leadline.training import TrainConfig, train

small = {"layers": 2, "channels": 16, "inner": 8, "head": 16, "classes": 17}
how = {"steps": 6, "batch": 6, "warmup": 2, "validate_every": 2, "validation_examples": 9, "monitor": 3, "threads": 1}
for name in ("plain", "compiled"):
    config = TrainConfig(**how, device="cpu", compile=name == "compiled")
    train("pixelcnn", small, load("digits"), config, Path(sys.argv[1]) / name)
from torch._dynamo.utils import counters

print(counters["stats"]["unique_graphs"])
"""


@pytest.mark.slow
def test_a_compiled_step_has_the_loss_within_float_error(tmp_path: Path) -> None:
    """In a process of its own, since type checks at run time do not compile; by the names of a run that is not."""
    done = subprocess.run([sys.executable, "-c", COMPILED, str(tmp_path)], check=True, capture_output=True, text=True)
    assert int(done.stdout.split()[-1]) == 1  # one graph, for steps of one shape
    plain, fast = (load_checkpoint(tmp_path / name / "checkpoint.safetensors")[0] for name in ("plain", "compiled"))
    assert plain.keys() == fast.keys()
    for name in plain:
        if name.startswith("model."):
            torch.testing.assert_close(fast[name], plain[name], atol=1e-4, rtol=1e-3)
    ours, theirs = (
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("compiled", "plain")
    )
    assert [line["step"] for line in ours if "validation" not in line] == [0, 3]  # the gradient is heard all the same
    for mine, other in zip(ours, theirs, strict=True):
        assert {k: v for k, v in mine.items() if k != "seconds"} == pytest.approx(
            {k: v for k, v in other.items() if k != "seconds"}, rel=1e-3
        )
        if "train" in mine:
            assert mine["train"] == pytest.approx(other["train"], rel=1e-5)


def test_what_cannot_be_compiled_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object, **__: object) -> object:
        from torch._dynamo.exc import TorchDynamoException

        def refuse(*_: object) -> None:
            raise TorchDynamoException("no compiler\nand a hundred lines")

        return refuse

    monkeypatch.setattr(torch, "compile", none)
    session = Session.open(build_tiny("tiny"), FEW, dataclasses.replace(CONFIG, compile=True), 1, Schedule.of_steps(3))
    with pytest.raises(UsageError, match=r"cannot compile this model here \(no compiler\); leave compile=true out"):
        session.step()
