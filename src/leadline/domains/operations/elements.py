"""What the counting rules know of each tensor, element by element, and sums over pairs of elements."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import TypeAlias

import torch
from jaxtyping import Bool
from torch import Tensor

from leadline.graph import Ref


@dataclass(frozen=True)
class Elements:
    """What is known of a tensor's elements, in compact masks.

    They are `alive` where not known to be zero, a `unit` where they depend on an input, and `used` where they are read
    on the way to some output of the model (None: everywhere).
    """

    alive: Bool[Tensor, "..."]
    unit: Bool[Tensor, "..."]
    used: Bool[Tensor, "..."] | None = None

    @property
    def constant(self) -> Bool[Tensor, "..."]:
        """Elements that are neither zero nor units: parameters, buffers and what is computed from them."""
        return self.alive & ~self.unit

    def through(self, change: Callable[[Tensor], Tensor]) -> Elements:
        """Return the same of rearranged elements."""
        return Elements(change(self.alive), change(self.unit))


ElementsOf: TypeAlias = Callable[[Ref], Elements]


def edges(left: Elements, right: Elements, pairs: Callable[[Tensor, Tensor], int]) -> int:
    """Count the products ``a · b`` of two factors that may be nonzero, one of them at least a unit.

    That is all pairs less the pairs of two constants, so `pairs`, which counts the products whose factors are marked on
    both sides, may sum each side over its own axes first: exact, and never one term per edge.
    """
    constants = left.constant, right.constant
    idle = pairs(*constants) if all(bool(mask.any()) for mask in constants) else 0
    return pairs(left.alive, right.alive) - idle


def paired(sizes: Mapping[str, int], *terms: tuple[str, Tensor]) -> int:
    """Count, over all places of some axes, those that are marked in every mask.

    Each term is a compact mask with the letters of its axes, whose full sizes `sizes` gives; every letter of the terms
    counts. Numbers in place of marks are multiplied.

    Examples
    --------
    >>> rows = torch.tensor([[True], [False], [True]])
    >>> paired({"i": 3, "j": 1 << 40}, ("ij", rows))
    2199023255552
    """
    kept, factor = [], 1
    for letters, mask in terms:
        varying = [axis for axis, size in enumerate(mask.shape) if size > 1]
        kept.append(("".join(letters[axis] for axis in varying), mask.squeeze().double()))
    there = {letter for letters, _ in kept for letter in letters}
    factor = prod(sizes[letter] for letter in {letter for letters, _ in terms for letter in letters} - there)
    return factor * int(torch.einsum(",".join(letters for letters, _ in kept) + "->", *(mask for _, mask in kept)))
