"""Intervals: between which two numbers every element of every tensor lies, for all inputs or all in a box.

Ends are float64 and rounded outward, so an interval holds the value that exact arithmetic would give for the weights as
stored. Where no rule is known the interval is the whole line, which is sound.
"""

from collections.abc import Mapping
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor

from leadline.domains.engine import Lookup, Transfer, walk
from leadline.domains.values.interval_arithmetic import Interval, point, whole
from leadline.domains.values.interval_rules import TRANSFERS, call, top
from leadline.graph.ir import Graph, Node, Ref

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

    def leaf(node: Node) -> Interval:
        if node.index in graph.values:
            return point(graph.values[node.index])
        return named.get(node.index) or whole(node.shape)

    transfers = {kind: partial(_constants_first, graph, rule) for kind, rule in TRANSFERS.items()}
    with torch.no_grad():
        return walk(graph, leaf=leaf, transfers=transfers, top=top, on_unknown="top", live=live).values


def _constants_first(
    graph: Graph, rule: Transfer[Interval], node: Node, look: Lookup[Interval]
) -> tuple[Interval, ...]:
    """Compute what depends on weights alone (a masked weight) as the model does; else follow the rule."""
    if not node.refs or not all(look(ref).constant for ref in node.refs):
        return rule(node, look)

    def value(ref: Ref) -> Tensor:
        dtype = graph.meta(ref).dtype
        return look(ref).lo if dtype.is_floating_point else look(ref).lo.to(dtype)

    return tuple(map(point, call(node, value)))
