"""The versions of torch that the tests pass on, and a word at import on any other."""

import re
import sys
import warnings
from importlib.metadata import PackageNotFoundError, version

OLDEST, NEWEST = (2, 9), (2, 14)  # pyproject.toml tells pip the same; a test compares the two


def warn_if_untested(found: str | None = None) -> None:
    """Warn, in one sentence, of a torch that is older or newer than those that the tests pass on.

    Parameters
    ----------
    found
        As torch states its own version: ``"2.13.0+cpu"`` is 2.13, and so is ``"2.13.0a0+git1a2b3c4"``; default: that of
        the torch that is loaded, or else installed.

    Examples
    --------
    >>> warn_if_untested("2.13.0+cpu")
    """
    found = found or _version_of_torch()
    if found is not None and not OLDEST <= _minor(found) <= NEWEST:
        oldest, newest = (".".join(map(str, bound)) for bound in (OLDEST, NEWEST))
        warnings.warn(
            f"leadline is tested with torch {oldest} to {newest}, and this is torch {found}: "
            "its numbers may be wrong and its errors unclear, so install a torch of that range if you can",
            stacklevel=3,  # the line that imports leadline
        )


def _version_of_torch() -> str | None:
    """Return the version without importing torch, which takes a second; None if torch is not installed."""
    loaded = getattr(sys.modules.get("torch"), "__version__", None)
    try:
        return str(loaded or version("torch"))
    except PackageNotFoundError:
        return None


def _minor(found: str) -> tuple[int, int]:
    major, minor = map(int, re.findall(r"\d+", found)[:2])
    return major, minor
