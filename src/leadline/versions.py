"""The versions of torch that the tests pass on, and a word at import on any other."""

import re
import warnings

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
