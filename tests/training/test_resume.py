"""A run that is killed and resumed leaves the folder of one that never was, file for file and bit for bit."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.folders import contents

SCRIPT = Path(__file__).with_name("resume_script.py")
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SCRIPT.parent.parent), *sys.path[1:]])}


def start(path: Path, steps: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, str(SCRIPT), str(path), str(steps)], env=ENVIRONMENT)


def finish(path: Path, steps: int) -> None:
    assert start(path, steps).wait(timeout=300) == 0


def assert_same_run(one: Path, other: Path) -> None:
    a, b = contents(one), contents(other)
    assert a.keys() == b.keys()
    for name, held in a.items():
        assert held == b[name], name


def duration(path: Path, steps: int) -> float:
    begin = time.monotonic()
    finish(path, steps)
    return time.monotonic() - begin


def kill_and_resume(tmp_path: Path, steps: int, kills: int, seed: int) -> None:
    """Kill often enough; a run that ends between two kills is compared at once and another one begun."""
    start_up, lasts = duration(tmp_path / "one", 1), duration(tmp_path / "whole", steps)
    longest = start_up + 2 * max(0.0, lasts - start_up) / kills
    rng = random.Random(seed)
    broken, struck = tmp_path / "broken0", 0
    while struck < kills:
        process = start(broken, steps)
        try:
            process.wait(timeout=rng.uniform(0.3 * start_up, longest))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
            struck += 1
        else:
            assert process.returncode == 0
            assert_same_run(tmp_path / "whole", broken)
            broken = tmp_path / f"broken{struck}"
    finish(broken, steps)
    assert_same_run(tmp_path / "whole", broken)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_twenty_kills_at_random_moments(tmp_path: Path) -> None:
    kill_and_resume(tmp_path, steps=1000, kills=20, seed=0)
