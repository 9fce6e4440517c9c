"""Attention at one point with torch: step by step from scores to a weighted sum, over all keys that are seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from leadline.recurrence.ir import Tap
from leadline.recurrence.scores import AtKeys, AtQuery, Attention, Between, Place, Products

if TYPE_CHECKING:
    from leadline.sampling.plan import Points


def attend(equation: Attention, points: Points, read: Callable[[Tap, Points], Tensor]) -> Float[Tensor, "p b c"]:
    """Return what attention gives at its one point; `read` returns (points, batch, channels) of a tap."""
    (place,) = points[:, 0].tolist()
    first = -equation.lead if equation.window is None else max(-equation.lead, place - equation.window + 1)
    keys = np.arange(first, place + 1)[:, None]
    made: list[Tensor] = []

    def value_of(operand: Place) -> Tensor:
        if isinstance(operand, AtQuery):
            return read(operand.tap, points).transpose(0, 1)
        if isinstance(operand, AtKeys):
            return read(operand.tap, keys).transpose(0, 1)
        if isinstance(operand, Between):
            return between(operand.values, place, slice(first + equation.lead, place + 1 + equation.lead))
        found = made[operand.step]
        whole = np.array_equal(operand.channels, np.arange(found.shape[2]))
        return found if whole else found[..., torch.from_numpy(operand.channels)]

    for step in equation.steps:
        operands = map(value_of, step.operands)
        found = _products(step, *operands) if isinstance(step, Products) else step.call(*operands)
        made.append(found.expand(-1, -1, step.channels))
    weights = value_of(equation.weights)
    batch = read(equation.taps[0], points).shape[1]
    if equation.value is None:
        return weights.expand(batch, -1, -1).transpose(0, 1)
    values = read(equation.value, keys).reshape(len(keys), batch, equation.heads, -1).permute(1, 2, 0, 3)
    rows = weights.to(values.dtype).expand(batch, len(keys), -1).mT.unsqueeze(2)
    total: Tensor = rows @ values
    return total.reshape(1, batch, -1)


def _products(step: Products, query: Tensor, key: Tensor) -> Tensor:
    """Multiply (batch, 1, heads · features) by (batch, keys, heads · features): (batch, keys, heads)."""
    q, k = (x.reshape(*x.shape[:2], step.heads, -1).transpose(1, 2) for x in (query * step.scale, key))
    scores: Tensor = q @ k.mT
    return scores.squeeze(2).mT


def between(values: Tensor, place: int, keys: slice) -> Tensor:
    """Return a table's row at a place, (1, keys or 1, channels)."""
    row: Tensor = values[place if len(values) > 1 else 0]
    return (row[keys] if len(row) > 1 else row).unsqueeze(0)
