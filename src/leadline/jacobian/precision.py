"""How far the products of a Jacobian are from exact ones, measured by taking them again in another number format.

Numbers of fewer bits are compared with those of float64. Of float64 itself nothing more precise exists: its products
are compared with float32's, whose errors are larger by the ratio of the two units of rounding. That is an estimate.
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from leadline.graph.restoring.undisturbed import restored
from leadline.jacobian._jacobian import Jacobian
from leadline.jacobian.operators import Operator

MARGIN = 8
"""Errors of float64, taken from those of float32, are stated so many times as large."""

MOST_WEIGHTS = 2**27
"""Models of more numbers than these are not copied to another format."""


@dataclass(frozen=True)
class Again:
    """The same Jacobian in another format, and by what its differences from the first are to be multiplied.

    `exact`: it is so much more precise that the differences are the errors of the first.
    """

    jacobian: Jacobian
    factor: float
    exact: bool

    def error(self, A: Operator, V: Float[Tensor, "n k"]) -> Float[Tensor, "k"]:
        """Return by how much each column of ``A V`` errs."""
        own = V.to(A.dtype)  # the same columns for both
        difference = A.matmat(own).double() - self.jacobian.matmat(own.to(self.jacobian.dtype)).double()
        norms: Tensor = torch.linalg.vector_norm(difference, dim=0)
        return self.factor * norms

    def error_of_transpose(self, A: Operator, U: Float[Tensor, "m k"]) -> Float[Tensor, "k"]:
        """Return by how much each column of ``Aᵀ U`` errs."""
        own = U.to(A.dtype)
        difference = A.rmatmat(own).double() - self.jacobian.rmatmat(own.to(self.jacobian.dtype)).double()
        norms: Tensor = torch.linalg.vector_norm(difference, dim=0)
        return self.factor * norms

    def error_of_matrix(self, matrix: Float[Tensor, "m n"]) -> float:
        """Return by how much, in the spectral norm, a matrix of float64 errs that the first was formed to."""
        difference = matrix - self.jacobian.dense().double()
        return self.factor * float(torch.linalg.matrix_norm(difference, ord=2))


def again(A: Operator) -> Again | None:
    """Take a Jacobian anew in another format; None where that is not possible, or would not be the same function.

    Examples
    --------
    >>> from leadline.jacobian._jacobian import jacobian
    >>> twice = again(jacobian(torch.sin, torch.ones(2)))
    >>> twice.jacobian.dtype, twice.exact
    (torch.float64, True)
    """
    if not isinstance(A, Jacobian) or A.weights > MOST_WEIGHTS:
        return None
    exact = A.dtype != torch.float64
    dtype = torch.float64 if exact else torch.float32
    factor = 1.0 if exact else MARGIN * torch.finfo(torch.float64).eps / torch.finfo(torch.float32).eps
    # Models may hold numbers of their own format, or choose one: whatever they raise, the two cannot be compared.
    with suppress(Exception):
        found = A.in_format(dtype)
        with restored(A.model), torch.no_grad(), _Formats() as seen:
            found.run()
        if seen.formats <= {dtype, dtype.to_complex()} and not seen.random:
            return Again(found, factor, exact)
    return None


class _Formats(TorchDispatchMode):
    """Notes the number formats of all results, and whether any was drawn at random (each format draws its own)."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.formats: set[torch.dtype] = set()
        self.random = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        floating = [t for t in tree_leaves(result) if isinstance(t, Tensor)]
        self.formats |= {t.dtype for t in floating if t.is_floating_point() or t.is_complex()}
        self.random |= torch.Tag.nondeterministic_seeded in func.tags
        return result
