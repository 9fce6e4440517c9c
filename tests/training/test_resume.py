"""A run that is killed and resumed ends with the weights of one that never was, bit for bit."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from leadline.training import load_checkpoint

SCRIPT = Path(__file__).with_name("resume_script.py")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SCRIPT.parent.parent)}


def start(path: Path, steps: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, str(SCRIPT), str(path), str(steps)], env=ENVIRONMENT)


def finish(path: Path, steps: int) -> None:
    assert start(path, steps).wait(timeout=300) == 0


def assert_same_run(one: Path, other: Path) -> None:
    (a, state_a), (b, state_b) = (load_checkpoint(path / "checkpoint.safetensors") for path in (one, other))
    assert a.keys() == b.keys()
    for name, tensor in a.items():
        assert torch.equal(tensor, b[name]), name
    assert {**state_a, "seconds": 0} == {**state_b, "seconds": 0}


def kill_and_resume(tmp_path: Path, steps: int, kills: int, seed: int) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    begin = time.monotonic()
    finish(whole, steps)
    lasts = time.monotonic() - begin
    rng = random.Random(seed)
    struck = 0
    while struck < kills:
        process = start(broken, steps)
        # A uniform moment of the whole run's duration, start-up and writing included.
        try:
            process.wait(timeout=rng.uniform(0.2, 1.0) * lasts)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
            struck += 1
        else:
            assert process.returncode == 0
            break
    finish(broken, steps)
    assert_same_run(whole, broken)
    assert struck == kills, f"the run was over after {struck} kills; give it more steps"


@pytest.mark.slow
def test_twenty_kills_at_random_moments(tmp_path: Path) -> None:
    kill_and_resume(tmp_path, steps=6000, kills=20, seed=0)
