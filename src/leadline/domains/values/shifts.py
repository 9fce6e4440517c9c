"""Shifts that cancel: what is added to all logits of a softmax alike, or divides all weights of a row, changes nothing.

Scores are often shifted by the largest of their row before they are masked, and weights made to add up to one before
some are dropped and the rest made to add up to one again. A softmax does not see a number that is added to all its
logits, nor a quotient one by which numerator and denominator are multiplied: by arithmetic on real numbers, the result
does not depend on them. Each such number is followed from where it enters; where all that it reaches is rid of it
again, the way through it carries nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from leadline.domains.compact import lifted, shrunk
from leadline.domains.values.carried import SUMS, Carried, Carrying, Seen, scales
from leadline.domains.values.facts import Facts
from leadline.graph.ir import Graph, Node, Ref
from leadline.graph.table import LEAVES, Form, Kind, Move


def cancelled(graph: Graph, facts: Mapping[Ref, Facts], floor: float) -> Mapping[int, frozenset[Ref]]:
    """Find the arguments that change no output, by the node that reads them.

    A softmax that is named itself stands for the number by which it divides each row. `floor` is as in `pattern`.
    """
    found = dict[int, frozenset[Ref]]()
    if not any(_may_end(node) for node in graph.nodes):
        return found
    walk = _Walk(graph, facts, floor)
    kept = dict[Ref, dict[Ref, Carried]]()  # those that do not cancel alone, by the number that enters
    for node in graph.nodes:
        for ref, start in walk.starts(node):
            if _repeats(start, node) and walk.cancels({Ref(node.index): start}):
                found[node.index] = found.get(node.index, frozenset()) | {ref}
            else:
                kept.setdefault(ref, {})[Ref(node.index)] = start
    for ref, starts in kept.items():
        repeated = any(_repeats(start, graph.nodes[place.node]) for place, start in starts.items())
        if len(starts) > 1 and repeated and walk.cancels(starts):
            found |= {start.node: found.get(start.node, frozenset()) | {ref} for start in starts}
    return found


def _repeats(start: Carried, node: Node) -> bool:
    """Whether one number enters at several places."""
    return any(size == 1 < full for size, full in zip(start.which.shape, node.shape, strict=True))


def _may_end(node: Node) -> bool:
    record = node.operation.pointwise
    return node.kind is Kind.SOFTMAX or (record is not None and record.form is Form.QUOTIENT)


class _Walk(Carrying):
    """Follows numbers through a graph."""

    def __init__(self, graph: Graph, facts: Mapping[Ref, Facts], floor: float) -> None:
        super().__init__(graph, facts, floor)
        self.live, self.outputs = graph.live(), frozenset(graph.outputs.values())
        self.readers: dict[Ref, list[int]] = {}
        varying = set(graph.inputs.values())
        for node in graph.nodes:
            if node.kind not in LEAVES and any(ref.node in varying for ref in node.refs):
                varying.add(node.index)
            if node.index in self.live:
                for ref in node.sources:
                    self.readers.setdefault(ref, []).append(node.index)
        self.varying = varying

    def starts(self, node: Node) -> Iterator[tuple[Ref, Carried]]:
        """List the numbers that enter at a node."""
        if node.index not in self.live or node.index not in self.varying:
            return
        if node.kind is Kind.SOFTMAX:
            if self._certain(node):
                shape, axis = list(node.shape), node.args[1]
                shape[axis] = 1
                yield Ref(node.index), Carried(_numbered(shape), -1.0, factor=not node.operation.logarithm)
            return
        record, named = node.operation.pointwise, node.bound()
        if record is None or record.form not in SUMS:
            return
        factors = scales(node)
        for name, other in zip(record.operands, reversed(record.operands), strict=True):
            ref = named[name]
            if not isinstance(ref, Ref) or ref == named[other] or ref.node not in self.varying:
                continue
            base = self._repeated(ref)
            which = lifted(_numbered(self.shape(base)), len(node.shape))
            if self._finite(ref):
                yield ref, Carried(which, factors[name], factor=False)

    def _repeated(self, ref: Ref) -> Ref:
        """Go back to what is repeated to give a value."""
        while (node := self.graph.nodes[ref.node]).kind is Kind.VIEW and node.operation.move is Move.EXPAND:
            ref = node.refs[0]
        return ref

    def _finite(self, ref: Ref) -> bool:
        """Whether a value has no element that may be infinite, as far as constants say, or nan."""
        facts = self.facts[ref]
        return not bool(facts.doubtful().any()) and all(bool(end.isfinite().all()) for end in facts.bounds())

    def _certain(self, node: Node) -> bool:
        """Whether every row of a softmax has a logit that is finite."""
        logits = self.facts[node.refs[0]]
        low = lifted(logits.bounds().low, len(node.shape))
        return bool((low > -torch.inf).any(node.args[1]).all()) and not bool(logits.doubtful().any())

    def cancels(self, starts: Mapping[Ref, Carried]) -> bool:
        """Whether a number that enters at some nodes, none of which reads another, is gone from all that it reaches."""
        held = dict(starts)
        if not self.outputs.isdisjoint(held):
            return False
        pending = {reader for ref in held for reader in self.readers.get(ref, ())}
        while pending:
            node = self.graph.nodes[min(pending)]
            pending.discard(node.index)
            if Ref(node.index) in starts:
                return False
            try:
                found = self.through(node, held)
            except Seen:
                return False
            for ref, passed in found.items():
                if ref in self.outputs:
                    return False
                held[ref] = replace(passed, which=shrunk(passed.which))
                pending |= set(self.readers.get(ref, ()))
        return True


def _numbered(shape: tuple[int, ...] | list[int]) -> Tensor:
    count = int(torch.Size(shape).numel())
    return torch.arange(1, count + 1, dtype=torch.float64).reshape(shape)
