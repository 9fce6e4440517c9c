"""The one way to read files: regular ones only, their size known before anything is allocated, records by their types.

What a loader cannot read becomes the error that the caller names, in one sentence that begins with the path.
"""

import os
import stat
from pathlib import Path
from typing import IO, Any, TypeVar

import msgspec

from leadline.errors import LeadlineError

Record = TypeVar("Record")

LARGEST = 1 << 30
"""Bytes that one data set, or anything else that is read whole, may take in memory."""

_RECORD = 4 << 20
"""Bytes that a JSON record may have."""


def open_regular(path: Path, error: type[LeadlineError]) -> IO[bytes]:
    """Open a regular file to be read; links are followed. A pipe of that name is refused, and nobody waits for it.

    Raises `error` if there is no such file, it is something else, or the system refuses.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
    try:
        file = os.open(path, flags | getattr(os, "O_CLOEXEC", 0))
    except (OSError, ValueError) as refused:
        raise error(f"{path} cannot be read: {getattr(refused, 'strerror', None) or refused}") from refused
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise error(f"{path} cannot be read: it is not a regular file")
    return os.fdopen(file, "rb")


def read_bytes(path: Path, error: type[LeadlineError], *, limit: int = LARGEST) -> bytes:
    """Return a file's content; raises `error` as `open_regular` does, or if it has more than `limit` bytes."""
    with open_regular(path, error) as file:
        size = os.fstat(file.fileno()).st_size
        if size <= limit:
            try:
                content = file.read(limit + 1)
            except OSError as refused:
                raise error(f"{path} cannot be read: {refused.strerror or refused}") from refused
            size = len(content)
        if size > limit:
            raise error(f"{path} is too large: {size} bytes, where at most {limit} are read")
    return content


def read_record(path: Path, kind: type[Record], error: type[LeadlineError], *, limit: int = _RECORD) -> Record:
    """Return the record of type `kind` that a JSON file holds: a msgspec struct, a dataclass, or plain containers.

    Raises `error` as `read_bytes` does, or if the file is not JSON or holds another record; the message says where.
    """
    return parse_record(read_bytes(path, error, limit=limit), kind, str(path), error)


def parse_record(text: bytes | str, kind: type[Record], source: str, error: type[LeadlineError]) -> Record:
    """Return the record that JSON describes; raises `error`, beginning with its `source`, if it describes none.

    Examples
    --------
    >>> from leadline.errors import DataError
    >>> parse_record('{"a": [1, 2]}', dict[str, list[int]], "a.json", DataError)
    {'a': [1, 2]}
    >>> parse_record('{"a": [1, NaN]}', dict[str, list[int]], "a.json", DataError)
    Traceback (most recent call last):
        ...
    leadline.errors.DataError: a.json is damaged: JSON is malformed: invalid character (byte 10)
    """
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as refused:
        raise error(f"{source} is damaged: {_first_words(refused)}") from refused


def as_record(value: Any, kind: type[Record], source: str, error: type[LeadlineError]) -> Record:
    """Return plain containers as the record of type `kind`; raises `error`, beginning with `source`, as above."""
    try:
        return msgspec.convert(value, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as refused:
        raise error(f"{source} is damaged: {_first_words(refused)}") from refused


def _first_words(refused: Exception) -> str:
    return (str(refused) or type(refused).__name__)[:300]
