"""What is raised, as one sentence: by the user's own code, with its line, and by leadline where nobody foresaw it."""

import contextlib
import functools
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

from leadline.errors import LeadlineError, ModelError, Unforeseen
from leadline.graph.containers import tensors_within

_PACKAGE = Path(__file__).parents[1]
_LIBRARIES = tuple(Path(str(package.__file__)).parent for package in (torch, jaxtyping))  # between ours and the user's
_BETWEEN = (contextlib.__file__, functools.__file__)
_READ = 1200
"""So many characters of an error's text are read."""
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
        shapes = [tuple(tensor.shape) for tensor in tensors_within(inputs) if not tensor.is_nested]
        said = f"{name} raised {type(error).__name__} on inputs of shape {shapes}: {_shortened(text_of(error))}"
        raise ModelError(said + raised_at(error) + hint_of_empty(inputs)) from error


@contextmanager
def foreseen(name: str) -> Iterator[None]:
    """Let errors raised on purpose pass, and what is no error of a program's; anything else is an `Unforeseen`.

    A call that does not fit a function's signature stays Python's own `TypeError`.

    Examples
    --------
    >>> try:
    ...     with foreseen("shorten"):
    ...         _shortened(3)
    ... except Unforeseen as error:
    ...     print(str(error)[:54])
    shorten failed in a way that nobody foresaw (TypeError
    """
    try:
        yield
    except LeadlineError:
        raise
    except Exception as error:
        places = _ours(error)
        if not places or (isinstance(error, AssertionError) and _on_purpose(error)):
            raise
        raise Unforeseen(
            f"{name} failed in a way that nobody foresaw ({type(error).__name__}: {first_line(error)[:300]}, in "
            f"leadline/{places[-1]}){raised_at(error)}: give it arguments of the kinds that it takes; if they are, "
            "report it"
        ) from error


def _ours(error: Exception) -> list[str]:
    """List the places in leadline that an error passed, this module's own left out."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = [(Path(frame.filename), frame.lineno) for frame in frames if frame.name != foreseen.__name__]
    return [f"{file.relative_to(_PACKAGE)}:{line}" for file, line in inside if file.is_relative_to(_PACKAGE)]


def _on_purpose(error: AssertionError) -> bool:
    """Whether an assertion is one of leadline's own, which are for users' tests."""
    return Path(traceback.extract_tb(error.__traceback__)[-1].filename).is_relative_to(_PACKAGE)


def text_of(error: BaseException) -> str:
    """Return what an error says; nothing, where it fails to say it."""
    try:
        return str(error)
    except Exception:  # of the user's class
        return ""


def _shortened(text: str) -> str:
    """Leave out the end of what is too long to be read: torch's errors list all that it knows."""
    return text if len(text) <= _READ else f"{text[:_READ]} …"


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
    empty = (tensor for tensor in tensors_within(inputs) if tensor.numel() == 0)
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
    written = [
        (file, line) for file, line in frames if not (file.startswith("<") or file in _BETWEEN or _is_ours(file))
    ]
    outside = [frame for frame in written if is_users(frame[0])]
    chosen = (outside or written)[-1:]
    return f"{shortened(chosen[0][0])}:{chosen[0][1]}" if chosen else None


def shortened(file: str) -> str:
    """Return a file's path as it is read: from the working directory or its package's, whichever is shorter.

    What stands in a cell of a notebook has a file of the kernel's, whose name tells nobody anything.

    Examples
    --------
    >>> import torch
    >>> shortened(torch.nn.modules.linear.__file__)
    'torch/nn/modules/linear.py'
    >>> shortened("/tmp/ipykernel_31/2531090690.py")
    'this notebook'
    """
    path = Path(file)
    if path.parent.name.startswith("ipykernel_"):
        return "this notebook"
    roots = (root for root in (Path.cwd(), *map(Path, sys.path)) if root.is_absolute() and path.is_relative_to(root))
    return min((str(path.relative_to(root)) for root in roots), key=len, default=file)
