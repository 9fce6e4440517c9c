"""How a traced tensor reads a variable: which of its axes are batch, positions and channels, and how it is shifted.

Reshapes, transpositions, slices and paddings compute nothing: they change how a variable is read. A `Field` is such a
reading, and the functions here are those operations on it. Every dimension of the tensor is a product of factors (the
batch, a position axis, or a number of features), as in einops.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from leadline.recurrence.ir import Channels, Offset

BATCH, FEATURE = -1, -2


class Factor(NamedTuple):
    """A part of a dimension: `role` is the number of a position axis, `BATCH` or `FEATURE`."""

    role: int
    size: int


Dims: TypeAlias = tuple[tuple[Factor, ...], ...]


class Misfit(Exception):
    """A reading that no `Field` describes; the caller turns it into `NotUniform` with a place."""


@dataclass(frozen=True, eq=False)
class Field:
    """A tensor whose element at position p holds ``variable[p - shift]``, or `fill` beyond the variable's range.

    `dims` are the factors of every dimension, and `channels` says for every combination of their features, in order,
    which channel of the variable is read. `shift` and `sizes` go by position axis: how far the reading is delayed, and
    how many positions the tensor has. The fill is one number, or one for each channel of the variable.
    """

    dims: Dims
    variable: str
    channels: Channels
    shift: Offset
    sizes: tuple[int, ...]
    fill: float | Tensor = 0.0

    @property
    def shape(self) -> tuple[int, ...]:
        """The tensor's shape."""
        return tuple(math.prod(f.size for f in dim) for dim in self.dims)


Reading = TypeVar("Reading", bound=Field)


def of_features(dim: Sequence[Factor]) -> bool:
    """Return whether a dimension holds no part of the batch or of a position axis."""
    return all(f.role == FEATURE for f in dim)


def axis_of(dim: Sequence[Factor]) -> int | None:
    """Return the position axis that a dimension is; None for any other dimension."""
    return dim[0].role if len(dim) == 1 and dim[0].role >= 0 else None


def features(dims: Dims) -> tuple[int, ...]:
    """Return the sizes of all feature factors, in order."""
    return tuple(f.size for dim in dims for f in dim if f.role == FEATURE)


def whole(dims: Dims, variable: str, rank: int, sizes: tuple[int, ...]) -> Field:
    """Return the reading of a variable whose channels are the features of `dims` in order."""
    shape = features(dims)
    return Field(dims, variable, np.arange(math.prod(shape)).reshape(shape), (0,) * rank, sizes)


def canonical(field: Field) -> Field:
    """Merge neighbouring features of each dimension, and drop factors of size 1 that are features."""
    dims = tuple(_merged(dim) for dim in field.dims)
    return replace(field, dims=dims, channels=field.channels.reshape(features(dims)))


def _merged(dim: Sequence[Factor]) -> tuple[Factor, ...]:
    out: list[Factor] = []
    for factor in dim:
        if factor.role == FEATURE and factor.size == 1:
            continue
        if out and out[-1].role == FEATURE and factor.role == FEATURE:
            out[-1] = Factor(FEATURE, out[-1].size * factor.size)
        else:
            out.append(factor)
    return tuple(out)


def regroup(field: Field, shape: Sequence[int]) -> Field:
    """Read the same elements, in the same order, in another shape; `Misfit` where that cuts the batch or positions."""
    rest = [factor for dim in field.dims for factor in dim]
    dims: list[tuple[Factor, ...]] = []
    for size in shape:
        dim: list[Factor] = []
        while math.prod(f.size for f in dim) < size or (rest and size == 1 and rest[0].size == 1 and not dim):
            need = size // math.prod(f.size for f in dim)
            if not rest:
                raise Misfit("the new shape has other elements")
            factor = rest.pop(0)
            if factor.size > need and factor.role == FEATURE and factor.size % need == 0:
                rest.insert(0, Factor(FEATURE, factor.size // need))
                factor = Factor(FEATURE, need)
            if need % factor.size:
                raise Misfit("a reshape cuts the batch or a position axis into pieces")
            dim.append(factor)
        dims.append(tuple(dim))
    if any(factor.size > 1 for factor in rest):
        raise Misfit("the new shape has other elements")
    dims[-1:] = [dims[-1] + tuple(rest)] if dims else [tuple(rest)]
    grouped = tuple(dims)
    return canonical(replace(field, dims=grouped, channels=field.channels.reshape(features(grouped))))


def permuted(field: Reading, order: Sequence[int]) -> Reading:
    """Put the dimensions into another order."""
    starts = np.cumsum([0] + [sum(f.role == FEATURE for f in dim) for dim in field.dims])
    axes = [axis for d in order for axis in range(starts[d], starts[d + 1])]
    return replace(field, dims=tuple(field.dims[d] for d in order), channels=field.channels.transpose(axes))


def turned(field: Reading) -> Reading:
    """Swap the last two dimensions."""
    last = len(field.dims) - 1
    return permuted(field, [*range(last - 1), last, last - 1])


def taken(field: Field, dim: int, index: Sequence[int] | int, nowhere: int | None = None) -> Field:
    """Keep some indices of one dimension; a single number drops the dimension. No indices: start at `nowhere`.

    `Misfit` if one position is picked out of many, or positions are reordered or skipped.
    """
    factors, size = field.dims[dim], field.shape[dim]
    chosen = [index] if isinstance(index, int) else list(index)
    if chosen == list(range(size)):
        if not isinstance(index, int):
            return field
        if of_features(factors):
            return replace(field, dims=field.dims[:dim] + field.dims[dim + 1 :])
        return _without(field, dim)
    if len(factors) == 1 and factors[0].role == FEATURE:
        axis = sum(f.role == FEATURE for d in field.dims[:dim] for f in d)
        new: tuple[tuple[Factor, ...], ...] = () if isinstance(index, int) else ((Factor(FEATURE, len(chosen)),),)
        picked = field.channels.take(index if isinstance(index, int) else chosen, axis=axis)
        return canonical(replace(field, dims=field.dims[:dim] + new + field.dims[dim + 1 :], channels=picked))
    if len(factors) != 1 or factors[0].role == BATCH or isinstance(index, int):
        raise Misfit("one position or one sample is picked out of many, by no loop whose iterations are all the same")
    start, length = (chosen[0] if chosen else nowhere), len(chosen)
    if start is None or chosen != list(range(start, start + length)):
        raise Misfit("positions are skipped or put into another order")
    return _moved(field, dim, factors[0].role, -start, length)


def _without(field: Field, dim: int) -> Field:
    """Drop a dimension of size 1 that stands for the batch or a position axis, but keep its factors elsewhere."""
    other = dim - 1 if dim else 1
    if other >= len(field.dims):
        raise Misfit("the last dimension is dropped")
    dims = list(field.dims)
    dims[other] = dims[dim] + dims[other] if other > dim else dims[other] + dims[dim]
    del dims[dim]
    return replace(field, dims=tuple(dims))


def shifted(field: Field, dim: int, before: int, after: int) -> Field:
    """Pad (or crop, where negative) one dimension, which must be a position axis; what is read there is `fill`."""
    axis = axis_of(field.dims[dim])
    if axis is None:
        raise Misfit("a padding of the batch or of merged axes")
    return _moved(field, dim, axis, before, field.shape[dim] + before + after)


def _moved(field: Field, dim: int, axis: int, by: int, size: int) -> Field:
    dims = field.dims[:dim] + ((Factor(axis, size),),) + field.dims[dim + 1 :]
    shift = tuple(s + by * (a == axis) for a, s in enumerate(field.shift))
    sizes = tuple(size if a == axis else n for a, n in enumerate(field.sizes))
    return replace(field, dims=dims, shift=shift, sizes=sizes)


def spread(field: Field, dims: Dims) -> Channels:
    """Return the field's channels for all features of `dims`, to which its own dimensions broadcast.

    `Misfit` if a dimension stands for something else in `dims`.
    """
    lead = len(dims) - len(field.dims)
    shape: list[int] = []
    for target, own in zip(dims, ((),) * lead + field.dims, strict=True):
        sizes = [f.size for f in target if f.role == FEATURE]
        if own == target:
            shape += sizes
        elif all(f.role == FEATURE or f.size == 1 for f in target) and not _merged(own):
            shape += [1] * len(sizes)
        else:
            raise Misfit("two tensors are combined whose axes stand for different things")
    return np.broadcast_to(field.channels.reshape(shape), features(dims))


def widened(dims: Dims, shape: Sequence[int]) -> Dims:
    """Let dimensions of size 1 become features where a shape is larger."""
    out = []
    for dim, size in zip(((),) * (len(shape) - len(dims)) + dims, shape, strict=True):
        grown = math.prod(f.size for f in dim) != size
        if grown and not of_features(dim):
            raise Misfit("the batch or a position axis of size 1 is repeated")
        out.append((Factor(FEATURE, size),) if grown else dim)
    return tuple(out)


def broadcast(all_dims: Sequence[Dims]) -> Dims:
    """Return the dimensions to which all these broadcast, aligned at the last one."""
    rank = max(map(len, all_dims))
    padded = [((),) * (rank - len(dims)) + dims for dims in all_dims]
    return tuple(
        max(column, key=lambda dim: (math.prod(f.size for f in dim), len(dim))) for column in zip(*padded, strict=True)
    )
