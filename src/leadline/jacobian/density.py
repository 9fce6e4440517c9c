"""The distribution of all singular values, by stochastic Lanczos quadrature.

For a random unit vector z, Golub-Kahan bidiagonalisation from z is a Gauss quadrature of the spectral measure that z
sees: the singular values of the small bidiagonal matrix are its nodes, the squared first components of their right
vectors its weights. The mean over z is the density of the operator's singular values (n of them, zeros included).

Source: Ubaru, Chen and Saad, Fast estimation of tr f(A) via stochastic Lanczos quadrature (2017).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from leadline.jacobian.operators import Operator
from leadline.results import Estimate

NORMAL = 1.96
"""Standard errors that hold 95 % of a normal distribution."""


@dataclass(frozen=True)
class Density:
    """A quadrature of the distribution of singular values, one row per random vector; each row's weights sum to 1.

    `size` is how many singular values there are, zeros included. Rows in `complete` are no quadrature: they hold all
    that their vector sees; with no `size` they hold all singular values, and no vector was drawn.

    Examples
    --------
    >>> from leadline.jacobian.operators import Dense
    >>> spread = density(Dense(torch.eye(100)), steps=3, probes=4, generator=torch.Generator().manual_seed(0))
    >>> spread.below(0.9).value, spread.below(1.1).value
    (0.0, 1.0)
    """

    nodes: Float[Tensor, "probes steps"]
    weights: Float[Tensor, "probes steps"]
    complete: Bool[Tensor, "probes"]
    size: int | None = None
    seed: int | None = None

    @classmethod
    def of(cls, values: Float[Tensor, "n"], seed: int | None = None) -> Density:
        """Return the density of singular values that are all known."""
        return cls(
            values[None], torch.full_like(values, 1 / len(values))[None], torch.ones(1, dtype=torch.bool), None, seed
        )

    def times(self, unit: float) -> Density:
        """Return the density of the values in another unit."""
        return replace(self, nodes=unit * self.nodes)

    def below(self, value: float) -> Estimate:
        """Estimate the fraction of singular values at or below `value`.

        What a vector sees at or below it lies between the weights of all such nodes but the last, and of all such nodes
        and the next (Chebyshev, Markov, Stieltjes). Over random vectors that varies as a beta distribution: the sum of
        squares of some coordinates, of all. Both are in the error.
        """
        inside = self.nodes <= value
        share = torch.where(inside, self.weights, 0.0).sum(dim=1)
        edges = [
            torch.where(side, self.weights, 0.0).gather(1, place[:, None])[:, 0]
            for side, place in (
                (inside, torch.where(inside, self.nodes, -torch.inf).argmax(dim=1)),
                (~inside, torch.where(inside, torch.inf, self.nodes).argmin(dim=1)),
            )
        ]
        unresolved = float(torch.where(self.complete, 0.0, torch.maximum(*edges)).mean())
        found, probes = float(share.mean()), len(share)
        if self.size is None:
            return Estimate(found, 0.0, probes, self.seed)
        told = probes * self.size / 2
        varied = min(max(0.5, found - unresolved), found + unresolved)  # the most varied of what may be
        shrunk = (varied * told + 2) / (told + 4)  # few beyond either end: none seen are not none there
        half_width = unresolved + NORMAL * math.sqrt(shrunk * (1 - shrunk) / (told + 1))
        certain = bool(self.complete.all()) and found in (0.0, 1.0)
        return Estimate(found, 0.0 if certain else half_width / NORMAL, probes, self.seed)


def density(
    A: Operator, *, steps: int = 32, probes: int = 8, generator: torch.Generator, seed: int | None = None
) -> Density:
    """Return the density of the singular values of an operator, all probes in one block of products."""
    n = A.shape[1]
    steps = min(steps, n, A.shape[0])
    z = torch.randn(n, probes, generator=generator, dtype=torch.float64).to(dtype=A.dtype, device=A.device)
    V, U = [_unit(z)[0]], list[Tensor]()
    B = torch.zeros(probes, steps, steps, dtype=torch.float64)
    complete = torch.full((probes,), steps == n)
    tiny = 100 * torch.finfo(A.dtype).eps
    for step in range(steps):
        left, diagonal = _unit(_without(A.matmat(V[step]), U), tiny)
        U.append(left)
        B[:, step, step] = diagonal.double().cpu()
        if step + 1 < steps:
            right, coupling = _unit(_without(A.rmatmat(left), V), tiny)
            V.append(right)
            B[:, step, step + 1] = coupling.double().cpu()
            complete |= coupling.cpu() == 0
    _, nodes, right_vectors = torch.linalg.svd(B)
    return Density(nodes, right_vectors[:, :, 0].square(), complete, n, seed)


def frobenius(squares: Float[Tensor, "probes"], n: int, largest: float, seed: int | None = None) -> Estimate:
    """Estimate ``‖A‖_F`` from ``‖A z‖²`` of random unit vectors z, by ``E‖A z‖² = ‖A‖_F²/n`` (Hutchinson).

    Few probes say little of their own spread. The error is an upper bound on the standard error instead, from the
    largest singular value: ``Var(n ‖A z‖²) ≤ 2 Σ σ⁴ ≤ 2 σ_max² ‖A‖_F²``.

    Examples
    --------
    >>> print(frobenius(torch.tensor([0.9, 1.1]), n=100, largest=2.0))
    10 ± 1 (n=2)
    """
    probes = len(squares)
    return Estimate(math.sqrt(n * float(squares.double().mean())), largest / math.sqrt(2 * probes), probes, seed)


def _unit(X: Float[Tensor, "n p"], tiny: float = 0.0) -> tuple[Float[Tensor, "n p"], Float[Tensor, "p"]]:
    """Normalise each column; one shorter than `tiny` is nothing but rounding, and becomes zero."""
    norms = torch.linalg.vector_norm(X, dim=0)
    alive = norms > tiny
    return torch.where(alive, X / torch.where(alive, norms, 1.0), 0.0), torch.where(alive, norms, 0.0)


def _without(X: Float[Tensor, "n p"], bases: list[Tensor]) -> Float[Tensor, "n p"]:
    """Remove from each column its components along earlier vectors of the same probe, twice."""
    for _ in range(2):
        for Q in bases:
            X = X - Q * (Q * X).sum(dim=0)
    return X
