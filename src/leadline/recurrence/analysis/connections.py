"""Connections in closed form: multiply-accumulate edges between units that exist, borders exact."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import sympy

from leadline.errors import NotUniform
from leadline.recurrence.analysis.depth import symbol
from leadline.recurrence.analysis.regions import Box, Region, intersection, points, size, union
from leadline.recurrence.analysis.units import Presences, Reads, asked_of, extent, read_through, reads, units
from leadline.recurrence.ir import Contraction, System
from leadline.recurrence.scores import Attention, Products


def connections(system: System) -> sympy.Expr:
    """Return the number of connections as an expression in the grid's sizes, exact at every size.

    A weight of a tap at offset δ joins its reader to its source wherever the source at p - δ is a unit and the reader
    at p is read on the way to the output. Weights that are zero by construction do not count, nor does padding; the
    initial states of recurrences do. Both of attention's products count the pairs that the window leaves.

    Examples
    --------
    >>> from leadline.recurrence.examples import masked
    >>> sympy.factor(in_region(connections(masked(layers=1))))
    4*H*W - 3*H - 3*W + 2
    """
    present, used = units(system), reads(system)
    total = sympy.Integer(0)
    for variable in system.variables:
        equation, readers = variable.equation, used[variable.name]
        if isinstance(equation, Contraction) and equation.cost:
            for count, region in _joined(system, variable.name, equation, readers, present):
                total += count * size(region, lambda box: points(box, system.axes))
    return sympy.expand(total + _attended(system, used))


def _joined(
    system: System, name: str, equation: Contraction, readers: Sequence[Region], present: Presences
) -> Iterator[tuple[int, Region]]:
    """Yield how many weights join a reader to its sources at which points, those at the same points together."""
    everywhere, groups = extent(system, name), equation.groups
    outs, out = _numbered([intersection(region, everywhere) for region in readers])
    for i, (tap, weight) in enumerate(zip(equation.taps, equation.weights, strict=True)):
        ins, place = _numbered([p.unit for p in read_through(tap, everywhere, present)])
        alive = equation.alive[i].numpy() if equation.alive else np.ones(weight.shape, bool)
        of = place.reshape(groups, -1).repeat(len(out) // groups, 0)  # (out, in / groups)
        counts = np.zeros((len(outs), len(ins)), np.int64)
        np.add.at(counts, (np.broadcast_to(out[:, None], of.shape)[alive], of[alive]), 1)
        for (a, b), count in np.ndenumerate(counts):
            if count:
                yield int(count), intersection(outs[a], ins[b])


def _numbered(regions: Sequence[Region]) -> tuple[list[Region], np.ndarray]:
    """Return the distinct regions, and for each the number of its own among them."""
    distinct = list(dict.fromkeys(regions))
    number = {region: i for i, region in enumerate(distinct)}
    return distinct, np.array([number[region] for region in regions])


def _attended(system: System, used: Reads) -> sympy.Expr:
    """Return the pairs of attention: each query that is read with the keys, and with the values, in its window.

    Products that several sums are made of are counted once.
    """
    asked: dict[int, tuple[Attention, int, list[Region]]] = {}
    for variable in system.variables:
        equation, readers = variable.equation, used[variable.name]
        if not isinstance(equation, Attention):
            continue
        if equation.uneven:
            raise NotUniform("the connections of attention whose mask is not a band are no formula; `count` has them")
        if equation.value is not None:
            asked[id(equation)] = equation, 1, list(readers)
        for step, regions in zip(equation.steps, asked_of(equation, readers), strict=True):
            if isinstance(step, Products):
                _, each, before = asked.get(id(step), (equation, len(step.query.channels) // step.heads, regions))
                asked[id(step)] = equation, each, [union(both) for both in zip(before, regions, strict=True)]
    (axis, *_) = system.axes
    pairs = (each * size(region, lambda box, of=equation: _pairs(box, axis, of))  # type: ignore[misc]
             for equation, each, regions in asked.values() for region in regions)  # fmt: skip
    return sum(pairs, sympy.Integer(0))


def _pairs(box: Box, axis: str, equation: Attention) -> sympy.Expr:
    """Return how many keys the queries of a box see together: up to the window each, and those before the first."""
    window, lead = equation.window, equation.lead

    def so_far(n: sympy.Expr) -> sympy.Expr:
        full = n if window is None else sympy.Min(n, window)
        return full * (full + 1) / 2 + (n - full) * (0 if window is None else window)

    ((start, end),) = box
    last = symbol(axis) + end
    return so_far(last) - so_far(sympy.Integer(start)) + lead * (last - start)


def in_region(expression: sympy.Expr) -> sympy.Expr:
    """Return the polynomial that holds where no tap and no window is longer than the grid.

    There every ``max(0, e)`` is e, and every ``min(e, window)`` the window.
    """
    long_enough = expression.replace(sympy.Max, lambda *args: sympy.Add(*args))
    return sympy.expand(long_enough.replace(sympy.Min, lambda *args: next(a for a in args if a.is_number)))


def region(system: System) -> Mapping[str, int]:
    """Return the smallest sizes from which `in_region` holds."""
    return region_of(connections(system), system)


def region_of(expression: sympy.Expr, system: System) -> Mapping[str, int]:
    """Return sizes from which on every ``max(0, e)`` in an expression is e, and every ``min(e, window)`` the window."""
    smallest = {}
    for axis in system.axes:
        n = symbol(axis)
        borders = [n - e for term in expression.atoms(sympy.Max) for e in term.args if e.has(n)]
        for term in expression.atoms(sympy.Min):
            borders += [n - e + w for e in term.args if e.has(n) for w in term.args if w.is_number]
        smallest[axis] = max([1, *(int(border) for border in borders)])
    return smallest


def count_at(expression: sympy.Expr, system: System, sizes: Mapping[str, int]) -> int:
    """Return the value of an expression at given sizes of the axes."""
    return int(expression.subs({symbol(axis): sizes[axis] for axis in system.axes}))
