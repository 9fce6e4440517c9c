"""Several processes take the steps of one, and what a killed one leaves can be gone on with."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.densities import build_tiny
from hypothesis import given
from hypothesis import strategies as st

from leadline.data import Batch, load
from leadline.training import load_checkpoint
from leadline.training.environment import Processes

SCRIPT = """
import sys, dataclasses, os, signal
import torch
from helpers.densities import build_tiny
from leadline.data import Split, load
from leadline.training import TrainConfig, train
from leadline.training.session import Session

def build(name, **settings):
    specimen = build_tiny(name, dropout=0.0, **settings)
    specimen.model.norm = torch.nn.Identity()
    return specimen

data = load("digits")
data = dataclasses.replace(data, validation=Split(data.validation.examples[:9]), test=Split(data.test.examples[:9]))
folder, fatal = sys.argv[1], int(sys.argv[2])
config = TrainConfig(steps=8, batch=7, warmup=2, validate_every=2, checkpoint_every=2, threads=1, device="cpu")
real = Session.step
def step(self):
    if self.state.step == fatal and self.processes.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    real(self)
Session.step = step
train("tiny", {"width": 4}, data, config, folder, build=build, resume=True, allow_changes=len(sys.argv) > 3)
"""


def launched(number: int, *words: str) -> list[int]:
    """Run the script in so many processes, as ``torchrun`` does; return their exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path[1:]])
    common = {**os.environ, "PYTHONPATH": path, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, *words],
            env={**common, "RANK": f"{rank}", "LOCAL_RANK": f"{rank}", "WORLD_SIZE": f"{number}"},
            stderr=subprocess.DEVNULL,
        )
        for rank in range(number)
    ]
    return [process.wait(timeout=200) for process in running]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_processes_give_the_loss_of_one_and_survive_a_kill(tmp_path: Path) -> None:
    assert launched(1, str(tmp_path / "one"), "-1") == [0]
    assert launched(2, str(tmp_path / "two"), "-1") == [0, 0]
    texts = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("one", "two")]
    logs = [[json.loads(line) for line in text.splitlines()] for text in texts]
    for mine, theirs in zip(*logs, strict=True):
        assert mine["train"] == pytest.approx(theirs["train"], rel=1e-5)
        assert mine["validation"] == pytest.approx(theirs["validation"], rel=1e-5)
    one, two = (load_checkpoint(tmp_path / name / "checkpoint.safetensors")[0] for name in ("one", "two"))
    for name, tensor in one.items():
        if name.startswith("model."):
            torch.testing.assert_close(tensor, two[name], rtol=1e-3, atol=1e-5)

    codes = launched(2, str(tmp_path / "killed"), "5")
    assert codes[1] == -signal.SIGKILL
    assert codes[0] != 0
    assert not (tmp_path / "killed" / "result.json").exists()
    assert launched(1, str(tmp_path / "killed"), "-1") != [0]  # another number of processes rounds otherwise
    assert launched(1, str(tmp_path / "killed"), "-1", "allowed") == [0]
    result, whole = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("killed", "one"))
    assert result["test"]["nats"] == pytest.approx(whole["test"]["nats"], rel=1e-4)


@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 4))
def test_shares_are_the_batch(n: int, number: int, parts: int) -> None:
    batch = Batch(torch.arange(n * 2).view(n, 2), None, None, tuple(range(n)))
    shares = [part for rank in range(number) for part in Processes(rank, number).share(batch, parts)]
    assert [i for part in shares for i in part.index] == [*range(n)]


def test_one_process_adds_nothing() -> None:
    model = build_tiny("tiny").model
    assert Processes().add_up(model, torch.tensor(2.0)) == 2
    assert all(p.grad is None for p in model.parameters())
    assert Processes.current("cpu") == Processes()
    assert Processes().told(lambda: len(load("digits").test)) == 447
