"""How many contractions must follow one another: `span`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from leadline.domains.arguments import public
from leadline.domains.dependence.algebra import Ranks
from leadline.domains.dependence.depths import COSTS, Depths, depths
from leadline.domains.dependence.flow import Links, Rule, applied, present
from leadline.domains.engine import NoRule, OnUnknown, Walk
from leadline.domains.operations.scans import grid_of, is_grid, recurrence_of
from leadline.domains.values.pattern import pattern_of
from leadline.errors import UsageError, near_misses
from leadline.graph import Graph, Kind, Node, Reading, Ref
from leadline.graph.table import LEAVES
from leadline.results import Coverage, Place, Result, Status


@dataclass(frozen=True)
class Step:
    """One operation on a critical path, and how many steps the path spends in it."""

    place: Place
    op: str
    steps: int

    def __str__(self) -> str:
        return f"{self.steps} × {self.op} at {self.place}"


@dataclass(frozen=True)
class Span(Result):
    """The longest chain of contractions of a model, for these inputs.

    Attributes
    ----------
    steps
        At element granularity: what no schedule of the same arithmetic can beat, since each step of the chain needs the
        one before it.
    op_steps
        At the granularity of operations: what the code does as it is written, each operation waiting for all of its
        arguments. A fused recurrence of L layers runs L · T steps; a grid recurrence runs its wavefront.
    critical_path
        One longest chain, from the input to the output: where its steps are spent. The steps sum to `steps`.
    coverage, status, training
        Operations with a rule: `proved` when that is all; otherwise `unknown`, since the others count as no step,
        though every output of theirs waits for every input. Whether the model was in training mode.
    """

    steps: int
    op_steps: int
    critical_path: tuple[Step, ...]
    coverage: Coverage
    status: Status
    training: bool


@public("span")
def span(
    model: nn.Module,
    *inputs: Any,
    costs: Mapping[str, int] | None = None,
    on_unknown: OnUnknown = "raise",
    **kwargs: Any,
) -> Span:
    """Find how many steps of ``model(*inputs, **kwargs)`` must follow one another.

    Matrix products, convolutions, each of attention's two products and each recurrent step cost one; pointwise work,
    views, normalisation, softmax, pooling, reductions and cumulative sums are free. Elements that are known to be zero
    (padding, masks) and what depends on no input extend no chain. `costs` gives other prices, which are not negative,
    by kind of operation, for example ``{"softmax": 1}`` or ``{"attention": 0}`` (else `UsageError`). The rest, and
    other errors, are as in `read`.

    Examples
    --------
    Layers of a recurrence form a pipeline: T + L - 1 steps, not T · L.

    >>> found = span(nn.LSTM(2, 3, num_layers=4, batch_first=True), torch.zeros(1, 10, 2))
    >>> found.steps, found.op_steps
    (13, 40)
    """
    return span_of(Reading(model, inputs, kwargs), costs=costs, on_unknown=on_unknown)


def span_of(reading: Reading, *, costs: Mapping[str, int] | None = None, on_unknown: OnUnknown = "raise") -> Span:
    """Return the span of a reading, worked out once for each list of prices; see `span`."""
    prices = _prices(costs or {})
    return reading.once(("span", *prices.items(), on_unknown), lambda: _spanned(reading, prices, on_unknown))


def _spanned(reading: Reading, prices: Mapping[Kind, int], on_unknown: OnUnknown) -> Span:
    graph = reading.graph
    flow = Depths(graph, pattern_of(reading).counted, Ranks(), costs=prices)
    walked = depths(flow, on_unknown=on_unknown)
    deepest = {ref: _deepest(walked.values[ref]) for ref in graph.outputs.values()}
    end = max(deepest, key=deepest.__getitem__)
    return Span(
        steps=max(0, deepest[end] - 1),
        op_steps=_op_steps(graph, walked, flow.costs),
        critical_path=_critical_path(flow, walked, end) if deepest[end] else (),
        coverage=walked.coverage,
        status=Status.PROVED if walked.coverage.complete else Status.UNKNOWN,
        training=graph.training,
    )


def steps_by_module(reading: Reading, *, on_unknown: OnUnknown = "raise") -> dict[str, int]:
    """Return the longest chain of contractions that ends within each module, by the path of what ran it."""
    graph, found = reading.graph, dict[str, int]()
    walked = depths(Depths(graph, pattern_of(reading).counted, Ranks(), costs=COSTS), on_unknown=on_unknown)
    for node in graph.nodes:
        deepest = max((_deepest(walked.values.get(Ref(node.index, i))) for i in range(len(node.outputs))), default=0)
        if deepest and node.kind not in LEAVES:
            found[node.place.module] = max(found.get(node.place.module, 0), deepest - 1)
    return found


def _prices(costs: Mapping[str, int]) -> dict[Kind, int]:
    kinds = {kind.value for kind in Kind if kind not in LEAVES}
    for name, cost in costs.items():
        if name not in kinds:
            raise UsageError(f"costs names no kind of operation {name!r}; {near_misses(name, kinds)}")
        if cost < 0:
            raise UsageError(f"the cost of {name!r} is {cost}; a step takes no negative time")
    return {**COSTS, **{Kind(name): cost for name, cost in costs.items()}}


def _deepest(links: Links) -> int:
    return 0 if links is None or not links.numel() else int(links.max())


def _op_steps(graph: Graph, walked: Walk[Links], costs: Mapping[Kind, int]) -> int:
    """Longest chain when every operation waits for its arguments as wholes."""
    done: dict[int, int] = {}
    for node in graph.nodes:
        outputs = (walked.values.get(Ref(node.index, i)) for i in range(len(node.outputs)))
        if any(links is not None for links in outputs):
            before = max((done.get(ref.node, 0) for ref in node.refs), default=0)
            done[node.index] = before + costs.get(node.kind, 0) * _products(node, graph)
    return max((done.get(ref.node, 0) for ref in graph.outputs.values()), default=0)


def _products(node: Node, graph: Graph) -> int:
    """How many sums of products an operation does, one after the other, in its own implementation."""
    if node.kind is Kind.ATTENTION:
        return 2
    if node.kind is not Kind.SCAN:
        return 1
    if is_grid(node):
        x, weights = grid_of(node)
        _, height, width, _ = graph.meta(x).shape
        return height + width - 1 + graph.meta(weights["weight_north"]).shape[0] - 1
    recurrence = recurrence_of(node, graph)
    shape = graph.meta(recurrence.input).shape
    steps = 1 if recurrence.single else shape[1 if recurrence.batch_first else 0]
    projected = recurrence.layers[0][0].projection is not None
    return steps * len(recurrence.layers) * (1 + projected)


def _critical_path(flow: Depths, walked: Walk[Links], end: Ref) -> tuple[Step, ...]:
    """Walk back along one longest chain: where a maximum is attained, its derivative is not zero."""
    graph, rules = flow.graph, flow.rules()
    ref, place = end, _deepest_place(present(walked.values[end]))
    path: list[Step] = []
    while graph.nodes[ref.node].kind not in LEAVES:
        node = graph.nodes[ref.node]
        depth = _at(walked.values[ref], place)
        try:
            back = _attained(flow, rules.get(node.kind, Depths.top), node, walked, ref.output, place)
        except NoRule:
            back = _attained(flow, Depths.top, node, walked, ref.output, place)
        if back is None:
            break
        ref, place = back
        spent = depth - _at(walked.values[ref], place)
        if spent:
            path.append(Step(node.place, node.op, spent))
    return tuple(reversed(path))


def _deepest_place(links: Tensor) -> tuple[int, ...]:
    return tuple(int(i) for i in torch.unravel_index(links.argmax(), links.shape))


def _at(links: Links, place: tuple[int, ...]) -> int:
    return int(present(links)[place])


def _attained(
    flow: Depths, rule: Rule, node: Node, walked: Walk[Links], output: int, place: tuple[int, ...]
) -> tuple[Ref, tuple[int, ...]] | None:
    """Find an argument's element that one element of an output owes its depth to, in compact tensors both."""
    found = {ref: walked.values.get(ref) for ref in node.refs}
    with torch.enable_grad():
        leaves = {ref: x.detach().clone().requires_grad_() for ref, x in found.items() if x is not None}
        out = present(applied(flow, rule, node, leaves.get)[output])
        if not out.requires_grad:
            return None
        slopes = torch.autograd.grad(out[place], list(leaves.values()), allow_unused=True)
    for ref, slope in zip(leaves, slopes, strict=True):
        if slope is not None and bool((slope > 0).any()):
            return ref, _deepest_place(slope)
    return None
