"""Every error that leadline raises on purpose, and the exit code that the command line gives it.

::

    LeadlineError
    ├── UsageError          2  an unknown model, setting, option or output
    ├── ModelError          3  the user's model or its inputs do not work
    │   ├── LayoutError        the axes cannot be told apart or do not fit
    │   ├── TraceError         the model cannot be traced, or its trace does not replay
    │   ├── UnknownOp          an operation without a rule, where one is needed
    │   ├── TooLarge           an analysis needs a table that does not fit into memory
    │   ├── NotUniform         no system of uniform recurrence equations describes the model
    │   ├── NotCausal          an output depends on what it must not see
    │   └── NotDifferentiable  no Jacobian exists: integer, empty or detached values
    ├── DataError           4  a data set is missing, empty or malformed
    ├── CheckpointError     5  a run folder or checkpoint is missing, corrupt or foreign
    ├── Diverged            6  a loss, activation or logit is not finite
    ├── StorageError        7  the disk refused a write
    ├── InUse               8  another process, or thread, is training in the run folder
    └── Unforeseen         70  arguments of a wrong kind, or a fault of leadline's own

An error's text says what was wrong, where, and what to do about it, in that order.
"""

import difflib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class LeadlineError(Exception):
    """Base of all errors raised on purpose; `exit_code` is what the command line returns for it."""

    exit_code = 1


class UsageError(LeadlineError):
    """An unknown model, setting, option or output."""

    exit_code = 2


class ModelError(LeadlineError):
    """The user's model or its inputs do not work."""

    exit_code = 3


class LayoutError(ModelError):
    """The axes of a tensor cannot be told apart or do not fit."""


class TraceError(ModelError):
    """The model cannot be traced, or its trace does not reproduce `forward`."""


class UnknownOp(ModelError):
    """An operation without a rule, where a rule is needed."""


class TooLarge(ModelError):
    """An analysis needs a table that does not fit into the memory that it may take."""


class NotUniform(ModelError):
    """No system of uniform recurrence equations describes the model."""


class NotCausal(ModelError):
    """An output depends on an input that it must not see."""


class NotDifferentiable(ModelError):
    """No Jacobian exists: integer, empty or detached values."""


class DataError(LeadlineError):
    """A data set is missing, empty or malformed."""

    exit_code = 4


class CheckpointError(LeadlineError):
    """A run folder or checkpoint is missing, corrupt or foreign."""

    exit_code = 5


class Diverged(LeadlineError):
    """A loss, activation or logit is not finite."""

    exit_code = 6


class StorageError(LeadlineError):
    """The disk refused a write; what was there before is intact."""

    exit_code = 7


class InUse(LeadlineError):
    """Another process, or thread, is training in the run folder."""

    exit_code = 8


class Unforeseen(LeadlineError):
    """What no other error was made for: arguments of a wrong kind, or a fault of leadline's own."""

    exit_code = 70


def as_options(text: str) -> str:
    """Return an error's text with what it proposes for Python as it is pasted into a command line.

    Examples
    --------
    >>> as_options("name the axes, for example layout='b t -> b t v'")
    "name the axes, for example --layout 'b t -> b t v'"
    """
    return re.sub(r"\b(layout|order|output)=(?=['\s:])", r"--\1 ", text)


def near_misses(word: str, known: Iterable[str]) -> str:
    """Name the known words closest to an unknown one, as the end of an error message.

    Examples
    --------
    >>> near_misses("pixelcn", ["pixelcnn", "mdrnn"])
    "did you mean 'pixelcnn'?"
    >>> near_misses("zzz", ["pixelcnn", "mdrnn"])
    "known: 'mdrnn', 'pixelcnn'"
    """
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=3, cutoff=0.6)
    if close:
        return f"did you mean {' or '.join(map(repr, close))}?"
    return f"known: {', '.join(map(repr, names))}"


@contextmanager
def needing(extra: str, what: str) -> Iterator[None]:
    """Import what an extra brings; `UsageError` says which extra to install where it is missing.

    Examples
    --------
    >>> with needing("train", "reading pictures"):
    ...     import a_package_that_is_not_there
    Traceback (most recent call last):
        ...
    leadline.errors.UsageError: reading pictures needs a_package_that_is_not_there; run: pip install 'leadline[train]'
    """
    try:
        yield
    except ImportError as error:
        missing = (error.name or str(error)).partition(".")[0]
        raise UsageError(f"{what} needs {missing}; run: pip install 'leadline[{extra}]'") from error


SEEDS = 2**64
"""Seeds are whole numbers from 0 up to, and without, this one: what torch's generators take."""


def require_seed(seed: int) -> None:
    """Refuse a seed that torch's generators would not take, or take for another one.

    Examples
    --------
    >>> require_seed(2**64)
    Traceback (most recent call last):
        ...
    leadline.errors.UsageError: a seed is a whole number from 0 to 2^64 - 1, got 18446744073709551616
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < SEEDS:
        raise UsageError(f"a seed is a whole number from 0 to 2^64 - 1, got {seed!r}")
