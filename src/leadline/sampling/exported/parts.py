"""In which order a block of positions is computed: equations of no circle whole, those of a circle point by point."""

from __future__ import annotations

from collections.abc import Iterator
from graphlib import TopologicalSorter

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from leadline.recurrence.ir import Input, System, Variable


def parts(system: System) -> Iterator[tuple[tuple[Variable, ...], bool]]:
    """Yield the variables of a system, those of one circle together, each after what it reads; and whether they turn.

    Examples
    --------
    >>> from leadline.recurrence.examples import dilated
    >>> {turns for _, turns in parts(dilated(layers=2, size=8))}
    {False}
    """
    variables = system.variables
    place = {v.name: n for n, v in enumerate(variables)}
    edges = np.array([(place[e.source], place[e.reader]) for e in system.edges], np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(edges)), edges.T), shape=(len(variables),) * 2)
    _, circle = connected_components(graph, connection="strong")
    members: dict[int, list[Variable]] = {}
    for v, c in zip(variables, circle.tolist(), strict=True):
        members.setdefault(c, []).append(v)
    itself = {int(circle[a]) for a, b in edges if a == b}
    after = {c: {int(circle[a]) for a, b in edges if circle[b] == c != circle[a]} for c in members}
    for c in TopologicalSorter(after).static_order():
        found = tuple(v for v in members[c] if not isinstance(v.equation, Input))
        if found:
            yield found, len(members[c]) > 1 or c in itself
