"""A6: the gradient of batch normalisation, finished."""

import sys
from dataclasses import dataclass

import numpy as np
import sympy
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from leadline.claims.algebra import derivative, normal, singular_values
from leadline.claims.claim import Claim, Effort, Evidence, Grounds, Outcome, computed
from leadline.claims.counterexample import Counterexample, arrays
from leadline.claims.settling import vanishes
from leadline.document import Curve
from leadline.jacobian.theory.normalisation import batchnorm_jacobian, batchnorm_singular_values


@dataclass(frozen=True)
class Normalisation:
    """``y = γ (x - μ)/sqrt(v + ε) + β`` over a batch: the mean is subtracted if `centred`, v divides by m if `biased`.

    Without centring v is the mean square.
    """

    centred: bool = True
    biased: bool = True
    gamma: float = 1.5
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        if self.epsilon < 0:
            raise ValueError(f"epsilon is not negative, as {self.epsilon} is")


def settle(of: Normalisation, effort: Effort) -> Evidence:
    """Derive the Jacobian and its spectrum for every batch size at once; compare with automatic differentiation."""
    values = _singular_values(of, 32, effort)
    return Evidence(
        claimed=(_entry(of, effort, diagonal=True), _entry(of, effort, diagonal=False), _spectrum()),
        compared=(_differentiated(of, effort), _constant_batch(of), _eval_mode(of)),
        quantities=(
            computed("largest singular value, batch 32", float(values[0])),
            computed("smallest but one", float(values[-2])),
            computed("smallest", float(values[-1])),
        ),
        picture=_picture(of, effort),
    )


def normalise(of: Normalisation, x: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
    """Normalise one feature over a batch.

    Examples
    --------
    >>> y = normalise(Normalisation(), torch.tensor([1.0, 2.0, 6.0]).double())
    >>> abs(float(y.mean())) < 1e-12
    True
    """
    shifted = x - x.mean() if of.centred else x
    variance = shifted.square().sum() / (len(x) - (not of.biased))
    return of.gamma * shifted / torch.sqrt(variance + of.epsilon)


def _entry(of: Normalisation, effort: Effort, *, diagonal: bool) -> Outcome:
    """Differentiate y_i by x_i or by another x_j, all other values of the batch entering by their first two moments."""
    entry = "∂y_i/∂x_i = (γ/s)(1 - 1/m - x̂_i²/m)" if diagonal else "∂y_i/∂x_j = -(γ/s)(1 + x̂_i x̂_j)/m for i ≠ j"
    x_i, x_j, rest = sympy.symbols("x_i x_j rest", real=True)
    gamma, epsilon, m, squares = sympy.symbols("gamma epsilon m squares", positive=True)
    own = [x_i] if diagonal else [x_i, x_j]
    last = own[-1]
    mean = (sum(own) + rest) / m
    mean_square = (sum(v**2 for v in own) + squares) / m
    variance = mean_square - mean**2
    s = sympy.sqrt(variance + epsilon)
    spread = variance if of.centred else mean_square
    if not of.biased:
        spread = spread * m / (m - 1)
    y = gamma * (x_i - (mean if of.centred else 0)) / sympy.sqrt(spread + epsilon)
    claimed = gamma / s * (int(diagonal) - 1 / m - (x_i - mean) * (last - mean) / s**2 / m)
    if vanishes(y.diff(last) - claimed):
        return Outcome(entry, True, Grounds.SYMBOLIC, "sympy differentiates y_i to just that, for every batch size m")
    return _contradicted(of, entry, effort)


def _contradicted(of: Normalisation, statement: str, effort: Effort) -> Outcome:
    """Show the difference in numbers."""
    x = normal(effort.generator(), 4) + 1
    true, claimed = _jacobian(of, x), batchnorm_jacobian(x, of.gamma, of.epsilon)
    gap = float((true - claimed).abs().max())
    case = Counterexample(statement, {"largest difference": gap}, arrays(x=x, jacobian=true, claimed=claimed))
    return Outcome(statement, False, Grounds.SEARCHED, f"at a random batch of 4 an entry is off by {gap:.4g}", case)


def _spectrum() -> Outcome:
    """Apply the formula to its three kinds of directions, given Σ x̂ = 0 and Σ x̂² = m v/(v + ε)."""
    statement = "its singular values are 0, (|γ|/s) ε/(v+ε), and m - 2 times |γ|/s"
    m, v, epsilon = sympy.symbols("m v epsilon", positive=True)
    hat, w = sympy.symbols("hat w", real=True)  # one entry of x̂, and of any direction w across 1 and x̂
    square = m * v / (v + epsilon)

    def image(entry: sympy.Expr, total: sympy.Expr, along: sympy.Expr) -> sympy.Expr:
        """One entry of J u, in units of γ/s, for a direction u of sum `total` and product `along` with x̂."""
        return entry - total / m - hat * along / m

    zero, one = sympy.Integer(0), sympy.Integer(1)
    gaps = (image(one, m, zero), image(hat, zero, square) - epsilon / (v + epsilon) * hat, image(w, zero, zero) - w)
    holds = all(vanishes(gap) for gap in gaps)
    argument = "J is symmetric; it takes 1 to 0, x̂ to (γ/s) ε/(v+ε) x̂, and multiplies all across both by γ/s"
    return Outcome(statement, holds, Grounds.SYMBOLIC, argument)


def _jacobian(of: Normalisation, x: Float[Tensor, " m"]) -> Float[Tensor, "m m"]:
    """Differentiate automatically."""
    return derivative(lambda x: normalise(of, x), x)


def _differentiated(of: Normalisation, effort: Effort) -> Outcome:
    """Compare formula and closed-form spectrum with automatic differentiation and a dense decomposition."""
    statement = "formula and singular values agree with automatic differentiation for every batch size up to 64"
    generator = effort.generator()
    for m in range(2, 65):
        x = 3 * normal(generator, m) + 1
        true = _jacobian(of, x)
        gap = float((true - batchnorm_jacobian(x, of.gamma, of.epsilon)).abs().max())
        gap = max(gap, float((singular_values(true) - batchnorm_singular_values(x, of.gamma, of.epsilon)).abs().max()))
        if gap > 1e-10:
            case = Counterexample(statement, {"m": m, "gap": gap}, arrays(x=x, jacobian=true))
            return Outcome(statement, False, Grounds.MEASURED, f"off by {gap:.3g} at m = {m}", case)
    return Outcome(statement, True, Grounds.MEASURED, "63 batch sizes, one random batch each, to 1e-10")


def _singular_values(of: Normalisation, m: int, effort: Effort) -> NDArray[np.float64]:
    x = normal(effort.generator(), m)
    values: NDArray[np.float64] = singular_values(_jacobian(of, x)).numpy()
    return values


def _constant_batch(of: Normalisation) -> Outcome:
    """Differentiate at a batch without variance, where the slope is at its largest in all directions but one."""
    m = 5
    J = _jacobian(of, torch.full((m,), 2.0, dtype=torch.float64))
    if of.epsilon == 0:
        statement, finite = "with ε = 0 there is no Jacobian at a constant batch", bool(J.isfinite().all())
        case = Counterexample(statement, {}, arrays(jacobian=J)) if finite else None
        return Outcome(statement, not finite, Grounds.EXHAUSTIVE, f"batch of {m}, by automatic differentiation", case)
    statement = "on a constant batch the singular values are |γ|/sqrt(ε), m - 1 times, and 0"
    found = singular_values(J)
    expected = torch.tensor([abs(of.gamma) / of.epsilon**0.5] * (m - 1) + [0.0], dtype=torch.float64)
    gap = float((found - expected).abs().max() / expected[0].clamp_min(1e-300))
    case = None if gap < 1e-9 else Counterexample(statement, {"relative gap": gap})
    return Outcome(statement, gap < 1e-9, Grounds.EXHAUSTIVE, f"batch of {m}, relative difference {gap:.2g}", case)


def _eval_mode(of: Normalisation) -> Outcome:
    """PyTorch's own module, in eval mode."""
    statement = "in eval mode the Jacobian is diagonal"
    smallest = sys.float_info.min  # torch 2.11 and 2.12 refuse 0, and beside a variance of 1 both are nothing
    norm = nn.BatchNorm1d(1, eps=max(of.epsilon, smallest)).double().eval()
    J = derivative(lambda x: norm(x[:, None])[:, 0], torch.linspace(-1, 2, 6).double())
    rest = float((J - J.diagonal().diag()).abs().max())
    case = None if rest == 0 else Counterexample(statement, {"largest off the diagonal": rest})
    return Outcome(statement, rest == 0, Grounds.EXHAUSTIVE, f"off the diagonal of nn.BatchNorm1d: {rest:g}", case)


def _picture(of: Normalisation, effort: Effort) -> Curve:
    values = _singular_values(of, 16, effort)
    series = (("singular value", tuple(np.maximum(values, 1e-17).tolist())),)
    caption = "Singular values of batch normalisation, batch of 16: two directions are lost"
    return Curve(tuple(range(1, 17)), series, "i", "σ_i", caption, log_y=True)


CLAIM = Claim(
    id="A6",
    title="Gradient of batch normalisation",
    statement="Over a batch of m ≥ 2, batch normalisation has the Jacobian (γ/s)(δ_ij - 1/m - x̂_i x̂_j/m), which is "
    "blind to a common shift, nearly blind to a common stretch, and |γ|/s in every other direction.",
    paper="A derivation that stops before the end; its diagonal is the case i = j.",
    mathematics=Normalisation(),
    settle=settle,
)
