"""The process's standard streams: what reaches a terminal, and what happens where nobody takes it.

Text that came out of data, names or errors passes `printable` before it is shown; JSON escapes the same characters.
"""

import ctypes
import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import TextIO

from leadline.errors import StorageError

_CONTROLS = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""Return text without what could steer a terminal or turn its lines around: control characters become ``�``.

    Lines and tabs stay.

    Examples
    --------
    >>> printable("a\x1b[31mb\n")
    'a�[31mb\n'
    """
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text)


def escaped(json: str) -> str:
    r"""Return JSON with the same characters as escapes, within the strings where alone they can stand.

    Examples
    --------
    >>> escaped('"a\x9b"')
    '"a\\u009b"'
    """
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", json)


def prepare() -> None:
    """Make the standard streams take any text: what their encoding lacks is escaped, a closed one swallows it."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - until the process ends
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def takes(text: str, stream: TextIO) -> bool:
    """Whether a stream's encoding has all characters of a text."""
    try:
        text.encode(getattr(stream, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def taken() -> Iterator[None]:
    """Print to standard output inside, and flush it: `StorageError` if it takes nothing, as on a full disk.

    `BrokenPipeError` passes: whoever read our output has gone.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StorageError(f"standard output could not be written: {error.strerror or error}") from error
    except ValueError as error:
        if not sys.stdout.closed:
            raise
        raise StorageError("standard output could not be written: the model has closed it") from error


@contextmanager
def diverted() -> Iterator[None]:
    """Send what is printed inside to standard error: by Python, by compiled code, and by other processes."""
    if not _is_descriptor(sys.stdout, 1) or not _is_descriptor(sys.stderr, 2):
        with redirect_stdout(sys.stderr):
            yield
        return
    sys.stdout.flush()
    own = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()  # what was printed past `redirect_stdout`
        with suppress(OSError, AttributeError, TypeError):
            ctypes.CDLL(None).fflush(None)
        os.dup2(own, 1)
        os.close(own)


def complain(message: str) -> None:
    """Print one line to standard error, if anybody takes it."""
    with suppress(OSError, ValueError):  # a model may have closed it
        print(printable(" ".join(message.split())), file=sys.stderr, flush=True)


def finish(code: int) -> int:
    """Flush standard output, after which nothing is printed there any more, and return the exit code to end with.

    Where output could not be written, 7 stands for 0; whatever remains of it is dropped, which else Python would
    try again.
    """
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = code or 141
    except OSError as error:
        if code == 0:
            complain(f"leadline: standard output could not be written: {error.strerror or errno.errorcode}")
            code = StorageError.exit_code
    except ValueError:  # a model has closed it
        code = code or StorageError.exit_code
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        if _is_descriptor(stream, number):
            try:
                stream.flush()
                if number == 1:
                    os.dup2(2, 1)  # what a model prints at the very end is not the report
            except OSError:
                os.dup2(nowhere, number)
                with suppress(OSError):
                    stream.flush()
    os.close(nowhere)
    return code


def _is_descriptor(stream: TextIO, number: int) -> bool:
    try:
        return stream.fileno() == number
    except (OSError, AttributeError, ValueError):
        return False
