"""Intervals: between which two numbers every element of every tensor lies, for all inputs or all in a box.

Ends are float64 and rounded outward, so an interval holds the value that exact arithmetic would give for the weights as
stored. Where no rule is known the interval is the whole line, which is sound.
"""

from collections.abc import Mapping
from functools import partial
from typing import TypeAlias

import torch

from leadline.domains.engine import Lookup, NoRule, walk
from leadline.domains.values import complex_rules
from leadline.domains.values.constants import Constants
from leadline.domains.values.interval_arithmetic import Interval, whole
from leadline.domains.values.interval_rules import TRANSFERS, top
from leadline.graph.ir import Graph, Node, Ref
from leadline.graph.table import Kind

Values: TypeAlias = Mapping[Ref, Interval]


def intervals(graph: Graph, box: Mapping[str, Interval] | None = None, live: frozenset[int] | None = None) -> Values:
    """Return an interval for every value of a graph, or of its `live` nodes; its weights must hold values.

    `box` gives intervals of inputs by name; inputs that are not named may be anything.

    Examples
    --------
    >>> from leadline.graph.trace import trace
    >>> graph = trace(torch.nn.Tanh(), torch.zeros(2))
    >>> found = intervals(graph)[graph.outputs["output"]]
    >>> [round(end, 12) for end in (*found.lo.tolist(), *found.hi.tolist())]
    [-1.0, -1.0, 1.0, 1.0]
    """
    named = {graph.inputs[name]: interval for name, interval in (box or {}).items()}
    constants = Constants(graph)

    def leaf(node: Node) -> Interval:
        if node.index in graph.values:
            return constants.leaf(node)
        return named.get(node.index) or whole(node.shape, pairs=node.meta.dtype.is_complex)

    transfers = {kind: partial(_transferred, constants, kind) for kind in Kind}
    with torch.no_grad():
        return walk(graph, leaf=leaf, transfers=transfers, top=top, on_unknown="top", live=live).values


def _transferred(constants: Constants, kind: Kind, node: Node, look: Lookup[Interval]) -> tuple[Interval, ...]:
    """Compute what depends on weights alone (a masked weight) as the model does; else follow the rule."""
    known = constants.computed(node)
    if known is not None:
        return known
    rule = (complex_rules.TRANSFERS if complex_rules.touches(node, look) else TRANSFERS).get(kind)
    if rule is None:
        raise NoRule
    return rule(node, look)
