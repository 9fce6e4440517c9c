"""Singular values of residual steps ``J = I + A``: what those of A allow, and the matrices that attain it.

With ``σ_1 ≥ … ≥ σ_n`` those of A, Weyl's inequalities give

    max(0, σ_i - 1, 1 - σ_(n+1-i))  ≤  σ_i(I + A)  ≤  1 + σ_i.

The minimum of ``σ_n(I + A)`` over all A with those singular values is ``max(0, 1 - σ_1, σ_n - 1)``: zero exactly when
``σ_n ≤ 1 ≤ σ_1``.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def weyl_lower(values: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
    """Return lower bounds on the singular values of ``I + A`` from those of A, both largest first.

    Examples
    --------
    >>> weyl_lower(torch.tensor([100.0, 0.01]))
    tensor([99.,  0.])
    """
    return torch.stack([values - 1, 1 - values.flip(0), torch.zeros_like(values)]).amax(dim=0)


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
