"""A few typed shorthands for linear algebra in double precision."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import jacrev


def normal(generator: torch.Generator, *shape: int) -> Float[Tensor, "..."]:
    """Draw standard normal numbers."""
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def eye(n: int) -> Float[Tensor, "n n"]:
    """Return the identity."""
    return torch.eye(n, dtype=torch.float64)


def spectral_norm(A: Float[Tensor, "*n m k"]) -> Float[Tensor, "*n"]:
    """Return the largest singular value of each matrix."""
    norm: Tensor = torch.linalg.matrix_norm(A, 2)
    return norm


def singular_values(A: Float[Tensor, "*n m k"]) -> Float[Tensor, "*n s"]:
    """Return the singular values of each matrix, largest first."""
    values: Tensor = torch.linalg.svdvals(A)
    return values


def derivative(f: Callable[[Tensor], Tensor], x: Float[Tensor, " n"]) -> Float[Tensor, "m n"]:
    """Return the Jacobian of a map of vectors, by automatic differentiation."""
    J: Tensor = jacrev(f)(x)
    return J.detach()
