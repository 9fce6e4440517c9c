"""Compiled C is kept in the user's cache folder, between processes, under the hash of all that it was made from."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from leadline.errors import StorageError, UsageError
from leadline.files.reading import read_bytes
from leadline.files.writing import make_directory, write_atomically

FLAGS = ("-std=c99", "-O3", "-march=native", "-shared", "-fPIC")
_DIGEST = 32


def kept_library(text: str, header: str, name: str, program: str, folder: Path | None = None) -> bytes:
    """Return a library that a compiler makes of C, from the cache where it is there and whole.

    The key is the text, the flags, and what the compiler says of itself and of this processor: a folder that several
    machines share holds one for each kind of them. What cannot be kept is compiled again by the next process.
    """
    said = _said_of_this_machine(program)
    key = hashlib.sha256("\0".join((text, header, *FLAGS, said)).encode()).hexdigest()
    path = (folder or cache_folder()) / f"{key}.so"
    if (found := _read(path)) is not None:
        return found
    made = compiled(text, header, name, program)
    with suppress(StorageError, UsageError):
        make_directory(path.parent)
        write_atomically(path, made + hashlib.sha256(made).digest())
    return made


def cache_folder() -> Path:
    """Return where this user's caches stand: ``$XDG_CACHE_HOME`` or the system's usual place, and ours in it."""
    usual = Path("~/Library/Caches" if sys.platform == "darwin" else "~/.cache").expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or usual) / "leadline" / "streams"


def compiled(text: str, header: str, name: str, program: str) -> bytes:
    """Compile C to a library; `UsageError` with the compiler's words if it does not take it."""
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, f"{name}.c"), Path(folder, f"{name}.so")
        source.write_text(text, "utf-8")
        source.with_suffix(".h").write_text(header, "utf-8")
        done = subprocess.run(
            [program, *FLAGS, "-o", str(library), str(source), "-lm"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise UsageError(f"{program} did not compile the exported C: {done.stderr.strip()[:500]}")
        return library.read_bytes()


def _read(path: Path) -> bytes | None:
    """Return a library that was kept: this user's own file, as it was written; None if there is none."""
    with suppress(StorageError, OSError):
        owner = getattr(os, "getuid", lambda: 0)()
        if path.stat().st_uid == owner and path.parent.stat().st_uid == owner:
            content = read_bytes(path, StorageError)
            made, digest = content[:-_DIGEST], content[-_DIGEST:]
            return made if hashlib.sha256(made).digest() == digest else None
    return None


def _said_of_this_machine(program: str) -> str:
    """Return what a compiler defines where it may use all of this processor: its version, and the instructions."""
    done = subprocess.run(
        [program, "-march=native", "-dM", "-E", "-"], input="", capture_output=True, text=True, check=False
    )
    return f"{program} {done.stdout}"
