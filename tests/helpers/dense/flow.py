"""What the rules of dependence work with: a graph, what is known of its values, and an algebra."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from helpers.dense.algebra import Algebra
from helpers.dense.facts import Facts, evaluate
from helpers.dense.pattern import fills
from torch import Tensor

from leadline.domains.engine import Lookup
from leadline.graph.ir import Graph, Node, Ref

Links: TypeAlias = "Tensor | None"
"""Dependences of a tensor's elements, or None: of none at all."""


@dataclass(frozen=True)
class Flow:
    """The setting of one walk, and what every rule needs."""

    graph: Graph
    facts: Mapping[Ref, Facts]
    algebra: Algebra
    floor: float = -torch.inf

    def multiplied(self, node: Node, links: Links) -> Links:
        """Return the dependences of a sum of products; that it costs a step matters to depth alone (`depths`)."""
        del node
        return links

    def freed(self, ref: Ref, links: Links) -> Links:
        """Drop the dependences of elements that are known exactly."""
        fixed = self.facts[ref].fixed()
        if links is None or fixed is None:
            return links
        return None if bool(fixed.all()) else links * ~fixed

    def top(self, node: Node, links: Lookup[Links]) -> tuple[Links, ...]:
        """Let every output element depend on every argument element."""
        total = self.total([links(ref) for ref in node.refs])
        return tuple(
            None if meta is None or total is None else total.reshape(()).expand(meta.shape) for meta in node.outputs
        )

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

    def shape(self, ref: Ref) -> tuple[int, ...]:
        """Shape of a value."""
        return self.graph.meta(ref).shape


def shaped(node: Node, links: Links) -> tuple[Links, ...]:
    """Expand the same dependences to every output."""
    return tuple(None if links is None or meta is None else links.expand(meta.shape) for meta in node.outputs)


def present(links: Links) -> Tensor:
    """Return the dependences of an argument that has some."""
    assert links is not None
    return links


def carried(flow: Flow, node: Node, links: Lookup[Links], data: frozenset[Ref]) -> tuple[Links, ...]:
    """Carry out an operation that only moves elements of `data`, whose other arguments are constants."""

    def value(ref: Ref) -> Tensor:
        if ref not in data:
            known = flow.facts[ref].value
            assert known is not None
            return known
        found = links(ref)
        return torch.zeros(()).expand(flow.shape(ref)) if found is None else found

    return evaluate(node, value, **fills(node))
