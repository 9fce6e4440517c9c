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
    └── StorageError        7  the disk refused a write

An error's text says what was wrong, where, and what to do about it, in that order.
"""

import difflib
import re
from collections.abc import Iterable


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
