"""Singular values of residual steps ``J = I + A``: what those of A allow, and the matrices that attain it.

With ``σ_1 ≥ … ≥ σ_n`` those of A, Weyl's inequalities give

    max(0, σ_i - 1, 1 - σ_(n+1-i))  ≤  σ_i(I + A)  ≤  1 + σ_i.

The minimum of ``σ_n(I + A)`` over all A with those singular values is ``max(0, 1 - σ_1, σ_n - 1)``: zero exactly when
``σ_n ≤ 1 ≤ σ_1``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from leadline.results import Bound, Status


def weyl_lower(values: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
    """Return lower bounds on the singular values of ``I + A`` from those of A, both largest first.

    Examples
    --------
    >>> weyl_lower(torch.tensor([100.0, 0.01]))
    tensor([99.,  0.])
    """
    return torch.stack([values - 1, 1 - values.flip(0), torch.zeros_like(values)]).amax(dim=0)


def weyl_upper(values: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
    """Return upper bounds on the singular values of ``I + A`` from those of A, both largest first."""
    return 1 + values


def smallest_possible(values: Float[Tensor, "n"]) -> float:
    """Return the least ``σ_n(I + A)`` over all A with the singular values given, in any order.

    Examples
    --------
    >>> smallest_possible(torch.tensor([100.0, 0.01])), smallest_possible(torch.tensor([0.5, 0.25]))
    (0.0, 0.5)
    """
    return max(0.0, 1 - float(values.max()), float(values.min()) - 1)


def attaining(values: Float[Tensor, "n"]) -> Float[Tensor, "n n"]:
    """Return an A with the singular values given for which ``σ_n(I + A)`` is the least possible.

    Where one value is below 1 and another above, a 2 × 2 block does it: ``Q diag(s₁, s₂)`` has the eigenvalue -1 for
    the rotation Q by θ with ``cos θ = -(1 + s₁ s₂)/(s₁ + s₂)``.

    Examples
    --------
    >>> A = attaining(torch.tensor([100.0, 0.01], dtype=torch.float64))
    >>> abs(torch.linalg.det(torch.eye(2, dtype=torch.float64) + A).item()) < 1e-12
    True
    """
    ordered = values.sort(descending=True).values
    A = -torch.diag(ordered)
    large, small = float(ordered[0]), float(ordered[-1])
    if len(ordered) > 1 and small < 1 < large:
        cosine = -(1 + small * large) / (small + large)
        sine = math.sqrt(max(0.0, 1 - cosine**2))
        ends = [0, len(ordered) - 1]
        block = values.new_tensor([[cosine * large, -sine * small], [sine * large, cosine * small]])
        A[torch.tensor(ends)[:, None], torch.tensor(ends)] = block
    return A


def search_smallest(
    values: Float[Tensor, "n"], *, steps: int = 300, starts: int = 4, seed: int = 0
) -> Float[Tensor, "n n"]:
    """Search for an A with the singular values given that makes ``σ_n(I + A)`` small, knowing no formula.

    Descends on the orthogonal factor of ``A = Q diag(values)`` (the other one does not matter, by invariance of I) from
    random starts of either determinant.

    Examples
    --------
    >>> values = torch.tensor([100.0, 0.01], dtype=torch.float64)
    >>> A = search_smallest(values)
    >>> torch.linalg.svdvals(torch.eye(2, dtype=torch.float64) + A)[-1].item() < 1e-2
    True
    """
    n = len(values)
    generator = torch.Generator().manual_seed(seed)
    eye = torch.eye(n, dtype=torch.float64)
    diagonal = torch.diag(values.double())
    best, least = diagonal, math.inf
    for _ in range(starts):
        basis = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))[0]
        skew = torch.zeros(n, n, dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.Adam([skew], lr=0.05)
        for step in range(steps):
            for group in optimiser.param_groups:
                group["lr"] = 0.05 * (1 - step / steps) ** 2
            A = basis @ torch.linalg.matrix_exp(skew - skew.T) @ diagonal
            smallest = torch.linalg.svdvals(eye + A)[-1]
            if smallest.item() < least:
                best, least = A.detach().clone(), smallest.item()
            optimiser.zero_grad()
            smallest.backward()
            optimiser.step()
    return best.to(values.dtype)


def by_symmetric_part(A: Float[Tensor, "n n"]) -> float:
    """Return the lower bound ``1 + λ_min((A + Aᵀ)/2)`` on ``σ_n(I + A)``; it may be negative, and then says nothing."""
    return 1 + float(torch.linalg.eigvalsh((A + A.T) / 2)[0])


def product_bound(norms: Sequence[float]) -> Bound:
    """Bound every singular value of ``Π (I + A_l)`` by the norms of the A_l; both sides are attained.

    Norms below 1 alone cure nothing: ``A_l = -½ I`` gives ``2^-L``. Only a bounded sum of norms bounds the product at
    any depth.

    Examples
    --------
    >>> print(product_bound([0.5] * 3))
    [0.125, 3.375] (bound)
    """
    lower = math.prod(max(0.0, 1 - norm) for norm in norms)
    upper = math.prod(1 + norm for norm in norms)
    return Bound(lower, upper, Status.BOUND, ("norms of the branches' Jacobians as given",))
