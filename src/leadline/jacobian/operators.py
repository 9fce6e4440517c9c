"""Linear operators: matrices known only by their products, and the small algebra that composes them.

A vector is one column; a product takes a block of columns, ``(n, k) -> (m, k)``, because most operators do k columns
much faster than k times one. Operators add, multiply and transpose without being formed.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import overload

import torch
from jaxtyping import Float
from torch import Tensor

from leadline.errors import UsageError

Block = Callable[[Tensor], Tensor]
"""Takes a block of vectors to a block of vectors."""


class Operator(ABC):
    """A real matrix of `shape` ``(m, n)``, known by its products with blocks of columns of its `dtype` and `device`.

    Examples
    --------
    >>> A = Dense(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    >>> ((A @ A.T) - scaled(1.0, A)).dense()
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
            if self.shape[1] != other.shape[0]:
                raise UsageError(f"no product of {self.shape} with {other.shape}: the inner sizes differ")
            shape = self.shape[0], other.shape[1]
            return Composed(
                shape, self, lambda V: self.matmat(other.matmat(V)), lambda U: other.rmatmat(self.rmatmat(U))
            )
        if other.ndim == 1:
            return self.matmat(other.unsqueeze(1)).squeeze(1)
        return self.matmat(other)

    def __add__(self, other: Operator) -> Operator:
        if self.shape != other.shape:
            raise UsageError(f"no sum of {self.shape} and {other.shape}: the shapes differ")
        return Composed(
            self.shape, self, lambda V: self.matmat(V) + other.matmat(V), lambda U: self.rmatmat(U) + other.rmatmat(U)
        )

    def __sub__(self, other: Operator) -> Operator:
        return self + scaled(-1.0, other)

    def dense(self) -> Float[Tensor, "m n"]:
        """Form the matrix, from its columns or its rows, whichever are fewer."""
        m, n = self.shape
        if n <= m:
            return self.matmat(torch.eye(n, dtype=self.dtype, device=self.device))
        return self.rmatmat(torch.eye(m, dtype=self.dtype, device=self.device)).T


class Composed(Operator):
    """An operator made of others: how it multiplies a block, and how its transpose does."""

    def __init__(self, shape: tuple[int, int], like: Operator | Tensor, matmat: Block, rmatmat: Block) -> None:
        self.shape, self.dtype, self.device = shape, like.dtype, like.device
        self._matmat, self._rmatmat = matmat, rmatmat

    def matmat(self, V: Float[Tensor, "n k"]) -> Float[Tensor, "m k"]:
        """Return ``A V``."""
        return self._matmat(V)

    def rmatmat(self, U: Float[Tensor, "m k"]) -> Float[Tensor, "n k"]:
        """Return ``Aᵀ U``."""
        return self._rmatmat(U)


class Adjoint(Composed):
    """The transpose of an operator."""

    def __init__(self, of: Operator) -> None:
        self.of = of
        super().__init__((of.shape[1], of.shape[0]), of, of.rmatmat, of.matmat)

    @property
    def T(self) -> Operator:  # noqa: N802
        """The operator itself."""
        return self.of


class Dense(Composed):
    """A matrix held in memory."""

    def __init__(self, matrix: Float[Tensor, "m n"]) -> None:
        self.matrix = matrix
        super().__init__((len(matrix), matrix.shape[1]), matrix, lambda V: matrix @ V, lambda U: matrix.T @ U)

    def dense(self) -> Float[Tensor, "m n"]:
        """Return the matrix itself."""
        return self.matrix


def scaled(factor: float, A: Operator) -> Operator:
    """Return ``factor · A``."""
    return Composed(A.shape, A, lambda V: factor * A.matmat(V), lambda U: factor * A.rmatmat(U))


def cast(A: Operator, dtype: torch.dtype) -> Operator:
    """Return the same matrix for blocks of another number format, its products taken in its own.

    Examples
    --------
    >>> A = cast(Dense(torch.ones(2, 2, dtype=torch.bfloat16)), torch.float32)
    >>> A @ torch.ones(2)
    tensor([2., 2.])
    """
    own = A.dtype
    found = Composed(A.shape, A, lambda V: A.matmat(V.to(own)).to(dtype), lambda U: A.rmatmat(U.to(own)).to(dtype))
    found.dtype = dtype
    return found


def of_size_one(A: Operator, V: Float[Tensor, "n k"]) -> tuple[Operator, float]:
    """Return a matrix in units of a power of two, so that its products with `V` are about 1, and that unit.

    Squares of what it makes then neither over- nor underflow. Where products would lose digits to underflow, or all of
    them, columns are made larger first. The unit of a matrix that maps `V` to zero all the same is 1.

    Examples
    --------
    >>> small, unit = of_size_one(Dense(torch.full((1, 1), 1e-30)), torch.ones(1, 1))
    >>> bool(0.5 <= small.dense() <= 1), unit == 2**-99
    (True, True)
    """
    info = torch.finfo(A.dtype)
    enlarged = 1.0
    size = float(A.matmat(V).abs().max())
    if size < info.smallest_normal / info.eps:
        enlarged = 2.0 ** (math.log2(info.max) // 2)
        size = float(A.matmat(V * enlarged).abs().max())
    if size == 0.0:
        return A, 1.0
    unit = 2.0 ** math.ceil(math.log2(size))

    def multiplied(product: Block) -> Block:
        return lambda V: product(V * enlarged) / unit

    return Composed(A.shape, A, multiplied(A.matmat), multiplied(A.rmatmat)), unit / enlarged
