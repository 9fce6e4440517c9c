"""Run the pattern domain over a graph: one transfer per kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from leadline.domains.engine import Lookup, Transfer, walk
from leadline.domains.values.facts import UNKNOWN, Facts, evaluate, partial, stand_in
from leadline.domains.values.pointwise_facts import pointwise
from leadline.graph.ir import Graph, Node, Ref
from leadline.graph.reading import Reading
from leadline.graph.table import Kind

NEGLIGIBLE = -1e3
"""A logit this far below its row's largest has weight zero, until training lifts it."""


def pattern(graph: Graph, *, floor: float = -torch.inf, weights: bool = False) -> Mapping[Ref, Facts]:
    """Find what is known of every element of every value in `graph`.

    Parameters
    ----------
    graph
        What to walk.
    floor
        Softmax logits that carry a constant at most `floor` below their row's largest have weight zero. The default
        accepts only -inf, which no training can defeat.
    weights
        Whether zeros that stand in parameters now count as known.

    Examples
    --------
    >>> from leadline.graph import trace
    >>> graph = trace(torch.nn.Softmax(-1), torch.zeros(1, 3))
    >>> [facts.constant for facts in pattern(graph).values()]
    [False, False]
    """

    def leaf(node: Node) -> Facts:
        value = graph.values.get(node.index)
        if value is None or node.name in graph.mutated or node.kind is Kind.INPUT:
            return UNKNOWN
        if node.kind is Kind.BUFFER:
            return Facts(value.cpu())
        if weights and bool((value == 0).any()) and bool((value != 0).any()):  # all zero: an initialisation, no mask
            return partial(torch.zeros((), dtype=value.dtype).expand(value.shape), (value == 0).cpu())
        return UNKNOWN

    rules = _Rules(graph, floor)
    transfers: dict[Kind, Transfer[Facts]] = {kind: rules.folded(rule) for kind, rule in rules.table.items()}
    transfers |= {Kind.CREATION: rules.creation, Kind.RANDOM: rules.noise, Kind.OPAQUE: nothing}
    return walk(graph, leaf=leaf, transfers=transfers, top=nothing, on_unknown="top").values


def pattern_of(reading: Reading, *, floor: float = -torch.inf, weights: bool = False) -> Mapping[Ref, Facts]:
    """Return the `pattern` of a reading's graph, worked out once for each state of knowledge."""
    key = ("pattern", floor, weights)
    return reading.once(key, lambda: pattern(reading.graph, floor=floor, weights=weights))


def nothing(node: Node, facts: Lookup[Facts]) -> tuple[Facts, ...]:
    """Know nothing of the outputs."""
    del facts
    return (UNKNOWN,) * len(node.outputs)


class _Rules:
    """The transfers, for one graph and one floor."""

    def __init__(self, graph: Graph, floor: float) -> None:
        self.graph, self.floor = graph, floor
        self.table: dict[Kind, Transfer[Facts]] = {
            Kind.POINTWISE: lambda node, facts: pointwise(node, facts, floor),
            Kind.VIEW: self.moved,
            Kind.GATHER: self.moved,
            Kind.SCATTER: self.moved,
            Kind.CONTRACTION: self.contraction,
            Kind.CONVOLUTION: nothing,
            Kind.CUMULATIVE: nothing,
            Kind.WINDOW: nothing,
            Kind.MIXING: nothing,
            Kind.REDUCTION: self.reduction,
            Kind.SOFTMAX: self.softmax,
            Kind.NORMALISATION: self.normalisation,
            Kind.ATTENTION: nothing,
            Kind.SCAN: nothing,
        }

    def folded(self, rule: Transfer[Facts]) -> Transfer[Facts]:
        """Carry out an operation on constants; otherwise apply the rule."""

        def transfer(node: Node, facts: Lookup[Facts]) -> tuple[Facts, ...]:
            if all(facts(ref).constant for ref in node.refs):
                return _facts(evaluate(node, self.values(facts)))
            return rule(node, facts)

        return transfer

    def values(self, facts: Lookup[Facts]) -> Callable[[Ref], Tensor]:
        """Look up values, zeros where there are none."""

        def value(ref: Ref) -> Tensor:
            found = facts(ref).value
            return stand_in(self.graph.meta(ref)) if found is None else found

        return value

    def creation(self, node: Node, facts: Lookup[Facts]) -> tuple[Facts, ...]:
        """Carry it out, reading no more than the shape of `self`. Memory that nobody wrote is not known."""
        read = [ref for ref in node.refs if ref != node.bound().get("self")]
        if "empty" in node.op or not all(facts(ref).constant for ref in read):
            return nothing(node, facts)
        return _facts(evaluate(node, self.values(facts)))

    def noise(self, node: Node, facts: Lookup[Facts]) -> tuple[Facts, ...]:
        """Dropout does nothing outside training, and leaves zeros zero within; of other noise nothing is known."""
        if "dropout" not in node.op or "alpha" in node.op:
            return nothing(node, facts)
        found, rest = facts(node.refs[0]), (UNKNOWN,) * (len(node.outputs) - 1)
        if node.bound().get("train") is False:
            return (found, *rest)
        zeros = found.zeros()
        if zeros is None:
            return nothing(node, facts)
        return (partial(torch.zeros((), dtype=node.meta.dtype).expand(zeros.shape), zeros), *rest)

    def moved(self, node: Node, facts: Lookup[Facts]) -> tuple[Facts, ...]:
        """Move what is known to where each element goes, if where it goes is known."""
        data = data_refs(node)
        if data is None or not all(facts(ref).constant for ref in node.refs if ref not in data):
            return nothing(node, facts)
        if (all(facts(ref).empty for ref in data) and not writes(node)) or "complex" in node.op:
            return nothing(node, facts)
        constants = self.values(facts)

        def known(ref: Ref) -> Tensor:
            return facts(ref).where_known(self.graph.meta(ref).shape).float() if ref in data else constants(ref)

        def unwritten(ref: Ref) -> Tensor:
            return torch.ones(()).expand(self.graph.meta(ref).shape) if ref in data else constants(ref)

        def bias(ref: Ref) -> Tensor:
            offset = facts(ref).offset() if ref in data else constants(ref)
            return stand_in(self.graph.meta(ref)).float() if offset is None else offset

        values = evaluate(node, constants)
        knowns = evaluate(node, known, **fills(node))
        kept = evaluate(node, unwritten, **fills(node)) if writes(node) else values
        biases: tuple[Tensor | None, ...] = (None,) * len(values)
        if any(facts(ref).bias is not None for ref in data):
            biases = evaluate(node, bias)
        return tuple(
            UNKNOWN
            if v is None or k is None or o is None
            else partial(v, (k > 0) | (o == 0) if writes(node) else k > 0, b)
            for v, k, o, b in zip(values, knowns, kept, biases, strict=True)
        )

    def contraction(self, node: Node, facts: Lookup[Facts]) -> tuple[Facts, ...]:
        """Keep the constants of what is added to a product: nn.MultiheadAttention adds its mask that way."""
        named = node.bound()
        added = named.get("self") if "beta" in named else None
        offset = None if added is None or named["beta"] != 1 else facts(added).offset()
        if offset is None:
            return nothing(node, facts)
        return (Facts(bias=offset.expand(node.shape)),)

    def reduction(self, node: Node, facts: Lookup[Facts]) -> tuple[Facts, ...]:
        """Find zero where zeros are added up; a maximum carries the largest constant."""
        (ref,) = node.refs[:1]
        packet, found = node.op.split(".")[1], facts(ref)
        if packet in ("sum", "mean", "any", "count_nonzero") and found.value is not None:
            zero = found.zeros()
            assert zero is not None
            busy = evaluate(node, lambda _: (~zero).to(torch.float32), **({"dtype": None} if packet == "sum" else {}))[
                0
            ]
            assert busy is not None
            return (partial(torch.zeros((), dtype=node.meta.dtype).expand(busy.shape), busy == 0),)
        if (packet == "amax" or node.op == "aten.max.dim") and (offset := found.offset()) is not None:
            largest = evaluate(node, lambda _: offset)[0]
            return (Facts(bias=largest), *(UNKNOWN,) * (len(node.outputs) - 1))
        return nothing(node, facts)

    def softmax(self, node: Node, facts: Lookup[Facts]) -> tuple[Facts, ...]:
        """Masked logits have weight zero; a row with a single logit left has weight one there."""
        logits = facts(node.refs[0])
        shown = unmasked(logits, node.args[1], self.floor)
        if shown is None:
            return (UNKNOWN,)
        if "log" in node.op:  # what masks a logit masks the logarithm of its weight
            offset = logits.offset()
            assert offset is not None
            relative = offset - offset.amax(node.args[1], keepdim=True)
            return (Facts(bias=torch.where(shown, 0.0, relative).expand(node.shape)),)
        lone = shown & (shown.sum(node.args[1], keepdim=True) == 1)
        return (partial(lone.to(node.meta.dtype), ~shown | lone),)

    def normalisation(self, node: Node, facts: Lookup[Facts]) -> tuple[Facts, ...]:
        """Weight normalisation keeps zeros; what else is normalised is not known."""
        first = facts(node.refs[0])
        zeros = first.zeros()
        if "_weight_norm" not in node.op or zeros is None:
            return nothing(node, facts)
        rest = (UNKNOWN,) * (len(node.outputs) - 1)
        return (partial(torch.zeros((), dtype=node.meta.dtype).expand(zeros.shape), zeros), *rest)


def unmasked(logits: Facts, dim: int, floor: float) -> Tensor | None:
    """Where a softmax along `dim` may have weight; None: everywhere. A row without any such place is all unmasked."""
    offset = logits.offset()
    if offset is None or offset.ndim == 0:
        return None
    relative = offset - offset.amax(dim, keepdim=True)
    shown = ~(relative <= floor)  # a row of -inf is nan
    return None if bool(shown.all()) else shown


def data_refs(node: Node) -> frozenset[Ref] | None:
    """Return the arguments whose elements an operation moves; the others say where. None: it combines elements."""
    named = node.bound()
    if node.kind is Kind.VIEW:
        return frozenset(node.refs)
    packet = node.op.split(".")[1]
    if packet in ("scatter_add", "index_add", "scatter_reduce", "one_hot", "masked_scatter", "index_fill"):
        return None
    if named.get("accumulate") or isinstance(named.get("reduce"), str):
        return None
    names = ("weight",) if packet == "embedding" else ("self", "src", "source", "values", "value")
    return frozenset(named[name] for name in names if isinstance(named.get(name), Ref))


def writes(node: Node) -> bool:
    """Whether a view or scatter puts literals beside the elements that it moves."""
    return node.op.split(".")[1] in ("tril", "triu", "diag_embed", "block_diag") or bool(fills(node))


def fills(node: Node) -> dict[str, float]:
    """Exchange the literal that a padding or a scatter writes by zero."""
    packet = node.op.split(".")[1]
    padding = packet == "constant_pad_nd" or (packet == "pad" and node.bound().get("mode") == "constant")
    return {"value": 0.0} if padding or node.op == "aten.scatter.value" else {}


def _facts(values: tuple[Tensor | None, ...]) -> tuple[Facts, ...]:
    return tuple(UNKNOWN if value is None else Facts(value) for value in values)
