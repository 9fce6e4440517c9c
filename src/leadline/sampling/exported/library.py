"""Exported C in this process: compiled by the system's compiler, where there is one."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leadline.errors import UsageError
from leadline.sampling.exported.source import Code

FLAGS = ("-std=c99", "-O3", "-march=native", "-shared", "-fPIC")
_SAID = {1: "the sequence would be longer than the C was written for", 2: "a class has no row in a table of the model"}


def compiler() -> str | None:
    """Return the C compiler of this system: ``$CC``, or one of the usual names; None where there is none."""
    named = os.environ.get("CC")
    return next(
        (found for name in ([named] if named else ["cc", "gcc", "clang"]) if (found := shutil.which(name))), None
    )


class Library:
    """Exported C that has been loaded: one sequence of one sample at a time."""

    def __init__(self, code: Code, path: Path) -> None:
        library = ctypes.CDLL(str(path))
        self.code = code
        self._reset, self._step = (getattr(library, f"{code.name}_{what}") for what in ("reset", "step"))
        self._step.argtypes = [*(ctypes.c_void_p,) * 3, ctypes.c_long]
        size = getattr(library, f"{code.name}_bytes")
        size.restype = ctypes.c_size_t
        self._state = ctypes.create_string_buffer(size())
        self.reset()

    def reset(self) -> None:
        """Begin a sequence."""
        _checked(self._reset(self._state))

    def step(self, given: NDArray[Any]) -> NDArray[Any]:
        """Go on with positions (n, inputs), and return the outputs (n, outputs)."""
        read = np.ascontiguousarray(given, np.int32 if self.code.integer else self.code.real_type)
        found = np.zeros((len(read), self.code.outputs), self.code.real_type)
        _checked(self._step(ctypes.addressof(self._state), read.ctypes.data, found.ctypes.data, len(read)))
        return found


def _checked(status: int) -> None:
    if status:
        raise UsageError(_SAID[status])


@contextmanager
def loaded(code: Code, program: str) -> Iterator[Library]:
    """Compile C with a compiler, and load it; what was compiled is removed afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, f"{code.name}.c"), Path(folder, f"{code.name}.so")
        source.write_text(code.source, "utf-8")
        source.with_suffix(".h").write_text(code.header, "utf-8")
        done = subprocess.run(
            [program, *FLAGS, "-o", str(library), str(source), "-lm"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise UsageError(f"{program} did not compile the exported C: {done.stderr.strip()[:500]}")
        yield Library(code, library)
