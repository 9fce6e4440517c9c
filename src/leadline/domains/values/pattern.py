"""Constant propagation over a graph: one transfer per kind, each distinct one computed once."""

from collections.abc import Callable, Hashable, Mapping

import torch
from torch import Tensor

from leadline.domains.compact import Pool, described, lifted, reserve
from leadline.domains.engine import Lookup, Transfer, walk
from leadline.domains.values.facts import UNKNOWN, Facts, evaluate, evaluated, partial, settled, zero_where
from leadline.domains.values.pointwise_facts import pointwise
from leadline.domains.values.views import carried, in_full
from leadline.graph.ir import Graph, Node, Ref
from leadline.graph.reading import Reading
from leadline.graph.table import Form, Kind, Move, Noise, Places, Statistics, Tally

_BYTES = frozenset({Move.PAIRS_TO_COMPLEX, Move.COMPLEX_TO_PAIRS, Move.RETYPE})
"""Views after which an element is another number than before."""

_ZEROS_BESIDE = frozenset({Move.TRIANGLE, Move.SPREAD})
_ADDING = frozenset({Tally.SUM, Tally.MEAN, Tally.ANY, Tally.COUNT})
"""What is zero where all that is added up is."""

_NOTHING = (Kind.CONVOLUTION, Kind.CUMULATIVE, Kind.WINDOW, Kind.MIXING, Kind.ATTENTION, Kind.SCAN)
"""Operations whose results are known only if all that they read is."""
NEGLIGIBLE = -1e3
"""A logit this far below its row's largest has weight zero, until training lifts it."""


def pattern(graph: Graph, *, floor: float = -torch.inf, weights: bool = False) -> Mapping[Ref, Facts]:
    """Find what is known of every element of every value in a graph; with `weights`, of zeros in parameters too.

    Softmax logits that carry a constant at most `floor` below their row's largest have weight zero. The default accepts
    only -inf, which no training can defeat.

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
            return settled(Facts(value.cpu()), value.ndim, rules.pool)
        if weights and bool((value == 0).any()) and bool((value != 0).any()):  # all zero: an initialisation, no mask
            return settled(zero_where((value == 0).cpu(), value.dtype), value.ndim, rules.pool)
        return UNKNOWN

    rules = _Rules(graph, floor)
    transfers: dict[Kind, Transfer[Facts]] = {
        kind: rules.once(rules.folded(rule)) for kind, rule in rules.table.items()
    }
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
        self.graph, self.floor, self.pool = graph, floor, Pool()
        self.found: dict[Hashable, tuple[Facts, ...]] = {}
        self.table: dict[Kind, Transfer[Facts]] = {
            Kind.POINTWISE: lambda node, facts: pointwise(node, facts, floor),
            Kind.VIEW: self.moved,
            Kind.GATHER: self.moved,
            Kind.SCATTER: self.moved,
            Kind.CONTRACTION: self.contraction,
            Kind.REDUCTION: self.reduction,
            Kind.SOFTMAX: self.softmax,
            Kind.NORMALISATION: self.normalisation,
            **dict.fromkeys(_NOTHING, nothing),
        }

    def once(self, rule: Transfer[Facts]) -> Transfer[Facts]:
        """Apply a rule once for each operation, literals, shapes and facts of arguments; equal facts are one object."""

        def transfer(node: Node, facts: Lookup[Facts]) -> tuple[Facts, ...]:
            if node.kind is not Kind.POINTWISE and all(facts(ref).empty for ref in node.refs) and not writes(node):
                return nothing(node, facts)
            key = node.skeleton, tuple((self.shape(ref), id(facts(ref))) for ref in node.sources)
            if key not in self.found:
                if node.kind is Kind.POINTWISE:  # which may vary along too many places at once
                    shapes = [part.shape for ref in node.sources for part in facts(ref).parts]
                    reserve(torch.broadcast_shapes(*shapes), 8, described(node))
                self.found[key] = tuple(
                    found if meta is None else settled(found, len(meta.shape), self.pool)
                    for found, meta in zip(rule(node, facts), node.outputs, strict=True)
                )
            return self.found[key]

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
            return evaluate(node, value)
        return in_full(node, value, self.shape)

    def shape(self, ref: Ref) -> tuple[int, ...]:
        """Shape of a value."""
        return self.graph.meta(ref).shape

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

    def noise(self, node: Node, facts: Lookup[Facts]) -> tuple[Facts, ...]:
        """Dropout does nothing outside training, and leaves zeros zero within; of other noise nothing is known."""
        if node.operation.noise is not Noise.DROPOUT:
            return nothing(node, facts)
        found, rest = facts(node.refs[0]), (UNKNOWN,) * (len(node.outputs) - 1)
        if node.bound().get("train") is False:
            return (found, *rest)
        return (settled(zero_where(found.zeros(), node.meta.dtype), len(node.shape), self.pool), *rest)

    def moved(self, node: Node, facts: Lookup[Facts]) -> tuple[Facts, ...]:
        """Move what is known to where each element goes, if where it goes is known."""
        data = data_refs(node)
        if data is None or not all(facts(ref).constant for ref in node.refs if ref not in data):
            return nothing(node, facts)
        if node.kind is Kind.VIEW and node.operation.move in _BYTES:
            return nothing(node, facts)
        constants, literals = self.values(facts), fills(node)

        def along(read: Callable[[Facts], Tensor | None], replaced: Mapping[str, float]) -> tuple[Tensor | None, ...]:
            """Move one property of the data; zeros stand where it is not there."""

            def value(ref: Ref) -> Tensor:
                if ref not in data:
                    return constants(ref)
                part = read(facts(ref))
                return torch.zeros((1,) * len(self.shape(ref))) if part is None else part

            return carried(node, value, self.shape, replaced)

        values = carried(node, constants, self.shape)
        knowns = along(lambda f: f.where_known().float(), literals)
        kept = along(lambda _: torch.ones(()), literals) if writes(node) else values
        biases: tuple[Tensor | None, ...] = (None,) * len(values)
        if any(facts(ref).bias is not None for ref in data):
            biases = along(Facts.offset, {})
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
        return nothing(node, facts) if offset is None else (Facts(bias=offset),)

    def reduction(self, node: Node, facts: Lookup[Facts]) -> tuple[Facts, ...]:
        """Find zero where zeros are added up; a maximum carries the largest constant."""
        found, ndim = facts(node.refs[0]), len(self.shape(node.refs[0]))
        if node.operation.tally in _ADDING and found.value is not None:
            literals = {"dtype": None} if "dtype" in node.bound() else {}
            busy = evaluated(node, lambda _: lifted(~found.zeros(), ndim).to(torch.float32), literals)
            return (zero_where(busy == 0, node.meta.dtype),)
        if node.operation.tally is Tally.LARGEST and "dim" in node.bound() and (offset := found.offset()) is not None:
            largest = evaluated(node, lambda _: lifted(offset, ndim))
            return (Facts(bias=largest), *(UNKNOWN,) * (len(node.outputs) - 1))
        return nothing(node, facts)

    def softmax(self, node: Node, facts: Lookup[Facts]) -> tuple[Facts, ...]:
        """Masked logits have weight zero; a row with a single logit left has weight one there."""
        logits, dim = facts(node.refs[0]), node.args[1]
        shown = unmasked(logits, dim, self.floor)
        if shown is None:
            return (UNKNOWN,)
        if node.operation.logarithm:  # what masks a logit masks the logarithm of its weight
            offset = logits.offset()
            assert offset is not None
            relative = offset - offset.amax(dim, keepdim=True)
            return (Facts(bias=torch.where(shown, 0.0, relative)),)
        lone = shown & (shown.sum(dim, keepdim=True) == 1)
        return (partial(lone.to(node.meta.dtype), ~shown | lone),)

    def normalisation(self, node: Node, facts: Lookup[Facts]) -> tuple[Facts, ...]:
        """Weight normalisation keeps zeros; what else is normalised is not known."""
        if node.operation.statistics is not Statistics.WEIGHT:
            return nothing(node, facts)
        kept = zero_where(facts(node.refs[0]).zeros(), node.meta.dtype)
        return (kept, *(UNKNOWN,) * (len(node.outputs) - 1))


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
    if node.operation.combines(named):
        return None
    names = ("weight",) if node.operation.places is Places.ROWS else ("self", "src", "source", "values", "value")
    return frozenset(named[name] for name in names if isinstance(named.get(name), Ref))


def writes(node: Node) -> bool:
    """Whether a view or scatter puts literals beside the elements that it moves."""
    return (node.kind is Kind.VIEW and node.operation.move in _ZEROS_BESIDE) or bool(fills(node))


def fills(node: Node) -> dict[str, float]:
    """Exchange the literal that a padding or a scatter writes by zero."""
    named, padding = node.bound(), node.kind is Kind.VIEW and node.operation.move is Move.PAD
    if padding:
        return {"value": 0.0} if named.get("mode", "constant") == "constant" else {}
    written = named.get("value") if node.kind is Kind.SCATTER else None
    return {"value": 0.0} if isinstance(written, bool | int | float) else {}
