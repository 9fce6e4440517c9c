"""What the counting rules know of each tensor, element by element, and sums over pairs of elements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeAlias

from jaxtyping import Bool, Int, Shaped
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
        It is read on the way to some output of the model; None: all are.
    """

    alive: Bool[Tensor, "..."]
    unit: Bool[Tensor, "..."]
    used: Bool[Tensor, "..."] | None = None

    @property
    def constant(self) -> Bool[Tensor, "..."]:
        """Elements that are neither zero nor units: parameters, buffers and what is computed from them."""
        return (compact(self.alive) & ~compact(self.unit)).expand(self.alive.shape)


Lookup: TypeAlias = Callable[[Ref], Elements]


def edges(left: Elements, right: Elements, pairs: Callable[[Tensor, Tensor], int]) -> int:
    """Count the products ``a · b`` of two factors that may be nonzero, one of them at least a unit.

    That is all pairs less the pairs of two constants, so `pairs`, which counts the products whose factors are marked on
    both sides, may sum each side over its own axes first: exact, and never one term per edge.
    """
    constants = left.constant, right.constant
    idle = pairs(*constants) if all(bool(compact(mask).any()) for mask in constants) else 0
    return pairs(left.alive, right.alive) - idle


def compact(x: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """Undo `expand`: axes along which a view repeats itself get size one."""
    for axis, (size, stride) in enumerate(zip(x.shape, x.stride(), strict=True)):
        if stride == 0 and size > 1:
            x = x.narrow(axis, 0, 1)
    return x


def total(mask: Bool[Tensor, "..."], axes: Sequence[int]) -> Int[Tensor, "..."]:
    """Count the marks along axes, without reading what an expanded view repeats.

    Examples
    --------
    >>> import torch
    >>> total(torch.ones((), dtype=torch.bool).expand(3, 1 << 40), [1]).tolist()
    [1099511627776, 1099511627776, 1099511627776]
    """
    small = compact(mask)
    repeats = prod(mask.shape[axis] // small.shape[axis] for axis in axes if small.shape[axis])
    kept = [size for axis, size in enumerate(mask.shape) if axis % mask.ndim not in {a % mask.ndim for a in axes}]
    counts = small.sum(tuple(axes)) if axes else small.long()
    return (counts * repeats).expand(kept)
