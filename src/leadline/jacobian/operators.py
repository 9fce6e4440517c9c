"""Linear operators: matrices known only by their products, and the small algebra that composes them.

A vector is one column; a product takes a block of columns, ``(n, k) -> (m, k)``, because most operators do k columns
much faster than k times one. Operators add, multiply and transpose without being formed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import overload

import torch
from jaxtyping import Float
from torch import Tensor

from leadline.errors import UsageError


class Operator(ABC):
    """A real ``m × n`` matrix known by its products with blocks of columns.

    Attributes
    ----------
    shape
        ``(m, n)``.
    dtype, device
        Of the blocks that it takes and returns.

    Examples
    --------
    >>> A = Dense(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    >>> ((A @ A.T) - Scaled(1.0, A)).dense()
    tensor([[ 4.,  9.],
            [ 8., 21.]])
    """

    shape: tuple[int, int]
    dtype: torch.dtype
    device: torch.device

    @abstractmethod
    def matmat(self, V: Float[Tensor, "n k"]) -> Float[Tensor, "m k"]:
        """Return ``A V``."""

    @abstractmethod
    def rmatmat(self, U: Float[Tensor, "m k"]) -> Float[Tensor, "n k"]:
        """Return ``Aᵀ U``."""

    @property
    def T(self) -> Operator:  # noqa: N802
        """The transpose, which for a Jacobian is the back-propagating operator."""
        return Adjoint(self)

    @overload
    def __matmul__(self, other: Tensor) -> Tensor: ...
    @overload
    def __matmul__(self, other: Operator) -> Operator: ...
    def __matmul__(self, other: Tensor | Operator) -> Tensor | Operator:
        """Multiply with an operator, a block ``(n, k)`` or a vector ``(n,)``."""
        if isinstance(other, Operator):
            return Product(self, other)
        if other.ndim == 1:
            return self.matmat(other.unsqueeze(1)).squeeze(1)
        return self.matmat(other)

    def __add__(self, other: Operator) -> Operator:
        return Sum(self, other)

    def __sub__(self, other: Operator) -> Operator:
        return Sum(self, Scaled(-1.0, other))

    def dense(self) -> Float[Tensor, "m n"]:
        """Form the matrix, from its columns or its rows, whichever are fewer."""
        m, n = self.shape
        if n <= m:
            return self.matmat(torch.eye(n, dtype=self.dtype, device=self.device))
        return self.rmatmat(torch.eye(m, dtype=self.dtype, device=self.device)).T


class Dense(Operator):
    """A matrix held in memory."""

    def __init__(self, matrix: Float[Tensor, "m n"]) -> None:
        self.matrix = matrix
        self.shape = (matrix.shape[0], matrix.shape[1])
        self.dtype, self.device = matrix.dtype, matrix.device

    def matmat(self, V: Float[Tensor, "n k"]) -> Float[Tensor, "m k"]:
        """Return ``A V``."""
        return self.matrix @ V

    def rmatmat(self, U: Float[Tensor, "m k"]) -> Float[Tensor, "n k"]:
        """Return ``Aᵀ U``."""
        return self.matrix.T @ U

    def dense(self) -> Float[Tensor, "m n"]:
        """Return the matrix itself."""
        return self.matrix


class Adjoint(Operator):
    """The transpose of an operator."""

    def __init__(self, of: Operator) -> None:
        self.of = of
        self.shape, self.dtype, self.device = (of.shape[1], of.shape[0]), of.dtype, of.device

    def matmat(self, V: Float[Tensor, "n k"]) -> Float[Tensor, "m k"]:
        """Return ``Aᵀ V``."""
        return self.of.rmatmat(V)

    def rmatmat(self, U: Float[Tensor, "m k"]) -> Float[Tensor, "n k"]:
        """Return ``A U``."""
        return self.of.matmat(U)

    @property
    def T(self) -> Operator:  # noqa: N802
        """The operator itself."""
        return self.of


class Scaled(Operator):
    """``factor · A``."""

    def __init__(self, factor: float, of: Operator) -> None:
        self.factor, self.of = factor, of
        self.shape, self.dtype, self.device = of.shape, of.dtype, of.device

    def matmat(self, V: Float[Tensor, "n k"]) -> Float[Tensor, "m k"]:
        """Return ``factor · A V``."""
        return self.factor * self.of.matmat(V)

    def rmatmat(self, U: Float[Tensor, "m k"]) -> Float[Tensor, "n k"]:
        """Return ``factor · Aᵀ U``."""
        return self.factor * self.of.rmatmat(U)


class Cast(Operator):
    """The same matrix with its products taken in its own number format, for blocks of another.

    Examples
    --------
    >>> A = Cast(Dense(torch.ones(2, 2, dtype=torch.bfloat16)), torch.float32)
    >>> A @ torch.ones(2)
    tensor([2., 2.])
    """

    def __init__(self, of: Operator, dtype: torch.dtype) -> None:
        self.of, self.dtype = of, dtype
        self.shape, self.device = of.shape, of.device

    def matmat(self, V: Float[Tensor, "n k"]) -> Float[Tensor, "m k"]:
        """Return ``A V``."""
        return self.of.matmat(V.to(self.of.dtype)).to(self.dtype)

    def rmatmat(self, U: Float[Tensor, "m k"]) -> Float[Tensor, "n k"]:
        """Return ``Aᵀ U``."""
        return self.of.rmatmat(U.to(self.of.dtype)).to(self.dtype)


class Product(Operator):
    """``A B``: the chain rule, first B and then A."""

    def __init__(self, left: Operator, right: Operator) -> None:
        if left.shape[1] != right.shape[0]:
            raise UsageError(f"no product of {left.shape} with {right.shape}: the inner sizes differ")
        self.left, self.right = left, right
        self.shape, self.dtype, self.device = (left.shape[0], right.shape[1]), left.dtype, left.device

    def matmat(self, V: Float[Tensor, "n k"]) -> Float[Tensor, "m k"]:
        """Return ``A (B V)``."""
        return self.left.matmat(self.right.matmat(V))

    def rmatmat(self, U: Float[Tensor, "m k"]) -> Float[Tensor, "n k"]:
        """Return ``Bᵀ (Aᵀ U)``."""
        return self.right.rmatmat(self.left.rmatmat(U))


class Sum(Operator):
    """``A + B``: branches that meet, such as a residual connection."""

    def __init__(self, left: Operator, right: Operator) -> None:
        if left.shape != right.shape:
            raise UsageError(f"no sum of {left.shape} and {right.shape}: the shapes differ")
        self.left, self.right = left, right
        self.shape, self.dtype, self.device = left.shape, left.dtype, left.device

    def matmat(self, V: Float[Tensor, "n k"]) -> Float[Tensor, "m k"]:
        """Return ``A V + B V``."""
        return self.left.matmat(V) + self.right.matmat(V)

    def rmatmat(self, U: Float[Tensor, "m k"]) -> Float[Tensor, "n k"]:
        """Return ``Aᵀ U + Bᵀ U``."""
        return self.left.rmatmat(U) + self.right.rmatmat(U)
