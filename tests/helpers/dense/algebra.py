"""Two ways to combine dependences: the latest rank among them, or a count of links that a backward pass can follow.

How dependence flows through an operation is written once (`flow`), in terms of an algebra over float32 tensors where
zero means no dependence. Views and selections act on the tensors themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

_CHUNK = 1 << 24  # elements of the largest temporary


@runtime_checkable
class Algebra(Protocol):
    """How dependences combine."""

    def join(self, a: Tensor, b: Tensor) -> Tensor:
        """Combine two tensors, which broadcast."""

    def reduce(self, x: Tensor, dims: Sequence[int]) -> Tensor:
        """Combine all elements along axes, which stay with size 1."""

    def cumulate(self, x: Tensor, dim: int) -> Tensor:
        """Combine all elements up to each one along an axis."""

    def contract(self, x: Tensor, mask: Tensor) -> Tensor:
        """Combine, for each i and j, the elements ``x[n, i, k]`` whose ``mask[n, k, j]`` is set; n may broadcast."""

    def scatter(self, x: Tensor, dim: int, places: Tensor, source: Tensor) -> Tensor:
        """Combine each element of `source` with the element of `x` at its place along an axis."""


class Ranks:
    """The latest rank: each element is one plus the largest rank of the inputs that it may depend on."""

    def join(self, a: Tensor, b: Tensor) -> Tensor:
        """Take the later one."""
        return torch.maximum(a, b)

    def reduce(self, x: Tensor, dims: Sequence[int]) -> Tensor:
        """Take the latest."""
        return x.amax(tuple(dims), keepdim=True) if dims else x

    def cumulate(self, x: Tensor, dim: int) -> Tensor:
        """Take the latest so far."""
        return x.cummax(dim).values

    def contract(self, x: Tensor, mask: Tensor) -> Tensor:
        """Take the latest under the mask; equal rows of `x` and equal columns of a common mask are computed once."""
        rows, columns = x.shape[1], mask.shape[2]
        if rows > 1 and bool((x == x[:, :1]).all()):
            x = x[:, :1]
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
        """Take the latest at each place."""
        return x.scatter_reduce(dim, places, source, "amax")


class Links:
    """The number of paths, through one operation: linear, so that its transpose finds the inputs behind an output."""

    def join(self, a: Tensor, b: Tensor) -> Tensor:
        """Add."""
        return a + b

    def reduce(self, x: Tensor, dims: Sequence[int]) -> Tensor:
        """Add up."""
        return x.sum(tuple(dims), keepdim=True) if dims else x

    def cumulate(self, x: Tensor, dim: int) -> Tensor:
        """Add up so far."""
        return x.cumsum(dim)

    def contract(self, x: Tensor, mask: Tensor) -> Tensor:
        """Multiply by the mask."""
        return x @ mask.to(x.dtype)

    def scatter(self, x: Tensor, dim: int, places: Tensor, source: Tensor) -> Tensor:
        """Add up at each place."""
        return x.scatter_add(dim, places, source)
