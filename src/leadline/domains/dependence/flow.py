"""What the rules of dependence work with: a graph, what is known of its values, and an algebra.

Dependences are compact tensors (see `leadline.domains.compact`): a rule gets arguments of size 1 along axes on which
they do not vary, and returns results that broadcast to the shapes of its outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar, cast

import torch
from torch import Tensor

from leadline.domains.compact import described, expanded, lifted
from leadline.domains.dependence.algebra import Algebra
from leadline.domains.engine import Lookup
from leadline.domains.values.facts import Facts
from leadline.domains.values.logits import unmasked
from leadline.domains.values.moves import fills
from leadline.domains.values.shifts import cancelled
from leadline.domains.values.views import carried
from leadline.graph.ir import Graph, Node, Ref
from leadline.graph.table import Kind

T = TypeVar("T")
Links: TypeAlias = "Tensor | None"
"""Dependences of a tensor's elements, compact; None: of none at all."""
Rule: TypeAlias = "Callable[[Flow, Node, Lookup[Links]], tuple[Links, ...]]"


@dataclass(frozen=True)
class Flow:
    """The setting of one walk, and what every rule needs; with `cancelling`, shifts that cancel carry nothing."""

    graph: Graph
    facts: Mapping[Ref, Facts]
    algebra: Algebra
    floor: float = float("-inf")
    cancelling: bool = False
    kept: dict[Hashable, Any] = field(default_factory=dict, compare=False, repr=False)

    def once(self, key: Hashable, work: Callable[[], T]) -> T:
        """Return what was worked out for these facts and settings before, or work it out."""
        if key not in self.kept:
            self.kept[key] = work()
        return cast(T, self.kept[key])

    def unmasked(self, ref: Ref, dim: int) -> Tensor | None:
        """Return where a softmax along an axis may have weight; None: everywhere."""
        facts = self.facts[ref]
        return self.once(("unmasked", id(facts), dim), lambda: unmasked(facts.bounds(), dim, self.floor))

    def multiplied(self, node: Node, links: Links) -> Links:
        """Return the dependences of a sum of products; that it costs a step matters to depth alone (`depths`)."""
        del node
        return links

    def based(self, links: list[Links]) -> tuple[list[Links], int]:
        """Return arguments on which the rules have the same effect, and what to add to the results."""
        return links, 0

    def raised(self, links: Links, base: int) -> Links:
        """Add to all that depends on anything."""
        return links if links is None or base == 0 else links + base * (links > 0)

    def freed(self, ref: Ref, links: Links) -> Links:
        """Drop the dependences of elements that are known exactly, to be numbers."""
        fixed = self.facts[ref].fixed()
        if links is None or fixed is None:
            return links
        return None if bool(fixed.all()) else links * ~fixed

    def top(self, node: Node, links: Lookup[Links]) -> tuple[Links, ...]:
        """Let every output element depend on every argument element."""
        total = self.total([links(ref) for ref in node.refs])
        return (total,) * len(node.outputs)

    def total(self, parts: list[Links]) -> Links:
        """Join all elements of some tensors into one."""
        held = [part for part in parts if part is not None and part.numel()]
        found = [self.algebra.reduce(part, range(part.ndim)).reshape(()) for part in held]
        return self.joined(found)

    def joined(self, parts: list[Tensor]) -> Links:
        """Join tensors that broadcast."""
        result = None
        for part in parts:
            result = part if result is None else self.algebra.join(result, part)
        return result

    def all_of(self, *parts: Links) -> Links:
        """Join those that depend on anything."""
        return self.joined([part for part in parts if part is not None])

    def reduced(self, links: Links, *dims: int) -> Links:
        """Join all elements along axes, which stay with size 1, if there are dependences."""
        return None if links is None else self.algebra.reduce(links, dims)

    def shape(self, ref: Ref) -> tuple[int, ...]:
        """Shape of a value."""
        return self.graph.meta(ref).shape

    def nothing(self, ref: Ref) -> Tensor:
        """Return dependences of none, for an argument that has no others."""
        return torch.zeros((1,) * len(self.shape(ref)))

    def cut(self, node: Node) -> frozenset[Ref]:
        """Return the arguments of a node that change no output; itself, where a softmax need not divide."""
        if not self.cancelling:
            return frozenset()
        found = self.once("cancelled", lambda: cancelled(self.graph, self.facts, self.floor))
        return found.get(node.index, frozenset())

    def known(self, node: Node) -> Hashable:
        """Identify what the rules may read of facts: those of arguments and results, equal ones being one object."""
        results = (self.facts.get(Ref(node.index, i)) for i in range(len(node.outputs)))
        cut = self.cut(node)
        gone = tuple(ref in cut for ref in (*node.sources, Ref(node.index))) if cut else ()
        return tuple(id(self.facts[ref]) for ref in node.sources), tuple(map(id, results)), gone


def applied(flow: Flow, rule: Rule, node: Node, links: Lookup[Links]) -> tuple[Links, ...]:
    """Apply a rule; results have all their axes, and elements that are known exactly depend on nothing."""
    cut = flow.cut(node)

    def left(ref: Ref) -> Links:
        return None if ref in cut else links(ref)

    if all(left(ref) is None for ref in node.refs):
        return (None,) * len(node.outputs)
    return tuple(
        None if found is None or meta is None else flow.freed(Ref(node.index, i), lifted(found, len(meta.shape)))
        for i, (found, meta) in enumerate(zip(rule(flow, node, left), node.outputs, strict=True))
    )


def multiplying(rule: Rule) -> Rule:
    """Let the results of a rule count as sums of products."""

    def transfer(flow: Flow, node: Node, links: Lookup[Links]) -> tuple[Links, ...]:
        return tuple(flow.multiplied(node, result) for result in rule(flow, node, links))

    return transfer


def from_inputs(node: Node) -> Links:
    """Return the dependences of a leaf where all inputs are alike."""
    return torch.ones((1,) * len(node.shape)) if node.kind is Kind.INPUT else None


def everywhere(node: Node, links: Links) -> tuple[Links, ...]:
    """Give every output the same dependences."""
    return (links,) * len(node.outputs)


def present(links: Links) -> Tensor:
    """Return the dependences of an argument that has some."""
    assert links is not None
    return links


def in_full(flow: Flow, node: Node, ref: Ref, links: Tensor, *axes: int) -> Tensor:
    """Lay an argument's dependences out along some axes (default: all)."""
    return expanded(links, flow.shape(ref), described(node), axes or None)


def moved(flow: Flow, node: Node, links: Lookup[Links], data: frozenset[Ref]) -> tuple[Links, ...]:
    """Carry out an operation that only moves elements of `data`, whose other arguments are constants."""

    def value(ref: Ref) -> Tensor:
        if ref not in data:
            known = flow.facts[ref].value
            assert known is not None
            return known
        found = links(ref)
        return flow.nothing(ref) if found is None else found

    return carried(node, value, flow.shape, fills(node))
