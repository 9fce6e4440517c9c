"""Whether two systems, derived at different sizes, are the same equations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leadline.recurrence.ir import System

_OF_THE_TRACE = frozenset({"sizes", "place", "uncropped"})


def same_equations(a: System, b: System) -> bool:
    """Tell whether two systems have the same variables, equations and weights; functions are known by their names.

    Examples
    --------
    >>> from leadline.recurrence import system
    >>> model = torch.nn.Conv1d(1, 1, 1)
    >>> short, long = (system(model, torch.zeros(1, 1, n), layout="b c t -> b v t") for n in (3, 8))
    >>> same_equations(short, long)
    True
    """
    return _same(a, b)


def _same(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, Mapping):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if is_dataclass(a):
        names = [field.name for field in fields(a) if field.name not in _OF_THE_TRACE]
        return all(_same(getattr(a, name), getattr(b, name)) for name in names)
    return callable(a) or bool(a == b)
