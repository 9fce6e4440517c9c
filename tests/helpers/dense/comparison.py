"""Hold the compact engine against the dense one, value by value and node by node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from helpers.dense import oracle
from torch import Tensor, nn

from leadline.domains._count import edges_of
from leadline.domains.dependence.algebra import Paths, Ranks
from leadline.domains.dependence.depths import Depths, depths
from leadline.domains.dependence.flow import Flow, Links
from leadline.domains.dependence.rules import transfers
from leadline.domains.dependence.support import support
from leadline.domains.dependence.units import elements_of
from leadline.domains.engine import walk
from leadline.domains.values.facts import Facts
from leadline.domains.values.pattern import NEGLIGIBLE, pattern
from leadline.graph import Graph, Kind, Node, Ref, trace


def agree(model: nn.Module, *inputs: Any, **kwargs: Any) -> None:
    """Assert that both engines say the same of a model: ranks, depths, what is behind outputs, and edges.

    Of facts, the compact one knows all that the dense one does.
    """
    graph = trace(model, *inputs, **kwargs)
    both = pattern(graph)
    known = both.facts
    _same_facts_of_all(graph, known, oracle.facts(graph, -torch.inf, False))
    lasting = pattern(graph, floor=NEGLIGIBLE, weights=True).facts
    _same_facts_of_all(graph, lasting, oracle.facts(graph, NEGLIGIBLE, True))
    name = next(iter(graph.outputs))
    ranks = _numbered(graph)
    _same_links(graph, latest(graph, known, name, ranks), oracle.latest(graph, name, ranks))
    flow = Depths(graph, known, Ranks())
    _same_links(graph, depths(flow, on_unknown="top").values, oracle.depths(graph))
    for place in (0, -1):
        chosen = torch.zeros(graph.meta(graph.outputs[name]).shape, dtype=torch.bool)
        chosen.view(-1)[place] = True
        mine, _ = support(Flow(graph, known, Paths()), name, chosen, on_unknown="top")
        for key, theirs in oracle.support(graph, name, chosen).items():
            assert torch.equal(mine[key], theirs), f"behind element {place} of {name}, in {key}"
    found = edges_of(graph, both.counted, elements_of(graph, both.counted, on_unknown="top"))
    for index, count in oracle.edges(graph).items():
        mine = found(graph.nodes[index])
        assert mine == count, f"{graph.nodes[index].op}: {mine} edges, densely {count}"


def latest(graph: Graph, known: Mapping[Ref, Facts], output: str, ranks: Mapping[str, Tensor]) -> Mapping[Ref, Links]:
    flow = Flow(graph, known, Ranks())

    def leaf(node: Node) -> Links:
        return (ranks[node.name] + 1).float() if node.kind is Kind.INPUT and node.name in ranks else None

    live = graph.live(output)
    return walk(graph, leaf=leaf, transfers=transfers(flow), top=flow.top, on_unknown="top", live=live).values


def _numbered(graph: Graph) -> dict[str, Tensor]:
    """Rank elements by their place along the longest axis of each input."""
    ranks = {}
    for name, index in graph.inputs.items():
        shape = graph.nodes[index].shape
        axis = max(range(len(shape)), key=lambda a: (a > 0, shape[a])) if shape else 0
        sizes = [-1 if a == axis else 1 for a in range(len(shape))]
        ranks[name] = (torch.arange(shape[axis]).reshape(sizes) if shape else torch.zeros(())).expand(shape)
    return ranks


def _same_facts_of_all(graph: Graph, mine: Mapping[Ref, Facts], theirs: Mapping[Ref, Any]) -> None:
    for ref, dense in theirs.items():
        _same_facts(graph, ref, mine[ref], dense)


def _same_facts(graph: Graph, ref: Ref, mine: Facts, theirs: Any) -> None:
    meta = graph.nodes[ref.node].outputs[ref.output]
    if meta is None:
        return
    where = f"{graph.nodes[ref.node].op} %{ref.node}"
    known, value = theirs.where_known(meta.shape).expand(meta.shape), theirs.value
    assert bool((mine.where_known() >= known).all()), f"known of {where}"
    if value is not None:
        assert mine.value is not None
        both = (t.expand(meta.shape)[known] for t in (mine.value, value))
        both = (torch.view_as_real(t) if t.is_complex() else t for t in both)
        assert torch.equal(*(torch.nan_to_num(t.double(), nan=1e99) for t in both)), f"values of {where}"
    if theirs.bias is not None:  # minus infinity is a value by now
        low, high = (end.expand(meta.shape)[~known].float() for end in mine.bounds())
        bias = theirs.bias.expand(meta.shape)[~known].float()
        assert torch.equal(high, bias), f"constants within {where}"
        assert torch.equal(low, bias), f"constants within {where}"


def _same_links(graph: Graph, mine: Mapping[Ref, Links], theirs: Mapping[Ref, Links]) -> None:
    for ref, dense in theirs.items():
        meta, found = graph.nodes[ref.node].outputs[ref.output], mine[ref]
        if meta is None:
            continue
        zeros = torch.zeros(meta.shape)
        left = zeros if found is None else found.expand(meta.shape)
        right = zeros if dense is None else dense.expand(meta.shape)
        assert torch.equal(left, right), f"{graph.nodes[ref.node].op} %{ref.node} of {meta.shape}"
