"""What depends on weights alone, as a model computes it: in its own dtypes, and in float64.

Both are kept, since a constant is meant as exact arithmetic would give it and is used as it is stored; an interval
holds both. What is drawn anew each time is no constant, whatever its arguments are.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from leadline.domains.values.interval_arithmetic import Interval, outward, point, wide
from leadline.graph.ir import Graph, Node, Ref
from leadline.graph.run_node import run_node
from leadline.graph.table import Kind

_CPU = torch.device("cpu")


class Constants:
    """The constants of a graph, found one after another in its order."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._stored: dict[Ref, Tensor] = {}
        self._exact: dict[Ref, Tensor] = {}

    def leaf(self, node: Node) -> Interval:
        """Note a weight down, and return its interval."""
        value = self._graph.values[node.index].detach().cpu()
        return self._noted(Ref(node.index), value, wide(value))

    def computed(self, node: Node) -> tuple[Interval, ...] | None:
        """Compute a node whose arguments are constants; None if it has others, or draws, or torch cannot compute it."""
        if not (node.refs or node.kind is Kind.CREATION) or node.draws or not self._stored.keys() >= {*node.refs}:
            return None
        try:
            stored = self._run(node, self._stored.__getitem__)
            alike = all(self._taken(ref) is self._stored[ref] for ref in node.refs)
            values = stored if alike else self._run(node, self._taken)
        except RuntimeError:
            return None
        if not all(isinstance(part, Tensor) for part in stored):
            return None
        refs = [Ref(node.index, i) for i in range(len(stored))]
        return tuple(self._noted(ref, own, wide(value)) for ref, own, value in zip(refs, stored, values, strict=True))

    def _run(self, node: Node, value: Callable[[Ref], Tensor]) -> tuple[Tensor, ...]:
        """Run a node; a batch norm gets copies, since it writes into its statistics."""
        writes = node.kind is Kind.NORMALISATION
        return run_node(node, lambda ref: value(ref).clone() if writes else value(ref), device=_CPU)

    def _taken(self, ref: Ref) -> Tensor:
        """Return a value in float64, or complex128; one of integers as it is."""
        stored, exact = self._stored[ref], self._exact[ref]
        number = stored.is_floating_point() or stored.is_complex()
        return exact if number and exact.dtype != stored.dtype else stored

    def _noted(self, ref: Ref, stored: Tensor, exact: Tensor) -> Interval:
        self._stored[ref], self._exact[ref] = stored, exact
        own, other = point(stored), point(exact)
        if torch.equal(own.lo, other.lo):
            return own
        found = own.joined(other)
        return outward(found.lo, found.hi, pairs=found.pairs) if bool(found.lo.isnan().any()) else found
