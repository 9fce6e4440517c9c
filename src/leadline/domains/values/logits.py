"""Constant propagation through softmax and extremes: what masks leave of a row, and what becomes of one masked whole.

A mask that is known is not undone by one that is not, whichever comes first. What minus infinity masks has weight zero,
or nan where nothing else is left of its row. For finite masks there is one assumption more: that a mask which is not
known leaves something of each row.
"""

from __future__ import annotations

import torch
from torch import Tensor

from leadline.domains.compact import Shapes, lifted
from leadline.domains.engine import Lookup
from leadline.domains.values.facts import UNKNOWN, Bounds, Facts, Options, evaluated, filled, one_of
from leadline.graph.ir import Node
from leadline.graph.table import Tally


def softmax(node: Node, facts: Lookup[Facts], shape: Shapes, floor: float) -> tuple[Facts, ...]:
    """Masked logits have weight zero; a row with a single logit left has weight one there.

    A row that is masked whole has no weights but nan; a safe softmax makes them zero.
    """
    logits, dim, safe = facts(node.refs[0]), node.args[1], node.operation.safe
    bounds, dtype = logits.bounds(), node.meta.dtype
    if bounds.high.ndim == 0:
        return (UNKNOWN,)
    whole = (bounds.high == -torch.inf).all(dim, keepdim=True)
    shown = shown_in(bounds, dim, floor) & ~whole
    certain = (bounds.low > -torch.inf).any(dim, keepdim=True) | safe
    certain = certain & ~lifted(logits.doubtful(), bounds.high.ndim).any(dim, keepdim=True)
    if node.operation.logarithm:
        return (
            _logarithm(bounds, dim, shown | whole, certain, filled(_unknown(dtype), whole.expand_as(shown), torch.nan)),
        )
    alike = shape(node.refs[0])[dim] if shown.shape[dim] == 1 else 1
    lone = shown & (alike * shown.sum(dim, keepdim=True) == 1)
    weights = filled(_unknown(dtype), lone & certain, 1.0)
    weights = filled(weights, ~shown & ~whole & certain, 0.0)
    weights = filled(weights, ~shown & ~whole, 0.0, torch.nan)
    return (one_of(filled(weights, whole.expand_as(shown), 0.0 if safe else torch.nan)),)


def _logarithm(bounds: Bounds, dim: int, shown: Tensor, certain: Tensor, known: Options) -> Facts:
    """Return what is known of the logarithms of weights: what masks a logit masks them."""
    reference = standing(bounds).amax(dim, keepdim=True)
    low, high = ((part - reference).nan_to_num(nan=-torch.inf, neginf=-torch.inf).clamp(max=0.0) for part in bounds)
    high = torch.where(shown, 0.0, high)
    return one_of(known, Bounds(torch.where(certain | (high > -torch.inf), low, torch.nan), high))


def extreme(node: Node, facts: Lookup[Facts], ndim: int, floor: float) -> tuple[Facts, ...]:
    """Carry the constants of the largest, or least, element, or of the logarithm of a sum of exponentials."""
    found, rest = facts(node.refs[0]), (UNKNOWN,) * (len(node.outputs) - 1)
    if not node.meta.dtype.is_floating_point:
        return (UNKNOWN, *rest)
    doubtful, (low, high) = found.doubtful(), found.bounds()

    def of_rows(end: Tensor) -> Tensor:
        return evaluated(node, lambda _: lifted(end, ndim))

    least, most = of_rows(low.masked_fill(doubtful, -torch.inf)), of_rows(high.masked_fill(doubtful, torch.inf))
    if floor > -torch.inf and node.operation.tally is not Tally.LEAST:
        least = torch.where(least == -torch.inf, least, of_rows(standing(found.bounds())))
    return (one_of(_unknown(node.meta.dtype), Bounds(least, most)), *rest)


def standing(bounds: Bounds) -> Tensor:
    """Return what is left of each logit, if the masks that are not known leave it."""
    return torch.maximum(bounds.low, bounds.high.clamp(max=0.0))


def unmasked(bounds: Bounds, dim: int, floor: float) -> Tensor | None:
    """Where a softmax along `dim` may have weight; None: everywhere. A row without any such place is all unmasked."""
    if bounds.high.ndim == 0:
        return None
    shown = shown_in(bounds, dim, floor)
    return None if bool(shown.all()) else shown


def shown_in(bounds: Bounds, dim: int, floor: float) -> Tensor:
    """Where logits are not so far below the largest of their row that they have no weight."""
    reference = standing(bounds).amax(dim, keepdim=True)
    return ~(bounds.high - reference.masked_fill(reference == torch.inf, torch.nan) <= floor)  # a row of -inf is nan


def _unknown(dtype: torch.dtype) -> Options:
    return Options([torch.zeros((), dtype=dtype)], torch.zeros((), dtype=torch.bool))
