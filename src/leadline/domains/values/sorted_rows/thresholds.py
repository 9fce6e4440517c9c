"""Thresholds that are found in a sorted row: which comparisons hold whatever the numbers are, and what falls below.

A sparsemax sorts a row, and finds from running sums how many of its largest elements it keeps: those i of which
``1 + i z_i > Σ_{j ≤ i} z_j`` (A. Martins and R. Astudillo, "From softmax to sparsemax", 2016). Both sides are sums of
the sorted elements with known weights. As these come in order, their difference is a sum of gaps, none of which is
negative, each with a known weight: its sign is known where those are all of one sign. A finite mask adds that the
elements before a masked one fall by more than the mask is worth. So no masked element is kept, and what stands above
the threshold is none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from leadline.domains.compact import Pool, Shapes, described, expanded, lifted, reserve
from leadline.domains.engine import Lookup, Transfer
from leadline.domains.values.facts import UNKNOWN, Facts, Named, Options, filled, one_of, partial, settled
from leadline.domains.values.logits import shown_in
from leadline.domains.values.sorted_rows.levels import Levels
from leadline.graph.ir import Graph, Node, Ref
from leadline.graph.table import Form, Kind, Tally

_MOST = 1 << 10  # places of a row
_DEEP = 64  # operations that are looked at, back from a comparison
_SLACK = 1e-6
_SUMS = {Form.SUM: (1.0, 1.0), Form.DIFFERENCE: (1.0, -1.0), Form.REVERSED: (-1.0, 1.0)}


class _Sums(NamedTuple):
    """Sums of the elements of a sorted row: weights ``[place, element]`` along its axis, and what is added."""

    weights: Tensor
    added: Tensor

    def __add__(self, other: Any) -> _Sums:
        return _Sums(self.weights + other.weights, self.added + other.added)

    def times(self, factor: Tensor | float) -> _Sums:
        """Multiply, place by place."""
        scale = torch.as_tensor(factor, dtype=torch.float64)
        return _Sums(self.weights * scale.reshape(-1, 1), self.added * scale)


def thresholds(rule: Transfer[Facts], graph: Graph, floor: float, pool: Pool) -> Transfer[Facts]:
    """Add what is known of a sorted row's comparisons, and of what stands below a threshold found by them.

    That rests on more than the arguments of an operation: on what is behind them.
    """
    if floor == -torch.inf or not any(node.operation.located for node in graph.nodes):
        return rule
    rows = _Thresholds(graph, floor)

    def transfer(node: Node, facts: Lookup[Facts]) -> tuple[Facts, ...]:
        found, record = rule(node, facts), node.operation.pointwise
        if record is None or node.meta.numel == 0:
            return found
        if record.above is not None and found[0].empty:
            return (settled(rows.compared(node, facts), len(node.shape), pool),)
        level = None if found[0].constant else _level(node, facts)
        sunk = None if level is None else rows.sunk(level[1], facts)
        if level is None or sunk is None:
            return found
        known = one_of(filled(found[0].options(), sunk & ~found[0].where_known(), level[0]), found[0].bounds())
        return (settled(known, len(node.shape), pool), *found[1:])

    return transfer


def sinking(rule: Transfer[Facts], _: Graph, floor: float, pool: Pool) -> Transfer[Facts]:
    """Take constants far below others for minus infinity."""

    def transfer(node: Node, facts: Lookup[Facts]) -> tuple[Facts, ...]:
        found = rule(node, facts)
        high = found[0].bounds().high
        if found[0].empty or not node.meta.dtype.is_floating_point or not high.numel():
            return found
        low = high.isfinite() & (high - high.masked_fill(~high.isfinite(), -torch.inf).max() <= floor)
        if not bool(low.any()):
            return found
        values, there = found[0].options()
        known = one_of(
            Options([torch.where(low, -torch.inf, value) for value in values], there | low), found[0].bounds()
        )
        return (settled(known, len(node.shape), pool), *found[1:])

    return transfer


def _level(node: Node, facts: Lookup[Facts]) -> tuple[float, Ref] | None:
    """Return the number that all below it becomes, if it is not below zero, and of which argument; else None."""
    record, named = node.operation.pointwise, node.bound()
    assert record is not None
    if record.form is Form.MAXIMUM:
        one, other = (named[name] for name in record.operands)
        for x, limit in ((one, other), (other, one)):
            held = facts(limit).value if isinstance(limit, Ref) and facts(limit).constant else limit
            zero = not bool(held.any()) if isinstance(held, Tensor) else held == 0
            if isinstance(x, Ref) and zero:
                return 0.0, x
        return None
    least, x = record.floored(named), named[record.operands[0]] if record.operands else None
    return (least, x) if least is not None and least >= 0 and isinstance(x, Ref) else None


class _Thresholds:
    """The sorted rows of a graph; `facts` are what is known so far."""

    def __init__(self, graph: Graph, floor: float) -> None:
        self.graph, self.floor = graph, floor

    def compared(self, node: Node, facts: Lookup[Facts]) -> Facts:
        """Return which comparisons of sums of one sorted row are known to hold, or not to."""
        record, maker = node.operation.pointwise, self._row(node)
        if record is None or record.above is None or maker is None or maker.shape != node.shape:
            return UNKNOWN
        row = _Row(self.graph, maker, facts)
        sides = [row.sums(node.bound()[name]) for name in ("self", "other")]
        one, other = sides
        if one is None or other is None:
            return UNKNOWN
        far = _far(maker, facts, row.dim, self.floor)
        difference = one + other.times(-1.0)
        above, below = (_positive(side, far, -self.floor) for side in (difference, difference.times(-1.0)))
        above, below = (_laid(part, row.dim, len(node.shape)) for part in (above, below))
        return partial(above if record.above else below, above | below)

    def sunk(self, ref: Ref, facts: Lookup[Facts]) -> Tensor | None:
        """Where a value is what is masked in a row, less a threshold of that row; None: it is not such a thing."""
        node = self.graph.nodes[ref.node]
        record, named = node.operation.pointwise, node.bound()
        if record is None or record.form is not Form.DIFFERENCE or named.get("alpha", 1) != 1:
            return None
        scores, threshold = named["self"], named["other"]
        if not isinstance(scores, Ref) or not isinstance(threshold, Ref) or self.graph.meta(scores).shape != node.shape:
            return None
        maker = self._decisive(self.graph.nodes[threshold.node], scores, facts)
        if maker is None:
            return None
        dim, bounds = maker.bound()["dim"] % len(maker.shape), facts(scores).bounds()
        if not bool(_far(maker, facts, dim, self.floor).any()):
            return None
        level = Levels(self.graph, facts).of(threshold)
        if level is None:
            return None
        return ~shown_in(bounds, dim, self.floor) & (bounds.high - level.low <= self.floor)

    def _decisive(self, node: Node, scores: Ref, facts: Lookup[Facts]) -> Node | None:
        """Return the sort of some scores a comparison within which is known, and is behind a threshold."""
        for here in self._behind(node):
            record = here.operation.pointwise
            if record is not None and record.above is not None and not facts(Ref(here.index)).empty:
                maker = self._row(here)
                if maker is not None and maker.refs[0] == scores:
                    return maker
        return None

    def _row(self, node: Node) -> Node | None:
        """Return the sort, from the largest element on, of the only row behind a value."""
        found: set[int] = set()
        for here in self._behind(node):
            makers = ((ref, self.graph.nodes[ref.node]) for ref in here.refs)
            found |= {maker.index if _descends(maker) and not ref.output else -1
                      for ref, maker in makers if maker.operation.located}  # fmt: skip
        return self.graph.nodes[next(iter(found))] if len(found) == 1 and -1 not in found else None

    def _behind(self, node: Node) -> Iterator[Node]:
        """Yield a node and those near behind it, back to what puts rows in order."""
        stack, seen = [node], {node.index}
        while stack and len(seen) < _DEEP:
            yield (here := stack.pop())
            for ref in here.refs:
                maker = self.graph.nodes[ref.node]
                if maker.index not in seen and maker.kind in _PASSED:
                    seen.add(maker.index)
                    stack.append(maker)


def _descends(node: Node) -> bool:
    """Whether it gives rows in order, the largest elements first."""
    first, named = node.operation.first, node.bound()
    largest = first is not None and first(named) and named.get("sorted") is not False
    return largest and len(node.shape) > 0 and node.shape[named["dim"]] <= _MOST


_PASSED = frozenset({Kind.POINTWISE, Kind.CUMULATIVE, Kind.VIEW, Kind.REDUCTION, Kind.GATHER})


class _Row:
    """Reads values as sums of the elements of a sorted row."""

    def __init__(self, graph: Graph, maker: Node, facts: Lookup[Facts]) -> None:
        self.graph, self.facts, self.row = graph, facts, Ref(maker.index)
        self.shape = maker.shape
        self.dim = maker.bound()["dim"] % len(self.shape)
        self.size = self.shape[self.dim]

    def sums(self, argument: Any) -> _Sums | None:
        """Return a value as sums; None: it is not known as such."""
        if isinstance(argument, bool | int | float):
            return self._constant(torch.full((1,), float(argument), dtype=torch.float64))
        if not isinstance(argument, Ref):
            return None
        if argument == self.row:
            return _Sums(torch.eye(self.size, dtype=torch.float64), torch.zeros(self.size, dtype=torch.float64))
        if (along := self._along(argument)) is not None:
            return self._constant(along)
        node = self.graph.nodes[argument.node]
        if node.shape != self.shape or argument.output or not node.meta.dtype.is_floating_point:
            return None
        if node.kind is Kind.CUMULATIVE and node.operation.tally is Tally.SUM:
            found = self.sums(node.refs[0]) if node.bound()["dim"] % len(self.shape) == self.dim else None
            return None if found is None else _Sums(found.weights.cumsum(0), found.added.cumsum(0))
        return self._pointwise(node)

    def _pointwise(self, node: Node) -> _Sums | None:
        record, named = node.operation.pointwise, node.bound()
        if record is None:
            return None
        same = record.identity(named)
        if same is not None:
            return self.sums(named[same])
        one, other = (named[name] for name in record.operands) if len(record.operands) == 2 else (None, None)
        if record.form in _SUMS:
            left, right = self.sums(one), self.sums(other)
            alpha = named.get("alpha", 1)
            if left is None or right is None or not isinstance(alpha, int | float):
                return None
            scales = _SUMS[record.form]
            left, right = (left.times(alpha), right) if record.form is Form.REVERSED else (left, right.times(alpha))
            return left.times(scales[0]) + right.times(scales[1])
        if record.form is Form.PRODUCT:
            pairs = ((one, self._along(other)), (other, self._along(one)))
            return next((found.times(scale) for part, scale in pairs
                         if scale is not None and (found := self.sums(part)) is not None), None)  # fmt: skip
        if record.form is Form.QUOTIENT and named.get("rounding_mode") is None:
            divisor, found = self._along(other), self.sums(one)
            return None if divisor is None or found is None or bool((divisor == 0).any()) else found.times(1 / divisor)
        return None

    def _constant(self, along: Tensor) -> _Sums:
        return _Sums(torch.zeros(self.size, self.size, dtype=torch.float64), along.expand(self.size))

    def _along(self, argument: Any) -> Tensor | None:
        """Return a constant, along the row; None: it is none, or not the same for all rows."""
        if isinstance(argument, bool | int | float):
            return torch.full((1,), float(argument), dtype=torch.float64)
        if not isinstance(argument, Ref) or not self.facts(argument).constant:
            return None
        value = self.facts(argument).value
        if value is None or value.is_complex() or value.ndim > len(self.shape) or not bool(value.isfinite().all()):
            return None
        value = lifted(value, len(self.shape)).double()
        alike = all(size == 1 for axis, size in enumerate(value.shape) if axis != self.dim)
        return value.flatten() if alike else None


def _positive(sums: _Sums, far: Tensor, least: float) -> Tensor:
    """Say where sums of a descending row are surely above zero: of gaps that are not negative, with such weights.

    The gaps before a place that is `far` add up to `least` or more.
    """
    by_gap, added = sums.weights.cumsum(-1), sums.added
    slack = _SLACK * (1 + sums.weights.abs().sum(-1))
    level = by_gap[:, -1].abs() <= slack
    rising = level & (by_gap[:, :-1] >= -slack.unsqueeze(-1)).all(-1)
    before = torch.ones_like(by_gap[:, :-1]).tril(-1).bool()
    slope = by_gap[:, :-1].masked_fill(~before, torch.inf).amin(-1) if by_gap.shape[-1] > 1 else added * 0
    fallen = far & (slope.isfinite() & (slope > slack) & (added + slope.nan_to_num(posinf=0.0) * min(least, 1e30) > 0))
    return rising & ((added > slack) | fallen)


def _far(maker: Node, facts: Lookup[Facts], dim: int, floor: float) -> Tensor:
    """Say which places of sorted rows, along a last axis, lie behind all that no mask hides."""
    found, size = facts(maker.refs[0]), maker.shape[dim]
    bounds = found.bounds()
    alike = bounds.high.ndim == 0 or bounds.high.shape[dim] == 1
    finite = all(bool(end.isfinite().all()) for end in bounds) and not bool(found.doubtful().any())
    if alike or floor == -torch.inf or not finite:
        return torch.zeros(size, dtype=torch.bool)
    count = shown_in(bounds, dim, floor).sum(dim, keepdim=True).movedim(dim, -1)
    return torch.arange(size) >= count


def _laid(marks: Tensor, dim: int, ndim: int) -> Tensor:
    return lifted(marks, ndim).movedim(-1, dim)


def counted(node: Node, facts: Lookup[Facts], shape: Shapes) -> Named | None:
    """Find how many of some truth values may hold along an axis; None: nothing is known of it."""
    found, full, dim = facts(node.refs[0]), shape(node.refs[0]), node.bound().get("dim")
    dims = (dim,) if isinstance(dim, int) else dim
    if found.empty or not full or not dims or len(dims) != 1 or full[dims[0]] > _MOST:
        return None
    axis = dims[0] % len(full)
    sure = found.where_known() & (torch.zeros(()) if found.value is None else found.value).bool()
    least, most = (
        expanded(lifted(marks, len(full)), full, described(node), (axis,)).sum(axis, keepdim=True)
        for marks in (sure, ~found.zeros())
    )
    count = torch.arange(full[axis] + 1)
    reserve((*torch.broadcast_shapes(least.shape, most.shape), len(count)), 1, described(node))
    may = (count >= least.unsqueeze(-1)) & (count <= most.unsqueeze(-1))
    return Named(may if len(node.shape) == len(full) else may.squeeze(axis))
