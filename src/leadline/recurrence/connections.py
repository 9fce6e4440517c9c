"""Connections in closed form: multiply-accumulate edges between units that exist, borders exact."""

from __future__ import annotations

from collections.abc import Mapping

import sympy

from leadline.recurrence.depth import symbol
from leadline.recurrence.ir import Attention, Contraction, Equation, System, Tap, Variable


def connections(system: System) -> sympy.Expr:
    """Return the number of connections as an expression in the grid's sizes, exact at every size.

    A tap at offset δ joins its reader to its source at ``Π_a max(0, min(N_a + m_v, N_a + m_u + δ_a) - max(0, δ_a))``
    points. Weights that are zero by construction do not count; neither do initial states. Attention's product of
    queries and keys counts in full, its product with the values counts the pairs that the window leaves.

    Examples
    --------
    >>> from leadline.recurrence.examples import masked
    >>> sympy.factor(in_region(connections(masked(layers=1))))
    4*H*W - 3*H - 3*W + 2
    """
    return sympy.Add(*(_of(system, variable, variable.equation) for variable in system.variables))


def _of(system: System, variable: Variable, equation: Equation) -> sympy.Expr:
    if isinstance(equation, Contraction):
        terms = zip(equation.taps, equation.edges, strict=True)
        return sympy.Add(*(edges * points_in_range(system, variable, tap) for tap, edges in terms))
    if isinstance(equation, Attention):
        n = symbol(system.axes[0]) + variable.margin[0]
        window = n if equation.window is None else sympy.Min(n, equation.window)
        pairs = window * (window + 1) / 2 + (n - window) * window
        return sympy.expand(len(equation.query.channels) * n * n + len(equation.value.channels) * pairs)
    return sympy.Integer(0)


def points_in_range(system: System, variable: Variable, tap: Tap) -> sympy.Expr:
    """Return at how many points a tap stays within the range of its source."""
    factors = []
    source = system[tap.source]
    for axis, mine, theirs, offset in zip(system.axes, variable.margin, source.margin, tap.offset, strict=True):
        excess = min(mine, theirs + offset) - max(0, offset)
        size = symbol(axis)
        factors.append(size + excess if excess > -1 else sympy.Max(0, size + excess))
    return sympy.Mul(*factors)


def in_region(expression: sympy.Expr) -> sympy.Expr:
    """Return the polynomial that holds where no tap and no window is longer than the grid.

    There every ``max(0, e)`` is e, and every ``min(e, window)`` the window.
    """
    long_enough = expression.replace(sympy.Max, lambda *args: sympy.Add(*args))
    return sympy.expand(long_enough.replace(sympy.Min, lambda *args: next(a for a in args if a.is_number)))


def region(system: System) -> Mapping[str, int]:
    """Return the smallest sizes from which `in_region` holds."""
    smallest = dict.fromkeys(system.axes, 1)
    for variable in system.variables:
        if isinstance(variable.equation, Contraction):
            for tap in variable.equation.taps:
                mine, theirs = variable.margin, system[tap.source].margin
                for a, axis in enumerate(system.axes):
                    excess = min(mine[a], theirs[a] + tap.offset[a]) - max(0, tap.offset[a])
                    smallest[axis] = max(smallest[axis], -excess)
        elif isinstance(variable.equation, Attention) and variable.equation.window is not None:
            (axis,), (margin,) = system.axes, variable.margin
            smallest[axis] = max(smallest[axis], variable.equation.window - margin)
    return smallest


def count_at(expression: sympy.Expr, system: System, sizes: Mapping[str, int]) -> int:
    """Return the value of an expression at given sizes of the axes."""
    return int(expression.subs({symbol(axis): sizes[axis] for axis in system.axes}))
