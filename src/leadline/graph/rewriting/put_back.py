"""Elements that are taken from a tensor and put down where they came from, as the largest of each row are.

Which elements these are depends on values, but each stays at its place: the result is a choice, place by place, between
the tensor and what they are put into.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from leadline.graph.ir import Argument, Graph, Meta, Node, Ref
from leadline.graph.table import Kind, Places, operation_of


def put_back(graph: Graph) -> Graph:
    """Return an equivalent graph in which elements that are put back are chosen."""
    found = {node.index: source for node in graph.nodes if (source := _source(graph, node)) is not None}
    return _rewritten(graph, found) if found else graph


def _source(graph: Graph, node: Node) -> Ref | None:
    """Return the tensor whose elements are put down at their own places; None: it is not so, or not known."""
    named = node.bound()
    whole = node.kind is Kind.SCATTER and node.operation.places is Places.ELEMENTS
    if not whole or node.operation.combines(named) or not isinstance(named.get("src"), Ref):
        return None
    at, written = named["index"], named["src"]
    maker, where = graph.nodes[written.node], graph.meta(named["self"])
    taken = maker.bound()
    source = taken.get("self")
    if not isinstance(source, Ref) or graph.meta(source) != where or graph.meta(at).shape != graph.meta(written).shape:
        return None
    axis = named["dim"] % len(node.shape) if node.shape else 0
    same = taken.get("dim", -1) % max(len(node.shape), 1) == axis
    if maker.kind is Kind.GATHER and maker.operation.places is Places.ELEMENTS and taken["index"] == at and same:
        return source
    located = maker.operation.located and (written, at) == (Ref(written.node, 0), Ref(written.node, 1))
    return source if located and same else None


def _rewritten(graph: Graph, found: Mapping[int, Ref]) -> Graph:
    """Copy a graph; a truth value is put down where elements were, and chooses."""
    nodes: list[Node] = []
    number: dict[int, int] = {}

    def to(ref: Ref) -> Ref:
        return Ref(number[ref.node], ref.output)

    def made(target: Any, args: tuple[Argument, ...], kwargs: dict[str, Any], like: Node, dtype: torch.dtype) -> Ref:
        index, op = len(nodes), str(target)
        outputs = (Meta(like.shape, dtype),)
        name = f"{like.name}_put_back_{index}"
        nodes.append(Node(index, name, op, operation_of(op).kind, args, kwargs, outputs, like.place, target))
        return Ref(index)

    for node in graph.nodes:
        copy = node.moved(len(nodes), to)
        if node.index not in found:
            nodes.append(copy)
        else:
            named, aten = copy.bound(), torch.ops.aten
            base = named["self"]
            nowhere = made(aten.zeros_like.default, (base,), {"dtype": torch.bool}, node, torch.bool)
            marks = nowhere, named["dim"], named["index"], True
            chosen = made(aten.scatter.value, marks, {}, node, torch.bool)
            made(aten.where.self, (chosen, to(found[node.index]), base), {}, node, node.meta.dtype)
        number[node.index] = len(nodes) - 1
    return graph.rebuilt(nodes, to)
