"""Between which constants what is made of a sorted row lies, beside numbers of moderate size: a threshold, say."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from leadline.domains.compact import described, expanded, lifted, reserve
from leadline.domains.engine import Lookup
from leadline.domains.values.facts import Bounds, Facts
from leadline.domains.values.named import in_order
from leadline.domains.values.views import carried
from leadline.graph.ir import Graph, Node, Ref
from leadline.graph.table import Form, Kind, Move, Places, Tally

_REDUCED = {Tally.SUM: torch.sum, Tally.LARGEST: torch.amax, Tally.LEAST: torch.amin}


class Levels:
    """Looks back from a value to what is known of the row that it was made of; None: it may be anything."""

    def __init__(self, graph: Graph, facts: Lookup[Facts]) -> None:
        self.graph, self.facts = graph, facts

    def of(self, argument: Any) -> Bounds | None:
        """Return the ends between which a value lies, or a number."""
        if isinstance(argument, bool | int | float):
            return Bounds(*(torch.tensor(float(argument), dtype=torch.float64),) * 2)
        if not isinstance(argument, Ref):
            return None
        found, node = self.facts(argument), self.graph.nodes[argument.node]
        if found.constant and found.value is not None:
            return None if found.value.is_complex() else Bounds(*(found.value.double(),) * 2)
        if found.named is not None and not self.graph.meta(argument).dtype.is_floating_point:
            return _named(found.named.may)
        if node.operation.located and node.operation.first is not None:
            ordered = in_order(node, self.facts, lambda ref: self.graph.meta(ref).shape)
            return None if argument.output else ordered.bounds()
        if argument.output:
            return None
        rule = {
            Kind.POINTWISE: self._pointwise,
            Kind.CUMULATIVE: self._running,
            Kind.REDUCTION: self._reduced,
            Kind.GATHER: self._gathered,
            Kind.VIEW: self._moved,
        }.get(node.kind)
        return None if rule is None else rule(node)

    def _laid(self, end: Tensor, ref: Ref, dim: int) -> Tensor:
        """Lay one end of a value out along an axis."""
        shape = self.graph.meta(ref).shape
        return expanded(lifted(end, len(shape)), shape, described(self.graph.nodes[ref.node]), (dim % len(shape),))

    def _pointwise(self, node: Node) -> Bounds | None:
        record, named = node.operation.pointwise, node.bound()
        if record is None:
            return None
        same = record.identity(named)
        if same is not None:
            return self.of(named[same])
        if len(record.operands) != 2:
            return None
        one, other = (named[name] for name in record.operands)
        left, right, alpha = self.of(one), self.of(other), named.get("alpha", 1)
        if record.form is Form.PRODUCT:
            return self._kept(one, right) or self._kept(other, left) or _scaled(left, right) or _scaled(right, left)
        if left is None or right is None or not isinstance(alpha, int | float) or alpha < 0:
            return None
        if record.form is Form.SUM:
            return Bounds(left.low + alpha * right.low, left.high + alpha * right.high)
        if record.form is Form.DIFFERENCE:
            return Bounds(left.low - alpha * right.high, left.high - alpha * right.low)
        if record.form is Form.QUOTIENT and named.get("rounding_mode") is None:
            return _divided(left, right)
        return None

    def _kept(self, argument: Any, other: Bounds | None) -> Bounds | None:
        """Multiply by a truth value: what is left is there, or zero."""
        if other is None or not isinstance(argument, Ref) or not self._truth(argument):
            return None
        found = self.facts(argument)
        sure = found.where_known() & (torch.zeros(()) if found.value is None else found.value).bool()
        low, high = torch.where(sure, other.low, other.low.clamp(max=0)), other.high.clamp(min=0)
        gone = found.zeros()
        return Bounds(torch.where(gone, 0.0, low), torch.where(gone, 0.0, torch.where(sure, other.high, high)))

    def _truth(self, ref: Ref) -> bool:
        """Whether a value is a truth value, as a number perhaps."""
        node = self.graph.nodes[ref.node]
        while self.graph.meta(ref).dtype is not torch.bool:
            record = node.operation.pointwise
            if record is None or record.form is not Form.COPY or not node.refs:
                return False
            ref, node = node.refs[0], self.graph.nodes[node.refs[0].node]
        return True

    def _running(self, node: Node) -> Bounds | None:
        found, dim = self.of(node.refs[0]), node.bound()["dim"]
        if found is None or node.operation.tally is not Tally.SUM:
            return None
        return Bounds(*(self._laid(end, node.refs[0], dim).cumsum(dim) for end in found))

    def _reduced(self, node: Node) -> Bounds | None:
        found, dim, tally = self.of(node.refs[0]), node.bound().get("dim"), node.operation.tally
        dims = (dim,) if isinstance(dim, int) else dim
        if found is None or tally not in _REDUCED or not dims or len(dims) != 1:
            return None
        keep = len(node.shape) == len(self.graph.meta(node.refs[0]).shape)
        laid = (self._laid(end, node.refs[0], dims[0]) for end in found)
        return Bounds(*(_REDUCED[tally](end, dims[0], keepdim=keep) for end in laid))  # type: ignore[operator]

    def _gathered(self, node: Node) -> Bounds | None:
        """Take the extremes of what the indices may name."""
        named, index = node.bound(), node.bound().get("index")
        source = named.get("self")
        if node.operation.places is not Places.ELEMENTS or not isinstance(index, Ref) or not isinstance(source, Ref):
            return None
        found, places = self.of(source), self.facts(index).named
        if found is None or places is None:
            return None
        dim, rank, size = named["dim"] % len(node.shape), len(node.shape), self.graph.meta(source).shape[named["dim"]]
        may = lifted(places.may, rank + 1)
        may = may[..., :size] if may.shape[-1] >= size else torch.nn.functional.pad(may, (0, size - may.shape[-1]))
        ends = []
        for end, sign in zip(found, (1.0, -1.0), strict=True):
            row = self._laid(end, source, dim).movedim(dim, -1).unsqueeze(dim)
            reserve(torch.broadcast_shapes(row.shape, may.shape), 8, described(node))
            ends.append(sign * (sign * row).masked_fill(~may, torch.inf).amin(-1))
        return Bounds(*ends)

    def _moved(self, node: Node) -> Bounds | None:
        found = self.of(node.refs[0])
        if found is None or node.operation.move is Move.EXPAND:
            return found
        if len(node.sources) != 1 or len(node.outputs) != 1:
            return None
        rank = len(self.graph.meta(node.refs[0]).shape)

        def ends(end: Tensor) -> Tensor | None:
            (made,) = carried(node, lambda _: lifted(end, rank), lambda ref: self.graph.meta(ref).shape)
            return made

        low, high = map(ends, found)
        return None if low is None or high is None else Bounds(low, high)


def _named(may: Tensor) -> Bounds:
    count = torch.arange(may.shape[-1], dtype=torch.float64)
    low, high = (sign * (sign * count).masked_fill(~may, torch.inf).amin(-1) for sign in (1.0, -1.0))
    return Bounds(low, high)


def _scaled(found: Bounds | None, factor: Bounds | None) -> Bounds | None:
    """Multiply by what is known; None: it is not."""
    if found is None or factor is None or not torch.equal(factor.low, factor.high):
        return None
    ends = found.low * factor.low, found.high * factor.low
    return Bounds(torch.minimum(*ends), torch.maximum(*ends))


def _divided(found: Bounds, divisor: Bounds) -> Bounds | None:
    """Divide by what is known, or by some number from one on."""
    if torch.equal(divisor.low, divisor.high) and bool((divisor.low != 0).all()):
        return _scaled(found, Bounds(1 / divisor.low, 1 / divisor.low))
    if not bool((divisor.low >= 1).all()):
        return None
    return Bounds(*torch.broadcast_tensors(found.low.clamp(max=0), found.high.clamp(min=0)))
