"""The one way to write files: a crash, a kill or a full disk leaves either the old content or the new one.

Content goes into a new file of a random name in the same folder, which is flushed to the disk and renamed. Only regular
files are ever replaced: pipes and character devices are written to, links and everything else are refused.
"""

import itertools
import os
import re
import stat
import sys
from pathlib import Path

from leadline.errors import StorageError, UsageError
from leadline.files.reading import read_bytes
from leadline.files.temporary import replacing

_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_DESCRIPTOR = re.compile(r"/dev/(stdout|stderr)|/(?:dev|proc/self)/fd/([0-9]{1,6})")


def write_atomically(path: Path, data: bytes) -> None:
    """Replace the file by `data`, or make it: written beside it, flushed to the disk, then renamed over it.

    A pipe, a character device or one of the process's own descriptors (``/dev/stdout``, ``/dev/fd/63``) is written to.
    Raises `UsageError` if `path` names no file, but a folder or nothing; `StorageError` if it is a link, a socket or a
    block device, which are never written, or if the disk refuses: what was at `path` is then intact.
    """
    check_writable(path)
    before = None
    try:
        before = _status(path)
        if own := _DESCRIPTOR.fullmatch(str(path)):
            sys.stdout.flush()  # what was printed before comes before
            _write_all({"stdout": 1, "stderr": 2}.get(own[1]) or int(own[2]), data)
        elif before is not None and not stat.S_ISREG(before.st_mode):
            _pour(path, data, before)
        else:
            _replace(path, data, None if before is None else stat.S_IMODE(before.st_mode))
    except (OSError, ValueError) as error:
        raise _refused(path, error, "; the previous one is intact" if _stands(path, before) else "") from error


def write_beside(path: Path, data: bytes) -> Path:
    """Make a file of `data`, never over another one: at `path`, or at the first ``NAME-2``, ``NAME-3``, … that is free.

    Returns where it stands; where exactly this stood already, nothing is written. Raises as `write_atomically` does.
    """
    for number in itertools.count(1):
        free = path if number == 1 else path.with_stem(f"{path.stem}-{number}")
        if not os.path.lexists(free):
            write_atomically(free, data)
            return free
        if os.path.isfile(free) and os.path.getsize(free) == len(data) and read_bytes(free, StorageError) == data:
            return free
    raise AssertionError("there are more numbers than files")


def check_writable(path: Path) -> None:
    """Refuse what `write_atomically` would refuse by its kind alone, before anybody works for it.

    Raises `UsageError` if `path` names a folder or nothing, `StorageError` if it is a link, a socket or a block device,
    lies in no folder, or has a name that no file can have.
    """
    if path.name in ("", ".."):
        raise UsageError(f"{str(path)!r} is not the name of a file")
    if _DESCRIPTOR.fullmatch(str(path)):
        return
    try:
        now = _status(path)
        if now is None:
            path.parent.stat()
            return
    except (OSError, ValueError) as error:
        raise _refused(path, error) from error
    if stat.S_ISDIR(now.st_mode):
        raise UsageError(f"{path} is a folder; name a file in it")
    if stat.S_ISLNK(now.st_mode):
        raise StorageError(f"{path} is a link, which is not followed; name the file that it leads to")
    if stat.S_ISBLK(now.st_mode) or stat.S_ISSOCK(now.st_mode):
        raise StorageError(f"{path} is neither a file, a pipe nor a character device: nothing is written to it")


def make_directory(path: Path) -> None:
    """Make a directory and those it lies in, if they are missing; raises `StorageError` if the disk refuses."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} could not be made: {_said(error)}") from error


def _replace(path: Path, data: bytes, mode: int | None) -> None:
    """Write a file beside `path`, and rename it; the new one keeps the permissions `mode` of the old one."""
    with replacing(path) as (file, beside):
        if mode is not None:
            os.chmod(file if os.chmod in os.supports_fd else beside, mode)
        _write_all(file, data)
        os.fsync(file)
    _sync_directory(path.parent)


def _pour(path: Path, data: bytes, seen: os.stat_result) -> None:
    """Write into a pipe or a device, if it still is what was seen: as for every writer, a pipe waits for a reader."""
    file = os.open(path, os.O_WRONLY | getattr(os, "O_NOCTTY", 0) | _NO_LINK)
    try:
        if stat.S_IFMT(os.fstat(file).st_mode) != stat.S_IFMT(seen.st_mode):
            raise OSError("it became something else meanwhile")
        _write_all(file, data)
    finally:
        os.close(file)


def _write_all(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def _status(path: Path) -> os.stat_result | None:
    """Return what stands at `path`, links as links; None if there is nothing."""
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def _stands(path: Path, before: os.stat_result | None) -> bool:
    """Whether the regular file that was at `path` is still the one there."""
    try:
        return before is not None and stat.S_ISREG(before.st_mode) and os.path.samestat(before, path.lstat())
    except OSError:
        return False


def _refused(path: Path, error: OSError | ValueError, kept: str = "") -> StorageError:
    return StorageError(f"{path} could not be written: {_said(error)}{kept}")


def _said(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _sync_directory(directory: Path) -> None:
    """Make a rename durable; systems that cannot open a directory do so by themselves."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
