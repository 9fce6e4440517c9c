"""How a statement is settled: by identities that sympy proves, by all cases up to a size, or by a search.

The search is gradient ascent on the violation of a statement, from random starts. Nothing is planted, and a statement
that survives is only said to have been searched.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import sympy
import torch
from jaxtyping import Float
from torch import Tensor

from leadline.claims.claim import Effort, Grounds, Outcome
from leadline.claims.counterexample import Counterexample, arrays


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


Point = dict[str, Tensor]
"""Named tensors, the first axis of each being the starts."""


@dataclass(frozen=True)
class Search:
    """How to look for a case in which a statement fails.

    `draw` draws random starts: named tensors with the starts as first axis. `excess` says by how much the statement is
    violated at each, in a `unit`: differentiable, positive where it fails, and rounding up to `tolerance`. The ascent
    (Adam) takes `steps` steps of `rate`.
    """

    draw: Callable[[torch.Generator, int], Point]
    excess: Callable[[Point], Float[Tensor, " starts"]]
    tolerance: float = 1e-9
    starts: int = 16
    steps: int = 100
    rate: float = 0.1
    unit: str = "the statement's own unit"


def ascend(search: Search, effort: Effort) -> tuple[float, Point]:
    """Return the largest excess that the ascent meets, and where."""
    starts = search.starts * effort.pick(1, 4)
    point = {name: t.detach().requires_grad_() for name, t in search.draw(effort.generator(), starts).items()}
    optimiser = torch.optim.Adam(point.values(), lr=search.rate)
    best, where = -float("inf"), {name: t[:1].detach().clone() for name, t in point.items()}
    for _ in range(search.steps + 1):
        excess = search.excess(point)
        values = excess.detach().nan_to_num(-torch.inf)
        top = int(values.argmax())
        if values[top] > best:
            best, where = float(values[top]), {name: t[top].detach().clone() for name, t in point.items()}
        if not excess.requires_grad:  # it is the same everywhere
            break
        optimiser.zero_grad()
        torch.autograd.backward(-excess.sum())
        optimiser.step()
    return best, where


def searched(
    statement: str, search: Search, effort: Effort, values: Callable[[Point], dict[str, int | float | str]]
) -> Outcome:
    """Put a statement to the search; `values` says what to record about a case against it."""
    excess, at = ascend(search, effort)
    tries = f"{search.starts * effort.pick(1, 4)} random starts of {search.steps} steps of gradient ascent"
    if excess <= search.tolerance:
        return Outcome(
            statement,
            True,
            Grounds.SEARCHED,
            f"{tries} found no case against it; nearest: {excess:.3g} in {search.unit}",
        )
    case = Counterexample(statement, {"excess": excess} | values(at), arrays(**at))
    return Outcome(
        statement,
        False,
        Grounds.SEARCHED,
        f"{tries} found a case against it, too far by {excess:.4g} in {search.unit}",
        case,
    )
