"""Arrays of the caller's, as a machine reads and fills them: where they begin, and how far apart their numbers lie."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from leadline.errors import UsageError
from leadline.graph.containers import hollow

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = Tensor | NDArray[Any]


@dataclass(frozen=True)
class Buffer:
    """Numbers of a type: so many positions and samples, and how many numbers apart each is from the next.

    The distances are in numbers, not in bytes; `channel` is that of one channel to the next, `last` of the first number
    to the last one.
    """

    address: int
    dtype: torch.dtype
    positions: int
    batch: int
    channels: int
    position: int
    sample: int
    channel: int

    @property
    def last(self) -> int:
        """How far the last number is from the first."""
        steps = ((self.positions, self.position), (self.batch, self.sample), (self.channels, self.channel))
        return sum((size - 1) * apart for size, apart in steps)

    @property
    def in_order(self) -> bool:
        """Whether positions, samples and channels follow each other without a gap, in this order."""
        wanted = (self.batch * self.channels, self.channels, 1)
        sizes = self.positions, self.batch, self.channels
        given = self.position, self.sample, self.channel
        return all(size == 1 or a == b for size, a, b in zip(sizes, given, wanted, strict=True))

    def clashes(self, other: Buffer) -> bool:
        """Whether this one and another share memory, and are not the same numbers."""
        one, two = (range(b.address, b.address + (b.last + 1) * b.dtype.itemsize) for b in (self, other))
        same = (self.address, self.position, self.sample, self.channel, self.channels) == (
            other.address, other.position, other.sample, other.channel, other.channels,
        )  # fmt: skip
        return one.start < two.stop and two.start < one.stop and not same


@dataclass(frozen=True)
class Side:
    """What goes into a stream of one axis, or comes out: the axes of its arrays, and the sizes of its features."""

    name: str
    axes: tuple[str, ...]
    along: str
    features: tuple[int, ...]
    dtypes: tuple[torch.dtype, ...]

    def buffer(self, array: Array) -> Buffer:
        """Return where the numbers of an array lie; `UsageError` where it is not one that a machine takes as it is."""
        address, shape, strides, dtype = _described(self.name, array)
        if dtype not in self.dtypes:
            wanted = " or ".join(map(str, self.dtypes))
            raise UsageError(f"{self.name} is {dtype}, and buffers of this stream are {wanted}")
        if len(shape) != len(self.axes) or not all(shape):
            raise UsageError(f"{self.name} has shape {shape}; the layout gives it the axes '{' '.join(self.axes)}'")
        sizes = dict(zip(self.axes, zip(shape, strides, strict=True), strict=True))
        positions, position = sizes.pop(self.along)
        batch, sample = sizes.pop("b", (1, 0))
        if tuple(size for size, _ in sizes.values()) != self.features:
            raise UsageError(f"{self.name} has shape {shape}, and its features are {self.features}")
        if any(size > 1 and apart < 1 for size, apart in zip(shape, strides, strict=True)):
            raise UsageError(f"{self.name} is laid out backwards, or holds a number in several places: give it plain")
        channel = _apart(self.name, list(sizes.values()))
        return Buffer(address, dtype, positions, batch, int(np.prod(self.features)), position, sample, channel)


def writable(array: Array) -> None:
    """Refuse an array that cannot be filled."""
    if isinstance(array, Tensor):
        if array.requires_grad:
            raise UsageError("out requires a gradient, and a stream has none: give a plain tensor")
    elif not array.flags.writeable:
        raise UsageError("out is an array that cannot be written to")


def _apart(name: str, features: list[tuple[int, int]]) -> int:
    """Return how far one channel is from the next, through all axes of features."""
    long = [(size, apart) for size, apart in features if size > 1]
    for (_, outer), (size, inner) in pairwise(long):
        if outer != size * inner:
            raise UsageError(f"the features of {name} do not follow each other evenly: give it as contiguous numbers")
    return long[-1][1] if long else 1


def _described(name: str, array: Array) -> tuple[int, tuple[int, ...], tuple[int, ...], torch.dtype]:
    """Return an array's address, its shape, its strides in numbers, and the type of its numbers."""
    if isinstance(array, Tensor):
        plain = array.layout is torch.strided and array.is_cpu and not (hollow(array) or array.is_neg())
        address = array.data_ptr() if plain and not array.is_nested else 0
        if not address and array.numel():
            raise UsageError(f"{name} is not plain memory of this machine: give a dense tensor on the CPU, or an array")
        return address, tuple(array.shape), array.stride(), array.dtype
    if not isinstance(array, np.ndarray):
        raise UsageError(f"{name} is a {type(array).__name__}; give a torch.Tensor or a numpy array")
    size = array.itemsize
    dtype = getattr(torch, array.dtype.name, None) if array.dtype.isnative else None
    if not isinstance(dtype, torch.dtype) or any(s % size for s in array.strides):
        raise UsageError(f"{name} is an array of {array.dtype}, whose numbers torch does not take")
    return array.__array_interface__["data"][0], array.shape, tuple(s // size for s in array.strides), dtype
