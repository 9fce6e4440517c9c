"""Results as JSON: field names as they are, every value with what says how it is known."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor


def encode(result: Any) -> Any:
    """Turn a result into what JSON can hold.

    Dataclasses become objects of their fields, enums their values, tensors and arrays nested lists, infinities and NaN
    the strings ``"inf"``, ``"-inf"`` and ``"nan"`` (JSON has no such numbers). Raises `TypeError` if a value has no
    JSON form.

    Examples
    --------
    >>> from leadline.results import Bound, Status
    >>> encode(Bound(0.0, math.inf, Status.BOUND))
    {'lo': 0.0, 'hi': 'inf', 'status': 'bound', 'assumptions': []}
    """
    match result:
        case Enum():
            return encode(result.value)
        case None | bool() | int() | str():
            return result
        case float():
            return result if math.isfinite(result) else str(result)
        case Mapping():
            return {str(key): encode(value) for key, value in result.items()}
        case tuple() | list() | set() | frozenset():
            return [encode(value) for value in result]
        case Tensor() | np.ndarray() | np.generic():
            return encode(result.tolist())
        case torch.dtype() | torch.Size() | Path():
            return str(result)
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        return {field.name: encode(getattr(result, field.name)) for field in dataclasses.fields(result)}
    raise TypeError(f"{type(result).__name__} has no JSON form")


def to_json(result: Any) -> str:
    """Return the text of `encode`'s value, indented."""
    return json.dumps(encode(result), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
