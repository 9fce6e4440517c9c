"""The unit domain: which elements count as units of the network, and which of them are read on the way to an output.

Inputs are units, and so is every element of a sum of products that multiplies a unit, even if a mask leaves that
element nothing to sum. Elsewhere an element is a unit when it depends on one: padding and other constants are not.

Read is what lies on the way to an output: neither rows that are cropped away nor what is masked. A number that happens
to be the same whatever the inputs are, as the weight of a single key is, is read as any other.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from leadline.domains.dependence.algebra import Paths, Ranks
from leadline.domains.dependence.attention import attention
from leadline.domains.dependence.flow import Flow, Links, Rule, from_inputs, multiplying
from leadline.domains.dependence.rules import RULES, walk_by
from leadline.domains.dependence.scan import scan
from leadline.domains.dependence.support import behind
from leadline.domains.engine import OnUnknown
from leadline.domains.operations.elements import Elements, ElementsOf
from leadline.domains.values.facts import Facts
from leadline.graph import Graph, Kind, Node, Ref

READ_RULES: dict[Kind, Rule] = {**RULES, Kind.ATTENTION: partial(attention, least=1)}
"""The rules of what is read, a number that is always the same as any other."""


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
    masks = masks_of(facts, lambda ref: units.get(ref) is not None)
    used, _ = behind(Flow(graph, masks, Paths()), ends, on_unknown=on_unknown, rules=READ_RULES)

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
    rules = {**RULES, Kind.SCAN: multiplying(scan)}
    (found,) = walk_by(flow, from_inputs, rules=rules, on_unknown=on_unknown)
    return found.values


def masks_of(facts: Mapping[Ref, Facts], varying: Callable[[Ref], bool]) -> dict[Ref, Facts]:
    """Return what is known of every value; of those that vary, the masks alone."""
    kept = {id(found): _masks(found) for found in facts.values()}  # equal ones are one object, and stay so
    return {ref: kept[id(found)] if varying(ref) else found for ref, found in facts.items()}


def _masks(facts: Facts) -> Facts:
    """Forget the numbers that are known, but for those that mask."""
    value = facts.value
    if value is None or not value.is_floating_point():
        return facts
    return replace(facts, known=facts.where_known() & ((value == 0) | (value == -torch.inf)))
