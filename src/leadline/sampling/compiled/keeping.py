"""Compiled code is kept on the disk, between processes; where the disk refuses, each of them compiles for itself."""

from contextlib import suppress
from typing import Any, no_type_check

from numba.core.caching import FunctionCache


class _Cache(FunctionCache):
    """Numba's cache, of which nothing may be expected: it may be full, damaged or read-only, whatever that raises."""

    @no_type_check
    def load_overload(self, *signature):
        with suppress(Exception):
            return super().load_overload(*signature)
        return None

    @no_type_check
    def save_overload(self, *signature_and_code):
        with suppress(Exception):
            super().save_overload(*signature_and_code)


def kept(function: Any) -> Any:
    """Keep what numba compiles of a function, as ``njit(cache=True)`` does, where that can be."""
    with suppress(RuntimeError, OSError):  # there is no folder that could be written to
        cache: Any = _Cache
        function._cache = cache(function.py_func)
    return function
