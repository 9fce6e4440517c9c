"""The two kinds of proof: identities that sympy settles, and the comparison of all cases up to a size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import sympy

from leadline.claims.claim import Grounds, Outcome
from leadline.claims.counterexample import Counterexample


def exhausted(
    statement: str,
    cases: Iterable[Mapping[str, int]],
    claimed: Callable[..., int | float],
    true: Callable[..., int | float],
) -> Outcome:
    """Compare two functions of whole numbers in every case; the first difference is the counterexample.

    What holds is proved for the cases tried and no more: the outcome's statement names their ranges.

    Examples
    --------
    >>> outcome = exhausted("n² = 2n", ({"n": n} for n in range(5)), lambda n: n * n, lambda n: 2 * n)
    >>> outcome.holds, dict(outcome.counterexample.values)
    (False, {'n': 1, 'claimed': 1, 'true': 2})
    """
    seen, ranges = 0, dict[str, tuple[int, int]]()
    for case in cases:
        seen += 1
        for name, value in case.items():
            low, high = ranges.get(name, (value, value))
            ranges[name] = min(low, value), max(high, value)
        said, is_so = claimed(**case), true(**case)
        if said != is_so:
            where = ", ".join(f"{name} = {value}" for name, value in case.items())
            evidence = f"at {where} it says {said}, but it is {is_so}"
            values = dict(case) | {"claimed": said, "true": is_so}
            return Outcome(statement, False, Grounds.EXHAUSTIVE, evidence, Counterexample(statement, values))
    named = ", ".join(f"{n} = {low}" if low == high else f"{n} = {low} … {high}" for n, (low, high) in ranges.items())
    return Outcome(f"{statement} [{named}]", True, Grounds.EXHAUSTIVE, f"compared in all of {seen} cases")


def vanishes(difference: sympy.Expr) -> bool:
    """Whether an expression is zero for all values of its symbols; False where sympy does not see it.

    It is first evaluated at one point, since sympy takes long over what is not zero.

    Examples
    --------
    >>> x = sympy.Symbol("x", positive=True)
    >>> vanishes((x**2 - 1) / (x + 1) - x + 1), vanishes(x**2 - x)
    (True, False)
    """
    ordered = sorted(difference.free_symbols, key=str)
    point = {symbol: sympy.Rational(7 + 3 * i, 5 + i) for i, symbol in enumerate(ordered)}
    return bool(abs(difference.subs(point).evalf(30)) < 1e-20 and sympy.simplify(difference) == 0)
