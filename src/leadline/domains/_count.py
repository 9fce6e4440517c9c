"""Multiply-accumulates that the code performs, and connections between units that exist: `count`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from leadline.domains.arguments import public
from leadline.domains.dependence.masked import masked_macs_of
from leadline.domains.dependence.units import elements_of
from leadline.domains.differentiated import Differentiated, differentiated
from leadline.domains.engine import OnUnknown, Transfer, walk
from leadline.domains.operations.attentions import attention_edges
from leadline.domains.operations.convolutions import convolution_edges
from leadline.domains.operations.elements import ElementsOf
from leadline.domains.operations.multiplications import FORWARD, Macs, backward_macs
from leadline.domains.operations.products import product_edges
from leadline.domains.operations.scan_counts import scan_edges
from leadline.domains.values.facts import Facts
from leadline.domains.values.pattern import NEGLIGIBLE, facts_of, finite_masks, pattern_of
from leadline.errors import UnknownOp
from leadline.graph import Graph, Kind, Node, Reading, Ref
from leadline.graph.table import MULTIPLYING
from leadline.results import Coverage, Gap, Place, Result, Status, owner


@dataclass(frozen=True)
class Backward:
    """Multiply-accumulates of a backward pass, beside those of the forward pass.

    Each product is done once more for each of its factors that needs a gradient: parameters that ask for one, inputs
    that do, and what is between these and the outputs. The loss is taken to read every output that needs one.

    Attributes
    ----------
    macs, macs_masked
        Dense, and without what known masks leave idle; as in `Count`.
    recomputed
        What kernels of fused attention do besides, dense: they keep no scores, and compute them again. Checkpoints do
        their forward pass again, which is not in it.

    Custom autograd functions are counted as their `backward` runs, with what it computes again, in both.
    """

    macs: int = 0
    macs_masked: int = 0
    recomputed: int = 0

    def __add__(self, other: Backward) -> Backward:
        return Backward(
            self.macs + other.macs, self.macs_masked + other.macs_masked, self.recomputed + other.recomputed
        )


@dataclass(frozen=True)
class Tally:
    """Connections, multiply-accumulates and parameters of one module, its children left out; see `Count`."""

    connections: int = 0
    macs: int = 0
    parameters: int = 0
    macs_masked: int = 0
    backward: Backward | None = None

    def __add__(self, other: Tally) -> Tally:
        asked = [each.backward for each in (self, other) if each.backward is not None]
        return Tally(
            self.connections + other.connections,
            self.macs + other.macs,
            self.parameters + other.parameters,
            self.macs_masked + other.macs_masked,
            sum(asked, Backward()) if asked else None,
        )


@dataclass(frozen=True)
class Count(Result):
    """Exact counts for one call of a model, the whole batch.

    Attributes
    ----------
    connections
        Edges between units that exist: padding, masked taps, masked pairs and constants are not, nor is what no output
        reads (rows that are cropped away). Initial states that a recurrent operation takes are units; neighbours
        outside a grid recurrence's grid do not exist.
    macs
        Dense multiply-accumulates of matrix products, convolutions, attention's two products and recurrent steps, as
        the code performs them: masked or padded ones too. Counted is what some output rests on, on the way that
        `forward` takes while it is traced: a model that asks whether it is being traced, compiled or exported, or
        whether gradients are recorded, may take another one to the same outputs otherwise.
    macs_masked
        The same without what known masks leave idle in matrix products and attention: half of a causal attention. Idle
        are products with a factor that is known to be zero, and scores whose weight is. Masks of large finite numbers
        count as masks. Convolutions and recurrent layers are in it as in `macs`.
    parameters, by_module
        Elements of the parameters, tied ones once; all of these by module path (``""`` is the model itself), children
        left out: they sum to the totals.
    backward
        What a backward pass adds; None where it was not asked for.
    unread
        Operations that `forward` carries out though no output rests on them: they are in none of the counts.
    coverage, status, training
        Operations with a rule: `proved` when that is all; otherwise the totals leave the others out, and are lower
        bounds (`bound`). Whether the model was in training mode.
    """

    connections: int
    macs: int
    macs_masked: int
    parameters: int
    backward: Backward | None
    by_module: Mapping[str, Tally]
    unread: tuple[Gap, ...]
    coverage: Coverage
    status: Status
    training: bool


@public("count")
def count(
    model: nn.Module, *inputs: Any, backward: bool = False, on_unknown: OnUnknown = "raise", **kwargs: Any
) -> Count:
    """Count the connections and the multiply-accumulates of ``model(*inputs, **kwargs)``, the whole batch.

    With `backward` also those of the gradients that training asks for. Arguments and errors are those of `read`;
    ``on_unknown="top"`` leaves operations without a rule out. Models with custom autograd functions are run for that,
    forwards and backwards, since no trace shows what these do; `UnknownOp` where that fails.

    Examples
    --------
    A causal convolution of three taps on four positions misses three edges at the border, for each of 2 · 5 channels.

    >>> import torch
    >>> padded = nn.Sequential(nn.ConstantPad1d((2, 0), 0.0), nn.Conv1d(2, 5, 3))
    >>> found = count(padded, torch.zeros(1, 2, 4))
    >>> found.macs, found.connections, found.by_module["1"].parameters
    (120, 90, 35)

    Training takes each product three times, but for the gradient of an input, which nothing asks for here.

    >>> layers = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    >>> found = count(layers, torch.zeros(1, 3), backward=True)
    >>> found.macs, found.backward.macs
    (20, 28)
    """
    return count_of(Reading(model, inputs, kwargs), backward=backward, on_unknown=on_unknown)


def count_of(reading: Reading, *, backward: bool = False, on_unknown: OnUnknown = "raise") -> Count:
    """Return the counts of a reading, worked out once; see `count`."""
    return reading.once(("count", backward, on_unknown), lambda: _counted(reading, backward, on_unknown))


def _counted(reading: Reading, backward: bool, on_unknown: OnUnknown) -> Count:
    graph, gradients = reading.graph, differentiated(reading) if backward else None
    walked = walk(
        graph,
        leaf=lambda _: Tally(),
        transfers=_transfers(reading, on_unknown, gradients),
        top=_free,
        on_unknown=on_unknown,
        live=graph.live(),
    )
    by_module: dict[str, Tally] = defaultdict(Tally)
    for ref, tally in walked.values.items():
        by_module[owner(graph.nodes[ref.node].place.module)] += tally
    own, coverage = _beside(graph, gradients, on_unknown) if gradients is not None else (), walked.coverage
    for place, tally, gaps in own:
        by_module[owner(place.module)] += tally
        coverage = Coverage(coverage.nodes + len(gaps), (*coverage.gaps, *gaps))
    for name, parameter in reading.model.named_parameters():
        by_module[owner(name.rpartition(".")[0])] += Tally(parameters=parameter.numel())
    total = sum(by_module.values(), Tally())
    return Count(
        connections=total.connections,
        macs=total.macs,
        macs_masked=total.macs_masked,
        parameters=total.parameters,
        backward=(total.backward or Backward()) if backward else None,
        by_module={path: tally for path, tally in by_module.items() if tally != Tally()},
        unread=(*graph.left_out, *_unread(graph)),
        coverage=coverage,
        status=Status.PROVED if coverage.complete else Status.BOUND,
        training=graph.training,
    )


def _beside(
    graph: Graph, gradients: Differentiated, on_unknown: OnUnknown
) -> Iterator[tuple[Place, Tally, tuple[Gap, ...]]]:
    """Yield, for each custom function that gradients pass, where it is, what it does backwards, and what is left out.

    What masks leave idle there is not known. And what made leaves of parameters, how often whose gradient multiplies is
    not known either.
    """
    for index in gradients.computed:
        node = graph.nodes[index]
        if on_unknown == "raise":
            raise UnknownOp(
                f"no rule for the gradient of {node.name} at {node.place}, which is made of parameters by an operation "
                "that multiplies nobody knows how often; on_unknown='top' leaves it out"
            )
        yield node.place, Tally(), (Gap(node.name, node.place),)
    for index, done in gradients.own.items():
        place = graph.nodes[index].place
        if done.unknown and on_unknown == "raise":
            raise UnknownOp(
                f"no rule for {done.unknown[0]} in the backward pass of {done.name} at {place}; "
                "on_unknown='top' leaves it out"
            )
        yield place, Tally(backward=Backward(done.macs, done.macs)), tuple(Gap(op, place) for op in done.unknown)


def _unread(graph: Graph) -> Iterator[Gap]:
    live = graph.live()
    for node in graph.nodes:
        if node.kind in MULTIPLYING and node.index not in live:
            yield Gap(node.op, node.place)


def _transfers(
    reading: Reading, on_unknown: OnUnknown, gradients: Differentiated | None
) -> dict[Kind, Transfer[Tally]]:
    """Four kinds multiply and add up, the others do not."""
    graph, facts = reading.graph, pattern_of(reading).counted
    edges = edges_of(graph, facts, elements_of(graph, facts, on_unknown=on_unknown))
    floor = NEGLIGIBLE if finite_masks(reading) else -torch.inf
    left = masked_macs_of(graph, facts_of(reading, floor=floor), floor, on_unknown)

    def multiplies(node: Node, _: Callable[[Ref], Tally]) -> tuple[Tally, ...]:
        macs, masked = FORWARD[node.kind](node, graph), left(node)
        back = None if gradients is None else _backward(node, graph, gradients, macs, masked)
        return (Tally(edges(node), sum(macs), macs_masked=sum(masked), backward=back),)

    uncounted = (Kind.OPAQUE, Kind.MATRICES)  # inverses and solutions multiply, nobody says how often
    free: dict[Kind, Transfer[Tally]] = {kind: _free for kind in Kind if kind not in uncounted}
    return free | dict.fromkeys(FORWARD, multiplies)


def _backward(node: Node, graph: Graph, gradients: Differentiated, macs: Macs, masked: Macs) -> Backward:
    if node.index not in gradients.passed:
        return Backward()
    dense, left = (backward_macs(node, graph, gradients.need.__contains__, each) for each in (macs, masked))
    return Backward(dense, left, macs[0] if node.kind is Kind.ATTENTION else 0)


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
