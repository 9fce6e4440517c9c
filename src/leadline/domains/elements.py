"""What the counting rules know of each tensor, element by element, and sums over pairs of elements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from jaxtyping import Bool
from torch import Tensor

from leadline.graph import Ref


@dataclass(frozen=True)
class Elements:
    """What is known of a tensor's elements; masks may be expanded views of a single element.

    Attributes
    ----------
    alive
        Not known to be zero.
    unit
        Depends on an input.
    used
        Some output of the model depends on it; None: all do.
    """

    alive: Bool[Tensor, "..."]
    unit: Bool[Tensor, "..."]
    used: Bool[Tensor, "..."] | None = None

    @property
    def constant(self) -> Bool[Tensor, "..."]:
        """Elements that are neither zero nor units: parameters, buffers and what is computed from them."""
        return self.alive & ~self.unit


Lookup: TypeAlias = Callable[[Ref], Elements]


def edges(left: Elements, right: Elements, pairs: Callable[[Tensor, Tensor], int]) -> int:
    """Count the products ``a · b`` of two factors that may be nonzero, one of them at least a unit.

    That is all pairs less the pairs of two constants, so `pairs`, which counts the products whose factors are marked on
    both sides, may sum each side over its own axes first: exact, and never one term per edge.
    """
    constants = left.constant, right.constant
    idle = pairs(*constants) if bool(constants[0].any()) and bool(constants[1].any()) else 0
    return pairs(left.alive, right.alive) - idle
