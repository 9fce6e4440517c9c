"""After how many symbols each channel of each point is known, where several symbols of a point follow one another."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from leadline.recurrence import ir
from leadline.recurrence.rates.ir import RatedSystem, RatedTap, RowTap, way
from leadline.recurrence.rates.order import circles
from leadline.recurrence.scores import Attention
from leadline.sampling.within.moments import latest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Times: TypeAlias = NDArray[Any]


def channel_times(system: RatedSystem, length: int, given: Times) -> Mapping[str, Times]:
    """Return, for every channel of every point, (*points, channels), the latest symbol that it rests on.

    `given` are the symbols of the one input, numbered from 1 on; 0 is what rests on none. Variables that rest on each
    other, and what attends, are known as a whole.
    """
    ranges = {v.name: system.range(v.name, length) for v in system.variables}
    found: dict[str, Times] = {v.name: np.zeros((*ranges[v.name], v.channels), np.int32) for v in system.variables}
    found[system.inputs[0]] = given.astype(np.int32)
    whole = {v.name for group in circles(system.variables) if _in_a_circle(group) for v in group}
    whole |= {v.name for v in system.variables if isinstance(v.equation, Attention)}
    changed = True
    while changed:
        changed = False
        for variable in system.variables:
            if isinstance(variable.equation, ir.Input):
                continue
            old, readers = found[variable.name], ranges[variable.name]
            new = latest(variable, partial(_read, found=found, readers=readers), 0)
            if variable.name in whole:
                new = new.max(axis=-1, keepdims=True)
            if isinstance(variable.equation, Attention):
                new = np.maximum.accumulate(new.reshape(-1)).reshape(new.shape)  # row after row
            new = np.maximum(old, new).astype(np.int32)
            changed |= bool((new != old).any())
            found[variable.name] = new
    return found


def _in_a_circle(group: list[ir.Variable]) -> bool:
    return len(group) > 1 or any(tap.source == group[0].name for tap in group[0].equation.taps)


def _read(tap: ir.Tap, found: Mapping[str, Times], readers: tuple[int, ...]) -> Times:
    """Return what a tap reads at every point of its reader, (*points, channels of the tap); 0 beyond the ends."""
    source = found[tap.source]
    if isinstance(tap, RowTap):
        rows, there = tap.places(np.argwhere(np.ones(readers, bool)), source.shape[:-1])
        return np.where(there[:, None], source[tuple(rows.T)][:, tap.channels], 0).reshape(*readers, -1)
    places, phases, inside = [], np.zeros(readers, np.int64), np.ones(readers, bool)
    for axis, (n, size) in enumerate(zip(readers, source.shape[:-1], strict=True)):
        along, lying = way(tap, axis), [-1 if a == axis else 1 for a in range(len(readers))]
        place, phase = np.divmod(along.sample(np.arange(n), size), along.phases)
        inside &= ((place >= 0) & (place < size)).reshape(lying)
        phases = phases * along.phases + phase.reshape(lying)
        places.append(np.clip(place, 0, max(0, size - 1)))
    if not source.size:
        return np.zeros((*readers, len(tap.channels)), source.dtype)
    values = source[np.ix_(*places)]
    if isinstance(tap, RatedTap) and phases.any():
        by_phase = tap.channels.reshape(int(np.prod(tap.phases)), -1)
        values = np.take_along_axis(values, by_phase[phases], -1)
    else:
        width = len(tap.channels) // (int(np.prod(tap.phases)) if isinstance(tap, RatedTap) else 1)
        values = values[..., tap.channels[:width]]
    return np.where(inside[..., None], values, 0)
