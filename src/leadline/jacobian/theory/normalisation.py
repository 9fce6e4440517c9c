"""The Jacobian of batch normalisation in closed form, and its singular values.

One feature over a batch of m, in training: ``y = γ x̂ + β`` with ``x̂ = (x - μ)/s``, ``s = sqrt(var + ε)`` and the
biased variance. Then

    ∂y_i/∂x_j = (γ/s) (δ_ij - 1/m - x̂_i x̂_j / m),

whose singular values are 0 (along 1), ``(|γ|/s) · ε/(var + ε)`` (along x̂) and ``|γ|/s``, m - 2 times.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def batchnorm_jacobian(x: Float[Tensor, "m"], gamma: float = 1.0, eps: float = 1e-5) -> Float[Tensor, "m m"]:
    """Return the Jacobian of batch normalisation of one feature in training mode.

    Examples
    --------
    >>> J = batchnorm_jacobian(torch.tensor([-1.0, 0.0, 1.0]), eps=0.0)
    >>> J.sum(dim=0).abs().max().item() < 1e-6
    True
    """
    m = len(x)
    centred = x - x.mean()
    s = torch.sqrt(centred.square().mean() + eps)
    normal = centred / s
    eye = torch.eye(m, dtype=x.dtype, device=x.device)
    return gamma / s * (eye - 1 / m - torch.outer(normal, normal) / m)


def batchnorm_singular_values(x: Float[Tensor, "m"], gamma: float = 1.0, eps: float = 1e-5) -> Float[Tensor, "m"]:
    """Return the singular values of `batchnorm_jacobian`, largest first, without forming it.

    Examples
    --------
    >>> batchnorm_singular_values(torch.tensor([-1.0, -1.0, 1.0, 1.0]), gamma=2.0, eps=1.0)
    tensor([1.4142, 1.4142, 0.7071, 0.0000])
    """
    variance = x.var(correction=0)
    gain = abs(gamma) / torch.sqrt(variance + eps)
    values = gain.repeat(len(x))
    values[-1] = 0.0
    if float(variance) > 0:
        values[-2] = gain * eps / (variance + eps)
    return values
