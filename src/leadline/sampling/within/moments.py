"""The moment at which every channel of a point is known, where the point's symbols are drawn one after the other.

A point of the grid has moments 0, 1, …: symbol c is known at moment c, and what rests on it no sooner. Negative moments
are those of earlier points, as far apart as a linear order of the points has them: that is the smallest delay, of
single channels, under which no equation reads what is not there yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from leadline.recurrence import ir

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Moments: TypeAlias = NDArray[np.int64]
    Read: TypeAlias = Callable[[ir.Tap], Moments]

NEVER = -(2**40)
"""The moment of what rests on no input."""


def moments(system: ir.System, slope: Sequence[int], given: Mapping[str, Moments]) -> dict[str, Moments]:
    """Return the moment of each channel of each variable, for inputs of `given` moments; `slope` orders the points.

    Moments that keep growing, since a recurrence does not advance along the order, are cut off at a large number.
    """
    found = {v.name: given.get(v.name, np.full(v.channels, NEVER)) for v in system.variables}

    def read(tap: ir.Tap) -> Moments:
        source = found[tap.source][tap.channels]
        step = sum(s * d for s, d in zip(slope, tap.offset, strict=True))
        return np.where(source > NEVER, source - step, NEVER)

    for _ in range(len(system.variables) + 1):
        changed = False
        for variable in system.variables:
            if not isinstance(variable.equation, ir.Input):
                new = np.maximum(found[variable.name], latest(variable, read))
                changed |= bool((new > found[variable.name]).any())
                found[variable.name] = new
        if not changed:
            break
    return found


def latest(variable: ir.Variable, read: Read, never: int = NEVER) -> Moments:
    """Return the latest moment of what each channel of a variable rests on; `never` is that of what is fixed.

    `read` gives the moments of a tap's channels, along the last of any number of axes.
    """
    equation, channels = variable.equation, variable.channels
    if isinstance(equation, ir.Contraction):
        return _of_product(equation, channels, read, never)
    if isinstance(equation, ir.Embedding):
        return read(equation.tap).repeat(equation.rows.shape[1], axis=-1)
    if isinstance(equation, ir.Pointwise):
        each = [read(o) if isinstance(o, ir.Tap) else np.full(o.values.shape[-1], never) for o in equation.operands]
        if equation.function == "concat":
            lead = np.broadcast_shapes(*(one.shape[:-1] for one in each))
            return np.concatenate([np.broadcast_to(one, (*lead, one.shape[-1])) for one in each], axis=-1)
        all_of_them: Moments = np.maximum.reduce([np.asarray(one) for one in np.broadcast_arrays(*each)])
        return np.broadcast_to(all_of_them, (*all_of_them.shape[:-1], channels))
    if isinstance(equation, ir.Reduction) and (slots := slots_of(equation, channels)) is not None:
        inside, own = slots
        mine = read(equation.tap)
        found: Moments = np.stack([mine[..., inside == slot].max(axis=-1) for slot in range(inside.max() + 1)], axis=-1)
        return found[..., own]
    everything = [read(tap).max(axis=-1, keepdims=True, initial=never) for tap in equation.taps]
    at_all: Moments = np.maximum.reduce(everything) if everything else np.full(1, never)
    return np.broadcast_to(at_all, (*at_all.shape[:-1], channels))


def _of_product(equation: ir.Contraction, channels: int, read: Read, never: int) -> Moments:
    """Return the latest moment of each row's columns; rows of the same columns are asked once."""
    found: Moments = np.full(channels, never)
    group = np.arange(channels) // (channels // equation.groups)
    for n, tap in enumerate(equation.taps):
        lives, moments_read = alive(equation, n), read(tap)
        kinds, kind = np.unique(np.column_stack([group, lives]), axis=0, return_inverse=True)
        width = lives.shape[1]
        mine = np.empty((*moments_read.shape[:-1], channels), moments_read.dtype)
        for k, (of_group, *columns) in enumerate(kinds):
            own = moments_read[..., of_group * width + np.flatnonzero(columns)]
            mine[..., kind.reshape(-1) == k] = own.max(axis=-1, keepdims=True, initial=never)
        found = np.maximum(found, mine)
    return found


def alive(equation: ir.Contraction, n: int) -> NDArray[np.bool_]:
    """Say which weights of a tap are not zero by construction."""
    if equation.alive:
        return equation.alive[n].numpy().astype(bool)
    return np.ones(tuple(equation.weights[n].shape), bool)


def slots_of(equation: ir.Reduction, channels: int) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Return to which slot each channel that a reduction reads belongs, and each that it makes; None: not by slots.

    A slot holds the channels that are mixed with each other, along all dimensions but one.
    """
    free = [d for d, size in enumerate(equation.shape) if d not in equation.along and size > 1]
    if len(free) != 1:
        return None
    inside = np.indices(equation.shape)[free[0]].reshape(-1)
    if channels == inside.size:
        return inside, inside
    return (inside, np.arange(channels)) if channels == equation.shape[free[0]] else None
