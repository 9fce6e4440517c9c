"""The command line in a process of its own, forked from this one: what its streams get, and how it ends."""

import atexit
import importlib.machinery
import io
import os
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from leadline import cli


def ended(
    *words: str,
    folder: Path,
    stdout: int | str | None = None,
    encoding: str = "utf-8",
    without: Collection[str] = (),
    before: Callable[[], None] = lambda: None,
) -> tuple[int, str, str]:
    """Return exit code, standard output and standard error of ``leadline WORDS``, which runs in `folder`.

    Standard output goes to `stdout` if that is given, a descriptor or a path; both streams have an `encoding`, with
    strict errors. Packages in `without` cannot be imported. `before` runs first.
    """
    files = [folder / "its stdout", folder / "its stderr"]
    child = os.fork()
    if child == 0:
        code = 99
        try:
            os.chdir(folder)
            targets = [files[0] if stdout is None else stdout, files[1]]
            for number, target in enumerate(targets, start=1):
                opened = target if isinstance(target, int) else os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                os.dup2(opened, number)
            for number, name in ((1, "stdout"), (2, "stderr")):
                stream = io.TextIOWrapper(
                    io.FileIO(number, "w", closefd=False), encoding=encoding, errors="strict", write_through=False
                )
                setattr(sys, name, stream)
                setattr(sys, f"__{name}__", stream)
            _forget(without)
            before()
            code = _code(list(words))
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    printed = [file.read_bytes().decode(encoding) if file.exists() else "" for file in files]
    return os.waitstatus_to_exitcode(status), *printed


def _code(words: list[str]) -> int:
    """Run the command line and end as Python does: what is registered runs, and streams are flushed."""
    try:
        cli.main(words)
        code: Any = 0
    except SystemExit as stop:
        code = stop.code
    atexit._run_exitfuncs()
    try:
        for stream in (sys.stdout, sys.stderr):
            if not stream.closed:
                stream.flush()
    except OSError:
        return 120
    return int(code)


class _Without(importlib.machinery.PathFinder):
    """Finds everything but some packages."""

    hidden: Collection[str] = ()

    @classmethod
    def find_spec(cls, fullname: str, path: Any = None, target: Any = None) -> Any:
        """Find nothing of the hidden packages."""
        if fullname.partition(".")[0] in cls.hidden:
            return None
        return super().find_spec(fullname, path, target)


def _forget(packages: Collection[str]) -> None:
    if not packages:
        return
    for name in list(sys.modules):
        if name.partition(".")[0] in packages or name.startswith("leadline.sampling.compiled"):
            del sys.modules[name]
    _Without.hidden = packages
    sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not importlib.machinery.PathFinder] + [_Without]
