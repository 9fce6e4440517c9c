"""Constant propagation over a graph: one transfer per kind, each distinct one computed once."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from leadline.domains.compact import Pool, described, expanded, lifted, reserve
from leadline.domains.engine import Lookup, Transfer, walk
from leadline.domains.values import named
from leadline.domains.values.facts import (
    UNKNOWN,
    Facts,
    evaluate,
    evaluated,
    partial,
    settled,
    zero_where,
)
from leadline.domains.values.logits import extreme, softmax
from leadline.domains.values.magnitudes import wary
from leadline.domains.values.moves import added, adds_up, moved, writes
from leadline.domains.values.pointwise_facts import pointwise
from leadline.domains.values.sorted_rows.thresholds import counted, sinking, thresholds
from leadline.domains.values.sums import Sum, contraction, convolution
from leadline.domains.values.views import carried, in_full
from leadline.graph.ir import Graph, Node, Ref
from leadline.graph.reading import Reading
from leadline.graph.rewriting.inverses import nonzeros
from leadline.graph.table import Form, Kind, Noise, Places, Statistics, Tally

_ADDING = frozenset({Tally.SUM, Tally.MEAN, Tally.COUNT})
"""What is zero where all that is added up is."""
_TRUTHS = frozenset({Tally.ANY, Tally.ALL})
_EXTREMES = frozenset({Tally.LARGEST, Tally.LEAST, Tally.LOG_SUM_EXP})

_TELLING = frozenset({Kind.POINTWISE, Kind.CONVOLUTION})
"""Operations of which something is known though nothing is of what they read: truth values, padding."""

_NOTHING = (Kind.CUMULATIVE, Kind.WINDOW, Kind.MIXING, Kind.ATTENTION, Kind.SCAN)
"""Operations whose results are known only if all that they read is."""

_SUMS: Mapping[Kind, Sum] = MappingProxyType({Kind.CONTRACTION: contraction, Kind.CONVOLUTION: convolution})

NEGLIGIBLE = -1e3
"""A logit this far below its row's largest has weight zero, until training lifts it."""


class Known(NamedTuple):
    """Facts of one value: to a verdict, and to a count, to which a sum of nothing is still a unit."""

    facts: Facts
    counted: Facts


@dataclass(frozen=True)
class Pattern:
    """What one walk found of every value in a graph: its `facts`, and those by which units are counted."""

    facts: Mapping[Ref, Facts]
    counted: Mapping[Ref, Facts]


def pattern(graph: Graph, *, floor: float = -torch.inf, weights: bool = False, sunk: bool = False) -> Pattern:
    """Find what is known of every element of every value in a graph.

    With `weights`, zeros in parameters are known too. Softmax logits that carry a constant at most `floor` below their
    row's largest have weight zero. The default accepts only -inf, which no training can defeat. With `sunk` a constant
    as far below others counts as -inf itself, which it is not: what then follows is what its mask is meant to do.

    Examples
    --------
    >>> from leadline.graph import trace
    >>> graph = trace(torch.nn.Softmax(-1), torch.zeros(1, 3))
    >>> [facts.constant for facts in pattern(graph).facts.values()]
    [False, False]
    """

    def leaf(node: Node) -> Known:
        found = held(node)
        return Known(found, found)

    def held(node: Node) -> Facts:
        value = graph.values.get(node.index)
        if value is None or node.name in graph.mutated or node.kind is Kind.INPUT:
            return UNKNOWN
        if node.kind is Kind.BUFFER:
            return settled(Facts(value.cpu()), value.ndim, rules.pool)
        if weights and _masked(value):
            return settled(partial(torch.zeros((), dtype=value.dtype), (value == 0).cpu()), value.ndim, rules.pool)
        return UNKNOWN

    rules = _Rules(graph, floor, sunk=sunk)
    known = walk(graph, leaf=leaf, transfers=rules.transfers(), top=_both(nothing, nothing), on_unknown="top").values
    return Pattern({ref: both.facts for ref, both in known.items()}, {ref: both.counted for ref, both in known.items()})


def pattern_of(reading: Reading, *, floor: float = -torch.inf, weights: bool = False, sunk: bool = False) -> Pattern:
    """Return the `pattern` of a reading's graph, worked out once for each floor."""
    key, graph = ("pattern", floor, weights, sunk), reading.graph
    return reading.once(key, lambda: pattern(graph, floor=floor, weights=weights, sunk=sunk))


def facts_of(
    reading: Reading, *, floor: float = -torch.inf, weights: bool = False, sunk: bool = False
) -> Mapping[Ref, Facts]:
    """Return the facts of a reading's values on which verdicts rest."""
    return pattern_of(reading, floor=floor, weights=weights, sunk=sunk).facts


def finite_masks(reading: Reading) -> bool:
    """Whether any logits may lie so far apart, by finite constants, that masks may rest on them."""
    graph, facts = reading.graph, facts_of(reading)
    floating = {id(held): held for ref, held in facts.items()
                if not held.empty and graph.meta(ref).dtype.is_floating_point}  # fmt: skip
    for held in floating.values():
        constants = torch.cat([end[end.isfinite()] for end in held.bounds()])
        if constants.numel() and float(constants.max() - constants.min().clamp(max=0.0)) >= -NEGLIGIBLE:
            return True
    return False


def masked_weights(reading: Reading) -> bool:
    """Whether zeros in parameters may be masks, by which `pattern` knows more with `weights`."""
    graph = reading.graph
    held = (graph.values.get(index) for name, index in graph.parameters.items() if name not in graph.mutated)
    return any(value is not None and _masked(value) for value in held)


def _masked(weight: Tensor) -> bool:
    """Whether some elements are zero, and others not: all zero is an initialisation, no mask."""
    return bool((weight == 0).any()) and bool((weight != 0).any())


def nothing(node: Node, facts: Lookup[Facts]) -> tuple[Facts, ...]:
    """Know nothing of the outputs."""
    del facts
    return (UNKNOWN,) * len(node.outputs)


def _both(rule: Transfer[Facts], counting: Transfer[Facts]) -> Transfer[Known]:
    """Carry both kinds of facts along: once where they, and the rules for them, are the same."""

    def transfer(node: Node, known: Lookup[Known]) -> tuple[Known, ...]:
        found = rule(node, lambda ref: known(ref).facts)
        if rule is counting and all(known(ref).facts is known(ref).counted for ref in node.sources):
            return tuple(Known(facts, facts) for facts in found)
        return tuple(map(Known, found, counting(node, lambda ref: known(ref).counted)))

    return transfer


class _Rules:
    """The transfers, for one graph and one floor."""

    def __init__(self, graph: Graph, floor: float, *, sunk: bool = False) -> None:
        self.graph, self.floor, self.pool, self.sunk = graph, floor, Pool(), sunk

    def transfers(self) -> dict[Kind, Transfer[Known]]:
        """Return the rules for both kinds of facts, which differ in sums of products alone."""
        alike: dict[Kind, Transfer[Facts]] = {
            Kind.POINTWISE: lambda node, facts: pointwise(node, facts, self.dtype, self.floor),
            Kind.VIEW: self.moved,
            Kind.GATHER: self.moved,
            Kind.SCATTER: self.scattered,
            Kind.REDUCTION: self.reduction,
            Kind.SOFTMAX: lambda node, facts: softmax(node, facts, self.shape, self.floor),
            Kind.NORMALISATION: self.normalisation,
            **dict.fromkeys(_NOTHING, nothing),
            Kind.MIXING: self.ranked,
        }
        bound = {kind: self.once(self.wary(self.folded(rule))) for kind, rule in alike.items()}
        beside = sinking if self.sunk else thresholds
        bound[Kind.POINTWISE] = beside(bound[Kind.POINTWISE], self.graph, self.floor, self.pool)
        bound[Kind.MATRICES] = self.once(self.wary(self.matrices))
        bound |= {
            Kind.CREATION: self.creation,
            Kind.RANDOM: self.wary(self.noise),
            Kind.OPAQUE: self.wary(self.unruled),
        }
        sums = {
            kind: tuple(self.once(self.wary(self.folded(one))) for one in self.summed(rule))
            for kind, rule in _SUMS.items()
        }
        return {kind: _both(rule, rule) for kind, rule in bound.items()} | {
            kind: _both(*rules) for kind, rules in sums.items()
        }

    def wary(self, rule: Transfer[Facts]) -> Transfer[Facts]:
        """Let what is made of large constants be large where a rule does not follow them."""
        return wary(rule, self.shape, self.floor)

    def summed(self, rule: Sum) -> tuple[Transfer[Facts], Transfer[Facts]]:
        """Return the rule by which a sum of nothing is zero, and the one by which it is as unknown as any."""
        return (
            lambda node, facts: rule(node, facts, self.shape, zeros=True),
            lambda node, facts: rule(node, facts, self.shape, zeros=False),
        )

    def once(self, rule: Transfer[Facts]) -> Transfer[Facts]:
        """Apply a rule once for each operation, literals, shapes and facts of arguments; equal facts are one object."""
        results: dict[Hashable, tuple[Facts, ...]] = {}

        def transfer(node: Node, facts: Lookup[Facts]) -> tuple[Facts, ...]:
            if node.kind not in _TELLING and all(facts(ref).empty for ref in node.refs) and not writes(node):
                return nothing(node, facts)
            arguments = tuple((self.shape(ref), id(facts(ref))) for ref in node.sources)
            key = node.skeleton, arguments, self.orders_weights(node)
            if key not in results:
                if node.kind is Kind.POINTWISE:  # which may vary along too many places at once
                    shapes = [part.shape for ref in node.sources for part in facts(ref).parts]
                    reserve(torch.broadcast_shapes(*shapes), 8, described(node))
                results[key] = tuple(
                    found if meta is None else settled(found, len(meta.shape), self.pool)
                    for found, meta in zip(rule(node, facts), node.outputs, strict=True)
                )
            return results[key]

        return transfer

    def folded(self, rule: Transfer[Facts]) -> Transfer[Facts]:
        """Carry out an operation on constants; otherwise apply the rule."""

        def transfer(node: Node, facts: Lookup[Facts]) -> tuple[Facts, ...]:
            if all(facts(ref).constant for ref in node.refs):
                values = self.computed(node, self.values(facts))
                return tuple(UNKNOWN if value is None else Facts(value) for value in values)
            return rule(node, facts)

        return transfer

    def computed(self, node: Node, value: Callable[[Ref], Tensor]) -> tuple[Tensor | None, ...]:
        """Compute a node from constants: on compact tensors where it moves or maps elements one by one."""
        if node.kind in (Kind.VIEW, Kind.GATHER):
            return carried(node, value, self.shape)
        record = node.operation.pointwise
        if node.kind is Kind.POINTWISE and (record is None or record.form is not Form.SLOPED):
            return evaluate(node, value, self.written_over(node, value))
        return in_full(node, value, self.shape)

    def written_over(self, node: Node, value: Callable[[Ref], Tensor]) -> dict[str, Tensor]:
        """Return what an operation writes all over, as large as what is written: it may be kept smaller."""
        record, own = node.operation.pointwise, node.bound().get("self")
        if record is None or "self" in record.operands or not isinstance(own, Ref):
            return {}
        sizes = torch.broadcast_shapes(*(value(ref).shape for ref in node.refs))
        return {"self": value(own).expand(sizes)}

    def shape(self, ref: Ref) -> tuple[int, ...]:
        """Shape of a value."""
        return self.graph.meta(ref).shape

    def dtype(self, ref: Ref) -> torch.dtype:
        """Type of a value."""
        return self.graph.meta(ref).dtype

    def values(self, facts: Lookup[Facts]) -> Callable[[Ref], Tensor]:
        """Look up values, zeros of the right dtype where there are none."""

        def value(ref: Ref) -> Tensor:
            found, meta = facts(ref).value, self.graph.meta(ref)
            return torch.zeros((1,) * len(meta.shape), dtype=meta.dtype) if found is None else found

        return value

    def creation(self, node: Node, facts: Lookup[Facts]) -> tuple[Facts, ...]:
        """Carry it out, reading no more than the shape of `self`. Memory that nobody wrote is not known."""
        named = node.bound()
        read = [ref for ref in node.refs if ref != named.get("self")]
        if node.operation.unwritten or not all(facts(ref).constant for ref in read):
            return nothing(node, facts)
        small: dict[str, tuple[int, ...]] = {"size": (1,) * len(named["size"])} if "size" in named else {}
        if not small and "self" not in named:
            reserve(node.shape, 8, described(node))
        value = evaluated(node, self.values(facts), small)  # all elements are alike where there is a size
        return (settled(Facts(value), len(node.shape), self.pool),)

    def unruled(self, node: Node, facts: Lookup[Facts]) -> tuple[Facts, ...]:
        """Carry out on constants what no rule is known for."""
        if node.target is None or node.draws or not all(facts(ref).constant for ref in node.refs):
            return nothing(node, facts)
        found = in_full(node, self.values(facts), self.shape)
        return tuple(UNKNOWN if part is None else Facts(part) for part in found)

    def noise(self, node: Node, facts: Lookup[Facts]) -> tuple[Facts, ...]:
        """Dropout does nothing outside training, and leaves zeros zero within; of other noise nothing is known."""
        if node.operation.noise is not Noise.DROPOUT:
            return nothing(node, facts)
        found, rest = facts(node.refs[0]), (UNKNOWN,) * (len(node.outputs) - 1)
        if node.bound().get("train") is False:
            return (found, *rest)
        kept = zero_where(found.zeros(), found.idle(), node.meta.dtype)
        return (settled(kept, len(node.shape), self.pool), *rest)

    def moved(self, node: Node, facts: Lookup[Facts]) -> tuple[Facts, ...]:
        """Move what is known to where each element goes, if where it goes is known."""
        return moved(node, facts, self.values(facts), self.shape)

    def scattered(self, node: Node, facts: Lookup[Facts]) -> tuple[Facts, ...]:
        """Move what is put down at places that are known; what others may be is known perhaps."""
        places, index = node.operation.places, node.bound().get("index")
        if places is Places.CLASSES:
            return named.classes(node, facts)
        whole = places is Places.ELEMENTS and not node.operation.combines(node.bound())
        if whole and isinstance(index, Ref) and not facts(index).constant:
            return named.written(node, facts, self.shape)
        if adds_up(node) and all(facts(ref).constant for ref in node.refs if ref not in added(node)):
            return (self.added_up(node, facts),)
        return self.moved(node, facts)

    def added_up(self, node: Node, facts: Lookup[Facts]) -> Facts:
        """Keep zeros to which nothing but zeros is added, at places that are known."""
        if not any(bool(facts(ref).idle().any()) for ref in added(node)):
            return UNKNOWN

        def filled(zeros: Callable[[Facts], Tensor]) -> Tensor:
            value = self.values(facts)

            def at(ref: Ref) -> Tensor:
                marks = lifted(~zeros(facts(ref)), len(self.shape(ref)))
                return marks.to(self.dtype(ref)) if ref in added(node) else value(ref)

            (found, *_) = in_full(node, at, self.shape)
            assert found is not None
            return found != 0

        return zero_where(~filled(Facts.zeros), ~filled(Facts.idle), node.meta.dtype)

    def ranked(self, node: Node, facts: Lookup[Facts]) -> tuple[Facts, ...]:
        """Find what places the indices may name that an order gives."""
        return named.ranked(node, facts, self.shape, self.floor, weights=self.orders_weights(node))

    def orders_weights(self, node: Node) -> bool:
        """Whether it puts the weights of a softmax in order, along the axis along which they add up to one."""
        if node.operation.first is None:
            return False
        maker = self.graph.nodes[node.refs[0].node]
        while maker.operation.pointwise is not None and maker.operation.pointwise.form is Form.COPY and maker.refs:
            maker = self.graph.nodes[maker.refs[0].node]
        if maker.kind is not Kind.SOFTMAX or maker.operation.logarithm:
            return False
        ndim, dim = len(maker.shape), node.bound().get("dim")
        return dim is not None and ndim == len(self.shape(node.refs[0])) and dim % ndim == maker.args[1] % ndim

    def reduction(self, node: Node, facts: Lookup[Facts]) -> tuple[Facts, ...]:
        """Find zero where zeros are added up, and truth; a maximum carries the largest constant."""
        found, ndim, rest = facts(node.refs[0]), len(self.shape(node.refs[0])), (UNKNOWN,) * (len(node.outputs) - 1)
        if node.operation.first is not None:
            *_, places = self.ranked(node, facts)
            if not rest:
                return (places,) if node.operation.tally is Tally.OTHER else extreme(node, facts, ndim, self.floor)
            return (extreme(node, facts, ndim, self.floor)[0], *rest[:-1], places)
        tally = node.operation.tally
        if tally in _TRUTHS:
            least, most = found.where_known() & (found.options().values[0] != 0), ~found.zeros()
            low, high = (evaluated(node, {node.refs[0]: lifted(end, ndim)}.__getitem__) for end in (least, most))
            return (partial(low.to(node.meta.dtype), low == high), *rest)
        if tally in _ADDING:
            literals = {"dtype": None} if "dtype" in node.bound() else {}

            def some(mask: Tensor) -> Tensor:
                return evaluated(node, lambda _: lifted(mask, ndim).to(torch.float32), literals) != 0

            zeros = zero_where(~some(~found.zeros()), ~some(~found.idle()), node.meta.dtype)
            truths = tally is Tally.SUM and self.dtype(node.refs[0]) is torch.bool
            return (named.with_named(zeros, counted(node, facts, self.shape) if truths else None), *rest)
        if tally in _EXTREMES:
            return extreme(node, facts, ndim, self.floor)
        return nothing(node, facts)

    def matrices(self, node: Node, facts: Lookup[Facts]) -> tuple[Facts, ...]:
        """Find what inverses, solutions and factors have no element of, whatever rounding leaves there."""

        def nonzero(ref: Ref) -> Tensor:
            marks = ~lifted(facts(ref).idle(), len(self.shape(ref)))
            return expanded(marks, self.shape(ref), described(node), (-2, -1))

        known = self.folded(nothing)(node, facts)
        marks = nonzeros(node, nonzero)
        return tuple(
            held if there is None or meta is None
            else Facts(torch.where(there, held.value, torch.zeros((), dtype=meta.dtype))) if held.value is not None
            else zero_where(~there, ~there, meta.dtype)
            for held, there, meta in zip(known, marks, node.outputs, strict=True)
        )  # fmt: skip

    def normalisation(self, node: Node, facts: Lookup[Facts]) -> tuple[Facts, ...]:
        """Weight normalisation keeps zeros; what else is normalised is not known."""
        if node.operation.statistics is not Statistics.WEIGHT:
            return nothing(node, facts)
        kept = zero_where(facts(node.refs[0]).zeros(), facts(node.refs[0]).idle(), node.meta.dtype)
        return (kept, *(UNKNOWN,) * (len(node.outputs) - 1))
