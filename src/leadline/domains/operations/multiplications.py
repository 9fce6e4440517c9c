"""Multiply-accumulates of one operation, product by product, and of its backward pass.

The gradient of a product with respect to one of its factors is a product of the same size: backwards costs as much as
forwards for each factor that needs a gradient.
"""

from collections.abc import Callable
from math import prod
from typing import TypeAlias

from leadline.domains.operations.attentions import attention_macs, attention_of
from leadline.domains.operations.convolutions import convolution_macs, convolution_of
from leadline.domains.operations.products import product_macs, product_of
from leadline.domains.operations.scan_counts import scan_macs
from leadline.domains.operations.scans import grid_of, is_grid, recurrence_of
from leadline.graph import Graph, Kind, Node, Ref

Macs: TypeAlias = tuple[int, ...]
"""Multiply-accumulates of each product that an operation consists of: of attention, scores and mixing; else one."""
Needs: TypeAlias = Callable[[Ref], bool]
"""Whether a value needs a gradient."""

FORWARD: dict[Kind, Callable[[Node, Graph], Macs]] = {
    Kind.CONTRACTION: lambda node, graph: (product_macs(node, graph),),
    Kind.CONVOLUTION: lambda node, graph: (convolution_macs(node, graph),),
    Kind.ATTENTION: attention_macs,
    Kind.SCAN: lambda node, graph: (scan_macs(node, graph),),
}
"""Kinds of operations that multiply and add up; the others do not."""


def forward_macs(graph: Graph) -> int:
    """Multiply-accumulates of all operations on which some output rests; those without a rule raise `NoRule`."""
    live = graph.live()
    return sum(sum(FORWARD[node.kind](node, graph)) for node in graph.nodes
               if node.kind in FORWARD and node.index in live)  # fmt: skip


def backward_macs(node: Node, graph: Graph, needs: Needs, macs: Macs) -> int:
    """Multiply-accumulates of the gradients that are needed, where forwards takes `macs`."""
    if node.kind is Kind.ATTENTION:
        attention = attention_of(node)
        scores, mixing = macs
        asking = [needs(attention.query), needs(attention.key)]
        weights = any(asking) or (attention.mask is not None and needs(attention.mask))
        return mixing * (needs(attention.value) + weights) + scores * sum(asking)
    if node.kind is Kind.SCAN:
        return _grid(node, graph, needs) if is_grid(node) else _recurrence(node, graph, needs)
    if node.kind is Kind.CONVOLUTION:
        convolution = convolution_of(node, graph)
        factors = convolution.input, convolution.weight
    else:
        product = product_of(node, graph)
        factors = product.left, product.right
    return sum(macs) * sum(map(needs, factors))


def _recurrence(node: Node, graph: Graph, needs: Needs) -> int:
    """Each weight once for its own gradient and once for that of what it multiplies, for every row that needs one.

    The states that the first step reads need one if they are given and do; those of later steps if their layer is
    trained or reads what needs one.
    """
    recurrence, found = recurrence_of(node, graph), 0
    rows = prod(graph.meta(recurrence.input).shape[:-1])
    first = rows if recurrence.single else graph.meta(recurrence.states[0]).shape[-2]
    given, hidden = any(map(needs, recurrence.states)), needs(recurrence.states[0])
    below = needs(recurrence.input)
    for layer in recurrence.layers:
        trained = [any(map(needs, (*way.weights, *way.biases))) for way in layer]
        for way, own in zip(layer, trained, strict=True):
            moving = below or own or given
            later = (rows if hidden else rows - first) if moving else 0
            reads = [(way.from_input, rows * below), (way.from_state, later)]
            if way.projection is not None:
                reads.append((way.projection, rows * moving))
            found += sum(graph.meta(ref).numel * (rows * needs(ref) + read) for ref, read in reads)
        below = below or given or any(trained)
    return found


def _grid(node: Node, graph: Graph, needs: Needs) -> int:
    """As for a sequence; the neighbours outside the grid are zeros that are multiplied too, forwards and backwards."""
    x, weights = grid_of(node)
    cells = prod(graph.meta(x).shape[:-1])
    inner = {name: needs(x) if name == "weight_in" else True for name in weights}
    return cells * sum(graph.meta(ref).numel * (needs(ref) + inner[name]) for name, ref in weights.items())
