"""Whether every value of a graph lies within its interval, at points of a box."""

from functools import partial

import torch

from leadline.domains.values.intervals import intervals
from leadline.graph.ir import Ref
from leadline.graph.run_node import run_node
from leadline.graph.table import LEAVES, Kind
from leadline.jacobian._bound import _boxes


def outside(graph, points, box):
    """Name the operations that have a value outside its interval at one of some points."""
    found = intervals(graph, _boxes(graph, box))
    return sorted(
        {graph.nodes[ref.node].op for x in points for ref, value in _values(graph, x) if not _within(value, found[ref])}
    )


def _values(graph, x):
    """Compute all values of a forward pass, noise drawn anew."""
    values = {}
    for node in graph.nodes:
        if node.kind is Kind.EFFECT:
            continue
        if node.kind in LEAVES:
            results = (x,) if node.kind is Kind.INPUT else (graph.values[node.index],)
        else:
            results = run_node(node, partial(_copied, values))
        values |= {Ref(node.index, i): value for i, value in enumerate(results)}
    return [(ref, value) for ref, value in values.items() if isinstance(value, torch.Tensor)]


def _copied(values, ref):
    return values[ref].clone()  # a batch norm writes into its statistics


def _within(value, interval):
    parts = (torch.view_as_real(value.resolve_conj()) if value.is_complex() else value).double()
    slack = 1e-9 * parts.abs().nan_to_num(posinf=0.0) + 1e-300
    inside = (interval.lo <= parts + slack) & (parts - slack <= interval.hi)
    return interval.shape == tuple(value.shape) and bool((inside | parts.isnan()).all())
