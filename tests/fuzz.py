"""Mutated files for every reader: each ends in a value or a `LeadlineError`, in time and within memory.

``python tests/fuzz.py --inputs 1000000`` goes on where it was stopped; a target's part of the inputs runs in a process
of its own, under a limit of its address space, with its files in memory. What is wrong is listed, by target and number,
and the exit code is 1.
"""

import argparse
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from helpers.mutations import mutated
from helpers.readers import TARGETS, Reader

from leadline.errors import LeadlineError
from leadline.files.writing import make_directory, write_atomically

SECONDS, MEMORY, PART = 10, 1 << 30, 20000
"""A reader may take so long for one input, and so much memory beyond what importing it takes."""
IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where mutated files lie: on a disk, writing them takes ten times as long as reading them."""


def attack(target: str, first: int, count: int, folder: Path, limited: bool = True) -> list[str]:
    """Read so many mutated files, numbered from `first`; return what is wrong, in words."""
    make, read, _ = TARGETS[target]
    valid, wrong = make(), []
    path = folder / "file"
    path.write_bytes(valid)
    read(path)  # the valid file is read, and whatever that imports is imported
    if limited:
        used = _address_space()
        resource.setrlimit(resource.RLIMIT_AS, (used + 2 * MEMORY, resource.RLIM_INFINITY))
    with _silent(limited):
        for number in range(first, first + count):
            path.write_bytes(mutated(valid, random.Random(f"{target} {number}")))
            wrong += [f"{target} {number}: {what}" for what in _one(read, path)]
    return wrong


def _one(read: Reader, path: Path) -> Iterator[str]:
    """Read one file; yield what is wrong."""
    _forget_peak()
    before, handler = _peak(), signal.signal(signal.SIGALRM, _late)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        read(path)
    except LeadlineError as error:
        if error.exit_code not in range(2, 8):
            yield f"{type(error).__name__} has the exit code {error.exit_code}"
    except BaseException as error:
        yield f"{type(error).__name__}: {str(error)[:200]}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
    if _peak() - before > MEMORY:
        yield f"it took {(_peak() - before) >> 20} MiB"


@contextmanager
def _silent(whole: bool) -> Iterator[None]:
    """Drop what decoders say of broken files on the process's standard error."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        if whole:
            os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


class Late(BaseException):
    """A reader takes too long; no reader takes this for an error of its own."""


def _late(_: int, frame: FrameType | None) -> None:
    raise Late(f"it took more than {SECONDS} s, at {frame and frame.f_code.co_filename}:{frame and frame.f_lineno}")


def _peak() -> int:
    """Return the most memory that the process ever held, or has since `_forget_peak`, in bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _forget_peak() -> None:
    """Begin the peak anew, so that each input is measured by itself; where that cannot be, the largest is seen."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_bytes(b"5")


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def part_of(folder: Path, target: str, first: int, count: int) -> dict[str, Any]:
    """Read a part of a target's inputs in a process of its own; a process that dies is what is wrong with it."""
    words = [sys.executable, __file__, "--folder", str(folder), "--part", target, str(first), str(count)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=60 + SECONDS * count)
    except subprocess.TimeoutExpired:
        return {"inputs": count, "wrong": [f"{target} {first}: the process hangs"]}
    if done.returncode != 0:
        return {"inputs": count, "wrong": [f"{target} {first}: exit {done.returncode}: {done.stderr[-500:]}"]}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def campaign(folder: Path, inputs: int, seconds: float) -> dict[str, dict[str, Any]]:
    """Go on with all targets, part by part, until all inputs are read or the time is over; return how far it is."""
    make_directory(folder)
    record = folder / "counts.json"
    done = json.loads(record.read_text()) if record.exists() else {}
    whole, end = sum(share for *_, share in TARGETS.values()), time.monotonic() + seconds
    goals = {target: -(-inputs * share // whole) for target, (*_, share) in TARGETS.items()}
    while time.monotonic() < end:
        left = [t for t, goal in goals.items() if done.get(t, {}).get("inputs", 0) < goal]
        if not left:
            break
        target = min(left, key=lambda t: done.get(t, {}).get("inputs", 0) / goals[t])
        held = done.setdefault(target, {"inputs": 0, "wrong": []})
        found = part_of(folder, target, held["inputs"], min(PART, goals[target] - held["inputs"]))
        held["inputs"] += found["inputs"]
        held["wrong"] += found["wrong"]
        write_atomically(record, json.dumps(done, indent=1).encode())
    return done


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("out/fuzz"))
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--part", nargs=3, metavar=("TARGET", "FIRST", "COUNT"))
    given = parser.parse_args()
    if given.part:
        target, first, count = given.part
        with tempfile.TemporaryDirectory(dir=IN_MEMORY) as scratch:
            wrong = attack(target, int(first), int(count), Path(scratch))
        print(json.dumps({"inputs": int(count), "wrong": wrong}))
        return
    done = campaign(given.folder, given.inputs, given.seconds)
    wrong = [line for held in done.values() for line in held["wrong"]]
    print(f"{sum(held['inputs'] for held in done.values())} inputs, {len(wrong)} wrong", *wrong[:50], sep="\n")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
