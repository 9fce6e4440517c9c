"""Mean-field theory of wide random networks: what gradients do at infinite width, beside which measurements stand.

Weights have variance ``σ_w²/width``, biases ``σ_b²``. "Growth" is the factor per layer of the *squared* gradient norm;
the rate that `leadline.gradient` measures is half its logarithm.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import scipy
import torch

from leadline.errors import UsageError
from leadline.jacobian.theory.quadrature import Elementwise, correlated_mean, derivative_mean, normal_mean


@dataclass(frozen=True)
class FixedPoint:
    """Where a wide random network settles with depth.

    `q` is the variance of the pre-activations, q*; ``chi = σ_w² E φ'²`` the growth of the squared gradient norm per
    layer: below 1 ordered, above 1 chaotic. Two inputs approach the correlation `c`, 1 in the ordered phase, where the
    slope of the correlation map is `chi_c`.
    """

    q: float
    chi: float
    c: float
    chi_c: float

    @property
    def rate(self) -> float:
        """Growth of the log gradient norm per layer, ``½ ln χ₁``."""
        return math.log(self.chi) / 2

    @property
    def depth_scale(self) -> float:
        """Layers over which correlations settle by a factor e, ``-1/ln χ_c``; infinite at criticality."""
        return math.inf if self.chi_c >= 1 else -1 / math.log(self.chi_c)


def fixed_point(phi: Elementwise, weight_variance: float, bias_variance: float = 0.0) -> FixedPoint:
    """Return the fixed point of a network ``x ↦ W φ(x) + b``.

    Source: Schoenholz, Gilmer, Ganguli and Sohl-Dickstein, Deep information propagation (2017).

    Raises `UsageError` if the variance grows without bound.

    Examples
    --------
    >>> import torch
    >>> point = fixed_point(torch.tanh, 1.3, 0.05)
    >>> round(point.chi, 4), round(point.depth_scale, 3)
    (0.8802, 7.834)
    """
    q = _settled_variance(phi, weight_variance, bias_variance)
    chi = weight_variance * derivative_mean(phi, q)
    c = 1.0 if chi <= 1 else _settled_correlation(phi, q, weight_variance, bias_variance)
    chi_c = chi if c == 1.0 else weight_variance * correlated_mean(phi, q, c, derivative=True)
    return FixedPoint(q, chi, c, chi_c)


def _settled_variance(phi: Elementwise, weight_variance: float, bias_variance: float) -> float:
    """Return the fixed point to which the variance map moves 1."""

    def moved(q: float) -> float:
        return weight_variance * normal_mean(lambda u: phi(u) ** 2, q) + bias_variance - q

    found = _first_zero(moved, [2.0 ** (k if moved(1.0) > 0 else -k) for k in range(41)])
    if found > 1e12:
        raise UsageError(f"the variance grows without bound at weight variance {weight_variance:g}")
    return found


def _settled_correlation(phi: Elementwise, q: float, weight_variance: float, bias_variance: float) -> float:
    """Return the fixed point below 1 of the correlation map, to which it moves ½."""

    def moved(c: float) -> float:
        return (weight_variance * correlated_mean(phi, q, c) + bias_variance) / q - c

    return _first_zero(moved, [1 - 0.5**k for k in range(1, 41)] if moved(0.5) > 0 else [0.5, 0.0])


def _first_zero(moved: Callable[[float], float], places: Sequence[float]) -> float:
    """Return where a map moves nothing, first along some places; the last of them if it moves all of them alike.

    The map itself, applied again and again, would take forever near criticality, where it moves ever less.
    """
    before = places[0]
    for place in places:
        if abs(moved(place)) <= 1e-13 * place:
            return place
        if moved(before) * moved(place) < 0:
            return float(scipy.optimize.brentq(moved, *sorted((before, place)), xtol=1e-300, rtol=1e-14))
        before = place
    return before


def critical_point(phi: Elementwise, bias_variance: float) -> tuple[float, float]:
    """Return the weight variance between 1 and 4 at which ``χ₁ = 1``, and q* there.

    Examples
    --------
    >>> import torch
    >>> [round(v, 4) for v in critical_point(torch.tanh, 0.05)]
    [1.761, 0.57]
    """

    def excess(weight_variance: float) -> float:
        q = _settled_variance(phi, weight_variance, bias_variance)
        return weight_variance * derivative_mean(phi, q) - 1

    root = float(scipy.optimize.brentq(excess, 1.0, 4.0, xtol=1e-10))
    return root, _settled_variance(phi, root, bias_variance)


def squared_value_variance(
    phi: Elementwise, weight_variance: float, q: float, depth: int, *, orthogonal: bool = False
) -> float:
    """Return the variance of the squared singular values of a deep Jacobian at the fixed point q.

    ``(σ_w² μ₁)^(2L) · L (μ₂/μ₁² - 1 - s₁)`` with ``μ_k = E φ'^(2k)``; s₁ is 0 for orthogonal, -1 for Gaussian weights.
    Source: Pennington, Schoenholz and Ganguli, Resurrecting the sigmoid (2017).

    Examples
    --------
    >>> round(squared_value_variance(lambda x: x, 1.0, 1.0, depth=7), 9)
    7.0
    """
    first, second = derivative_mean(phi, q, 2.0), derivative_mean(phi, q, 4.0)
    shape = second / first**2 - 1 + (0 if orthogonal else 1)
    return (weight_variance * first) ** (2 * depth) * depth * shape


def largest_squared_value(depth: int) -> float:
    """Return the largest squared singular value of a product of `depth` wide Gaussian matrices of variance 1/n."""
    return float((depth + 1.0) ** (depth + 1) / depth**depth)


def batchnorm_growth(phi: Elementwise, batch: int | None = None) -> float:
    """Return the growth per layer of a wide network ``BN(W φ(x))``: ``E φ'² / Var φ`` for a large batch.

    The size of a batch is accounted for where a closed form is known: without an activation, ``(B - 2)/(B - 3)``, and
    for ReLU. Raises `UsageError` if a batch is given for another activation. Source: Yang, Pennington, Rao,
    Sohl-Dickstein and Schoenholz, A mean field theory of batch normalization (2019).

    Examples
    --------
    >>> import torch
    >>> round(batchnorm_growth(torch.relu), 4), batchnorm_growth(lambda x: x, batch=13)
    (1.4669, 1.1)
    >>> [round(batchnorm_growth(torch.relu, batch=size), 3) for size in (32, 256)]
    [1.522, 1.473]
    """
    growth = derivative_mean(phi) / _variance(phi)
    if batch is None:
        return growth
    if abs(growth - 1) < 1e-9:
        return (batch - 2) / (batch - 3)
    if phi is torch.relu:
        return _relu_growth(batch)
    raise UsageError("a finite batch has closed forms for the identity and relu only: leave batch out, or measure")


def _relu_growth(B: int) -> float:
    """Return the growth of ReLU networks at batch B.

    Normalised features are uniform on a sphere of dimension B - 1 and radius √B, independent of their scale s, with
    ``E 1/s² = B/(a (B-3))`` and ``a = E φ_i² - E φ_i φ_j``. Gradients by φ have covariance m G over the batch, G the
    projection away from 1; with D = diag φ' and ``P = G - x̂x̂ᵀ/B`` the next one has
    ``m' (B-1) = m E[1/s²] E[tr(D P D) - 1ᵀD P D 1/B]``, moments of pairs of correlation -1/(B-1).
    """
    rho = -1 / (B - 1)
    both = 0.25 + math.asin(rho) / (2 * math.pi)  # E φ'_i φ'_j
    mixed = (math.sqrt(1 - rho**2) + (math.pi - math.acos(rho)) * rho) / (2 * math.pi)  # E φ_i φ_j
    trace = (B - 3) / 2 + (1 + (B - 1) * (both + mixed)) / B
    return B * trace / ((0.5 - mixed) * (B - 3) * (B - 1))


def residual_growth(phi: Elementwise, norm: Literal["plain", "branch", "before", "sum"], depth: int) -> float:
    """Return the growth of the squared gradient norm over `depth` residual layers ``f(x) = W φ(x)``, ``σ_w² = 2``.

    ``"branch"``, ``x + BN(f(x))``: for a homogeneous φ a power law ``Γ(D+1+c)/(Γ(D+1)Γ(1+c))`` with
    ``c = E φ'²/Var φ``, because the stream's variance grows by 1 a layer. ``"before"``, ``x + f(BN(x))``: by
    ``Γ(D+a+c)Γ(a)/(Γ(D+a)Γ(a+c))`` with ``a = 1/(2 Var φ)``, because from 1 on it grows by ``2 Var φ`` over the batch.
    ``"sum"``, ``BN(x + f(x))``: exponential. ``"plain"``: no normalisation.

    Examples
    --------
    >>> import torch
    >>> round(residual_growth(torch.relu, "branch", 80) ** 0.5, 1), round(residual_growth(torch.relu, "sum", 1), 3)
    (22.1, 1.189)
    >>> round(residual_growth(torch.relu, "before", 80) ** 0.5, 1)
    17.3
    """
    gain = 2.0 * derivative_mean(phi)
    if norm == "plain":
        return float((1 + gain) ** depth)
    if norm == "sum":
        return float(((1 + gain) / (1 + 2.0 * _variance(phi))) ** depth)
    c = batchnorm_growth(phi)
    a = 1.0 if norm == "branch" else 0.5 / _variance(phi)
    ends = ((depth + a + c, 1), (a, 1), (depth + a, -1), (a + c, -1))
    return math.exp(sum(sign * float(scipy.special.gammaln(at)) for at, sign in ends))


def gaussian_product_exponents(n: int) -> list[float]:
    """Return the Lyapunov spectrum of products of n × n Gaussian matrices of variance 1/n, largest first.

    ``λ_i = ½ [ln(2/n) + ψ((n - i + 1)/2)]``. Source: Newman, The distribution of Lyapunov exponents (1986).

    Examples
    --------
    >>> [round(value, 4) for value in gaussian_product_exponents(2)]
    [-0.2886, -0.9818]
    """
    return [0.5 * (math.log(2 / n) + float(scipy.special.digamma((n - i + 1) / 2))) for i in range(1, n + 1)]


def residual_product_exponents(variance: float) -> tuple[float, float]:
    """Return the extreme growth exponents of products of ``I + A``, A wide Gaussian with entries of `variance`/n.

    Examples
    --------
    >>> [round(value, 4) for value in residual_product_exponents(0.25)]
    [0.1116, -0.1438]
    """
    return 0.5 * math.log1p(variance), 0.5 * math.log1p(-variance) if variance < 1 else -math.inf


def rnn_exponent(phi: Elementwise, gain: float) -> float:
    """Return the largest Lyapunov exponent of ``x ↦ g W φ(x)`` with W of variance 1/n, n → ∞, for an odd φ.

    Successive states decorrelate, so each step multiplies squared perturbations by ``χ₁ = g² E φ'²``.

    Examples
    --------
    >>> import torch
    >>> round(rnn_exponent(torch.tanh, 2.0), 4)
    0.1547
    """
    q = _settled_variance(phi, gain**2, 0.0)
    return 0.5 * math.log(gain**2 * derivative_mean(phi, q))


def lstm_forget_exponent(forget_bias: float) -> float:
    """Return the exponent at which an LSTM with zero weights forgets its cell, ``ln σ(b_f)``."""
    return math.log(float(scipy.special.expit(forget_bias)))


def _variance(phi: Elementwise) -> float:
    """Return ``Var φ(z)`` for a standard normal z."""
    return normal_mean(lambda u: phi(u) ** 2) - normal_mean(phi) ** 2
