"""Multiply-accumulates that the code performs, and connections between units that exist: `count`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from leadline.domains.dependence.units import elements_of
from leadline.domains.engine import OnUnknown, Transfer, walk
from leadline.domains.operations.attentions import attention_edges, attention_macs
from leadline.domains.operations.convolutions import convolution_edges, convolution_macs
from leadline.domains.operations.elements import ElementsOf
from leadline.domains.operations.products import product_edges, product_macs
from leadline.domains.operations.scan_counts import scan_edges, scan_macs
from leadline.domains.values.facts import Facts
from leadline.domains.values.pattern import pattern_of
from leadline.graph import Graph, Kind, Node, Reading, Ref
from leadline.results import Coverage, Status


@dataclass(frozen=True)
class Tally:
    """Connections, multiply-accumulates and parameters of one module, its children left out."""

    connections: int = 0
    macs: int = 0
    parameters: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.connections + other.connections, self.macs + other.macs, self.parameters + other.parameters)


@dataclass(frozen=True)
class Count:
    """Exact counts for one call of a model, the whole batch.

    Attributes
    ----------
    connections
        Edges between units that exist: padding, masked taps, masked pairs and constants are not, nor is what no output
        reads (rows that are cropped away). Initial states that a recurrent operation takes are units; neighbours
        outside a grid recurrence's grid do not exist.
    macs
        Dense multiply-accumulates of matrix products, convolutions, attention's two products and recurrent steps, as
        the code performs them: masked or padded ones too.
    parameters, by_module
        Elements of the parameters, tied ones once; the three by module path (``""`` is the model itself), children left
        out: they sum to the totals.
    coverage, status, training
        Operations with a rule: `proved` when that is all; otherwise the totals leave the others out, and are lower
        bounds (`bound`). Whether the model was in training mode.
    """

    connections: int
    macs: int
    parameters: int
    by_module: Mapping[str, Tally]
    coverage: Coverage
    status: Status
    training: bool


def count(model: nn.Module, *inputs: Any, on_unknown: OnUnknown = "raise", **kwargs: Any) -> Count:
    """Count the connections and the multiply-accumulates of ``model(*inputs, **kwargs)``, the whole batch.

    Arguments and errors are those of `read`; ``on_unknown="top"`` leaves operations without a rule out.

    Examples
    --------
    A causal convolution of three taps on four positions misses three edges at the border, for each of 2 · 5 channels.

    >>> import torch
    >>> padded = nn.Sequential(nn.ConstantPad1d((2, 0), 0.0), nn.Conv1d(2, 5, 3))
    >>> found = count(padded, torch.zeros(1, 2, 4))
    >>> found.macs, found.connections, found.by_module["1"].parameters
    (120, 90, 35)
    """
    return count_of(Reading(model, inputs, kwargs), on_unknown=on_unknown)


def count_of(reading: Reading, *, on_unknown: OnUnknown = "raise") -> Count:
    """Return the counts of a reading, worked out once; see `count`."""
    return reading.once(("count", on_unknown), lambda: _counted(reading, on_unknown))


def _counted(reading: Reading, on_unknown: OnUnknown) -> Count:
    graph, facts = reading.graph, pattern_of(reading, sums=False)
    transfers = _transfers(graph, facts, elements_of(graph, facts, on_unknown=on_unknown))
    walked = walk(
        graph, leaf=lambda _: Tally(), transfers=transfers, top=_free, on_unknown=on_unknown, live=graph.live()
    )
    by_module: dict[str, Tally] = defaultdict(Tally)
    for ref, tally in walked.values.items():
        by_module[graph.nodes[ref.node].place.module] += tally
    for name, parameter in reading.model.named_parameters():
        by_module[name.rpartition(".")[0]] += Tally(parameters=parameter.numel())
    total = sum(by_module.values(), Tally())
    return Count(
        connections=total.connections,
        macs=total.macs,
        parameters=total.parameters,
        by_module={path: tally for path, tally in by_module.items() if tally != Tally()},
        coverage=walked.coverage,
        status=Status.PROVED if walked.coverage.complete else Status.BOUND,
        training=graph.training,
    )


def _transfers(graph: Graph, facts: Mapping[Ref, Facts], elements: ElementsOf) -> dict[Kind, Transfer[Tally]]:
    """Four kinds multiply and add up, the others do not."""
    counted = edges_of(graph, facts, elements)

    def multiplies(macs: Callable[[Node, Graph], int]) -> Transfer[Tally]:
        return lambda node, _: (Tally(counted(node), macs(node, graph)),)

    free = {kind: _free for kind in Kind if kind is not Kind.OPAQUE}
    return free | {
        Kind.CONTRACTION: multiplies(product_macs),
        Kind.CONVOLUTION: multiplies(convolution_macs),
        Kind.ATTENTION: multiplies(attention_macs),
        Kind.SCAN: multiplies(scan_macs),
    }


def edges_of(graph: Graph, facts: Mapping[Ref, Facts], elements: ElementsOf) -> Callable[[Node], int]:
    """Return what counts the edges of a node that multiplies and adds up, each distinct case once."""
    rules: dict[Kind, Callable[[Node], int]] = {
        Kind.CONTRACTION: lambda node: product_edges(node, graph, elements),
        Kind.CONVOLUTION: lambda node: convolution_edges(node, graph, elements),
        Kind.ATTENTION: lambda node: attention_edges(node, graph, elements, facts.__getitem__),
        Kind.SCAN: lambda node: scan_edges(node, graph, elements),
    }
    found: dict[Hashable, int] = {}

    def edges(node: Node) -> int:
        refs = (*node.sources, *(Ref(node.index, i) for i, meta in enumerate(node.outputs) if meta is not None))
        key = node.skeleton, tuple((graph.meta(ref), id(elements(ref)), id(facts[ref])) for ref in refs)
        if key not in found:
            found[key] = rules[node.kind](node)
        return found[key]

    return edges


def _free(node: Node, _: Callable[[Ref], Tally]) -> tuple[Tally, ...]:
    return (Tally(),) * len(node.outputs)
