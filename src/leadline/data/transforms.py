"""Changes to symbols: fewer levels, bits, shifts. The random ones draw from a generator that the caller owns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Integer
from torch import Tensor

from leadline.errors import UsageError

Transform = Callable[[Integer[Tensor, "b ..."], torch.Generator], Integer[Tensor, "b ..."]]
"""A random change to a batch of training examples."""


def reduce_levels(x: Integer[Tensor, "..."], old: int, new: int) -> Integer[Tensor, "..."]:
    """Merge neighbouring values of 0 to old - 1 into `new` classes of near equal size.

    Examples
    --------
    >>> reduce_levels(torch.arange(6), 6, 3)
    tensor([0, 0, 1, 1, 2, 2])
    """
    if not 2 <= new <= old:
        raise UsageError(f"levels must lie between 2 and the data's {old}, got {new}")
    return x if new == old else x.long() * new // old


@dataclass(frozen=True)
class Binarise:
    """Draw each pixel as a bit that is 1 with probability value / (levels - 1)."""

    levels: int

    def __call__(self, x: Integer[Tensor, "b ..."], generator: torch.Generator) -> Integer[Tensor, "b ..."]:
        """Return the bits."""
        u = torch.rand(x.shape, generator=generator, dtype=torch.float64)
        return (u * (self.levels - 1) < x).to(x.dtype)
