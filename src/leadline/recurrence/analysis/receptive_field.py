"""What an output can see: the closure of the taps within the grid, and the first input that it must not see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from leadline.recurrence.analysis.longest import overlap, relax
from leadline.recurrence.ir import Edge, Offset, System

if TYPE_CHECKING:
    from numpy.typing import NDArray


def seen_from(system: System, point: Offset, sizes: Sequence[int] | None = None) -> dict[str, NDArray[np.bool_]]:
    """Return, for each input, which of its points the output at `point` depends on, on a grid of `sizes`.

    Examples
    --------
    >>> from leadline.recurrence.examples import dilated
    >>> int(seen_from(dilated(layers=3), (20,))["x"].sum())
    8
    """
    sizes = system.sizes if sizes is None else sizes
    seen = {v.name: np.zeros(v.range(sizes), bool) for v in system.variables}
    seen[system.output][point] = True
    changed = {system.output}
    edges = list(reversed(system.edges))
    while changed:
        previous, changed = changed, set()
        for edge in edges:
            if (edge.reader in previous or edge.reader in changed) and _spread(edge, seen):
                changed.add(edge.source)
    return {name: seen[name] for name in system.inputs}


def _spread(edge: Edge, seen: dict[str, NDArray[np.bool_]]) -> bool:
    """Mark what the marked points of the reader read; say whether anything is new."""
    reader, source = seen[edge.reader], seen[edge.source]
    mine, theirs = overlap(reader.shape, source.shape, edge.offset)
    read = np.zeros_like(source)
    read[theirs] = reader[mine]
    if edge.growing:
        last = np.flatnonzero(reader)
        read[: max(0, int(last[-1]) - edge.offset[0] + 1) if last.size else 0] = True
    new = read & ~source
    source |= new
    return bool(new.any())


@dataclass(frozen=True)
class Leak:
    """An output that sees an input that comes too late in the order."""

    source: str
    output: Offset
    input: Offset

    def __str__(self) -> str:
        return f"the output at {self.output} depends on the input {self.source!r} at {self.input}"


def find_leak(system: System, lag: int) -> Leak | None:
    """Return an output that sees an input less than `lag` ranks before its own place in raster order, if there is one.

    The latest input of every output is followed through all points at once.
    """
    ranks = {name: np.arange(np.prod(system.sizes)).reshape(system.sizes) for name in system.inputs}
    for source in system.inputs:
        latest = _latest(system, {**{name: np.full_like(r, -1) for name, r in ranks.items()}, source: ranks[source]})
        shape = system[system.output].range(system.sizes)
        grid = tuple(slice(0, n) for n in map(min, shape, system.sizes))
        late = np.argwhere(latest[grid] > ranks[source][grid] - lag)
        if len(late):
            point = tuple(map(int, late[len(late) // 2]))
            place = np.unravel_index(int(latest[point]), system.sizes)
            return Leak(source, point, tuple(map(int, place)))
    return None


def _latest(system: System, ranks: dict[str, NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return the highest rank that each output rests on, -1 where it rests on no input."""
    values = {v.name: ranks.get(v.name, np.full(v.range(system.sizes), -1)) for v in system.variables}
    relax([replace(edge, cost=0, first=0) for edge in system.edges], values)
    return values[system.output]
