"""A size that remembers what was asked of it, while an architecture is built from it."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass
class Asked:
    """What answers rest on: any size from `least` to `most` gives them, if the size was not `used` otherwise."""

    least: int = 0
    most: int | None = None
    used: bool = False

    def holds_from(self, size: int) -> None:
        """Note that smaller sizes would have been answered otherwise."""
        self.least = max(self.least, size)

    def holds_to(self, size: int) -> None:
        """Note that larger sizes would have been answered otherwise."""
        self.most = size if self.most is None else min(self.most, size)


class Watched(int):
    """A whole number that notes comparisons with others as limits, and that arithmetic was done with it.

    Passed on as the size of a tensor it leaves no trace: that is what a model may do with it and stay the same model.

    Examples
    --------
    >>> size = Watched(9)
    >>> size > 4, size >= 16, size.asked
    (True, False, Asked(least=5, most=15, used=False))
    >>> size // 2, size.asked.used
    (4, True)
    """

    asked: Asked

    def __new__(cls, value: int) -> Watched:
        """Begin to watch a size."""
        made = super().__new__(cls, value)
        made.asked = Asked()
        return made

    def __lt__(self, other: Any) -> Any:
        return self._compared(operator.lt, other, 0)

    def __ge__(self, other: Any) -> Any:
        return self._compared(operator.ge, other, 0)

    def __le__(self, other: Any) -> Any:
        return self._compared(operator.le, other, 1)

    def __gt__(self, other: Any) -> Any:
        return self._compared(operator.gt, other, 1)

    def __eq__(self, other: Any) -> Any:
        return self._is(other)

    def __ne__(self, other: Any) -> Any:
        return not self._is(other)

    def __hash__(self) -> int:
        self.asked.used = True  # it may choose from a table
        return super().__hash__()

    def __bool__(self) -> bool:
        return bool(self != 0)

    def _compared(self, comparison: Callable[[Any, Any], bool], other: Any, beyond: int) -> Any:
        """Compare, and note on which side of the other number this one lies; it begins `beyond` that number."""
        value = int.__int__(self)
        if isinstance(other, int | float) and math.isfinite(other):
            edge = math.floor(other) + 1 if beyond else math.ceil(other)
            self.asked.holds_from(edge) if value >= edge else self.asked.holds_to(edge - 1)
        return comparison(value, other)

    def _is(self, other: Any) -> bool:
        if not isinstance(other, int):
            return False
        value = int.__int__(other)
        if int.__eq__(self, value):
            self.asked.holds_from(value)
            self.asked.holds_to(value)
            return True
        self.asked.holds_from(value + 1) if int.__gt__(self, value) else self.asked.holds_to(value - 1)
        return False


def _noted(name: str) -> Any:
    """Return the arithmetic of whole numbers, with a note that it was done."""
    plain = getattr(int, name)

    def arithmetic(self: Watched, *others: Any) -> Any:
        self.asked.used = True
        return plain(self, *others)

    return arithmetic


_NOT_ARITHMETIC = {*vars(Watched), *vars(object), "__getnewargs__", "from_bytes"}
for _name in vars(int).keys() - _NOT_ARITHMETIC:
    if callable(getattr(int, _name)):
        setattr(Watched, _name, _noted(_name))
