"""C2: where ‖N‖ + ‖W‖ = 1 a gradient over a grid vanishes only as n^(-1/2), in one direction."""

import math
from dataclasses import dataclass
from fractions import Fraction

import sympy
import torch

from leadline.claims.algebra import spectral_norm
from leadline.claims.claim import Claim, Effort, Evidence, Grounds, Outcome, computed, exact
from leadline.claims.counterexample import Counterexample
from leadline.claims.scalar_chain import rational
from leadline.claims.statements.grid_gradients.models import grid_rnn, lstm_growth, orthogonal, through
from leadline.document import Curve
from leadline.jacobian.theory.grid import path_bound

FAR = 300
"""So many steps away, figures are given."""


@dataclass(frozen=True)
class CriticalGrid:
    """The norms of N and W, multiples of one orthogonal matrix over `units` units."""

    north: float = 0.5
    west: float = 0.5
    units: int = 3

    def __post_init__(self) -> None:
        if min(self.north, self.west) <= 0:
            raise ValueError(f"norms are positive, not {self.north} and {self.west}")

    @property
    def growth(self) -> sympy.Rational:
        """The factor of a step."""
        return rational(self.north) + rational(self.west)

    @property
    def share(self) -> float:
        """The share of steps south in the steepest direction, p."""
        return self.north / (self.north + self.west)

    def steepest(self, n: int) -> tuple[int, int]:
        """Return the cell at a distance of n that is nearest to the steepest direction."""
        south = round(self.share * n)
        return south, n - south

    def ratio(self, n: int, *, critical: bool = False) -> float:
        """Return ``‖J‖ sqrt(2πn p(1-p))`` there, by the path bound; with norms scaled to add up to 1 if `critical`."""
        p = self.share
        norms = (p, 1 - p) if critical else (self.north, self.west)
        return path_bound(*self.steepest(n), *norms) * math.sqrt(2 * math.pi * n * p * (1 - p))


def settle(of: CriticalGrid, effort: Effort) -> Evidence:
    """Take limits by Stirling's formula; differentiate the zoo's recurrence beside it."""
    return Evidence(
        claimed=(_root(of), _axis(of)),
        instead=(_general(of),),
        compared=(_modules(of, effort),),
        quantities=(
            exact("growth a step, ‖N‖ + ‖W‖", float(of.growth)),
            *(computed(f"‖J‖ sqrt(2πn p(1-p)), {n} steps away", of.ratio(n)) for n in (10, 100, FAR)),
            computed(f"norm along one axis, {FAR} steps away", path_bound(FAR, 0, of.north, of.west)),
            lstm_growth(0.0, effort),
        ),
        picture=_picture(of),
    )


def _stirling() -> bool:
    """Whether ``C(n, pn) N^(pn) W^(qn) sqrt(2πn pq) / (N + W)^n → 1`` for all p + q = 1 with N : W = p : q.

    ``ln m! = ½ ln(2πm) + m ln m - m + r(m)`` with ``1/(12m+1) < r(m) < 1/(12m)`` (Robbins, 1955): the main terms have
    to cancel, and the remainders to vanish.
    """
    n, p, q, growth = sympy.symbols("n p q g", positive=True)

    def main(m: sympy.Expr) -> sympy.Expr:
        return sympy.log(2 * sympy.pi * m) / 2 + m * sympy.log(m) - m

    paths = main(n) - main(p * n) - main(q * n)
    powers = p * n * sympy.log(growth * p) + q * n * sympy.log(growth * q)
    law = n * sympy.log(growth) - sympy.log(2 * sympy.pi * n * p * q) / 2
    gap = sympy.expand(sympy.expand_log(paths + powers - law)).subs(q, 1 - p)
    remainder = (1 / n + 1 / (p * n) + 1 / (q * n)) / 12
    return bool(sympy.simplify(gap) == 0 and sympy.limit(remainder, n, sympy.oo) == 0)


def _root(of: CriticalGrid) -> Outcome:
    statement = (
        f"with norms {of.north:g} and {of.west:g} gradients in the direction i : j = ‖N‖ : ‖W‖ vanish as n^(-1/2): "
        "‖J‖ sqrt(2πn p(1-p)) → 1, p = ‖N‖/(‖N‖ + ‖W‖)"
    )
    figures = ", ".join(f"{of.ratio(n):.5g} at n = {n}" for n in (10, 100, FAR))
    if of.growth == 1 and _stirling():
        argument = f"Stirling's formula, its main terms cancel for every p in (0, 1): {figures}"
        return Outcome(statement, True, Grounds.SYMBOLIC, argument)
    limit = "0" if of.growth < 1 else "infinity"
    evidence = f"(‖N‖ + ‖W‖)^n = {float(of.growth):g}^n takes it to {limit}: {figures}"
    values = {"norm of N": of.north, "norm of W": of.west, "n": FAR, "claimed": 1.0, "found": of.ratio(FAR)}
    return Outcome(statement, False, Grounds.SYMBOLIC, evidence, Counterexample(statement, values))


def _axis(of: CriticalGrid) -> Outcome:
    """Down a column there is one path."""
    statement = "along one axis they vanish exponentially all the same, as ‖N‖^i or ‖W‖^j"
    i = sympy.Symbol("i", positive=True, integer=True)
    limits = [sympy.limit(sympy.binomial(i, 0) * rational(norm) ** i, i, sympy.oo) for norm in (of.north, of.west)]
    holds = limits == [0, 0]
    argument = "C(i, i) = 1: there is one path" if holds else "one of the norms is not below 1"
    case = None if holds else Counterexample(statement, {"norm of N": of.north, "norm of W": of.west})
    return Outcome(statement, holds, Grounds.SYMBOLIC, argument, case)


def _general(of: CriticalGrid) -> Outcome:
    statement = "in that direction the norm goes as (‖N‖ + ‖W‖)^n / sqrt(2πn p(1-p)), whatever the norms"
    left = of.ratio(FAR, critical=True)
    argument = f"Stirling's formula, with a growth g beside it; at n = {FAR} the quotient of both is {left:.5g}"
    return Outcome(statement, _stirling(), Grounds.SYMBOLIC, argument)


def _modules(of: CriticalGrid, effort: Effort) -> Outcome:
    """Differentiate the zoo's recurrence along the steepest direction, at zero input."""
    statement = "the zoo's GridRNN has these gradients at zero input"
    Q = orthogonal(effort.generator(), of.units)
    cells = [of.steepest(n) for n in (2, 5, 10, 20)]
    far = max(map(max, cells)) + 1
    zeros = torch.zeros(far, far, of.units, dtype=torch.float64)
    found = spectral_norm(through(grid_rnn(of.north * Q, of.west * Q), zeros, cells)).tolist()
    exactly = [float(_paths(*cell, of)) for cell in cells]
    gap = max(abs(a - b) / b for a, b in zip(found, exactly, strict=True))
    case = None if gap < 1e-10 else Counterexample(statement, {"relative gap": gap, "n": 20, "found": found[-1]})
    evidence = f"up to 20 steps away, beside fractions without rounding: relative difference {gap:.2g}"
    return Outcome(statement, gap < 1e-10, Grounds.MEASURED, evidence, case)


def _paths(i: int, j: int, of: CriticalGrid) -> Fraction:
    """Add up all paths by Pascal's rule."""
    N, W = Fraction(repr(of.north)), Fraction(repr(of.west))
    row = [W**column for column in range(j + 1)]
    for _ in range(i):
        row[0] *= N
        for column in range(1, j + 1):
            row[column] = N * row[column] + W * row[column - 1]
    return row[j]


def _picture(of: CriticalGrid) -> Curve:
    n = (1, 2, 5, 10, 20, 50, 100, 200, FAR)
    steepest, axis = (
        tuple(max(path_bound(*cell, of.north, of.west), 1e-17) for cell in cells)
        for cells in (map(of.steepest, n), ((m, 0) for m in n))
    )
    root = tuple(1 / math.sqrt(2 * math.pi * m * of.share * (1 - of.share)) for m in n)
    series = (("steepest direction", steepest), ("1/sqrt(2πn p(1-p))", root), ("along one axis", axis))
    caption = f"Gradient n steps away, ‖N‖ = {of.north:g}, ‖W‖ = {of.west:g}: 1e-17 stands for less"
    return Curve(tuple(map(float, n)), series, "steps n = i + j", "σ_max", caption, log_y=True)


CLAIM = Claim(
    id="C2",
    title="The critical line",
    statement="A grid recurrence is critical on a line, ‖N‖ + ‖W‖ = 1: there, where both are multiples of one "
    "orthogonal matrix, gradients vanish as n^(-1/2) in the steepest direction, and exponentially along an axis.",
    paper=None,
    mathematics=CriticalGrid(),
    settle=settle,
)
