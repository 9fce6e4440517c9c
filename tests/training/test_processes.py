"""Two processes train as one: the same losses up to rounding, one folder, and a run that outlives one of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from leadline.training import load_run
from leadline.training.checkpoint import load_checkpoint
from leadline.training.processes import Processes

TOGETHER = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "leadline")
ALONE = (sys.executable, "-m", "leadline")
MODEL = (
    "train",
    "pixelcnn",
    "layers=1",
    "channels=8",
    "inner=8",
    "head=8",
    "dropout=0",
    "members=2",
    "--data",
    "digits",
    "-t",
    "threads=1",
)
LOOP = (
    "-t",
    "batch=9",
    "-t",
    "monitor=4",
    "-t",
    "validate_every=5",
    "-t",
    "validation_examples=31",
    *(("-t", "device=cpu") if torch.accelerator.is_available() else ()),  # alone with a CPU nobody has to say so
    "--seed",
    "3",
)


def started(command: tuple[str, ...], folder: Path, *options: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    arguments = [*command, *MODEL, *LOOP, *options, "--folder", str(folder)]
    return subprocess.Popen(
        arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def ran(command: tuple[str, ...], folder: Path, *options: str) -> str:
    process = started(command, folder, *options)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return said


def losses(folder: Path) -> list[tuple[int, float, float]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["train"], line["validation"]) for line in lines if "validation" in line]


def heard(folder: Path) -> list[dict[str, float]]:
    """What the monitor recorded of the gradient."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if "validation" not in line]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    tensors, _ = load_checkpoint(folder / "checkpoint.safetensors")
    return {name: value for name, value in tensors.items() if name.startswith("model.")}


@pytest.mark.slow
def test_two_processes_are_one_and_go_on_as_one(tmp_path: Path) -> None:
    ran(ALONE, tmp_path / "one", "--steps", "12")
    said = ran(TOGETHER, tmp_path / "two", "--steps", "12")
    assert said.count("12 steps in") == 1  # one of them speaks
    for ours, theirs in zip(losses(tmp_path / "two"), losses(tmp_path / "one"), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)
    assert len(heard(tmp_path / "one")) == 3
    for ours, theirs in zip(heard(tmp_path / "two"), heard(tmp_path / "one"), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3)
    for name, value in weights(tmp_path / "two").items():
        torch.testing.assert_close(value, weights(tmp_path / "one")[name], atol=2e-5, rtol=1e-4)
    two, one = (load_run(tmp_path / name).result for name in ("two", "one"))
    assert two is not None
    assert one is not None
    assert two.test.symbols == one.test.symbols
    assert two.test.nats == pytest.approx(one.test.nats, rel=1e-5)
    assert two.test.squares == pytest.approx(one.test.squares, rel=1e-5)


@pytest.mark.slow
def test_two_processes_rehearse_and_plan_a_run_in_minutes_as_one_does(tmp_path: Path) -> None:
    said = ran(TOGETHER, tmp_path / "two", "--minutes", "0.3", "--steps", "20")
    assert said.count("20 steps in") == 1
    noted = json.loads((tmp_path / "two" / "run.json").read_text())["environments"]
    assert [stay["environment"]["processes"] for stay in noted] == [2]


@pytest.mark.slow
def test_a_killed_process_leaves_a_run_that_another_number_goes_on_with(tmp_path: Path) -> None:
    options = ("--steps", "200", "-t", "checkpoint_every=5")
    ran(ALONE, tmp_path / "one", *options)
    process = started(TOGETHER, tmp_path / "two", *options)
    until = time.monotonic() + 200
    while not (tmp_path / "two" / "checkpoint.safetensors").exists() and time.monotonic() < until:
        time.sleep(0.05)
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True)
    os.kill(int(children.stdout.split()[-1]), signal.SIGKILL)  # the second one
    process.communicate(timeout=200)
    assert process.returncode != 0
    assert not (tmp_path / "two" / "result.json").exists()
    refused = started(ALONE, tmp_path / "two", *options, "--resume")
    said, _ = refused.communicate(timeout=200)
    assert refused.returncode == 2
    assert "number of processes was 2 and is 1" in " ".join(said.split())
    ran(ALONE, tmp_path / "two", *options, "--resume", "--allow-changes")
    for ours, theirs in zip(losses(tmp_path / "two"), losses(tmp_path / "one"), strict=True):
        assert ours == pytest.approx(theirs, rel=2e-3)
    noted = json.loads((tmp_path / "two" / "run.json").read_text())["environments"]
    assert [stay["environment"]["processes"] for stay in noted] == [2, 1]


def test_alone_nothing_is_sent() -> None:
    alone = Processes.here("cpu")
    value = torch.ones(3)
    assert (alone.rank, alone.count, alone.leads) == (0, 1, True)
    assert alone.summed(value)[0] is value
    assert alone.agreed(lambda: value) is value
