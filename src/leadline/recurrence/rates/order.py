"""The order in which variables can be computed, and which of them rest on each other."""

from __future__ import annotations

from collections.abc import Sequence
from graphlib import TopologicalSorter

import numpy as np
import scipy.sparse.csgraph

from leadline.recurrence.ir import Variable


def circles(variables: Sequence[Variable]) -> list[list[Variable]]:
    """Return the variables in an order in which they can be computed, those that rest on each other together."""
    number = {v.name: i for i, v in enumerate(variables)}
    pairs = [(number[v.name], number[tap.source]) for v in variables for tap in v.equation.taps]
    readers, sources = (np.array(side, np.int64) for side in (zip(*pairs, strict=True) if pairs else ((), ())))
    size = len(number)
    reads = scipy.sparse.coo_array((np.ones(len(readers)), (readers, sources)), shape=(size, size))
    _, part = scipy.sparse.csgraph.connected_components(reads, connection="strong")
    before: dict[int, set[int]] = {int(p): set() for p in part}
    for reader, source in zip(part[readers].tolist(), part[sources].tolist(), strict=True):
        before[reader] |= {source} - {reader}
    groups = TopologicalSorter(before).static_order()
    return [[v for v, p in zip(variables, part, strict=True) if p == group] for group in groups]


def in_order(variables: Sequence[Variable]) -> list[Variable]:
    """Put variables into an order in which the values of one point can be computed; `CycleError` where there is none.

    What others rest on stands before them, whatever the offset, but where they rest on each other.
    """
    ordered = []
    for group in circles(variables):
        named = {v.name: v for v in group}
        now = {v.name: [t.source for t in v.equation.taps if not any(t.offset) and t.source in named] for v in group}
        ordered += [named[name] for name in TopologicalSorter(now).static_order()]
    return ordered
