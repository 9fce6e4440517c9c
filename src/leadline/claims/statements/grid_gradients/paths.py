"""C1: gradients over a grid are sums over paths, and grow by ‖N‖ + ‖W‖ a step though both matrices contract."""

from dataclasses import dataclass
from itertools import product

import sympy
import torch
from torch import Tensor

from leadline.claims.algebra import normal, spectral_norm
from leadline.claims.claim import Claim, Effort, Evidence, Grounds, Outcome, computed, exact
from leadline.claims.counterexample import Counterexample, arrays
from leadline.claims.scalar_chain import rational, steepest
from leadline.claims.settling import vanishes
from leadline.claims.statements.grid_gradients.models import grid_rnn, lstm_growth, normed, orthogonal, through
from leadline.document import Curve
from leadline.jacobian.theory.grid import Taps, grid_jacobians, path_bound

STEPS = 24
"""How far from the first cell figures and picture go."""

_N, _W = sympy.symbols("N W", positive=True)


@dataclass(frozen=True)
class GridPaths:
    """The norms of N and W over `units` units, and of a matrix that reads the cell to the north-west: 0 is none."""

    north: float = 0.6
    west: float = 0.6
    diagonal: float = 0.0
    units: int = 4

    def __post_init__(self) -> None:
        if min(self.north, self.west) <= 0 or self.diagonal < 0:
            raise ValueError(f"norms are positive, not {self.north}, {self.west} and {self.diagonal}")

    @property
    def growth(self) -> sympy.Rational:
        """The factor of a step."""
        return rational(self.north) + rational(self.west)

    def taps(self, north: Tensor, west: Tensor, north_west: Tensor) -> Taps:
        """Return matrices by what they read; the last is left out if there is none."""
        taps = {(1, 0): north, (0, 1): west}
        return taps | ({(1, 1): north_west} if self.diagonal else {})

    def aligned(self, Q: Tensor) -> Taps:
        """Return multiples of one orthogonal matrix, with these norms."""
        return self.taps(self.north * Q, self.west * Q, self.diagonal * Q @ Q)


def settle(of: GridPaths, effort: Effort) -> Evidence:
    """Prove the bound by induction over the cells, and the growth from its sums; differentiate the zoo's recurrence."""
    generator, rule = effort.generator(), _recursion(of)
    Q = orthogonal(generator, of.units)
    drawn = of.taps(*(normed(generator, of.units, norm) for norm in (of.north, of.west, of.diagonal)))
    size = (STEPS + 1, STEPS + 1)
    aligned, random = (spectral_norm(grid_jacobians(taps, size)) for taps in (of.aligned(Q), drawn))
    return Evidence(
        claimed=(_bounded(of, rule), _attained(of, Q), _sums(of, rule), _explodes(of)),
        instead=(_rate(of, rule),),
        compared=(_modules(of, drawn, effort), _module_attains(of, Q)),
        quantities=(
            exact("growth a step, ‖N‖ + ‖W‖", float(of.growth)),
            computed(f"largest norm {STEPS} steps away, multiples of one orthogonal matrix", _largest(aligned)[STEPS]),
            computed(f"largest norm {STEPS} steps away, random matrices", _largest(random)[STEPS]),
            lstm_growth(0.0, effort),
            lstm_growth(1.0, effort),
        ),
        picture=_picture(of, _largest(random)),
    )


def _law(i: sympy.Expr, j: sympy.Expr) -> sympy.Expr:
    return sympy.binomial(i + j, i) * _N**i * _W**j


def _recursion(of: GridPaths) -> bool:
    """Whether the law is what its neighbours' laws add up to, inside (Pascal's rule) and along both borders."""
    i, j = sympy.symbols("i j", positive=True, integer=True)
    zero = sympy.Integer(0)
    inside = _law(i, j) - _N * _law(i - 1, j) - _W * _law(i, j - 1) - rational(of.diagonal) * _law(i - 1, j - 1)
    borders = (_law(i, zero) - _N * _law(i - 1, zero), _law(zero, j) - _W * _law(zero, j - 1))
    return vanishes(inside) and all(vanishes(border) for border in borders)


def _bounded(of: GridPaths, rule: bool) -> Outcome:
    statement = "‖J(i,j)‖ ≤ C(i+j, i) ‖N‖^i ‖W‖^j at every cell, for all matrices and inputs"
    if rule and steepest("tanh") == 1:
        argument = "by induction: tanh' ≤ 1 and the triangle inequality, and the right side obeys Pascal's rule"
        return Outcome(statement, True, Grounds.SYMBOLIC, argument)
    taps = of.aligned(torch.eye(of.units, dtype=torch.float64))
    found = spectral_norm(grid_jacobians(taps, (2, 2))[1, 1]).item()
    bound = path_bound(1, 1, of.north, of.west)
    named = {f"tap {a} {b}": matrix for (a, b), matrix in taps.items()}
    case = Counterexample(statement, {"i": 1, "j": 1, "claimed": bound, "norm": found}, arrays(**named))
    evidence = f"multiples of the identity reach {found:.4g} at (1,1), by three paths; the bound is {bound:.4g}"
    return Outcome(statement, False, Grounds.EXHAUSTIVE, evidence, case)


def _attained(of: GridPaths, Q: Tensor) -> Outcome:
    statement = "this is attained at every cell, at zero input, where N and W are multiples of one orthogonal matrix"
    found = spectral_norm(grid_jacobians(of.aligned(Q), (STEPS // 2 + 1, STEPS // 2 + 1)))
    return _equal(of, statement, found, "a random orthogonal matrix")


def _equal(of: GridPaths, statement: str, found: Tensor, which: str) -> Outcome:
    """Compare a table of norms with the bound, cell by cell."""
    bounds = _bounds(of, (found.shape[0], found.shape[1]))
    gap = ((found - bounds).abs() / bounds).max().item()
    case = None if gap < 1e-10 else Counterexample(statement, {"relative gap": gap}, arrays(norms=found, bounds=bounds))
    evidence = f"{which}, {found.numel()} cells: relative difference {gap:.2g}"
    return Outcome(statement, gap < 1e-10, Grounds.EXHAUSTIVE, evidence, case)


def _bounds(of: GridPaths, size: tuple[int, int]) -> Tensor:
    cells = [path_bound(i, j, of.north, of.west) for i, j in product(range(size[0]), range(size[1]))]
    return torch.tensor(cells, dtype=torch.float64).reshape(size)


def _sums(of: GridPaths, rule: bool) -> Outcome:
    """Add the recursion over an antidiagonal: each cell gives to one south of it and one east of it."""
    statement = "over the n + 1 cells that are n steps away these bounds add up to exactly (‖N‖ + ‖W‖)^n"
    whole = [sympy.Integer(k) for k in range(13)]
    gaps = [sympy.expand((_N + _W) ** n - sum(_law(i, n - i) for i in whole[: int(n) + 1])) for n in whole]
    holds = rule and not any(gaps)
    argument = "Pascal's rule, added over an antidiagonal, gives S(n) = (‖N‖ + ‖W‖) S(n-1); written out up to n = 12"
    norms = {"norm of N": of.north, "norm of W": of.west, "norm of the third": of.diagonal}
    case = None if holds else Counterexample(statement, norms)
    return Outcome(statement, holds, Grounds.SYMBOLIC, argument if holds else "a third matrix adds to the sums", case)


def _explodes(of: GridPaths) -> Outcome:
    """Prove it by the largest of n + 1 terms, which is at least their mean."""
    statement = f"matrices of norms {of.north:g} and {of.west:g}, each below 1, can make gradients grow without end"
    n = sympy.Symbol("n", positive=True)
    contractive = max(of.north, of.west) < 1
    mean = sympy.limit(of.growth**n / (n + 1), n, sympy.oo)
    if contractive and mean == sympy.oo:
        argument = f"some cell n steps away has at least the mean {float(of.growth):g}^n/(n + 1), which has no limit"
        return Outcome(statement, True, Grounds.SYMBOLIC, argument)
    evidence = (
        f"no gradient exceeds (‖N‖ + ‖W‖)^n = {float(of.growth):g}^n" if contractive else "one of them is not below 1"
    )
    largest = max(path_bound(i, STEPS - i, of.north, of.west) for i in range(STEPS + 1))
    values = {"norm of N": of.north, "norm of W": of.west, f"most at {STEPS} steps": largest}
    return Outcome(statement, False, Grounds.SYMBOLIC, evidence, Counterexample(statement, values))


def _rate(of: GridPaths, rule: bool) -> Outcome:
    """Prove what holds of all norms: the largest bound lies between the mean of n + 1 terms and their sum."""
    statement = f"the largest gradient that such matrices allow grows by ‖N‖ + ‖W‖ = {float(of.growth):g} a step"
    n, growth = sympy.Symbol("n", positive=True), sympy.Symbol("g", positive=True)
    same = sympy.limit((growth**n / (n + 1)) ** (1 / n), n, sympy.oo) == growth
    holds = bool(same) and rule
    argument = "the largest term of an antidiagonal lies between its mean g^n/(n + 1) and its sum g^n, g = ‖N‖ + ‖W‖"
    return Outcome(statement, holds, Grounds.SYMBOLIC, argument)


def _modules(of: GridPaths, taps: Taps, effort: Effort) -> Outcome:
    """Differentiate the zoo's recurrence at random inputs, where its slopes are below 1."""
    statement = "the zoo's GridRNN has these Jacobians at random inputs, none of them beyond the bound"
    size, generator = (4, 5), effort.generator()
    model, cells = grid_rnn(taps[1, 0], taps[0, 1]), list(product(range(size[0]), range(size[1])))
    gaps, excess = [], []
    for _ in range(4):
        x = normal(generator, *size, of.units)
        slopes = 1 - model(x[None])[0].detach() ** 2
        found = through(model, x, cells).unflatten(0, size)
        gaps.append((found - grid_jacobians(taps, size, slopes) * slopes[0, 0]).abs().max())
        excess.append((spectral_norm(found) / _bounds(of, size)).max())
    gap, most = float(max(gaps)), float(max(excess))
    holds = gap < 1e-10 and most <= 1 + 1e-12
    named = {f"tap {a} {b}": matrix for (a, b), matrix in taps.items()}
    case = None if holds else Counterexample(statement, {"gap": gap, "norm over bound": most}, arrays(x=x, **named))
    evidence = f"{4 * len(cells)} Jacobians by automatic differentiation: differ by {gap:.2g}, at most {most:.4g} of it"
    return Outcome(statement, holds, Grounds.MEASURED, evidence, case)


def _module_attains(of: GridPaths, Q: Tensor) -> Outcome:
    statement = "at zero input, with multiples of one orthogonal matrix, its gradients are as large as the bound"
    size = (4, 5)
    zeros = torch.zeros(*size, of.units, dtype=torch.float64)
    cells = list(product(range(size[0]), range(size[1])))
    found = spectral_norm(through(grid_rnn(of.north * Q, of.west * Q), zeros, cells)).unflatten(0, size)
    return _equal(of, statement, found, "GridRNN")


def _largest(norms: Tensor) -> list[float]:
    """Return the largest norm of each antidiagonal that is whole."""
    return [max(norms[i, n - i].item() for i in range(n + 1)) for n in range(len(norms))]


def _picture(of: GridPaths, random: list[float]) -> Curve:
    n = range(STEPS + 1)
    most = tuple(max(path_bound(i, m - i, of.north, of.west) for i in range(m + 1)) for m in n)
    larger = max(of.north, of.west)
    series = (
        ("over the grid, at most", most),
        ("over the grid, random N and W", tuple(random)),
        ("along one axis, at most", tuple(larger**m for m in n)),
    )
    caption = f"Largest gradient n steps away, ‖N‖ = {of.north:g}, ‖W‖ = {of.west:g}"
    return Curve(tuple(map(float, n)), series, "steps n = i + j", "σ_max", caption, log_y=True)


CLAIM = Claim(
    id="C1",
    title="Gradients over a grid",
    statement="Over a grid a gradient is a sum over paths, at most C(i+j, i) ‖N‖^i ‖W‖^j: it may explode although both "
    "matrices are contractive, by ‖N‖ + ‖W‖ a step.",
    paper=None,
    mathematics=GridPaths(),
    settle=settle,
)
