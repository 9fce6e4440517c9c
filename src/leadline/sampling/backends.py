"""Which machine runs a stream: decided when the stream is made, with the reason by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch

from leadline.errors import UsageError, near_misses, needing
from leadline.recurrence.ir import System

Backend = Literal["auto", "numba", "c", "torch"]
Stored = Literal["float32", "bfloat16", "float16", "int8"]


@dataclass(frozen=True)
class Choice:
    """The backend that runs a stream, and why."""

    backend: Literal["numba", "c", "torch"]
    reason: str


def chosen(backend: Any, system: System, dtype: torch.dtype, weights: str | None) -> Choice:
    """Choose the compiled path where it is installed and runs these equations, else torch.

    Raises `UsageError` where what is asked for cannot be: another backend, the compiled one where it is missing or does
    not run this, or weights stored narrower by torch.
    """
    if backend not in get_args(Backend):
        raise UsageError(f"unknown backend {backend!r}; {near_misses(str(backend), list(get_args(Backend)))}")
    if backend == "numba":
        with needing("fast", 'backend="numba" (backend="torch" runs without)'):
            if reason := _unable(system, dtype):
                raise UsageError(f"the numba backend {reason}; use backend='torch'")
        return Choice("numba", "asked for")
    found = _best(system, dtype) if backend == "auto" else Choice(backend, "asked for")
    if weights is not None and found.backend != "numba":
        raise UsageError(f"weights={weights!r}: the compiled path alone stores them so, and {found.backend} runs this "
                         f"stream: {found.reason}")  # fmt: skip
    return found


def _best(system: System, dtype: torch.dtype) -> Choice:
    try:
        reason = _unable(system, dtype)
    except ImportError as error:
        missing = (error.name or str(error)).partition(".")[0]
        return Choice("torch", f"the compiled path needs {missing}: pip install 'leadline[fast]'")
    if reason:
        return Choice("torch", f"the compiled path {reason}")
    return Choice("numba", "the compiled path runs these equations")


def _unable(system: System, dtype: torch.dtype) -> str:
    from leadline.sampling.compiled.machine import unable

    return unable(system, dtype)


def checked_weights(weights: Any) -> Stored | None:
    """Return how weights are to be stored; `UsageError` where that is none of the ways."""
    known = get_args(Stored)
    if weights is not None and weights not in known:
        raise UsageError(f"unknown weights {weights!r}; {near_misses(str(weights), list(known))}")
    found: Stored | None = weights
    return found
