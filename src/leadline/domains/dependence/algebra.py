"""Two ways to combine dependences: the latest rank among them, or a count of links that a backward pass can follow.

How dependence flows through an operation is written once (`flow`), in terms of an algebra over float32 tensors where
zero means no dependence. Views and selections act on the tensors themselves. A mask whose columns are intervals, as
causal and banded attention have, costs what its rows do, not what its table does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import torch
from jaxtyping import Bool, Int
from torch import Tensor

_CHUNK = 1 << 24  # elements of the largest temporary
_LONG = 32  # rows from which on a mask is asked whether it is a band


@dataclass(frozen=True, eq=False)
class Mask:
    """Which elements k take part in the result j, ``[n, k, j]``."""

    marks: Bool[Tensor, "n k j"]

    @cached_property
    def band(self) -> tuple[Int[Tensor, "j"], Int[Tensor, "j"]] | None:
        """Where the interval of each column of a common mask begins and ends; None if not all are intervals."""
        if self.marks.shape[0] > 1 or self.marks.shape[1] < _LONG:
            return None
        rows = self.marks[0].transpose(0, 1).contiguous().view(torch.uint8)
        count, start = rows.sum(1), rows.argmax(1)
        end = rows.shape[1] - rows.flip(1).argmax(1)
        if not bool(((end - start == count) | (count == 0)).all()):
            return None
        return start, torch.where(count > 0, end, start)


class Ranks:
    """The latest rank: each element is one plus the largest rank of the inputs that it may depend on."""

    def join(self, a: Tensor, b: Tensor) -> Tensor:
        """Take the later of two, which broadcast."""
        return torch.maximum(a, b)

    def reduce(self, x: Tensor, dims: Sequence[int]) -> Tensor:
        """Take the latest along axes, which stay with size 1."""
        return x.amax(tuple(dims), keepdim=True) if dims else x

    def cumulate(self, x: Tensor, dim: int) -> Tensor:
        """Take the latest up to each place along an axis."""
        return x.cummax(dim).values

    def contract(self, x: Tensor, mask: Mask) -> Tensor:
        """Take, for each i and j, the latest ``x[n, i, k]`` whose ``mask[n, k, j]`` is set; n may broadcast.

        Equal columns of a common mask are computed once.
        """
        return self._table(x, mask.marks) if mask.band is None else _latest_within(x, *mask.band)

    def _table(self, x: Tensor, mask: Tensor) -> Tensor:
        rows, columns = x.shape[1], mask.shape[2]
        back = None
        if mask.shape[0] == 1 and columns > 1:
            unique, back = torch.unique(mask[0], dim=1, return_inverse=True)
            mask = unique.unsqueeze(0)
        batch = max(x.shape[0], mask.shape[0])
        step = max(1, _CHUNK // max(1, batch * x.shape[1] * x.shape[2]))
        parts = [
            (x.unsqueeze(-1) * mask[:, None, :, i : i + step].to(x.dtype)).amax(2)
            for i in range(0, mask.shape[2], step)
        ]
        out = torch.cat(parts, -1)
        out = out if back is None else out[..., back]
        return out.expand(batch, rows, columns)

    def scatter(self, x: Tensor, dim: int, places: Tensor, source: Tensor) -> Tensor:
        """Take the latest of each element of `x` and what `source` brings to its place along an axis."""
        return x.scatter_reduce(dim, places, source, "amax")


class Paths:
    """The number of paths, through one operation: linear, so that its transpose finds the inputs behind an output.

    The operations are those of `Ranks`, with sums for maxima.
    """

    def join(self, a: Tensor, b: Tensor) -> Tensor:
        """Add."""
        return a + b

    def reduce(self, x: Tensor, dims: Sequence[int]) -> Tensor:
        """Add up."""
        return x.sum(tuple(dims), keepdim=True) if dims else x

    def cumulate(self, x: Tensor, dim: int) -> Tensor:
        """Add up so far."""
        return x.cumsum(dim)

    def contract(self, x: Tensor, mask: Mask) -> Tensor:
        """Multiply by the mask."""
        return x @ mask.marks.to(x.dtype) if mask.band is None else _sum_within(x, *mask.band)

    def scatter(self, x: Tensor, dim: int, places: Tensor, source: Tensor) -> Tensor:
        """Add up at each place."""
        return x.scatter_add(dim, places, source)


Algebra: TypeAlias = Ranks | Paths
"""How dependences combine."""


def _latest_within(x: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Take the maximum over ``x[..., start:end]``; zero where that is empty."""
    if not bool(start.any()):
        found = x.cummax(-1).values[..., (end - 1).clamp(min=0)]
    else:  # two overlapping pieces whose length is a power of two
        level = (end - start).clamp(min=1).log2().long()
        tables = [x]
        for i in range(int(level.max())):
            ahead = tables[-1][..., 1 << i :]
            tables.append(torch.maximum(tables[-1], torch.nn.functional.pad(ahead, (0, 1 << i))))
        table, last = torch.stack(tables), (end - (1 << level)).clamp(min=0)
        found = torch.maximum(*(table[level, :, :, place].movedim(0, -1) for place in (start, last)))
    return found * (end > start)


def _sum_within(x: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Add up ``x[..., start:end]``, in numbers that hold all counts exactly."""
    sums = torch.nn.functional.pad(x.double().cumsum(-1), (1, 0))
    return (sums[..., end] - sums[..., start]).to(x.dtype)
