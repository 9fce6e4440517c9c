"""Writing files so that a crash, a kill or a full disk leaves either the old content or the new one."""

import os
from pathlib import Path

from leadline.errors import StorageError


def write_atomically(path: Path, data: bytes) -> None:
    """Replace the file by `data`: written beside it, flushed to the disk, then renamed over it.

    Raises `StorageError` if the disk refuses; what was at `path` is intact.
    """
    beside = path.with_name(f".{path.name}.tmp")
    try:
        try:
            with open(beside, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
            _sync_directory(path.parent)
        except OSError:
            beside.unlink(missing_ok=True)
            raise
    except OSError as error:
        kept = "; the previous one is intact" if path.exists() else ""
        raise StorageError(f"{path} could not be written: {error.strerror or error}{kept}") from error


def make_directory(path: Path) -> None:
    """Make a directory and those it lies in, if they are missing; raises `StorageError` if the disk refuses."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{path} could not be made: {error.strerror or error}") from error


def append_line(path: Path, line: str) -> None:
    """Append one line of text; raises `StorageError` if the disk refuses."""
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(line + "\n")
    except OSError as error:
        raise StorageError(f"{path} could not be written: {error.strerror or error}") from error


def _sync_directory(directory: Path) -> None:
    """Make a rename durable; systems that cannot open a directory do so by themselves."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
