"""The versions of torch that the tests pass on, a word at import on any other, and what the older get wrong."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

OLDEST, NEWEST = (2, 9), (2, 14)  # pyproject.toml tells pip the same; a test compares the two


def warn_if_untested(version: str = torch.__version__) -> None:
    """Warn, in one sentence, of a torch that is older or newer than those that the tests pass on.

    Parameters
    ----------
    version
        As torch states its own: ``"2.13.0+cpu"`` is 2.13, and so is ``"2.13.0a0+git1a2b3c4"``.

    Examples
    --------
    >>> warn_if_untested("2.13.0+cpu")
    """
    if not OLDEST <= _minor(version) <= NEWEST:
        oldest, newest = (".".join(map(str, bound)) for bound in (OLDEST, NEWEST))
        warnings.warn(
            f"leadline is tested with torch {oldest} to {newest}, and this is torch {version}: "
            "its numbers may be wrong and its errors unclear, so install a torch of that range if you can",
            stacklevel=3,  # the line that imports leadline
        )


def _minor(version: str) -> tuple[int, int]:
    major, minor = map(int, re.findall(r"\d+", version)[:2])
    return major, minor


@contextmanager
def mended() -> Iterator[None]:
    """Trace, within, as the newest of these versions does.

    Before 2.13 the states of an LSTM come out of a trace with an axis too many, unless the batch is of one: what gives
    them their shape, `one_layer_lstm`, squeezes the batch axis where it means the axis of time.
    """
    from torch._decomp import decompositions  # an untested torch may lack it, and the warning comes first

    original: Any = decompositions.one_layer_lstm

    def one_layer_lstm(*args: Any, **kwargs: Any) -> tuple[Any, tuple[Any, ...]]:
        out, states = original(*args, **kwargs)
        return out, tuple(state.flatten(0, -2) for state in states)

    if _minor(torch.__version__) < (2, 13):
        decompositions.one_layer_lstm = one_layer_lstm
    try:
        yield
    finally:
        decompositions.one_layer_lstm = original
