"""Solutions by the factors of an LU decomposition stand as solutions for the matrix, whose zeros say what they rest on.

Elimination exchanges rows and fills factors in, where the matrix itself, and its inverse, are a triangle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from leadline.graph.ir import Argument, Graph, Meta, Node, Ref
from leadline.graph.table import Form, Kind

_SOLVE = torch.ops.aten._linalg_solve_ex.default
_TRANSPOSE = torch.ops.aten.transpose.int


def solved_whole(graph: Graph) -> Graph:
    """Return an equivalent graph without solutions by factors, where the matrix is known that was decomposed."""
    if not any(node.operation.matrices is not None and node.operation.matrices.by_factors for node in graph.nodes):
        return graph
    return _Rewriting(graph).run()


class _Rewriting:
    """A copy of a graph in which factors that are solved by have become matrices."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[Node] = []
        self.values: dict[int, Tensor] = {}

    def run(self) -> Graph:
        new: dict[Ref, Ref] = {}
        for node in self.graph.nodes:
            record = node.operation.matrices
            found = self._solution(node, new.__getitem__) if record is not None and record.by_factors else None
            place = self._put(node.moved(len(self.nodes), new.__getitem__)) if found is None else found
            new |= {Ref(node.index, i): Ref(place, i) for i in range(len(node.outputs))}
        made = self.graph.rebuilt(self.nodes, new.__getitem__)
        return replace(made, values={**made.values, **self.values})

    def _put(self, node: Node) -> int:
        self.nodes.append(node)
        return node.index

    def _solution(self, node: Node, to: Callable[[Ref], Ref]) -> int | None:
        """Put a solution for the whole matrix down; None: the matrix is not known, or its sides are not plain."""
        named = node.bound()
        given, meta = self.graph.meta(named["B"]), self.graph.meta(named["LU"])
        square = len(meta.shape) >= 2 and meta.shape[-1] == meta.shape[-2]
        if not square or len(given.shape) < len(meta.shape) or (named["adjoint"] and meta.dtype.is_complex):
            return None
        factors, pivots = self._origin(named["LU"]), self._origin(named["pivots"])
        matrix = self._decomposed(factors, pivots)
        at = self._leaf(node, factors, pivots) if matrix is None else to(matrix)
        if at is None:
            return None
        if named["adjoint"]:
            at = Ref(self._made(node, "turned", _TRANSPOSE, Kind.VIEW, (at, -2, -1), (meta,)))
        numbers = Meta(meta.shape[:-1], torch.int32)
        outputs = (node.meta, meta, numbers, Meta(meta.shape[:-2], torch.int32))
        args = (at, to(named["B"]), named["left"], False)
        return self._made(node, "solved", _SOLVE, Kind.MATRICES, args, outputs)

    def _origin(self, ref: Ref) -> Ref:
        """Go back to what is copied."""
        node = self.graph.nodes[ref.node]
        while (record := node.operation.pointwise) is not None and record.form is Form.COPY:
            ref = node.refs[0]
            node = self.graph.nodes[ref.node]
        return ref

    def _decomposed(self, factors: Ref, pivots: Ref) -> Ref | None:
        """Return the matrix of which both are results of one decomposition."""
        maker = self.graph.nodes[factors.node]
        record = maker.operation.matrices
        if record is None or not record.factors or (factors, pivots) != (Ref(maker.index, 0), Ref(maker.index, 1)):
            return None
        return maker.refs[0]

    def _leaf(self, node: Node, factors: Ref, pivots: Ref) -> Ref | None:
        """Put down the matrix of constant factors, without what is nothing but rounding."""
        held = [self.graph.values.get(ref.node) for ref in (factors, pivots)]
        leaves = [self.graph.nodes[ref.node] for ref in (factors, pivots)]
        fixed = all(leaf.kind is Kind.BUFFER and leaf.name not in self.graph.mutated for leaf in leaves)
        if held[0] is None or held[1] is None or not fixed:
            return None
        place = self._made(node, "matrix", None, Kind.BUFFER, (), (self.graph.meta(factors),))
        self.values[place] = multiplied_out(held[0], held[1])
        return Ref(place)

    def _made(
        self, node: Node, name: str, target: Any, kind: Kind, args: tuple[Argument, ...], outputs: tuple[Meta, ...]
    ) -> int:
        op = kind.value if target is None else str(target)
        return self._put(Node(len(self.nodes), f"{node.name}.{name}", op, kind, args, {}, outputs, node.place, target))


def multiplied_out(factors: Tensor, pivots: Tensor) -> Tensor:
    """Return the matrix of an LU decomposition; what elimination may have left of a zero is zero.

    Examples
    --------
    >>> triangle = torch.tensor([[0.3, 0.0, 0.0], [0.7, 0.1, 0.0], [0.9, 0.5, 0.2]])
    >>> multiplied_out(*torch.linalg.lu_factor(triangle)).triu(1).abs().max().item()
    0.0
    """
    exchanged, lower, upper = torch.lu_unpack(factors, pivots)
    found, most = (exchanged @ (a @ b) for a, b in ((lower, upper), (lower.abs(), upper.abs())))
    rounding = 4 * factors.shape[-1] * torch.finfo(factors.dtype).eps
    return torch.where(found.abs() > rounding * most.abs(), found, 0)
