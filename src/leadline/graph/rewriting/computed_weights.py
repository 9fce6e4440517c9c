"""What a model makes of its parameters alone stands as a weight of its own, where no rule says how it is made.

A matrix by QR, SVD, Cholesky or a matrix exponential is a parametrisation: nothing that depends on an input passes
through it, so that nothing need be known of it but its values, and where these are zero whatever the parameters are:
the inverse of a triangle is one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from leadline.graph.ir import Graph, Node, Ref
from leadline.graph.rewriting.structural_zeros import StructuralZeros
from leadline.graph.run_node import run_node
from leadline.graph.table import LEAVES, Kind

_MULTIPLY = torch.ops.aten.mul.Tensor


def with_computed_weights(graph: Graph) -> Graph:
    """Replace operations without a rule by leaves, one for each output, where they rest on parameters alone.

    Examples
    --------
    >>> import torch
    >>> from leadline.graph import trace
    >>> layer = torch.nn.Linear(3, 3)
    >>> rotated = torch.nn.utils.parametrizations.orthogonal(layer, orthogonal_map="householder")
    >>> leaves = [node.name for node in trace(rotated, torch.ones(1, 3)).nodes if node.op == "parameter"]
    >>> "linalg_householder_product" in leaves
    True
    """
    found = frozenset(_found(graph))
    return _Rewriting(graph).without(found) if found else graph


class _Rewriting:
    """A copy of a graph in which some operations have become leaves."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[Node] = []
        self.values: dict[int, Tensor] = {}
        self.behind: dict[int, tuple[Ref, ...]] = {}
        self.known: dict[Ref, Any] = {Ref(index): value for index, value in graph.values.items()}
        self.zeros = StructuralZeros(graph, self._value)

    def without(self, found: frozenset[int]) -> Graph:
        """Replace the operations of these numbers."""
        moved: dict[Ref, Ref] = {}
        for node in self.graph.nodes:
            if node.index in found:
                first = len(self.nodes)
                moved |= {Ref(node.index, i): ref for i, ref in enumerate(self._leaves(node))}
                sources = tuple(map(moved.__getitem__, node.sources))
                self.behind |= {made.index: sources for made in self.nodes[first:] if made.kind in LEAVES}
            else:
                moved |= {Ref(node.index, i): Ref(len(self.nodes), i) for i in range(len(node.outputs))}
                self.nodes.append(node.moved(len(self.nodes), moved.__getitem__))
        left = self.graph.rebuilt(self.nodes, moved.__getitem__)
        return replace(left, values={**left.values, **self.values}, behind=self.behind)

    def _leaves(self, node: Node) -> Iterator[Ref]:
        """Put down a leaf for each result: constants as they are, what parameters make beside a mask of its zeros."""
        parts, constant = _values(self.graph, node, self.known), self.zeros.constant(node)
        marks = self.zeros.results(node) if parts is not None else (None,) * len(node.outputs)
        for i, (meta, there) in enumerate(zip(node.outputs, marks, strict=True)):
            name = f"{node.name}.{i}" if i else node.name
            part = None if parts is None else parts[i]
            if there is not None and isinstance(part, Tensor):  # nothing but rounding stands elsewhere
                part = part * there
            leaf = self._leaf(node, name, meta, part, constant=constant and parts is not None)
            if there is None or constant or meta is None or bool(there.all()):
                yield leaf
                continue
            mask = self._leaf(node, f"{name}.zeros", meta, there.to(meta.dtype).expand(meta.shape), constant=True)
            self._add(f"{name}.masked", _MULTIPLY, Kind.POINTWISE, (leaf, mask), meta, node)
            yield Ref(len(self.nodes) - 1)

    def _leaf(self, node: Node, name: str, meta: Any, value: Any, *, constant: bool) -> Ref:
        kind = Kind.BUFFER if constant else Kind.PARAMETER
        if value is not None:
            self.values[len(self.nodes)] = value
        return self._add(name, None, kind, (), meta, node)

    def _add(self, name: str, target: Any, kind: Kind, args: tuple[Ref, ...], meta: Any, like: Node) -> Ref:
        op = kind.value if target is None else str(target)
        own = Node(len(self.nodes), name, op, kind, args, {}, (meta,), like.place, target)
        self.nodes.append(replace(own, passing=like.passing, part=like.part))
        return Ref(len(self.nodes) - 1)

    def _value(self, ref: Ref) -> Tensor | None:
        node = self.graph.nodes[ref.node]
        if ref not in self.known and node.kind not in LEAVES:
            _values(self.graph, node, self.known)
        found = self.known.get(ref)
        return found if isinstance(found, Tensor) else None


def _found(graph: Graph) -> Iterator[int]:
    """Yield the operations without a rule that rest on parameters and constants alone, and on no noise."""
    weights: set[int] = set()
    for node in graph.nodes:
        fixed = not node.draws and all(ref.node in weights for ref in node.refs)
        if node.kind is not Kind.INPUT and fixed:
            weights.add(node.index)
            if node.kind in (Kind.OPAQUE, Kind.MATRICES) and node.refs:
                yield node.index


def _values(graph: Graph, node: Node, known: dict[Ref, Any]) -> tuple[Any, ...] | None:
    """Compute what an operation gives, with all that it rests on; None where a parameter has no values."""
    stack = [node]
    while stack:
        last = stack[-1]
        missing = [graph.nodes[ref.node] for ref in last.refs if ref not in known]
        if any(source.kind in LEAVES for source in missing):
            return None
        if missing:
            stack.extend(missing)
            continue
        known |= {Ref(last.index, i): part for i, part in enumerate(run_node(last, known.__getitem__))}
        stack.pop()
    return tuple(known[Ref(node.index, i)] for i in range(len(node.outputs)))
