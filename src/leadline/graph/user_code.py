"""The user's own code: what it raises, as one sentence, and which of its lines did it."""

import sys
import sysconfig
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import jaxtyping
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from leadline.errors import LeadlineError, ModelError

_PACKAGE = Path(__file__).parents[1]
_LIBRARIES = tuple(Path(str(package.__file__)).parent for package in (torch, jaxtyping))  # between ours and the user's
_MODELS = ("zoo", "grid")
"""The rooms of leadline whose lines are a model's."""


@contextmanager
def running(name: str, inputs: Any) -> Iterator[None]:
    """Run a model or function of the user's: whatever it raises becomes one `ModelError`.

    That says the name, the shapes of the inputs, the line, and the input that is empty, if one is.

    Examples
    --------
    >>> with running("f", ()):
    ...     raise ValueError("too short")
    Traceback (most recent call last):
        ...
    leadline.errors.ModelError: f raised ValueError on inputs of shape []: too short
    """
    try:
        yield
    except LeadlineError:
        raise
    except (Exception, SystemExit, GeneratorExit) as error:
        shapes = [tuple(leaf.shape) for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor) and not leaf.is_nested]
        said = f"{name} raised {type(error).__name__} on inputs of shape {shapes}: {text_of(error)}"
        raise ModelError(said + raised_at(error) + hint_of_empty(inputs)) from error


def text_of(error: BaseException) -> str:
    """Return what an error says; nothing, where it fails to say it."""
    try:
        return str(error)
    except Exception:  # of the user's class
        return ""


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says; its class, where it says nothing.

    Examples
    --------
    >>> first_line(ValueError("too short")), first_line(KeyError())
    ('too short', 'KeyError')
    """
    lines = text_of(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def hint_of_empty(inputs: Any) -> str:
    """Say which input has no elements, as the end of an error message; nothing if all have some.

    Examples
    --------
    >>> import torch
    >>> hint_of_empty({"x": torch.ones(2), "y": torch.ones(0, 3)})
    '; the input of shape (0, 3) has no elements: give longer inputs'
    """
    empty = (leaf for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor) and leaf.numel() == 0)
    first = next(empty, None)
    return "" if first is None else f"; the input of shape {tuple(first.shape)} has no elements: give longer inputs"


def raised_at(error: BaseException) -> str:
    """Return the user's line that an error comes from, as `` (file:line)``; nothing if there is none."""
    line = users_line([(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)])
    return f" ({line})" if line else ""


@cache
def _is_ours(file: str) -> bool:
    """Whether a file is leadline's, and not a model's."""
    path = Path(file)
    return path.is_relative_to(_PACKAGE) and path.relative_to(_PACKAGE).parts[0] not in _MODELS


@cache
def is_users(file: str) -> bool:
    """Whether a file is none of leadline, torch and jaxtyping."""
    return not (file.startswith("<") or _is_ours(file) or any(map(Path(file).is_relative_to, _LIBRARIES)))


def is_theirs(error: BaseException) -> bool:
    """Whether an error was raised by a line of the user's, outside all that is installed."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames or not is_users(frames[-1].filename):
        return False
    path = Path(frames[-1].filename).resolve()
    return not any(path.is_relative_to(Path(folder).resolve()) for folder in sysconfig.get_paths().values())


def users_line(frames: Sequence[tuple[str, Any]]) -> str | None:
    """Return the innermost line, ``file:line``, outside torch, jaxtyping and leadline; theirs if there is no other."""
    written = [(file, line) for file, line in frames if not file.startswith("<") and not _is_ours(file)]
    outside = [frame for frame in written if is_users(frame[0])]
    chosen = (outside or written)[-1:]
    return f"{shortened(chosen[0][0])}:{chosen[0][1]}" if chosen else None


def shortened(file: str) -> str:
    """Return a file's path as it is read: from the working directory or its package's, whichever is shorter.

    Examples
    --------
    >>> import torch
    >>> shortened(torch.nn.modules.linear.__file__)
    'torch/nn/modules/linear.py'
    """
    path = Path(file)
    roots = (root for root in (Path.cwd(), *map(Path, sys.path)) if root.is_absolute() and path.is_relative_to(root))
    return min((str(path.relative_to(root)) for root in roots), key=len, default=file)
