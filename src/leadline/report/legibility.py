"""Text that any terminal can show: without control characters, and in ASCII where it knows no more."""

from __future__ import annotations

import unicodedata
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

T = TypeVar("T")

_WORDS = str.maketrans(
    {"²": "^2", "³": "^3", "≥": ">=", "≤": "<=", "±": "+-", "→": "->", "…": "...", "Θ": "Theta", "∞": "inf", "‖": "||"}
)
_SIGNS = str.maketrans(
    {
        "✓": "+",
        "✗": "X",
        "≠": "!",
        "·": "-",
        "×": "x",
        "−": "-",
        "–": "-",
        "─": "-",
        "━": "-",
        "│": "|",
        "╷": "|",
        "╵": "|",
        "▁": "_",
        "▂": ".",
        "▃": ",",
        "▄": "-",
        "▅": "=",
        "▆": "+",
        "▇": "*",
        "█": "#",
        "░": ".",
        "▒": ":",
        "▓": "%",
        "σ": "s",
        "χ": "c",
        "τ": "t",
        "λ": "l",
        "μ": "m",
        "Σ": "S",
        "Δ": "D",
        "√": "r",
        "∝": "~",
        "≈": "~",
        "→": ">",
        "…": "~",
        "±": "~",
        "²": "2",
        "³": "3",
        "’": "'",
    }
)


def printable(text: str) -> str:
    """Return text with every control character but the end of a line replaced by a question mark.

    Examples
    --------
    >>> printable("a" + chr(27) + "[31mb")
    'a?[31mb'
    """
    spaced = text.replace("\t", " ").replace("\r\n", "\n")
    return "".join(c if c == "\n" or unicodedata.category(c) not in _UNSEEN else "?" for c in spaced)


_UNSEEN = ("Cc", "Cf", "Cs", "Co")


def as_ascii(text: str) -> str:
    """Return text of the same width in ASCII; what has no likeness is a question mark.

    Examples
    --------
    >>> as_ascii("✓ 2 × 3 é")
    '+ 2 x 3 ?'
    """
    return text.translate(_SIGNS).encode("ascii", "replace").decode()


def legible(value: T, *, ascii_only: bool = False) -> T:
    """Return a document, or any part of one, whose texts can be printed."""
    return _mapped(value, ascii_only)  # type: ignore[no-any-return]


def _mapped(value: Any, ascii_only: bool) -> Any:
    if isinstance(value, str):
        shown = printable(value)
        return shown.translate(_WORDS) if ascii_only and len(shown) > 1 else shown
    if isinstance(value, tuple):
        return tuple(_mapped(part, ascii_only) for part in value)
    if is_dataclass(value) and not isinstance(value, type):
        changed = {f.name: _mapped(getattr(value, f.name), ascii_only) for f in fields(value)}
        return replace(value, **changed)
    return value
