"""The unit domain: which elements count as units of the network, and which of them are read on the way to an output.

Inputs are units, and so is every element of a sum of products that multiplies a unit, even if a mask leaves that
element nothing to sum. Elsewhere an element is a unit when it depends on one: padding and other constants are not.

Reading asks only where elements go: rows that are cropped away are not read, masked ones are.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import torch
from torch import Tensor

from leadline.domains.dependence.algebra import Paths, Ranks
from leadline.domains.dependence.attention import operands
from leadline.domains.dependence.flow import Flow, Links, everywhere, from_inputs, multiplying
from leadline.domains.dependence.rules import RULES, walk_by
from leadline.domains.dependence.scan import scan
from leadline.domains.dependence.support import behind
from leadline.domains.engine import Lookup, OnUnknown
from leadline.domains.operations.attentions import attention_of
from leadline.domains.operations.elements import Elements, ElementsOf
from leadline.domains.values.facts import UNKNOWN, Facts
from leadline.graph import Graph, Kind, Node, Ref


class Units(Flow):
    """The setting of a walk that finds units: positive where an element is one."""

    def multiplied(self, node: Node, links: Links) -> Links:
        """Make units of all elements of a sum of products."""
        del node
        return links if links is None or not bool((links > 0).any()) else torch.ones((1,) * links.ndim)


def elements_of(graph: Graph, facts: Mapping[Ref, Facts], *, on_unknown: OnUnknown = "raise") -> ElementsOf:
    """Find what the counting rules ask about: nonzero elements, units, and elements that are read for some output."""
    units = _units(graph, facts, on_unknown)
    ends = {ref: torch.ones((1,) * len(graph.meta(ref).shape), dtype=torch.bool) for ref in graph.outputs.values()}
    places = {ref: found if _index(found) else UNKNOWN for ref, found in facts.items()}
    used, _ = behind(Flow(graph, places, Paths()), ends, on_unknown=on_unknown, rules={**RULES, Kind.ATTENTION: _read})

    found: dict[Hashable, Elements] = {}

    def elements(ref: Ref) -> Elements:
        ndim = len(graph.meta(ref).shape)
        key = ndim, id(facts[ref]), id(units[ref]), id(used.get(ref))  # all of them out of pools
        if key not in found:
            found[key] = _elements(ndim, facts[ref].nonzero(), units[ref], used.get(ref))
        return found[key]

    return elements


def _elements(ndim: int, alive: Tensor | None, unit: Links, used: Tensor | None) -> Elements:
    all_of_it, none = (torch.full((1,) * ndim, held, dtype=torch.bool) for held in (True, False))
    mask = none if used is None else used
    return Elements(
        alive=all_of_it if alive is None else alive,
        unit=none if unit is None else unit > 0,
        used=None if bool(mask.all()) else mask,
    )


def _units(graph: Graph, facts: Mapping[Ref, Facts], on_unknown: OnUnknown) -> Mapping[Ref, Links]:
    flow = Units(graph, facts, Ranks())
    return walk_by(flow, from_inputs, {**RULES, Kind.SCAN: multiplying(scan)}, on_unknown=on_unknown).values


def _index(facts: Facts) -> bool:
    """Whether a value can say where elements go: integers, known throughout."""
    value = facts.value
    return value is not None and facts.constant and not value.is_floating_point() and value.dtype is not torch.bool


def _read(flow: Flow, node: Node, links: Lookup[Links]) -> tuple[Links, ...]:
    """Read every key and value, masked or not, for each query."""
    query, key, value, mask = operands(flow, attention_of(node), links)
    parts = flow.reduced(query, -1), flow.reduced(key, -2, -1), flow.reduced(value, -2), flow.reduced(mask, -1)
    return everywhere(node, flow.all_of(*parts))
