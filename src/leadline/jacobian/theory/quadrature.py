"""Expectations over a normal variable of activations and their derivatives."""

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

Elementwise = Callable[[Tensor], Tensor]
"""An elementwise torch function; its derivative is taken by autograd."""

CUT_OFF = 12.0
"""Beyond so many standard deviations a normal variable carries less than 1e-32."""


@cache
def normal_rule(nodes: int = 200) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
    """Return nodes and weights for ``E f(z)``: Gauss-Legendre on either side of 0, where activations have their kinks.

    Gauss-Hermite quadrature, which needs smoothness, loses three digits on ReLU.

    Examples
    --------
    >>> z, w = normal_rule()
    >>> round(float(w @ z.relu().square()), 12)
    0.5
    """
    x, w = np.polynomial.legendre.leggauss(nodes)
    right = CUT_OFF * (x + 1) / 2
    z = np.concatenate([-right[::-1], right])
    weights = np.concatenate([w[::-1], w]) * CUT_OFF / 2 * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    return torch.from_numpy(z), torch.from_numpy(weights)


def normal_mean(f: Elementwise, q: float = 1.0) -> float:
    """Return ``E f(√q z)`` for a standard normal z."""
    z, w = normal_rule()
    with torch.no_grad():
        return float(w @ f(q**0.5 * z))


def derivative_mean(phi: Elementwise, q: float = 1.0, power: float = 2.0) -> float:
    """Return ``E φ'(√q z)^power``.

    Examples
    --------
    >>> round(derivative_mean(torch.relu), 12)
    0.5
    """
    z, w = normal_rule()
    return float(w @ _derivative(phi, q**0.5 * z) ** power)


def correlated_mean(phi: Elementwise, q: float, c: float, *, derivative: bool = False) -> float:
    """Return ``E φ(u) φ(v)`` (or of the derivatives) for normal u, v of variance q and correlation c."""
    z, w = normal_rule(80)
    u = q**0.5 * z
    v = q**0.5 * (c * z[:, None] + max(0.0, 1 - c**2) ** 0.5 * z[None, :])
    f = (lambda x: _derivative(phi, x)) if derivative else phi
    with torch.no_grad():
        return float(w @ (f(u)[:, None] * f(v)) @ w)


def _derivative(phi: Elementwise, u: Tensor) -> Tensor:
    """Return the derivative of an elementwise function at every point."""
    with torch.enable_grad():
        leaf = u.detach().clone().requires_grad_()
        (slope,) = torch.autograd.grad(phi(leaf).sum(), leaf)
    return slope
