"""Reading ``key=value`` words where no config says their types."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import Any

from leadline.errors import UsageError


def literals(words: Iterable[str]) -> dict[str, Any]:
    """Read ``key=value`` words: Python literals where the values are some, else text.

    Raises
    ------
    UsageError
        A word without ``=``, a key that is no name, or one given twice.

    Examples
    --------
    >>> literals(["lr=3e-4", "binarise=fixed"])
    {'lr': 0.0003, 'binarise': 'fixed'}
    """
    found: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key.isidentifier():
            raise UsageError(f"{word!r} is no setting; write key=value")
        if key in found:
            raise UsageError(f"{key} is set twice; give it once")
        try:
            found[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[key] = value
    return found
