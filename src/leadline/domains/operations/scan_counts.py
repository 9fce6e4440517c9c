"""Counts of recurrent operations: the weights that each step multiplies, and how many steps there are.

The states that such an operation takes as arguments are units, given or zero: the convention for initial states. The
grid recurrence takes none: neighbours outside its grid do not exist, as padding does not.
"""

from __future__ import annotations

from math import prod

import torch
from jaxtyping import Bool
from torch import Tensor

from leadline.domains.compact import place_of
from leadline.domains.operations.elements import Elements, ElementsOf, edges, paired
from leadline.domains.operations.scan_reads import grid_reads_of, reads_of
from leadline.domains.operations.scans import grid_of, is_grid, recurrence_of
from leadline.graph import Graph, Node


def scan_macs(node: Node, graph: Graph) -> int:
    """Multiply-accumulates: every weight once for each step and sample."""
    if is_grid(node):
        _, weights = grid_of(node)
        return prod(graph.meta(node.refs[0]).shape[:-1]) * sum(graph.meta(ref).numel for ref in weights.values())
    recurrence = recurrence_of(node, graph)
    weights_of = (ref for layer in recurrence.layers for direction in layer for ref in direction.weights)
    return prod(graph.meta(recurrence.input).shape[:-1]) * sum(graph.meta(ref).numel for ref in weights_of)


def scan_edges(node: Node, graph: Graph, elements: ElementsOf) -> int:
    """Edges between units that exist, into gates that are read; states are units, neighbours outside a grid are not."""
    if is_grid(node):
        return _grid_edges(node, graph, elements)
    recurrence, found = recurrence_of(node, graph), 0
    rows = graph.meta(recurrence.input).shape[:-1]
    for depth, (layer, reads) in enumerate(
        zip(recurrence.layers, reads_of(recurrence, node, graph, elements), strict=True)
    ):
        for way, read in zip(layer, reads, strict=True):
            x = None if depth else elements(recurrence.input)
            found += _edges(rows, x, elements(way.from_input), graph.meta(way.from_input).shape, read.gates)
            found += _edges(rows, None, elements(way.from_state), graph.meta(way.from_state).shape, read.gates)
            if way.projection is not None:
                shape = graph.meta(way.projection).shape
                found += _edges(rows, None, elements(way.projection), shape, read.outputs)
    return found


def _grid_edges(node: Node, graph: Graph, elements: ElementsOf) -> int:
    x, weights = grid_of(node)
    batch, height, width, _ = graph.meta(x).shape
    sizes = {name: graph.meta(ref).shape for name, ref in weights.items()}
    found = 0
    for depth, read in enumerate(grid_reads_of(node, graph, elements)):
        for name, rows, there in (
            ("weight_north", (batch, height - 1, width), read[:, 1:] if read.shape[1] > 1 else read),
            ("weight_west", (batch, height, width - 1), read[:, :, 1:] if read.shape[2] > 1 else read),
        ):
            found += _edges(rows, None, _layer(elements(weights[name]), depth), sizes[name][1:], there)
        rows = (batch, height, width)
        if depth:
            below = _layer(elements(weights["weight_below"]), depth - 1)
            found += _edges(rows, None, below, sizes["weight_below"][1:], read)
        else:
            found += _edges(rows, elements(x), elements(weights["weight_in"]), sizes["weight_in"], read)
    return found


def _layer(weights: Elements, depth: int) -> Elements:
    return weights.through(lambda mask: place_of(mask, depth))


def _edges(
    rows: tuple[int, ...],
    x: Elements | None,
    weight: Elements,
    shape: tuple[int, ...],
    read: Bool[Tensor, "*rows gates"],
) -> int:
    """Count the weights into gates that are read, for every row; without `x` all that they read are units."""
    letters = "abc"[: len(rows)]
    sizes = {**dict(zip(letters, rows, strict=True)), "g": shape[0], "f": shape[1]}

    def pairs(x: Bool[Tensor, "..."], weight: Bool[Tensor, "..."]) -> int:  # compact: an axis may have size 1
        return paired(sizes, (f"{letters}f", x), ("gf", weight), (f"{letters}g", read))

    if x is None:
        return pairs(torch.ones((1,) * (len(rows) + 1), dtype=torch.bool), weight.alive)
    return edges(x, weight, pairs)
