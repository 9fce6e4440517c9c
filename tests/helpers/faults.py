"""Runs commands while the disk fails or the process dies at the k-th write, for every k, and compares what is left.

A script of its own: it imports everything once and forks, before any thread exists, a child for each fault.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from helpers.densities import build_tiny
from helpers.folders import contents

from leadline.cli import main
from leadline.data import load
from leadline.errors import LeadlineError
from leadline.training import TrainConfig, train

CALLS = ("open", "write", "fsync", "chmod", "replace", "rename", "link", "unlink", "mkdir", "rmdir", "truncate")
"""Everything that changes what is on the disk; opening to read is not counted, nor is what lies outside the folder."""
LEFTOVER = ".leadline-"
CONFIG = TrainConfig(
    steps=5, batch=8, warmup=2, validate_every=2, checkpoint_every=3, validation_examples=20, threads=1, device="cpu"
)
DATA = load("digits")


class Shim:
    """Counts the calls that change the disk, and fails at one of them: ``kill`` the process, or ``full`` the disk."""

    def __init__(self, folder: Path, at: int = 0, how: str = "") -> None:
        self.folder, self.at, self.how = str(folder), at, how
        self.seen: list[str] = []
        self._descriptors: set[int] = set()
        self._inside = False

    def install(self) -> None:
        for name in CALLS:
            setattr(os, name, self._wrapped(name, getattr(os, name)))
        sys.addaudithook(self._audit)

    def _wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if self._inside or not self._ours(args[0]):
                return real(*args, **kwargs)
            if name != "open" or args[1] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                self.seen.append(name)
                if len(self.seen) == self.at:
                    self._fail(name, real, args)
            self._inside = True
            try:
                result = real(*args, **kwargs)
            finally:
                self._inside = False
            if name == "open":
                self._descriptors.add(result)
            return result

        return call

    def _ours(self, file: Any) -> bool:
        if isinstance(file, int):
            return file in self._descriptors
        return os.path.abspath(os.fspath(file)).startswith(self.folder)

    def _fail(self, name: str, real: Callable[..., Any], args: tuple[Any, ...]) -> None:
        if name == "write":  # half of it gets there
            real(args[0], args[1][: len(args[1]) // 2])
        if self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        """Whoever opens a file of the folder to write it, and is not counted, is found out."""
        if event != "open" or self._inside or not isinstance(args[0], str) or not isinstance(args[2], int):
            return
        if self._ours(args[0]) and args[2] & (os.O_WRONLY | os.O_RDWR):
            os.write(2, f"not counted: {args[0]}\n".encode())
            os._exit(99)


def train_tiny(folder: Path) -> None:
    train("tiny", {"dropout": 0.5, "width": 4}, DATA, CONFIG, folder / "run", resume=True, build=build_tiny)


def command(*words: str) -> Callable[[Path], None]:
    """Return a job that runs a command line within the folder."""

    def job(folder: Path) -> None:
        os.chdir(folder)
        main(list(words))

    return job


RUN = ("train", "pixelcnn", "layers=1", "channels=4", "--data", "digits", "--steps", "2", "--run", "run")
REPORTED = ("--json", "a.json", "--html", "a.html")
JOBS: dict[str, tuple[Callable[[Path], None], ...]] = {
    # what comes before, undisturbed; what fails and is then repeated; what tidies up afterwards
    "train": (train_tiny,),
    "sample": (command("sample", "run", "-n", "1", "--naive"),),
    "score": (command("score", "run", "--part", "validation"),),
    "check": (command("check", "chain", *REPORTED),),
    "compare": (command("compare", "chain", "rnn", *REPORTED),),
    "claims": (command("claims", "A1", "A4", "--counterexamples", "found", *REPORTED),),
}


def child(job: Callable[[Path], None], folder: Path, at: int = 0, how: str = "", record: Path | None = None) -> int:
    """Run a job in a child, with a fault; return its exit code, or the signal that ended it, negative."""
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            silent = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silent, 1)
            if not os.environ.get("LOUD"):
                os.dup2(silent, 2)
            shim = Shim(folder, at, how)
            shim.install()
            try:
                job(folder)
                code = 0
            except LeadlineError as error:
                code = error.exit_code
            except SystemExit as stop:
                code = int(stop.code or 0)
            if record is not None:
                shim._inside = True
                record.write_text(json.dumps(shim.seen))
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def held(folder: Path, *, leftovers: bool = False) -> dict[str, Any]:
    found = contents(folder)
    return found if leftovers else {name: what for name, what in found.items() if LEFTOVER not in name}


def faults(name: str, where: Path, chosen: slice) -> Iterator[tuple[str, int, str, str]]:
    """Fail at each of the chosen calls of a job; yield the call, its number, how it failed, and what is wrong then."""
    (job,) = JOBS[name]
    start, whole = where / "start", where / "whole"
    start.mkdir()
    if name in ("sample", "score"):
        assert child(command(*RUN), start) == 0
    before = held(start)
    shutil.copytree(start, whole)
    assert child(job, whole, record=where / "calls.json") == 0
    after, calls = held(whole, leftovers=True), json.loads((where / "calls.json").read_text())
    for number, call in list(enumerate(calls, 1))[chosen]:
        for how in ("kill", "full"):
            folder = where / f"{how}{number}"
            shutil.copytree(start, folder)
            code = child(job, folder, number, how)
            wrong = verdict(name, code, how, before, after, folder)
            if child(job, folder) != 0:
                wrong += " cannot be repeated;"
            again = held(folder, leftovers=name in ("train", "sample"))
            if again != after:
                wrong += f" differs in {[key for key in {**again, **after} if again.get(key) != after.get(key)]};"
            shutil.rmtree(folder)
            yield call, number, how, wrong


def verdict(name: str, code: int, how: str, before: dict[str, Any], after: dict[str, Any], folder: Path) -> str:
    """Say what is wrong with an exit code, or with a folder that a fault has left."""
    left = held(folder, leftovers=how == "full")  # reads every file: none is torn
    right = (
        {-signal.SIGKILL} if how == "kill" else {7, 0} if left == after else {7}
    )  # 0: what was refused did not matter
    wrong = "" if code in right else f" exit code {code};"
    if name != "train" and any(what not in (before.get(key), after.get(key)) for key, what in left.items()):
        wrong += f" neither old nor new: {sorted(left)};"
    if name == "train" and how == "full" and left and "run/checkpoint.safetensors" not in left:
        wrong += f" left behind: {sorted(left)};"
    return wrong


if __name__ == "__main__":
    job, path, first, step = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    for fault in faults(job, path, slice(first, None, step)):
        print(json.dumps(fault), flush=True)  # one by one: a run that is stopped has said how far it came
