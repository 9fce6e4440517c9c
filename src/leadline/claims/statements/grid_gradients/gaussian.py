"""C3: independent Gaussian matrices over a grid: squared gradients add up over paths."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from leadline.claims.algebra import normal
from leadline.claims.claim import Claim, Effort, Evidence, Grounds, Outcome, Quantity, computed, measured
from leadline.claims.counterexample import Counterexample, arrays
from leadline.claims.statements.grid_gradients.models import grid_rnn, lstm_growth, orthogonal, through
from leadline.document import Curve
from leadline.jacobian.theory.grid import gaussian_moment, grid_jacobians
from leadline.results import Estimate

SIDE = 5
"""Rows and columns of the grid over which is measured."""


@dataclass(frozen=True)
class GaussianGrid:
    """Entries of N and W over `width` units have variances `north`²/k and `west`²/k, and this `correlation`."""

    north: float = 0.8
    west: float = 0.6
    correlation: float = 0.0
    width: int = 96

    def __post_init__(self) -> None:
        if min(self.north, self.west) <= 0 or not -1 <= self.correlation <= 1:
            raise ValueError(
                f"positive deviations and a correlation, not {self.north}, {self.west}, {self.correlation}"
            )

    @property
    def growth(self) -> float:
        """The factor of a step that is claimed."""
        return math.hypot(self.north, self.west)

    def claimed(self, i: int, j: int) -> float:
        """Return ``C(i+j, i) σ_N²ⁱ σ_W²ʲ``."""
        return math.comb(i + j, i) * self.powers(i, j)

    def powers(self, i: int, j: int) -> float:
        """Return ``σ_N²ⁱ σ_W²ʲ``."""
        return float(self.north ** (2 * i) * self.west ** (2 * j))

    def draw(self, generator: torch.Generator, k: int) -> tuple[Float[Tensor, "k k"], Float[Tensor, "k k"]]:
        """Draw N and W."""
        first, second = normal(generator, k, k), normal(generator, k, k)
        second = self.correlation * first + math.sqrt(1 - self.correlation**2) * second
        return self.north * first / math.sqrt(k), self.west * second / math.sqrt(k)


def settle(of: GaussianGrid, effort: Effort) -> Evidence:
    """Take means by Wick's theorem where that is quick, and measure them further away."""
    k, draws = effort.pick(of.width, max(of.width, 300)), effort.pick(20, 40)
    squares = _squares(of, k, draws, effort)
    totals = [squares.flip(2).diagonal(SIDE - 1 - n, 1, 2).sum(-1) for n in range(SIDE)]
    corner = (SIDE - 1, SIDE - 1)
    return Evidence(
        claimed=(_leading(of), _measured(of, squares, k, effort), _grows(of, totals[-1], k, effort)),
        compared=(_modules(of, effort), _exact(of, squares, k, effort)),
        quantities=(
            computed("growth a step, sqrt(σ_N² + σ_W²)", of.growth),
            measured("growth a step, measured", _per_step(totals[-1].tolist(), effort)),
            measured(f"mean squared norm a row at {corner}", Estimate.of(squares[:, -1, -1].tolist(), effort.seed)),
            computed(f"mean squared norm a row at {corner}, k → ∞", of.claimed(*corner)),
            _orthogonal(effort),
            lstm_growth(0.0, effort),
        ),
        picture=_picture(of, totals, effort),
    )


def _per_step(totals: list[float], effort: Effort) -> Estimate:
    """Return the growth of a norm in a step, from squared norms over the last antidiagonal."""
    return Estimate.of([total ** (1 / (2 * SIDE - 2)) for total in totals], effort.seed)


def _squares(of: GaussianGrid, k: int, draws: int, effort: Effort) -> Float[Tensor, "draws h w"]:
    """Return ``‖J(i,j)‖²/k``, Frobenius, for matrices drawn so many times."""
    generator, found = effort.generator(), []
    for _ in range(draws):
        N, W = of.draw(generator, k)
        found.append(grid_jacobians({(1, 0): N, (0, 1): W}, (SIDE, SIDE)).square().sum((-1, -2)) / k)
    return torch.stack(found)


def _leading(of: GaussianGrid) -> Outcome:
    """Count, for each cell near the first one, the pairings that are of leading order."""
    statement = "E‖J(i,j)‖²/k = C(i+j, i) σ_N²ⁱ σ_W²ʲ to leading order in k [i + j ≤ 4]"
    for i, j in ((i, n - i) for n in range(1, 5) for i in range(n + 1)):
        terms = gaussian_moment(i, j, of.correlation)
        if abs(terms[0] - math.comb(i + j, i)) > 1e-12:
            values = {"i": i, "j": j, "claimed": math.comb(i + j, i), "true": terms[0], "correlation": of.correlation}
            evidence = f"at {(i, j)} the paths add up to {terms[0]:.4g}, not to {math.comb(i + j, i)}"
            return Outcome(statement, False, Grounds.EXHAUSTIVE, evidence, Counterexample(statement, values))
    at = gaussian_moment(2, 2)
    argument = (
        "by Wick's theorem, over all pairings: no two different paths pair up at leading order, and the next order "
    )
    argument += f"is 1/k²; at (2,2) it is {at[0]:g} + {at[2]:g}/k² + …"
    return Outcome(statement, True, Grounds.EXHAUSTIVE, argument)


def _beyond(found: Estimate, claimed: float, n: int, k: int) -> bool:
    """Whether a mean differs by more than chance, and than terms beyond the leading one: n⁴/8k² of it for n ≤ 5."""
    return abs(found.value - claimed) > found.half_width(0.99999) + claimed * n**4 / (8 * k**2)


def _measured(of: GaussianGrid, squares: Tensor, k: int, effort: Effort) -> Outcome:
    statement = f"so it is measured, up to {(SIDE - 1, SIDE - 1)}"
    wrong, seen = dict[str, int | float | str](), []
    for i, j in ((2, 2), (4, 2), (2, 4), (4, 4)):
        found = Estimate.of((squares[:, i, j] / of.claimed(i, j)).tolist(), effort.seed)
        seen.append(f"{(i, j)}: {found}")
        if _beyond(found, 1.0, i + j, k):
            wrong[f"found over claimed at {(i, j)}"] = found.value
    case = Counterexample(statement, wrong | {"width": k, "seed": effort.seed}) if wrong else None
    evidence = f"found over claimed, {len(squares)} draws of width {k}: " + "; ".join(seen)
    return Outcome(statement, not wrong, Grounds.MEASURED, evidence, case)


def _grows(of: GaussianGrid, totals: Float[Tensor, " draws"], k: int, effort: Effort) -> Outcome:
    """Add up an antidiagonal: ``Σ C(n, i) σ_N²ⁱ σ_W²ʲ = (σ_N² + σ_W²)^n``."""
    statement = f"over antidiagonals gradients grow by sqrt(σ_N² + σ_W²) = {of.growth:.4g} a step"
    n = SIDE - 1
    found, claimed = Estimate.of(totals.tolist(), effort.seed), of.growth ** (2 * n)
    holds = not _beyond(found, claimed, n, k)
    case = None if holds else Counterexample(statement, {"width": k, "claimed": claimed, "measured": found.value})
    evidence = f"squared norms {n} steps away, width {k}, add up to {found}, claimed {claimed:.4g}"
    return Outcome(statement, holds, Grounds.MEASURED, evidence, case)


def _exact(of: GaussianGrid, squares: Tensor, k: int, effort: Effort) -> Outcome:
    """Compare with Wick's theorem to all orders."""
    statement = "Wick's theorem gives the mean at (2,2), all its orders in 1/k together"
    theory = of.powers(2, 2) * sum(term / k**order for order, term in gaussian_moment(2, 2, of.correlation).items())
    found = Estimate.of(squares[:, 2, 2].tolist(), effort.seed)
    holds = abs(found.value - theory) <= found.half_width(0.99999)
    case = None if holds else Counterexample(statement, {"width": k, "claimed": theory, "measured": found.value})
    return Outcome(statement, holds, Grounds.MEASURED, f"{found}, by theory {theory:.5g}", case)


def _modules(of: GaussianGrid, effort: Effort) -> Outcome:
    statement = "the zoo's GridRNN with such matrices has these Jacobians at zero input"
    k, size = 16, (3, 4)
    N, W = of.draw(effort.generator(), k)
    cells = [(i, j) for i in range(size[0]) for j in range(size[1])]
    found = through(grid_rnn(N, W), torch.zeros(*size, k, dtype=torch.float64), cells).unflatten(0, size)
    gap = float((found - grid_jacobians({(1, 0): N, (0, 1): W}, size)).abs().max())
    case = None if gap < 1e-10 else Counterexample(statement, {"largest difference": gap}, arrays(N=N, W=W))
    evidence = f"{len(cells)} Jacobians of width {k} by automatic differentiation: differ by {gap:.2g}"
    return Outcome(statement, gap < 1e-10, Grounds.MEASURED, evidence, case)


def _orthogonal(effort: Effort) -> Quantity:
    """Measure independent orthogonal matrices over √2, with which the zoo's recurrence starts."""
    generator, totals, k = effort.generator(), [], 32
    for _ in range(effort.pick(8, 40)):
        N, W = (orthogonal(generator, k) / math.sqrt(2) for _ in range(2))
        J = grid_jacobians({(1, 0): N, (0, 1): W}, (SIDE, SIDE))
        totals.append(sum(float(J[i, SIDE - 1 - i].square().sum()) / k for i in range(SIDE)))
    return measured("growth a step, independent orthogonal matrices over √2", _per_step(totals, effort))


def _picture(of: GaussianGrid, sums: list[Tensor], effort: Effort) -> Curve:
    n = range(SIDE)
    found = [Estimate.of(total.tolist(), effort.seed) for total in sums]
    theory = tuple(of.growth ** (2 * m) for m in n)
    series = (("measured", tuple(e.value for e in found)), ("(σ_N² + σ_W²)^n", theory))
    bands = (("measured", tuple(e.value - 2 * e.sem for e in found), tuple(e.value + 2 * e.sem for e in found)),)
    caption = f"Squared gradients over an antidiagonal, σ_N = {of.north:g}, σ_W = {of.west:g}"
    return Curve(tuple(map(float, n)), series, "steps n = i + j", "Σ ‖J‖²/k", caption, bands=bands)


CLAIM = Claim(
    id="C3",
    title="Random matrices over a grid",
    statement="With independent Gaussian N and W of entries of variance σ_N²/k and σ_W²/k the mean squared norm of "
    "J(i,j) is C(i+j, i) σ_N²ⁱ σ_W²ʲ a row to leading order in k: gradients grow by sqrt(σ_N² + σ_W²) a step.",
    paper=None,
    mathematics=GaussianGrid(),
    settle=settle,
)
