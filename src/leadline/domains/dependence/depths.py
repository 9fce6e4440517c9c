"""The depth domain: the longest chain of contractions from any input to each element, in max-plus algebra.

It is the rank domain with every input at the same rank and a price on each sum of products. An element holds one plus
its depth; zero means that it depends on no input.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from leadline.domains.dependence.depth_scan import scan
from leadline.domains.dependence.flow import Flow, Links, Rule, from_inputs, multiplying
from leadline.domains.dependence.rules import RULES, walk_by
from leadline.domains.engine import OnUnknown, Walk
from leadline.graph.ir import Node
from leadline.graph.table import Kind

COSTS: Mapping[Kind, int] = {Kind.CONTRACTION: 1, Kind.CONVOLUTION: 1, Kind.ATTENTION: 1, Kind.SCAN: 1}
"""Steps for one sum of products: a fused attention has two, one after the other, a recurrence one for each step."""


@dataclass(frozen=True)
class Depths(Flow):
    """The setting of a walk that prices operations by kind; kinds left out are free."""

    costs: Mapping[Kind, int] = field(default_factory=lambda: COSTS)

    def multiplied(self, node: Node, links: Links) -> Links:
        """Add the price of a sum of products to the depth of whatever depends on an input."""
        return self.raised(links, self.costs.get(node.kind, 0))

    def based(self, links: list[Links]) -> tuple[list[Links], int]:
        """Count from the shallowest element on: layers that are equal but for their depth are computed once."""
        found = [float(x[x > 0].min()) for x in links if x is not None and bool((x > 0).any())]
        base = int(min(found, default=1.0)) - 1
        return [self.raised(x, -base) for x in links], base

    def rules(self) -> dict[Kind, Rule]:
        """Return the rules: those of dependence, with prices, and a recurrence that counts its steps."""
        priced: dict[Kind, Rule] = {kind: multiplying(rule) for kind, rule in RULES.items() if kind not in COSTS}
        cost = self.costs.get(Kind.SCAN, 0)
        found = {**RULES, **priced, Kind.SCAN: lambda flow, node, links: scan(flow, cost, node, links)}
        if Kind.MATRICES not in self.costs:  # they take many steps, nobody says how many
            del found[Kind.MATRICES]
        return found


def depths(flow: Depths, *, on_unknown: OnUnknown = "raise") -> Walk[Links]:
    """Find, for every element of every value, one plus the length of the longest chain that ends in it, or 0."""
    (found,) = walk_by(flow, from_inputs, rules=flow.rules(), on_unknown=on_unknown)
    return found
