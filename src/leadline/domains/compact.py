"""Tensors as small as their structure: of size 1 along every axis on which they do not vary.

A compact tensor stands for the one that it broadcasts to. Rules work on compact tensors by broadcasting; what needs an
axis in full asks for it with `expanded`, which refuses to allocate more than a stated limit.
"""

import os
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import blake2b
from math import prod
from pathlib import Path
from typing import Any, TypeVar

import torch
from jaxtyping import Shaped
from torch import Tensor

from leadline.errors import TooLarge
from leadline.graph.ir import Node, Ref

T = TypeVar("T")
_limit: ContextVar[int | None] = ContextVar("limit", default=None)
_UNASKED = 1 << 24  # bytes that are allocated without looking at what is free


@contextmanager
def memory_limit(limit: int) -> Iterator[None]:
    """Let no abstract value take more than `limit` bytes; without this, half of the memory that is free.

    Examples
    --------
    >>> with memory_limit(100):
    ...     reserve((1 << 12, 1 << 13), 1, "a mask")
    Traceback (most recent call last):
        ...
    leadline.errors.TooLarge: a mask needs 33.6 MB for a table of (4096, 8192), and the limit is 100 bytes
    """
    token = _limit.set(limit)
    try:
        yield
    finally:
        _limit.reset(token)


def reserve(shape: Sequence[int], itemsize: int, what: object) -> None:
    """Refuse a table that would not fit, before anything is allocated.

    Raises
    ------
    TooLarge
        Naming what needs the table, its size and the limit.
    """
    size = prod(shape) * itemsize
    if size <= _UNASKED:
        return
    limit = _limit.get()
    allowed = _free() // 2 if limit is None else limit
    if size > allowed:
        raise TooLarge(
            f"{what} needs {_written(size)} for a table of {tuple(shape)}, and the limit is {_written(allowed)}"
        )


def _free() -> int:
    """Bytes of memory that can be had now."""
    table = Path("/proc/meminfo")
    if os.path.exists(table):
        for line in table.read_text().splitlines():
            if line.startswith("MemAvailable"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _written(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size} bytes"


def shrunk(x: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """Keep one slice along every axis whose slices are all equal.

    Examples
    --------
    >>> shrunk(torch.arange(3).expand(1 << 30, 3)).shape, shrunk(torch.ones(2, 3)).shape
    (torch.Size([1, 3]), torch.Size([1, 1]))
    """
    for axis, size in enumerate(x.shape):
        if size > 1 and x.stride(axis) == 0:
            x = x.narrow(axis, 0, 1)
    for axis, size in enumerate(x.shape):
        if size > 1:
            first = x.narrow(axis, 0, 1)
            if torch.equal(first, x.narrow(axis, size - 1, 1)) and _alike(x, first):
                x = first
    return x


def _alike(x: Tensor, first: Tensor) -> bool:
    """Whether all slices are equal to the first one, the signs of zeros too: 1 / -0.0 is another mask than 1 / 0.0."""
    if not bool((x == first).all()):
        return False
    signed = x.is_floating_point() and bool((first == 0).any())
    return not signed or bool((x.signbit() == first.signbit()).all())


def lifted(x: Shaped[Tensor, "..."], ndim: int) -> Shaped[Tensor, "..."]:
    """Give a tensor that broadcasts to one of `ndim` axes all of them."""
    return x if x.ndim == ndim else x.reshape((1,) * (ndim - x.ndim) + tuple(x.shape))


def place_of(x: Shaped[Tensor, "..."], place: int) -> Shaped[Tensor, "..."]:
    """Return one slice of a compact tensor along its first axis."""
    return x[0 if len(x) == 1 else place]


def fits(x: Shaped[Tensor, "..."], shape: Sequence[int]) -> bool:
    """Whether a compact tensor stands for one of this shape, all of its axes being there."""
    return x.ndim == len(shape) and all(size in (1, full) for size, full in zip(x.shape, shape, strict=True))


def expanded(
    x: Shaped[Tensor, "..."], shape: Sequence[int], what: object, axes: Sequence[int] | None = None
) -> Shaped[Tensor, "..."]:
    """Repeat a compact tensor along some axes (default: all) to their full size.

    Raises
    ------
    TooLarge
        If that needs more memory than the limit; `what` is what needs it.
    """
    x = lifted(x, len(shape))
    wanted = {axis % len(shape) for axis in axes} if axes is not None and shape else set(range(len(shape)))
    sizes = [full if axis in wanted else size for axis, (size, full) in enumerate(zip(x.shape, shape, strict=True))]
    reserve(sizes, x.element_size(), what)
    return x.expand(sizes)


Values = Callable[[Ref], Tensor]
Shapes = Callable[[Ref], tuple[int, ...]]


def described(node: Node) -> str:
    """Name an operation and its place, for messages."""
    return f"{node.op} at {node.place}"


def reshaped(
    x: Shaped[Tensor, "..."], old: Sequence[int], new: Sequence[int], what: object = "a reshape"
) -> Shaped[Tensor, "..."]:
    """Reshape a compact tensor that stands for one of shape `old`; axes are merged or split only where it varies.

    Examples
    --------
    >>> rows = torch.arange(6).reshape(1, 6, 1)
    >>> reshaped(rows, (8, 6, 10), (8, 2, 3, 5, 2)).shape
    torch.Size([1, 2, 3, 1, 1])
    """
    x = lifted(x, len(old))
    sizes, result = list(x.shape), [1] * len(new)
    for before, after in axis_groups(old, new):
        if any(sizes[axis] > 1 for axis in before):
            for axis in before:
                sizes[axis] = old[axis]
            for axis in after:
                result[axis] = new[axis]
    reserve(sizes, x.element_size(), what)
    return x.expand(sizes).reshape(result)


def axis_groups(old: Sequence[int], new: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Return which axes of a row-major reshape become which: the finest groups of equal size.

    Examples
    --------
    >>> axis_groups((8, 6, 10), (48, 5, 2))
    [([0, 1], [0]), ([2], [1, 2])]
    """
    if 0 in (*old, *new):
        return [(list(range(len(old))), list(range(len(new))))]
    groups, i, j = [], 0, 0
    while i < len(old) or j < len(new):
        before, after, p, q = [], [], 1, 1
        if i < len(old):
            before, p, i = [i], old[i], i + 1
        if j < len(new):
            after, q, j = [j], new[j], j + 1
        while p != q:
            if p < q:
                before, p, i = [*before, i], p * old[i], i + 1
            else:
                after, q, j = [*after, j], q * new[j], j + 1
        groups.append((before, after))
    return groups


class Pool:
    """Equal tensors as one object, so that whether two values are the same is asked by identity."""

    def __init__(self) -> None:
        self._tensors: dict[Hashable, Tensor] = {}
        self._made: dict[Hashable, Any] = {}

    def one(self, x: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
        """Return the tensor of this content that came first."""
        content = x.detach().clone(memory_format=torch.contiguous_format).reshape(-1).view(torch.uint8).numpy().data
        key = x.dtype, tuple(x.shape), blake2b(content, digest_size=16).digest()
        return self._tensors.setdefault(key, x)

    def made(self, parts: Sequence[Tensor | None], make: Callable[[], T]) -> T:
        """Return what was made of these very tensors, which came out of this pool."""
        key = tuple(map(id, parts))
        if key not in self._made:
            self._made[key] = make()
        found: T = self._made[key]
        return found
