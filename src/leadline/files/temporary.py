"""Files of random names, beside those that they will replace: who writes one holds a lock on it.

What a killed process has left can so be told from what another one is writing at this moment.
"""

import importlib.util
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from leadline.errors import StorageError

locks: Any = importlib.import_module("fcntl") if importlib.util.find_spec("fcntl") else None
"""Where the system has no such locks, open files can neither be removed nor renamed."""

_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_LEFTOVER = re.compile(r"\.leadline-[0-9a-f]{16}\.tmp")


@contextmanager
def replacing(path: Path) -> Iterator[tuple[int, Path]]:
    """Make a file of a random name, to be written inside; then it is renamed to `path`, or removed if anything failed.

    Yields its descriptor and its name.
    """
    file, beside = _begun(path.parent)
    try:
        try:
            yield file, beside
            if locks is not None:
                os.replace(beside, path)  # while the lock is held
        finally:
            os.close(file)
        if locks is None:
            os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def remove_leftovers(folder: Path) -> None:
    """Remove what writes that were killed have left in a folder of ours; those that go on are left alone.

    Only regular files whose names are those that `write_atomically` draws. Raises `StorageError` if the disk refuses.
    """
    try:
        for entry in os.scandir(folder):
            if _LEFTOVER.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                _remove_unless_written(Path(entry.path))
    except OSError as error:
        raise StorageError(f"{folder} could not be tidied: {error.strerror or error}") from error


def _remove_unless_written(path: Path) -> None:
    """Remove a file whose writer is gone: who writes it holds a lock on it, which ends with the process."""
    try:
        file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _NO_LINK)
    except OSError:
        return  # it is gone, or not ours
    try:
        if locks is None or _taken(file, locks.LOCK_SH | locks.LOCK_NB):
            path.unlink(missing_ok=True)
    finally:
        os.close(file)


def _begun(folder: Path) -> tuple[int, Path]:
    """Make a file of a random name, and hold a lock on it where the system has such locks."""
    while True:
        path = folder / f".leadline-{secrets.token_hex(8)}.tmp"
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK, 0o666)
        if locks is not None:
            _taken(file, locks.LOCK_EX)
        if _is_still(file, path):
            return file, path
        os.close(file)  # it was taken for a leftover before the lock was held


def _taken(file: int, how: int) -> bool:
    """Take a lock; say whether it is held: others may hold it, and not every file system has them."""
    try:
        locks.flock(file, how)
    except OSError:
        return False
    return True


def _is_still(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.lstat())
    except FileNotFoundError:
        return False
