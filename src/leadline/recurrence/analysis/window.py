"""The live window: how many points of every variable must be kept to go on in raster order, for all sizes."""

from collections.abc import Mapping

import sympy

from leadline.errors import NotUniform
from leadline.recurrence.analysis.depth import symbol
from leadline.recurrence.ir import Edge, Offset, System


def live_windows(system: System) -> Mapping[str, sympy.Expr]:
    """Return for each variable how many of its latest points are still read, in raster order.

    The lexicographically longest way from a point to a reader, ``(a, b)`` rows and columns, keeps ``a·W + b`` points. A
    variable that attention reads is kept whole. Raises `NotUniform` if a recurrence does not advance in raster order.

    Examples
    --------
    >>> from leadline.recurrence.examples import masked
    >>> live_windows(masked(layers=2))
    {'x': W, 'h1': W + 1, 'h2': 0}
    """
    ready = _ready(system)
    longest: dict[str, Offset] = {}
    growing = {edge.source for edge in system.edges if edge.growing}
    zero = (0,) * len(system.axes)
    for edge in system.edges:
        longest[edge.source] = max(longest.get(edge.source, zero), _way(ready, edge))
    return {
        v.name: symbol(system.axes[0]) + max(0, v.margin[0])
        if v.name in growing
        else _points(system, longest.get(v.name, zero))
        for v in system.variables
    }


def state(system: System) -> sympy.Expr:
    """Return how many numbers generation in raster order keeps: channels times live window, summed.

    Examples
    --------
    >>> from leadline.recurrence.examples import dilated
    >>> state(dilated(layers=4, k=2))
    30
    """
    windows = live_windows(system)
    return sympy.expand(sympy.Add(*(v.channels * windows[v.name] for v in system.variables)))


def window_region(system: System) -> Mapping[str, int]:
    """Return sizes from which `live_windows` holds: rows so wide that what is further up is always further back.

    Examples
    --------
    >>> from leadline.recurrence.examples import masked
    >>> window_region(masked(layers=2))
    {'h': 1, 'w': 3}
    """
    ready = _ready(system)
    ways = [_way(ready, edge) for edge in system.edges]
    spreads = [max(0, *(way[a] for way in ways)) - min(0, *(way[a] for way in ways)) for a in range(len(system.axes))]
    return {axis: max(1, spread) if a else 1 for a, (axis, spread) in enumerate(zip(system.axes, spreads, strict=True))}


def _way(ready: Mapping[str, Offset], edge: Edge) -> Offset:
    """Return how long after its source a reader is computed."""
    steps = zip(ready[edge.reader], edge.offset, ready[edge.source], strict=True)
    return tuple(reader + offset - source for reader, offset, source in steps)


def _points(system: System, way: Offset) -> sympy.Expr:
    total = sympy.Integer(0)
    for axis, steps in zip(system.axes, way, strict=True):
        total = total * symbol(axis) + steps
    return sympy.expand(total)


def _ready(system: System) -> dict[str, Offset]:
    """Return the latest input, relative to its own point, that each variable rests on, in lexicographic order."""
    zero = (0,) * len(system.axes)
    never = (-(2**40),) + zero[1:]
    ready = {v.name: zero if v.name in system.inputs else never for v in system.variables}
    for _ in range(len(system.variables) + 2):
        before = dict(ready)
        for edge in system.edges:
            way = tuple(s - d for s, d in zip(ready[edge.source], edge.offset, strict=True))
            ready[edge.reader] = max(ready[edge.reader], way)
        if ready == before:
            return {name: zero if way[0] < -(2**39) else way for name, way in ready.items()}
    raise NotUniform("a recurrence in these equations does not advance in raster order")
