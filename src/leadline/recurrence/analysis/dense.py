"""Dense multiply-accumulates of one sample: every product at every place, masked pairs, padding and crops too."""

import sympy

from leadline.recurrence.analysis.depth import symbol
from leadline.recurrence.ir import Contraction, System, Variable
from leadline.recurrence.scores import Attention


def dense_macs(system: System, counted: int, *, alike: bool = True) -> sympy.Expr | None:
    """Return the multiply-accumulates in the grid's sizes, of which there are `counted` at the size that was traced.

    Each product is computed at all places of its own, those that are cropped later too. What is counted besides has to
    be the same number at every place, if the places are all `alike`; else nothing may be left. None if it is not so.

    Examples
    --------
    >>> from leadline.recurrence.examples import masked
    >>> system = masked(layers=1)
    >>> height, width = system.sizes
    >>> dense_macs(system, 9 * height * width), dense_macs(system, 9 * height * width + 1)
    (9*H*W, None)
    """
    points = sympy.Mul(*map(symbol, system.axes))
    seen: set[int] = set()
    total = sum((_macs(system, variable, seen) for variable in system.variables), sympy.Integer(0))
    here = dict(zip(map(symbol, system.axes), system.sizes, strict=True))
    left = counted - int(total.subs(here))
    each, rest = divmod(left, int(points.subs(here)))
    fits = (rest == 0 and each >= 0) if alike else left == 0
    return sympy.expand(total + points * each) if fits else None


def _macs(system: System, variable: Variable, seen: set[int]) -> sympy.Expr:
    """Return those of one variable, but for products of queries and keys that were `seen` before, and are now."""
    equation, axes = variable.equation, list(map(symbol, system.axes))
    if isinstance(equation, Contraction) and equation.cost:
        return equation.macs * sympy.Mul(*(n + margin for n, margin in zip(axes, variable.computed, strict=True)))
    if isinstance(equation, Attention):
        (n,) = axes
        new = [step for step in equation.products if id(step) not in seen]
        seen.update(map(id, new))
        each = sum(len(step.query.channels) for step in new)
        return n * (n + equation.lead) * (each + (variable.channels if equation.value is not None else 0))
    return sympy.Integer(0)
