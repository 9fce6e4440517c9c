"""What a model makes of its parameters alone stands as a weight of its own, where no rule says how it is made.

A matrix by QR, SVD, Cholesky or a matrix exponential is a parametrisation: nothing that depends on an input passes
through it, so that nothing need be known of it but its values.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from torch import Tensor

from leadline.graph.ir import Graph, Node, Ref
from leadline.graph.run_node import run_node
from leadline.graph.table import LEAVES, Kind


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
    if not found:
        return graph
    nodes: list[Node] = []
    values: dict[int, Tensor] = {}
    moved: dict[Ref, Ref] = {}
    for node in graph.nodes:
        if node.index not in found:
            moved |= {Ref(node.index, i): Ref(len(nodes), i) for i in range(len(node.outputs))}
            nodes.append(node.moved(len(nodes), moved.__getitem__))
            continue
        parts = _values(graph, node)
        for i, meta in enumerate(node.outputs):
            moved[Ref(node.index, i)] = Ref(len(nodes))
            if parts is not None:
                values[len(nodes)] = parts[i]
            nodes.append(_leaf(node, len(nodes), i, meta))
    left = graph.rebuilt(nodes, moved.__getitem__)
    return replace(left, values={**left.values, **values})


def _found(graph: Graph) -> Iterator[int]:
    """Yield the operations without a rule that rest on parameters and constants alone, and on no noise."""
    weights: set[int] = set()
    for node in graph.nodes:
        fixed = not node.draws and all(ref.node in weights for ref in node.refs)
        if node.kind is not Kind.INPUT and fixed:
            weights.add(node.index)
            if node.kind in (Kind.OPAQUE, Kind.MATRICES) and node.refs:
                yield node.index


def _leaf(node: Node, index: int, output: int, meta: Any) -> Node:
    name = f"{node.name}.{output}" if output else node.name
    return Node(index, name, Kind.PARAMETER.value, Kind.PARAMETER, (), {}, (meta,), node.place)


def _values(graph: Graph, node: Node) -> tuple[Any, ...] | None:
    """Compute what an operation gives, with all that it rests on; None where a parameter has no values."""
    known: dict[Ref, Any] = {Ref(index): value for index, value in graph.values.items()}
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
