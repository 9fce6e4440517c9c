"""Dense multiply-accumulates of one sample: every product at every place, masked pairs and padding too."""

import sympy

from leadline.recurrence.analysis.depth import symbol
from leadline.recurrence.ir import Attention, Contraction, System


def dense_macs(system: System, counted: int) -> sympy.Expr | None:
    """Return the multiply-accumulates in the grid's sizes, of which there are `counted` at the size that was traced.

    Taps whose weights are all masked are not in the equations: what is counted besides has to be the same number at
    every place. None if it is not.

    Examples
    --------
    >>> from leadline.recurrence.examples import masked
    >>> system = masked(layers=1)
    >>> height, width = system.sizes
    >>> dense_macs(system, 9 * height * width), dense_macs(system, 9 * height * width + 1)
    (9*H*W, None)
    """
    points = sympy.Mul(*map(symbol, system.axes))
    total = sympy.Integer(0)
    for variable in system.variables:
        equation = variable.equation
        if isinstance(equation, Contraction) and equation.cost:
            total += points * sum(weight.numel() for weight in equation.weights)
        elif isinstance(equation, Attention):
            total += points**2 * (len(equation.query.channels) + variable.channels)
    here = dict(zip(map(symbol, system.axes), system.sizes, strict=True))
    each, rest = divmod(counted - int(total.subs(here)), int(points.subs(here)))
    return sympy.expand(total + points * each) if rest == 0 and each >= 0 else None
