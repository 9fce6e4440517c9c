"""What becomes of large constants within sums where no rule follows them: the result may be as large as they make it.

Elements of which nothing is known are numbers of moderate size. What is made of a finite mask is not: the sum of a row
that is masked by -1e4 lies thousands below zero, and a mask that is added to it, or that it is taken from, may be no
mask any more. So whatever is made of large constants, and has no bounds of its own, gets wide ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod

import torch
from torch import Tensor

from leadline.domains.compact import Shapes, described, expanded, lifted
from leadline.domains.engine import Lookup, Transfer
from leadline.domains.values.facts import Bounds, Facts, evaluated
from leadline.graph.ir import Node, Ref
from leadline.graph.table import Form, Kind, Statistics, Tally

LARGE = 1e3
"""Constants from here on are large; a number of moderate size is below, and so is a factor."""

_MOST = torch.finfo(torch.float64).max
_FOLLOWED = frozenset({
    Form.COPY, Form.SUM, Form.DIFFERENCE, Form.REVERSED, Form.PRODUCT, Form.QUOTIENT, Form.MAXIMUM, Form.MINIMUM,
    Form.CLAMP, Form.CHOICE,
})  # fmt: skip
"""Pointwise operations whose rule has bounds for whatever it reads."""
_MODERATE = frozenset({Kind.SOFTMAX, Kind.SCAN, Kind.RANDOM})
"""Operations whose results are of moderate size, or follow their bounds by themselves."""
_MOVING = frozenset({Kind.VIEW, Kind.GATHER, Kind.MIXING})
"""Operations whose results are elements of what they read."""
_MEAN = frozenset({Statistics.GROUP, Statistics.LAYER, Statistics.SQUARES, Statistics.WEIGHT})


def largest(found: Facts) -> float:
    """Return the largest finite size of a constant that elements carry, or are."""
    ends = torch.cat([end.reshape(-1) for end in found.bounds()]).abs()
    ends = ends[ends.isfinite()]
    return float(ends.max()) if ends.numel() else 0.0


def anywhere(size: float) -> Bounds:
    """Return the bounds of what may be as large as `size`, to either side."""
    end = torch.tensor(min(size, _MOST), dtype=torch.float64)
    return Bounds(-end, end)


def wary(rule: Transfer[Facts], shape: Shapes, floor: float) -> Transfer[Facts]:
    """Add bounds to what a rule knows nothing of, where it is made of large constants, or of sums of any."""
    if floor == -torch.inf:  # minus infinity alone masks, and is followed
        return rule

    def transfer(node: Node, facts: Lookup[Facts]) -> tuple[Facts, ...]:
        found = rule(node, facts)
        if node.kind is Kind.VIEW and not any(part.empty for part in found):  # what is known moved with its elements
            return found
        read = [ref for ref in _read(node) if not facts(ref).constant or node.kind in _PRODUCTS]
        if not any(bool(end.any()) for ref in read for end in facts(ref).bounds()):
            return found
        bounds = _bounds(node, facts, shape, read)
        return found if bounds is None else tuple(
            _within(part, bounds) if meta is not None and meta.dtype.is_floating_point else part
            for part, meta in zip(found, node.outputs, strict=True)
        )  # fmt: skip

    return transfer


_PRODUCTS = frozenset({Kind.CONTRACTION, Kind.CONVOLUTION, Kind.ATTENTION, Kind.MATRICES})


def _read(node: Node) -> list[Ref]:
    """Return the arguments whose size the result has: of an attention the values alone, which it takes means of."""
    value = node.bound().get("value") if node.kind is Kind.ATTENTION else None
    return [value] if isinstance(value, Ref) else list(node.refs)


def _bounds(node: Node, facts: Lookup[Facts], shape: Shapes, read: list[Ref]) -> Bounds | None:
    """Return bounds of what an operation's rule says nothing of; None: it is of moderate size, or has its own."""
    record, tally = node.operation.pointwise, node.operation.tally
    if node.kind in _MODERATE or (node.kind is Kind.NORMALISATION and node.operation.statistics in _MEAN):
        return None
    if node.kind is Kind.POINTWISE and (record is None or record.form in _FOLLOWED or record.identity(node.bound())):
        return None if record is not None else _wide(node, facts, shape, read)
    if node.kind is Kind.REDUCTION and tally in (Tally.LARGEST, Tally.LEAST, Tally.LOG_SUM_EXP):
        return None
    if node.kind in (Kind.REDUCTION, Kind.CUMULATIVE) and tally in (Tally.SUM, Tally.MEAN):
        return _added(node, facts, shape) or _wide(node, facts, shape, read)
    if node.kind is Kind.POINTWISE and len(read) == 1:
        return _curved(node, facts, read[0])
    return _wide(node, facts, shape, read)


def _wide(node: Node, facts: Lookup[Facts], shape: Shapes, read: list[Ref]) -> Bounds | None:
    size = max(largest(facts(ref)) for ref in read)
    if size < LARGE:
        return None
    if node.kind in _MOVING:
        ends = [end for ref in read for end in facts(ref).bounds()]
        return Bounds(min(end.min() for end in ends), max(end.max() for end in ends))
    return anywhere(size * LARGE * max(1, *(prod(shape(ref)) for ref in read)))


def _added(node: Node, facts: Lookup[Facts], shape: Shapes) -> Bounds | None:
    """Add constants up along the axes of a sum; None: some are not finite, or the axes are not known."""
    ref, dim = node.refs[0], node.bound().get("dim")
    full, bounds = shape(ref), facts(ref).bounds()
    dims = (dim,) if isinstance(dim, int) else tuple(dim or range(len(full)))
    axes = tuple(axis % max(1, len(full)) for axis in dims)
    if not full or not all(bool(end.isfinite().all()) for end in bounds):
        return None

    def whole(end: Tensor) -> Tensor:
        laid = lifted(end, len(full))
        if node.kind is Kind.CUMULATIVE:
            return expanded(laid, full, described(node), axes).cumsum(axes[0])
        alike = prod(full[axis] for axis in axes if laid.shape[axis] == 1)
        count = prod(full[axis] for axis in axes) if node.operation.tally is Tally.MEAN else 1
        total: Tensor = laid.sum(axes, keepdim=True) * (alike / max(1, count))
        return total if len(node.shape) == len(full) else total.squeeze(axes)

    return Bounds(*map(whole, bounds))


def _curved(node: Node, facts: Lookup[Facts], ref: Ref) -> Bounds | None:
    """Follow a function of one number to the ends of what it reads; None: what it makes of them is of moderate size."""
    size = largest(facts(ref))
    if size < LARGE:
        return None
    ends = [float(evaluated(node, _constantly(end)).double().abs().nan_to_num(nan=0.0)) for end in (-size, size)]
    return None if max(ends) < LARGE else anywhere(max(ends) * LARGE)


def _constantly(value: float) -> Callable[[Ref], Tensor]:
    return lambda _: torch.tensor(value, dtype=torch.float64)


def _within(found: Facts, bounds: Bounds) -> Facts:
    """Put bounds on the elements that are neither known nor one of several; those that have some keep them."""
    if found.constant or found.bias is not None or found.least is not None:
        return found
    there = found.where_known() | (torch.zeros((), dtype=torch.bool) if found.among is None else found.among)
    low, high = (end.masked_fill(there, 0.0) for end in torch.broadcast_tensors(*bounds))
    return replace(found, bias=high, least=low) if bool(low.any() | high.any()) else found
