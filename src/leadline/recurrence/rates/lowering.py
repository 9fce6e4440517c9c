"""The state of a lowering in which positions may change their rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from leadline.recurrence.ir import Pointwise, Tap
from leadline.recurrence.rates.ir import RatedTap
from leadline.recurrence.reading.field import FEATURE, Dims, Factor, Field, Misfit, canonical, features
from leadline.recurrence.reading.lowering import Lowering, Value, copied


@dataclass(eq=False)
class RatedLowering(Lowering):
    """A lowering that reads what changes the grid, too: as copies of variables at other rates."""

    rated = True

    def spaced(self, tap: Tap, stride: Sequence[int]) -> Tap:
        """Return a tap that goes on by `stride` samples where its reader goes on by one point."""
        if all(s == 1 for s in stride):
            return tap
        return RatedTap(tap.source, tap.offset, tap.channels, tap.fill, stride=tuple(stride), phases=self.ones)

    @property
    def ones(self) -> tuple[int, ...]:
        """One for each axis."""
        return (1,) * self.rank


def in_step(low: RatedLowering, read: Field) -> Field:
    """Return a reading whose positions stand alone: features that share their dimension become positions between them.

    So is read what enlarges: a dimension ``(t p)`` is a position axis of p samples for each point.
    """
    wide = [d for d, dim in enumerate(read.dims) if len(dim) == 2 and dim[0].role >= 0 and dim[1].role == FEATURE]
    if not wide:
        return read
    phases, dims, ahead = list(low.ones), list(read.dims), []
    for d in wide:
        axis, inner = read.dims[d]
        phases[axis.role] = inner.size
        dims[d] = (Factor(axis.role, axis.size * inner.size),)
        ahead.append((axis.role, sum(f.role == FEATURE for dim in read.dims[:d] for f in dim)))
    channels = np.moveaxis(read.channels, [place for _, place in sorted(ahead)], range(len(ahead)))
    offset = tuple(s * p for s, p in zip(read.shift, phases, strict=True))
    stride = low.ones
    tap = RatedTap(read.variable, offset, channels.reshape(-1), read.fill, stride=stride, phases=tuple(phases))
    sizes = tuple(n * p for n, p in zip(read.sizes, phases, strict=True))
    return low.emit(copied(tap), tuple(dims), sizes, "interleaved")


def every(low: RatedLowering, read: Field, dim: int, start: int, step: int, count: int) -> Field:
    """Return every step-th position along one dimension, `count` of them."""
    axis = read.dims[dim][0].role
    offset = tuple(s - start * (a == axis) for a, s in enumerate(read.shift))
    stride = tuple(step if a == axis else 1 for a in range(low.rank))
    tap = RatedTap(read.variable, offset, read.channels.reshape(-1), read.fill, stride=stride, phases=low.ones)
    dims, sizes = resized(read, axis, count)
    return low.emit(copied(tap), dims, sizes, "every")


def resized(read: Field, axis: int, size: int) -> tuple[Dims, tuple[int, ...]]:
    """Return dimensions and sizes of a reading with another number of positions along an axis."""
    dims = tuple(tuple(f._replace(size=size) if f.role == axis else f for f in dim) for dim in read.dims)
    return dims, tuple(size if a == axis else n for a, n in enumerate(read.sizes))


def windows(low: RatedLowering, read: Field, axis: int, size: int, step: int, count: int) -> Field:
    """Return windows of `size` positions, each `step` after the one before, as features behind the axis' positions."""
    stride = tuple(step if a == axis else 1 for a in range(low.rank))
    taps = tuple(
        RatedTap(
            read.variable,
            tuple(s - j * (a == axis) for a, s in enumerate(read.shift)),
            read.channels.reshape(-1),
            read.fill,
            stride=stride,
            phases=low.ones,
        )
        for j in range(size)
    )
    dims, sizes = resized(read, axis, count)
    flat = [f for dim in dims for f in dim]
    before = sum(f.role == FEATURE for f in flat[: next(i for i, f in enumerate(flat) if f.role == axis)])
    channels = np.moveaxis(np.arange(size * read.channels.size).reshape(size, *features(read.dims)), 0, before)
    positions = ((f,) for f in flat if f.role != FEATURE)
    equation = Pointwise("concat", taps, lambda *values: torch.cat(values, -1))
    made = low.emit(equation, ((Factor(FEATURE, channels.size),), *positions), sizes, "windows")
    split = tuple(
        tuple(g for f in dim for g in ((f, Factor(FEATURE, size)) if f.role == axis else (f,))) for dim in dims
    )
    return canonical(Field(split, made.variable, channels, made.shift, sizes))


def alone(low: RatedLowering, read: Field) -> Field:
    """Return a reading of a whole variable, whose ends are the variable's own."""
    if any(read.shift) or read.sizes != low.range_of(read.variable):
        return low.emit(copied(low.tap(read)), read.dims, read.sizes, "copy")
    return read


def beyond(low: RatedLowering, read: Field, dim: int, before: int, after: int, edge: str) -> Field:
    """Pad one dimension by what lies within: mirrored, or the last one again."""
    read = alone(low, read)
    if len(read.dims[dim]) != 1 or (axis := read.dims[dim][0].role) < 0:
        raise Misfit("a padding of the batch or of merged axes by its own values")
    if min(before, after) < 0:
        raise Misfit("a padding by its own values that cuts")
    at = [before if a == axis else 0 for a in range(low.rank)]
    behind = tuple(after if a == axis else 0 for a in range(low.rank))
    ones = low.ones
    tap = RatedTap(
        read.variable, tuple(at), read.channels.reshape(-1), stride=ones, phases=ones, edge=edge, after=behind
    )
    dims, sizes = resized(read, axis, read.sizes[axis] + before + after)
    return low.emit(copied(tap), dims, sizes, "beyond")


def repeated(low: RatedLowering, read: Field, times: dict[int, int]) -> Field:
    """Repeat every position along some dimensions."""
    dims, channels = list(read.dims), read.channels
    for d in sorted(times, reverse=True):
        place = sum(f.role == FEATURE for dim in read.dims[:d] for f in dim)
        channels = np.repeat(np.expand_dims(channels, place), times[d], axis=place)
        dims[d] = (*read.dims[d], Factor(FEATURE, times[d]))
    return in_step(low, replace(read, dims=tuple(dims), channels=channels))


def read_in_step(low: RatedLowering, value: Value) -> Value:
    """Return a value whose positions stand alone, wherever it is a reading."""
    if isinstance(value, tuple):
        return tuple(read_in_step(low, part) for part in value)
    return in_step(low, value) if isinstance(value, Field) else value
