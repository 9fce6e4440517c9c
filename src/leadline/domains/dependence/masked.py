"""What known masks leave of matrix products and attention: the second convention of multiply-accumulates.

Idle are products with a factor that is known to be zero, and scores that no later product reads. What nothing reads for
another reason, as all rows but a class token's in a last layer, is no mask's work, and counts.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping

import torch
from torch import Tensor

from leadline.domains.dependence.algebra import Paths
from leadline.domains.dependence.flow import Flow
from leadline.domains.dependence.support import behind
from leadline.domains.dependence.units import READ_RULES, masks_of
from leadline.domains.engine import OnUnknown
from leadline.domains.operations.attentions import attention_terms
from leadline.domains.operations.elements import Elements
from leadline.domains.operations.multiplications import FORWARD, Macs
from leadline.domains.operations.products import product_terms
from leadline.domains.values.facts import Facts
from leadline.graph import Graph, Kind, Node, Ref
from leadline.graph.table import MULTIPLYING, Move


def masked_macs_of(
    graph: Graph, facts: Mapping[Ref, Facts], floor: float, on_unknown: OnUnknown
) -> Callable[[Node], Macs]:
    """Return what counts the multiply-accumulates of a node that masks leave, each distinct case once."""
    masks = masks_of(facts, lambda _: True)
    ends = {ref: torch.ones((1,) * len(graph.meta(ref).shape), dtype=torch.bool) for ref in graph.outputs.values()}
    flow = Flow(graph, masks, Paths(), floor)
    read, _ = behind(flow, ends, on_unknown=on_unknown, rules=READ_RULES, whole=MULTIPLYING, crops=_crops)
    alive = {id(held): held.nonzero() for held in facts.values()}

    def elements(ref: Ref) -> Elements:
        everything = torch.ones((1,) * len(graph.meta(ref).shape), dtype=torch.bool)
        known, used = alive[id(facts[ref])], read.get(ref)
        return Elements(everything if known is None else known, everything, used)

    found: dict[Hashable, Macs] = {}

    def macs(node: Node) -> Macs:
        refs = (*node.sources, Ref(node.index))
        key = node.skeleton, tuple((graph.meta(ref), id(facts[ref]), _identity(read.get(ref))) for ref in refs)
        if key not in found:
            if node.kind is Kind.CONTRACTION:
                found[key] = (product_terms(node, graph, elements),)
            elif node.kind is Kind.ATTENTION:
                found[key] = attention_terms(node, graph, facts.__getitem__, floor)
            else:
                found[key] = FORWARD[node.kind](node, graph)
        return found[key]

    return macs


def _crops(node: Node) -> bool:
    """Whether what an operation drops is no mask's work; a triangle is a mask."""
    return node.kind is Kind.GATHER or (node.kind is Kind.VIEW and node.operation.move is not Move.TRIANGLE)


def _identity(mask: Tensor | None) -> int | None:
    return None if mask is None else id(mask)
