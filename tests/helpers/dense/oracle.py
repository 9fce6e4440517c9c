"""What the dense rules find of a graph: facts, ranks, depths, marks behind an output, and edges by node."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from helpers.dense.algebra import Links as Paths
from helpers.dense.algebra import Ranks
from helpers.dense.attentions import attention_edges
from helpers.dense.convolutions import convolution_edges
from helpers.dense.depths import Depths
from helpers.dense.depths import depths as depth_walk
from helpers.dense.facts import Facts
from helpers.dense.flow import Flow, Links
from helpers.dense.pattern import pattern
from helpers.dense.products import product_edges
from helpers.dense.rules import transfers
from helpers.dense.scan_counts import scan_edges
from helpers.dense.support import support as marks_behind
from helpers.dense.units import elements_of
from torch import Tensor

from leadline.domains.engine import walk
from leadline.graph import Graph, Kind, Node, Ref

Found = Mapping[Ref, Links]


def facts(graph: Graph, floor: float = -torch.inf, weights: bool = False) -> Mapping[Ref, Facts]:
    return pattern(graph, floor=floor, weights=weights)


def latest(graph: Graph, output: str, ranks: Mapping[str, Tensor], floor: float = -torch.inf) -> Found:
    flow = Flow(graph, facts(graph, floor), Ranks(), floor)

    def leaf(node: Node) -> Links:
        return (ranks[node.name] + 1).float() if node.kind is Kind.INPUT and node.name in ranks else None

    live = graph.live(output)
    return walk(graph, leaf=leaf, transfers=transfers(flow), top=flow.top, on_unknown="top", live=live).values


def depths(graph: Graph) -> Found:
    return depth_walk(Depths(graph, facts(graph), Ranks()), on_unknown="top").values


def support(graph: Graph, output: str, chosen: Tensor) -> Mapping[str, Tensor]:
    return marks_behind(Flow(graph, facts(graph), Paths()), output, chosen, on_unknown="top")[0]


def edges(graph: Graph) -> Mapping[int, int]:
    """Count the edges of every operation that multiplies and adds up."""
    known = facts(graph)
    elements = elements_of(graph, known, on_unknown="top")
    rules = {
        Kind.CONTRACTION: product_edges,
        Kind.CONVOLUTION: convolution_edges,
        Kind.ATTENTION: lambda n, g, e: attention_edges(n, g, e, known.__getitem__),
        Kind.SCAN: scan_edges,
    }
    live = graph.live()
    return {n.index: rules[n.kind](n, graph, elements) for n in graph.nodes if n.kind in rules and n.index in live}
