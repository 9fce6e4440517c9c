"""The unit domain: which elements count as units of the network, and which of them are read on the way to an output.

Inputs are units, and so is every element of a sum of products that multiplies a unit, even if a mask leaves that
element nothing to sum. Elsewhere an element is a unit when it depends on one: padding and other constants are not.

Read is what lies on the way to an output: neither rows that are cropped away nor what is masked.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from helpers.dense.algebra import Links as Paths
from helpers.dense.algebra import Ranks
from helpers.dense.elements import Elements, Lookup, compact
from helpers.dense.facts import Facts
from helpers.dense.flow import Flow, Links
from helpers.dense.linear import attention
from helpers.dense.rules import RULES, transfers
from helpers.dense.scan import scan
from helpers.dense.support import behind
from torch import Tensor

from leadline.domains.engine import Lookup as LinksOf
from leadline.domains.engine import OnUnknown, walk
from leadline.graph import Graph, Kind, Node, Ref


class Units(Flow):
    """The setting of a walk that finds units: positive where an element is one."""

    def multiplied(self, node: Node, links: Links) -> Links:
        """Make units of all elements of a sum of products."""
        del node
        return links if links is None or not bool((links > 0).any()) else torch.ones(()).expand(links.shape)


def elements_of(graph: Graph, facts: Mapping[Ref, Facts], *, on_unknown: OnUnknown = "raise") -> Lookup:
    """Find what the counting rules ask about: nonzero elements, units, and elements that are read for some output.

    Raises
    ------
    UnknownOp
        If a node has no rule and `on_unknown` is ``"raise"``.
    """
    units = _units(graph, facts, on_unknown)
    ends = {ref: torch.ones(graph.meta(ref).shape, dtype=torch.bool) for ref in graph.outputs.values()}
    masks = {ref: found if units.get(ref) is None else _masks(found) for ref, found in facts.items()}
    rules = {**RULES, Kind.ATTENTION: partial(attention, least=1)}
    used, _ = behind(Flow(graph, masks, Paths()), ends, on_unknown=on_unknown, rules=rules)
    return lambda ref: _elements(graph.meta(ref).shape, facts[ref].nonzero(), units[ref], used.get(ref))


def _units(graph: Graph, facts: Mapping[Ref, Facts], on_unknown: OnUnknown) -> Mapping[Ref, Links]:
    def leaf(node: Node) -> Links:
        return torch.ones(()).expand(node.shape) if node.kind is Kind.INPUT else None

    def recurrence(flow: Flow, node: Node, links: LinksOf[Links]) -> tuple[Links, ...]:
        return tuple(flow.multiplied(node, result) for result in scan(flow, node, links))

    flow = Units(graph, facts, Ranks())
    rules = transfers(flow, {**RULES, Kind.SCAN: recurrence})
    return walk(graph, leaf=leaf, transfers=rules, top=flow.top, on_unknown=on_unknown, live=graph.live()).values


def _masks(facts: Facts) -> Facts:
    """Forget the numbers that are known, but for those that mask."""
    value = facts.value
    if value is None or not value.is_floating_point():
        return facts
    known = facts.where_known(tuple(value.shape)) & ((value == 0) | (value == -torch.inf))
    return Facts(value, known, facts.bias)


def _elements(shape: tuple[int, ...], nonzero: Tensor | None, links: Links, used: Tensor | None) -> Elements:
    alive = torch.ones((), dtype=torch.bool) if nonzero is None else nonzero
    unit = torch.zeros((), dtype=torch.bool) if links is None else compact(links) > 0
    mask = torch.zeros((), dtype=torch.bool) if used is None else used
    return Elements(alive.expand(shape), unit.expand(shape), None if bool(compact(mask).all()) else mask.expand(shape))
