"""What is known of elements that an operation moves: it goes where they go."""

from collections.abc import Callable, Mapping
from itertools import repeat
from types import MappingProxyType

import torch
from torch import Tensor

from leadline.domains.compact import Shapes, lifted
from leadline.domains.engine import Lookup
from leadline.domains.values import named
from leadline.domains.values.facts import UNKNOWN, Bounds, Facts, Options, one_of
from leadline.domains.values.views import carried
from leadline.graph.ir import Node, Ref
from leadline.graph.table import Kind, Move, Places, Tally, operation_of

_BYTES = frozenset({Move.PAIRS_TO_COMPLEX, Move.COMPLEX_TO_PAIRS, Move.RETYPE})
"""Views after which an element is another number than before."""

_ZEROS_OF_ZEROS = frozenset({Tally.SUM, Tally.MEAN, Tally.LARGEST})
"""Ways to combine numbers that give zero if all are, and are not told by zeros and ones that it is so otherwise."""
_ZEROS_BESIDE = frozenset({Move.TRIANGLE, Move.SPREAD})


def moved(node: Node, facts: Lookup[Facts], constants: Callable[[Ref], Tensor], shape: Shapes) -> tuple[Facts, ...]:
    """Move what is known to where each element goes, if where it goes is known."""
    data = data_refs(node)
    if data is None or not all(facts(ref).constant for ref in node.refs if ref not in data):
        return (UNKNOWN,) * len(node.outputs)
    if node.kind is Kind.VIEW and node.operation.move in _BYTES:
        return (UNKNOWN,) * len(node.outputs)
    literals = fills(node)
    if node.kind is Kind.VIEW and (places := named.moved(node, facts(node.refs[0]), shape)) is not None:
        return (named.with_named(UNKNOWN, places),)

    def along(
        read: Callable[[Facts], Tensor], replaced: Mapping[str, float] = MappingProxyType({})
    ) -> tuple[Tensor | None, ...]:
        """Move one property of the data."""

        def value(ref: Ref) -> Tensor:
            if ref not in data:
                return constants(ref)
            return lifted(read(facts(ref)), len(shape(ref)))

        return carried(node, value, shape, replaced)

    def option(number: int) -> Callable[[Facts], Tensor]:
        def read(found: Facts) -> Tensor:
            values = found.options().values
            return values[min(number, len(values) - 1)].to(node.meta.dtype)

        return read

    options = [along(option(i)) for i in range(max(len(facts(ref).options().values) for ref in data))]
    there = along(lambda f: f.options().there.float(), literals)
    kept = along(lambda _: torch.ones(()), literals) if writes(node) else there
    ends = []
    if any(facts(ref).bias is not None for ref in data):
        ends = [along(lambda f: f.bounds().low), along(lambda f: f.bounds().high)]
    rows = zip(there, kept, zip(*options, strict=True), zip(*ends, strict=True) if ends else repeat(()), strict=False)
    return tuple(
        UNKNOWN
        if t is None or k is None
        else one_of(
            Options([_present(v) for v in values], (t > 0) | (k == 0) if writes(node) else t > 0),
            Bounds(*map(_present, bounds)) if bounds else None,
        )
        for t, k, values, bounds in rows
    )


def _present(part: Tensor | None) -> Tensor:
    assert part is not None
    return part


def data_refs(node: Node) -> frozenset[Ref] | None:
    """Return the arguments whose elements an operation moves; the others say where. None: it combines elements."""
    named = node.bound()
    if node.kind is Kind.VIEW:
        return frozenset(node.refs)
    if node.operation.combines(named):
        return None
    names = ("weight",) if node.operation.places is Places.ROWS else ("self", "src", "source", "values", "value")
    return frozenset(named[name] for name in names if isinstance(named.get(name), Ref))


def adds_up(node: Node) -> bool:
    """Whether a scatter adds what it writes to what is there, or else makes zeros of zeros alone."""
    named = node.bound()
    if node.kind is not Kind.SCATTER or not node.operation.combines(named) or "value" in named:
        return False
    way = str(named.get("reduce", "sum")).replace("add", "sum")  # as `scatter` calls it
    return operation_of(f"aten.{way}.default").tally in _ZEROS_OF_ZEROS and isinstance(
        named.get("alpha", 1), bool | int | float
    )


def added(node: Node) -> frozenset[Ref]:
    """Return what a scatter adds up: what is there, and what it writes."""
    named = node.bound()
    return frozenset(named[name] for name in ("self", "src", "source", "values") if isinstance(named.get(name), Ref))


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
