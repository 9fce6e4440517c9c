"""The unit domain: which elements count as units of the network, and which of them are read on the way to an output.

Inputs are units, and so is every element of a sum of products that multiplies a unit, even if a mask leaves that
element nothing to sum. Elsewhere an element is a unit when it depends on one: padding and other constants are not.

Reading asks only where elements go: rows that are cropped away are not read, masked ones are.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from helpers.dense.algebra import Links as Paths
from helpers.dense.algebra import Ranks
from helpers.dense.attentions import attention_of
from helpers.dense.elements import Elements, Lookup, compact
from helpers.dense.facts import UNKNOWN, Facts
from helpers.dense.flow import Flow, Links, shaped
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
    places = {ref: found if _index(found) else UNKNOWN for ref, found in facts.items()}
    used, _ = behind(Flow(graph, places, Paths()), ends, on_unknown=on_unknown, rules={**RULES, Kind.ATTENTION: _read})
    return lambda ref: _elements(graph.meta(ref).shape, facts[ref].nonzero(), units[ref], used.get(ref))


def _units(graph: Graph, facts: Mapping[Ref, Facts], on_unknown: OnUnknown) -> Mapping[Ref, Links]:
    def leaf(node: Node) -> Links:
        return torch.ones(()).expand(node.shape) if node.kind is Kind.INPUT else None

    def recurrence(flow: Flow, node: Node, links: LinksOf[Links]) -> tuple[Links, ...]:
        return tuple(flow.multiplied(node, result) for result in scan(flow, node, links))

    flow = Units(graph, facts, Ranks())
    rules = transfers(flow, {**RULES, Kind.SCAN: recurrence})
    return walk(graph, leaf=leaf, transfers=rules, top=flow.top, on_unknown=on_unknown, live=graph.live()).values


def _index(facts: Facts) -> bool:
    """Whether a value can say where elements go: integers, known throughout."""
    value = facts.value
    return value is not None and facts.constant and not value.is_floating_point() and value.dtype is not torch.bool


def _read(flow: Flow, node: Node, links: LinksOf[Links]) -> tuple[Links, ...]:
    """Read every key and value, masked or not, for each query."""
    attention = attention_of(node)
    query, key, value = (links(ref) for ref in (attention.query, attention.key, attention.value))
    if attention.grouped:
        times = flow.shape(attention.query)[-3] // flow.shape(attention.key)[-3]
        key, value = (None if x is None else x.repeat_interleave(times, -3) for x in (key, value))
    reduce, mask = flow.algebra.reduce, None if attention.mask is None else links(attention.mask)
    parts = (
        None if query is None else reduce(query, [-1]),
        None if key is None else reduce(key, [-2, -1]),
        None if value is None else reduce(value, [-2]),
        None if mask is None else reduce(mask, [-1]),
    )
    return shaped(node, flow.all_of(*parts))


def _elements(shape: tuple[int, ...], nonzero: Tensor | None, links: Links, used: Tensor | None) -> Elements:
    alive = torch.ones((), dtype=torch.bool) if nonzero is None else nonzero
    unit = torch.zeros((), dtype=torch.bool) if links is None else compact(links) > 0
    mask = torch.zeros((), dtype=torch.bool) if used is None else used
    return Elements(alive.expand(shape), unit.expand(shape), None if bool(compact(mask).all()) else mask.expand(shape))
