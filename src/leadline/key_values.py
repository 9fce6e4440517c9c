"""Reading ``key=value`` words, and holding their values against plain types."""

import ast
from collections.abc import Iterable
from types import NoneType
from typing import Any, get_args

from leadline.errors import UsageError

_KINDS = {int: "an integer", float: "a number", str: "text", bool: "true or false", NoneType: "None"}

_TRUTHS = {"true": True, "false": False}


def literals(words: Iterable[str]) -> dict[str, Any]:
    """Read ``key=value`` words: Python literals where the values are some, ``true`` and ``false`` too, else text.

    Raises `UsageError` for a word without ``=``, a key that is not a name, or one given twice.

    Examples
    --------
    >>> literals(["lr=3e-4", "binarise=fixed", "flatten=true"])
    {'lr': 0.0003, 'binarise': 'fixed', 'flatten': True}
    """
    found: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key.isidentifier():
            raise UsageError(f"{word!r} is not a setting; write key=value")
        if key in found:
            raise UsageError(f"{key} is set twice; give it once")
        try:
            found[key] = _TRUTHS[value] if value in _TRUTHS else ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[key] = value
    return found


def require(what: str, hint: Any, value: Any) -> None:
    """Refuse a value that is not of an annotation's plain types; an integer may stand for a number.

    Raises `UsageError` if it is of another type; the message begins with `what`.
    """
    kinds = get_args(hint) or (hint,)
    if type(value) not in kinds and not (type(value) is int and float in kinds):
        raise UsageError(f"{what} must be {' or '.join(_KINDS[kind] for kind in kinds)}, got {value!r}")
