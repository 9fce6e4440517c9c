"""Counts of recurrent operations: the weights that each step multiplies, and how many steps there are.

The states that such an operation takes as arguments are units, given or zero: the convention for initial states. The
grid recurrence takes none: neighbours outside its grid do not exist, as padding does not.
"""

from __future__ import annotations

from math import prod

from helpers.dense.elements import Elements, Lookup, compact, edges, total
from helpers.dense.scan_reads import grid_reads_of, reads_of
from helpers.dense.scans import grid_of, is_grid, recurrence_of
from jaxtyping import Bool
from torch import Tensor

from leadline.graph import Graph, Node


def scan_macs(node: Node, graph: Graph) -> int:
    """Multiply-accumulates: every weight once for each step and sample."""
    if is_grid(node):
        _, weights = grid_of(node)
        return prod(graph.meta(node.refs[0]).shape[:-1]) * sum(graph.meta(ref).numel for ref in weights.values())
    recurrence = recurrence_of(node, graph)
    weights_of = (ref for layer in recurrence.layers for direction in layer for ref in direction.weights)
    return prod(graph.meta(recurrence.input).shape[:-1]) * sum(graph.meta(ref).numel for ref in weights_of)


def scan_edges(node: Node, graph: Graph, elements: Lookup) -> int:
    """Edges between units that exist, into gates that are read; states are units, neighbours outside a grid are not."""
    if is_grid(node):
        return _grid_edges(node, graph, elements)
    recurrence, found = recurrence_of(node, graph), 0
    x = elements(recurrence.input)
    for depth, (layer, reads) in enumerate(
        zip(recurrence.layers, reads_of(recurrence, node, graph, elements), strict=True)
    ):
        for way, read in zip(layer, reads, strict=True):
            w_in, w_own = elements(way.from_input), elements(way.from_state)
            found += _fan_in(w_in.alive, read.gates) if depth else _input_edges(x, w_in, read.gates)
            found += _fan_in(w_own.alive, read.gates)
            if way.projection is not None:
                found += _fan_in(elements(way.projection).alive, read.outputs)
    return found


def _grid_edges(node: Node, graph: Graph, elements: Lookup) -> int:
    x, weights = grid_of(node)
    north, west, below = (elements(weights[f"weight_{name}"]).alive for name in ("north", "west", "below"))
    found = 0
    for depth, read in enumerate(grid_reads_of(node, graph, elements)):
        found += _fan_in(north[depth], read[:, 1:]) + _fan_in(west[depth], read[:, :, 1:])
        if depth:
            found += _fan_in(below[depth - 1], read)
        else:
            found += _input_edges(elements(x), elements(weights["weight_in"]), read)
    return found


def _fan_in(weight: Bool[Tensor, "gates features"], read: Bool[Tensor, "*rows gates"]) -> int:
    """Count the weights into gates that are read; all they read are units."""
    return int((total(weight, [1]) * total(read, range(read.ndim - 1))).sum())


def _input_edges(x: Elements, weight: Elements, read: Bool[Tensor, "*rows gates"]) -> int:
    """Count the same where what is read may be no unit: an input element, ``[*rows, features]``."""
    whole = bool(compact(read).all())

    def pairs(x: Bool[Tensor, "*rows features"], weight: Bool[Tensor, "gates features"]) -> int:
        if whole:
            return int((total(x, range(x.ndim - 1)) * total(weight, [0])).sum())
        return int(((read.double() @ weight.double()) * x).sum())

    return edges(x, weight, pairs)
