"""A4: residual connections, GRUs and LSTMs, and whether they keep singular values away from 0."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import sympy
import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import vmap

from leadline.claims.algebra import eye, normal, singular_values
from leadline.claims.claim import Claim, Effort, Evidence, Grounds, Outcome, measured
from leadline.claims.counterexample import Counterexample
from leadline.claims.settling import Point, Search, searched, vanishes
from leadline.claims.statements import gates
from leadline.document import Curve
from leadline.jacobian.theory.residual import attaining, smallest_possible, weyl_lower
from leadline.results import Estimate

_Lower = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class ResidualSpectrum:
    """Branches A of a given `size` whose singular values lie between `smallest` and `largest`."""

    smallest: float = 0.01
    largest: float = 100.0
    size: int = 4


def settle(of: ResidualSpectrum, effort: Effort) -> Evidence:
    """Search for branches that break the paper's bound, and the bounds that should replace it."""
    draws = {8: 1001, 64: 501, 256: 201} if effort.full else {8: 201, 64: 51}
    medians = {size: smallest_of_random(of, size, count, effort) for size, count in draws.items()}
    return Evidence(
        claimed=(paper_bound(of, effort),),
        instead=(
            weyl_bound(of, effort),
            attained(of, effort),
            singular_residual(),
            symmetric_bound(of, effort),
            gates.closed_forms(effort),
            gates.step_bounds(effort),
            gates.carried(effort),
        ),
        aside=(gates.no_floor("GRU", effort), gates.no_floor("LSTM", effort)),
        quantities=tuple(
            measured(f"median σ_min(I+A), half the values {of.largest:g}, half {of.smallest:g}, n = {size}", median)
            for size, median in medians.items()
        ),
        picture=_picture(of),
    )


def _picture(of: ResidualSpectrum) -> Curve:
    """Draw what the paper claims, what is certain, and what is the case for the A that attains the least."""
    values = torch.logspace(np.log10(of.largest), np.log10(of.smallest), 16, dtype=torch.float64)
    found = singular_values(eye(16) + attaining(values))
    series = (
        ("the paper's bound |σ_i(A) - 1|", tuple((values - 1).abs().tolist())),
        ("Weyl's bound", tuple(weyl_lower(values).tolist())),
        ("σ_i(I+A), worst A", tuple(found.tolist())),
    )
    return Curve(tuple(range(1, 17)), series, "i", "singular value", "Singular values of a residual layer's Jacobian")


def paper_bound(of: ResidualSpectrum, effort: Effort) -> Outcome:
    """Look for an A with some σ_i(I + A) below |σ_i(A) - 1|."""
    statement = "σ_i(I+A) ≥ |σ_i(A) - 1| for every i"
    return _searched(of, statement, lambda _, s: (s - 1).abs(), effort)


def weyl_bound(of: ResidualSpectrum, effort: Effort) -> Outcome:
    """Look for an A that breaks Weyl's inequality."""
    statement = "σ_i(I+A) ≥ max(0, σ_i(A) - 1, 1 - σ_(n+1-i)(A)) for every i"
    return _searched(of, statement, lambda _, s: vmap(weyl_lower)(s), effort)


def symmetric_bound(of: ResidualSpectrum, effort: Effort) -> Outcome:
    """Look for an A that breaks the bound by its symmetric part."""

    def least(A: Tensor, s: Tensor) -> Tensor:
        bound = 1 + torch.linalg.eigvalsh((A + A.mT) / 2)[..., :1]
        return torch.cat([torch.zeros_like(s[..., 1:]), bound], dim=-1)

    return _searched(of, "σ_min(I+A) ≥ 1 + λ_min((A + Aᵀ)/2)", least, effort)


def singular_residual() -> Outcome:
    """Prove for which singular values s₁ ≥ s₂ a rotation makes I + R diag(s) singular."""
    s1, s2 = sympy.symbols("s1 s2", positive=True)
    cos, sin = sympy.symbols("cos sin", real=True)
    determinant = (sympy.eye(2) + sympy.Matrix([[cos, -sin], [sin, cos]]) * sympy.diag(s1, s2)).det()
    on_circle = sympy.expand(determinant).subs(sin**2, 1 - cos**2)
    root = -(1 + s1 * s2) / (s1 + s2)
    singular = vanishes(on_circle.subs(cos, root))
    exists = vanishes((s1 + s2) - (1 + s1 * s2) - (s1 - 1) * (1 - s2))
    statement = "I+A can be singular as soon as A has singular values on both sides of 1"
    argument = (
        "det(I + R diag(s₁, s₂)) = 0 for a rotation by cos θ = -(1+s₁s₂)/(s₁+s₂), which exists because "
        "(s₁+s₂) - (1+s₁s₂) = (s₁-1)(1-s₂) ≥ 0"
    )
    return Outcome(statement, singular and exists, Grounds.SYMBOLIC, argument)


def attained(of: ResidualSpectrum, effort: Effort) -> Outcome:
    """Build the A that should reach the least σ_min for many drawn spectra, on both sides of 1 and across it."""
    statement = "the least σ_min(I+A) over all A with given singular values is max(0, 1 - σ_max(A), σ_min(A) - 1)"
    generator, gap, draws = effort.generator(), 0.0, 60
    for draw in range(draws):
        low, high = ((-2, 2), (-2, 0), (0, 2))[draw % 3]
        values = 10 ** (low + (high - low) * torch.rand(of.size, generator=generator, dtype=torch.float64))
        A = attaining(values)
        reached = singular_values(eye(of.size) + A)[-1].item()
        drift = (singular_values(A) - values.sort(descending=True).values).abs().max().item()
        gap = max(gap, drift / values.max().item(), abs(reached - smallest_possible(values)) / values.max().item())
    holds = gap < 1e-12
    case = None if holds else Counterexample(statement, {"relative gap": gap})
    evidence = f"reached to {gap:.1g} for {draws} drawn spectra; it cannot be less by Weyl's inequality"
    return Outcome(statement, holds, Grounds.MEASURED, evidence, case)


def smallest_of_random(of: ResidualSpectrum, size: int, draws: int, effort: Effort) -> Estimate:
    """Return the median of σ_min(I + A), half of A's singular values at either end, its factors random orthogonal.

    The error is that of the median, from the order statistics one standard deviation of a binomial around it.
    """
    generator = effort.generator()
    s = torch.tensor([of.largest] * (size // 2) + [of.smallest] * (size - size // 2), dtype=torch.float64)
    found = np.empty(draws)
    for i in range(draws):
        U, V = (normal(generator, size, size) for _ in range(2))
        A = _orthogonal(U) * s @ _orthogonal(V).mT
        found[i] = singular_values(A + eye(size))[-1].item()
    found.sort()
    half_width = round(np.sqrt(draws) / 2)
    middle = draws // 2
    sem = (found[min(middle + half_width, draws - 1)] - found[max(middle - half_width, 0)]) / 2
    return Estimate(float(np.median(found)), float(sem), draws, effort.seed)


def _searched(of: ResidualSpectrum, statement: str, lower: _Lower, effort: Effort) -> Outcome:
    """Ascend the largest violation of ``σ_i(I + A) ≥ lower_i(A, σ(A))`` over A = U diag(s) Vᵀ."""
    k = of.size

    def draw(generator: torch.Generator, starts: int) -> Point:
        U, V = (normal(generator, starts, k, k) for _ in range(2))
        return {"U": U, "V": V, "levels": 2 * normal(generator, starts, k)}

    def excess(point: Point) -> Tensor:
        A, s = _branch(of, point)
        return ((lower(A, s) - singular_values(A + eye(k))) / (1 + s)).amax(-1)

    def values(at: Point) -> dict[str, int | float | str]:
        A, s = _branch(of, at)
        residual = singular_values(A + eye(k))
        worst = int((lower(A, s) - residual).argmax())
        return {"i": worst + 1, "σ_i(A)": s[worst].item(), "claimed": lower(A, s)[worst].item(),
                "σ_i(I+A)": residual[worst].item()}  # fmt: skip

    return searched(statement, Search(draw, excess, tolerance=1e-8, unit="parts of 1 + σ_i(A)"), effort, values)


def _branch(of: ResidualSpectrum, point: Point) -> tuple[Tensor, Tensor]:
    """Return A with singular values in the range, and these, largest first."""
    share = torch.sigmoid(point["levels"]).sort(dim=-1, descending=True).values
    s = of.smallest * (of.largest / of.smallest) ** share
    return _orthogonal(point["U"]) * s.unsqueeze(-2) @ _orthogonal(point["V"]).mT, s


def _orthogonal(M: Float[Tensor, "*n k k"]) -> Float[Tensor, "*n k k"]:
    """Return the orthogonal factor of a matrix, uniform over all rotations and reflections for normal ones."""
    Q: Tensor
    Q, R = torch.linalg.qr(M)
    return Q * torch.diagonal(R, dim1=-2, dim2=-1).sign().unsqueeze(-2)


CLAIM = Claim(
    id="A4",
    title="Residual, GRU, LSTM",
    statement="Adding the identity to a layer of Jacobian A gives σ_i(I+A) ≥ |σ_i(A) - 1|, so that singular values "
    "stay away from 0.",
    paper="σ_i(I+A) ≥ |σ_i(A) - 1|, hence neither residual nor gated networks vanish.",
    mathematics=ResidualSpectrum(),
    settle=settle,
)
