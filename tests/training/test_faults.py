"""A kill or a full disk at any write, flush or rename: what is left is whole, and repeating gives what was to be."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
SCRIPT = TESTS / "helpers" / "faults.py"
PLAIN = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path[1:]])}


def found(job: str, folder: Path, first: int = 0, step: int = 1) -> list[tuple[str, int, str, str]]:
    """Return every fault: the call, its number, how it failed, what was wrong."""
    words = [sys.executable, str(SCRIPT), job, str(folder), str(first), str(step)]
    done = subprocess.run(words, env={**os.environ, **PLAIN}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [tuple(json.loads(fault)) for fault in done.stdout.splitlines()]


def test_some_faults_of_training(tmp_path: Path) -> None:
    faults = found("train", tmp_path, first=6, step=15)
    assert len(faults) >= 6
    assert [fault for fault in faults if fault[3]] == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("job", ["train", "sample", "score", "check", "compare", "claims"])
def test_every_fault(job: str, tmp_path: Path) -> None:
    faults = found(job, tmp_path)
    print(f"{job}: {len(faults)} faults")
    assert {call for call, *_ in faults} >= (set() if job == "score" else {"open", "write", "fsync", "replace"})
    assert [fault for fault in faults if fault[3]] == []
