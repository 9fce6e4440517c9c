"""Exported C in this process: compiled by the system's compiler, where there is one."""

from __future__ import annotations

import ctypes
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leadline.errors import UsageError
from leadline.sampling.exported.keeping import compiled
from leadline.sampling.exported.source import Code

_SAID = {1: "the sequence would be longer than the C was written for", 2: "a class has no row in a table of the model"}


def compiler() -> str | None:
    """Return the C compiler of this system: ``$CC``, or one of the usual names; None where there is none."""
    named = os.environ.get("CC")
    return next(
        (found for name in ([named] if named else ["cc", "gcc", "clang"]) if (found := shutil.which(name))), None
    )


def opened(content: bytes) -> tuple[ctypes.CDLL, ctypes.PyDLL]:
    """Load a library from its content, twice: calls of the first let other threads go on, those of the second do not.

    The file that the system wants for it is gone at once: what was loaded stays.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder, "stream.so")
        path.write_bytes(content)
        return ctypes.CDLL(str(path)), ctypes.PyDLL(str(path))


class Library:
    """Exported C that has been loaded: one sequence of one sample at a time."""

    def __init__(self, code: Code, library: ctypes.CDLL) -> None:
        self.code = code
        self._reset, self._step = (getattr(library, f"{code.name}_{what}") for what in ("reset", "step"))
        self._step.argtypes = [*(ctypes.c_void_p,) * 3, ctypes.c_long]
        size = getattr(library, f"{code.name}_bytes")
        size.restype = ctypes.c_size_t
        self._state = ctypes.create_string_buffer(size())
        self.reset()

    def reset(self) -> None:
        """Begin a sequence."""
        checked(self._reset(self._state))

    def step(self, given: NDArray[Any]) -> NDArray[Any]:
        """Go on with positions (n, inputs), and return the outputs (n, outputs)."""
        read = np.ascontiguousarray(given, np.int32 if self.code.integer else self.code.real_type)
        found = np.zeros((len(read), self.code.outputs), self.code.real_type)
        checked(self._step(ctypes.addressof(self._state), read.ctypes.data, found.ctypes.data, len(read)))
        return found


def checked(status: int) -> None:
    """Raise what a function of exported C returned as an error."""
    if status:
        raise UsageError(_SAID[status])


@contextmanager
def loaded(code: Code, program: str) -> Iterator[Library]:
    """Compile C with a compiler, and load it; nothing is kept."""
    yield Library(code, opened(compiled(code.source, code.header, code.name, program))[0])
