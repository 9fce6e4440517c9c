"""How much of the input each point of a system of several rates waits for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from leadline.errors import NotUniform
from leadline.recurrence.ir import Input, Tap, Variable
from leadline.recurrence.rates.ir import RatedSystem, RowTap, way
from leadline.recurrence.scores import Attention

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Counts: TypeAlias = "NDArray[np.int64]"
    Seed: TypeAlias = "Callable[[str, tuple[int, ...]], Counts]"

NEVER = 2**40


def needs(
    system: RatedSystem, length: int, seed: Seed, rank: int, endless: bool = False, sure: bool = False
) -> Mapping[str, Counts]:
    """Return, for every point along the first `rank` axes, the largest number that an input which it rests on has.

    `seed` numbers the points of an input, from 1 on. What lies beyond the ends needs nothing; where the sequence is
    `endless`, it is never known. With `sure` a point waits, too, until it is sure that there is one, however the
    sequence ends; and points of the first axis are computed in their order.
    """
    ranges = {v.name: system.range(v.name, length)[:rank] for v in system.variables}
    found = {v.name: np.zeros(ranges[v.name], np.int64) for v in system.variables}
    for name in system.inputs:
        found[name] = seed(name, ranges[name])
    changed = True
    while changed:
        changed = False
        for variable in system.variables:
            if isinstance(variable.equation, Input):
                continue
            reads = [_read(tap, found[tap.source], ranges[variable.name], endless) for tap in variable.equation.taps]
            new = np.maximum.reduce([found[variable.name], *reads])
            if sure:
                new = np.maximum(new, _exists(system, variable, new))
            if isinstance(variable.equation, Attention):
                new = np.maximum.accumulate(new.reshape(-1)).reshape(new.shape)  # row after row
            if sure:
                new = np.maximum.accumulate(new, axis=0)
            changed |= bool((new != found[variable.name]).any())
            found[variable.name] = new
    return found


def _read(tap: Tap, source: Counts, readers: tuple[int, ...], endless: bool) -> Counts:
    if isinstance(tap, RowTap) and len(readers) > 1:
        places, there = tap.places(np.argwhere(np.ones(readers, bool)), source.shape)
        return np.where(there, source[tuple(places.T)], 0).reshape(readers)
    lines, inside = [], np.ones(readers, bool)
    for axis, (n, size) in enumerate(zip(readers, source.shape, strict=True)):
        along = way(tap, axis)
        sample = along.sample(np.arange(n), NEVER if endless and axis == 0 else size)
        place = sample // along.phases
        ok = (place >= 0) & ((place < size) | (endless and axis == 0))
        inside &= ok.reshape([-1 if a == axis else 1 for a in range(len(readers))])
        lines.append(place)
    ahead = (lines[0] >= source.shape[0]) if endless else np.zeros(readers[0], bool)
    if not source.size:
        return np.where(inside & ahead.reshape(-1, *[1] * (len(readers) - 1)), NEVER, 0)
    clipped = [np.clip(place, 0, size - 1) for place, size in zip(lines, source.shape, strict=True)]
    values = np.where(ahead.reshape(-1, *[1] * (len(readers) - 1)), NEVER, source[np.ix_(*clipped)])
    return np.where(inside, values, 0)


def _exists(system: RatedSystem, variable: Variable, like: Counts) -> Counts:
    """Return how many positions there must be for each point of a variable to be one."""
    rate, margin = system.rates[variable.name][0], variable.margin[0]
    least = np.array([max(0, math.ceil((p + 1 - margin) / rate)) for p in range(len(like))], np.int64)
    return least.reshape(-1, *[1] * (like.ndim - 1))


def rows(system: RatedSystem) -> Seed:
    """Return a seed: each point of an input has the number of positions of the slowest axis with which it is there."""

    def seed(name: str, shape: tuple[int, ...]) -> Counts:
        rate = system.rates[name][0]
        first = np.array([math.ceil((p + 1) / rate) for p in range(shape[0])], np.int64)
        return np.broadcast_to(first.reshape(-1, *[1] * (len(shape) - 1)), shape).copy()

    return seed


def waits(system: RatedSystem) -> tuple[int, int]:
    """Return a stream's lag in frames, and how many positions beyond a frame its outputs wait for.

    The lag is 1 where outputs rest on earlier frames only, 0 where on their own, -k where on the k next ones.
    `NotUniform` if some output waits for more than can be seen by 64 times the traced length.
    """
    frame, length = system.frame[0], system.sizes[0]
    per, frames = int(system.rates[system.output][0] * frame), length // frame
    for times in (2, 4, 16, 64):
        outputs = []
        for sure in (False, True):
            found = needs(system, times * length, rows(system), 1, endless=True, sure=sure)[system.output]
            outputs.append([int(found[q * per : (q + 1) * per].max(initial=0)) for q in range(frames)])
        rests, known = outputs
        if max(known) < NEVER:
            lag = min(q + 1 - math.ceil(n / frame) for q, n in enumerate(rests))
            return min(lag, 1), max(0, *(n - (q + 1) * frame for q, n in enumerate(known)))
    raise NotUniform(f"some outputs wait for more than {64 * length} positions: trace a longer sequence")


def by_position(system: RatedSystem) -> tuple[int, int] | None:
    """Return how many positions after its own the latest is that an output rests on, and that one waits for.

    None where there is not one output for each position of one axis.
    """
    ends = [*system.inputs, system.output]
    if len(system.axes) > 1 or any(system.rates[name][0] != 1 for name in ends) or any(system[system.output].margin):
        return None
    length = system.sizes[0]
    places = np.arange(1, length + 1)
    found = (
        needs(system, 2 * length, rows(system), 1, endless=True, sure=sure)[system.output][:length] - places
        for sure in (False, True)
    )
    rests, known = (int(later.max()) for later in found)
    return rests, known
