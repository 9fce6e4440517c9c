"""Where the channels of a system's variables are units, and where they are read on the way to the output.

The definitions are those of `leadline.domains.dependence.units`, for every size of the grid at once: inputs are units,
and so is every element of a sum of products that multiplies a unit; elsewhere an element is a unit when it depends on
one. Padding and other constants are not units. What is masked is not read.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np

from leadline.graph.table import Form
from leadline.recurrence import ir
from leadline.recurrence.analysis.regions import NOWHERE, Region, intersection, moved, union, whole
from leadline.recurrence.scores import AtKeys, AtQuery, Attention, Made

_ALONE, _SUMS = (Form.FUNCTION, Form.COPY, Form.CLAMP), (Form.SUM, Form.DIFFERENCE)
_FAR = 2**20
_T = TypeVar("_T")


class Presence(NamedTuple):
    """Where one channel is a unit, and where it is not known to be zero."""

    unit: Region
    alive: Region


Presences: TypeAlias = Mapping[str, Sequence[Presence]]
Reads: TypeAlias = Mapping[str, Sequence[Region]]


def extent(system: ir.System, name: str) -> Region:
    """Return the range of a variable as the model computes it, before what is superfluous was cropped."""
    variable = system[name]
    return whole(variable.margin if variable.uncropped is None else variable.uncropped)


def units(system: ir.System) -> Presences:
    """Return for each channel of each variable where it is a unit: the least that the equations allow."""
    found: dict[str, list[Presence]] = {v.name: [Presence(NOWHERE, NOWHERE)] * v.channels for v in system.variables}
    changed = True
    while changed:
        changed = False
        for variable in system.variables:
            everywhere = extent(system, variable.name)
            taps = [read_through(tap, everywhere, found) for tap in variable.equation.taps]
            new = _present(variable.equation, taps, everywhere, variable.channels)
            changed |= new != found[variable.name]
            found[variable.name] = new
    return found


def read_through(tap: ir.Tap, everywhere: Region, found: Presences) -> list[Presence]:
    """Return where the reader, whose range is `everywhere`, reads units through a tap, by channel of the tap."""
    if tap.initial:
        return [Presence(everywhere, everywhere)] * len(tap.channels)
    memory: dict[Presence, Presence] = {}
    source = found[tap.source]
    for presence in {source[c] for c in tap.channels}:
        unit, alive = (intersection(moved(region, tap.offset), everywhere) for region in presence)
        memory[presence] = Presence(unit, everywhere if tap.filled else alive)
    return [memory[source[c]] for c in tap.channels]


def _present(equation: ir.Equation, taps: list[list[Presence]], everywhere: Region, channels: int) -> list[Presence]:
    if isinstance(equation, ir.Input):
        return [Presence(everywhere, everywhere)] * channels
    if isinstance(equation, ir.Contraction) and equation.apart:
        return [Presence(union(p.unit for tap in taps for p in tap), everywhere)] * channels
    if isinstance(equation, ir.Contraction | Attention):
        multiplies = any(presence.unit for tap in taps for presence in tap)
        return [Presence(everywhere if multiplies else NOWHERE, everywhere)] * channels
    if isinstance(equation, ir.Embedding):
        return [Presence(p.unit, everywhere) for p in taps[0] for _ in range(equation.rows.shape[1])]
    if isinstance(equation, ir.Reduction):
        groups = _groups(equation, channels)
        return [Presence(union(taps[0][c].unit for c in group), everywhere) for group in groups]
    if isinstance(equation, ir.Rowwise):
        parts = zip(*(_parts(tap, equation.rows) for tap in taps), strict=True)
        rows = [union(p.unit for part in same for p in part) for same in parts]
        return [Presence(unit, everywhere) for unit in rows for _ in range(channels // equation.rows)]
    if equation.function == "concat":
        return _joined(equation, taps, everywhere)
    if not taps:
        return [Presence(NOWHERE, everywhere)] * channels
    memory: dict[tuple[Presence, ...], Presence] = {}
    for column in set(zip(*taps, strict=True)):
        memory[column] = _elementwise(equation, column, everywhere)
    return [memory[column] for column in zip(*taps, strict=True)]


def _weights(equation: ir.Contraction, tap: int, channels: int) -> np.ndarray:
    """Return which weights of a tap are not zero by construction, (groups, out, in)."""
    width = len(equation.taps[tap].channels) // equation.groups
    alive = equation.alive[tap].numpy() if equation.alive else np.ones((channels, width), bool)
    return alive.reshape(equation.groups, -1, width)


def _joined_by(weights: np.ndarray, regions: Sequence[Region]) -> list[Region]:
    """Join, for each row (group, out) of a matrix, the regions of the columns that are marked in it."""
    distinct = list(dict.fromkeys(regions))
    number = np.array([distinct.index(region) for region in regions]).reshape(len(weights), -1)
    memory: dict[tuple[int, ...], Region] = {}
    found = []
    for rows, numbers in zip(weights, number, strict=True):
        marked = np.zeros((len(rows), len(distinct)), bool)
        np.logical_or.at(marked.T, numbers, rows.T)
        for row in marked:
            key = tuple(np.flatnonzero(row).tolist())
            if key not in memory:
                memory[key] = union(distinct[i] for i in key)
            found.append(memory[key])
    return found


def _joined(equation: ir.Pointwise, taps: list[list[Presence]], everywhere: Region) -> list[Presence]:
    rest, found = iter(taps), list[Presence]()
    for operand in equation.operands:
        if isinstance(operand, ir.Tap):
            found += next(rest)
        else:
            found += [Presence(NOWHERE, everywhere)] * operand.values.shape[-1]
    return found


def _elementwise(equation: ir.Pointwise, column: tuple[Presence, ...], everywhere: Region) -> Presence:
    """Return a channel of a function: a unit where an operand is one, unless a factor is zero there."""
    unit, alive, facts = union(p.unit for p in column), everywhere, equation.facts
    computed = all(isinstance(operand, ir.Tap) for operand in equation.operands)
    if facts is not None and facts.form is Form.PRODUCT:
        for presence in column:
            alive = intersection(alive, presence.alive)
    elif facts is not None and (
        (len(equation.operands) == 1 and facts.form in _ALONE and facts.zeros(equation.literals))
        or (facts.form in _SUMS and computed and len(column) > 1)
    ):
        alive = union(p.alive for p in column)
    return Presence(intersection(unit, alive), alive)


def _groups(equation: ir.Reduction, channels: int) -> list[list[int]]:
    """Return for each channel of a result the channels that it rests on."""
    index, along = np.arange(int(np.prod(equation.shape))).reshape(equation.shape), equation.along
    members = int(np.prod([equation.shape[axis] for axis in along]))
    rows: list[list[int]] = np.moveaxis(index, along, range(-len(along), 0)).reshape(-1, members).tolist()
    if len(rows) == channels:
        return rows
    if index.size == channels:
        of = {channel: row for row in rows for channel in row}
        return [of[channel] for channel in range(channels)]
    return [list(range(index.size))] * channels


def reads(system: ir.System) -> Reads:
    """Return for each channel of each variable where some output rests on reading it.

    Examples
    --------
    >>> from leadline.recurrence.examples import layered
    >>> reads(layered("t", (8,), [{(0,): False}, {(2,): False}]))["h1"][0]
    frozenset({((0, -2),)})
    """
    found: dict[str, list[Region]] = {v.name: [NOWHERE] * v.channels for v in system.variables}
    output = system[system.output]
    found[output.name] = [whole(output.margin)] * output.channels
    changed = True
    while changed:
        changed = False
        for variable in reversed(system.variables):
            for tap, regions in _read_by(variable.equation, found[variable.name]):
                changed |= _add(system, tap, regions, found)
    return found


def _add(system: ir.System, tap: ir.Tap, regions: Sequence[Region], found: dict[str, list[Region]]) -> bool:
    """Mark what a tap reads, by channel of the tap; say whether anything is new."""
    if tap.source not in found:
        return False
    everywhere, back = extent(system, tap.source), tuple(-o for o in tap.offset)
    memory = {region: intersection(moved(region, back), everywhere) for region in set(regions)}
    marked, new = found[tap.source], False
    for channel, region in zip(tap.channels, regions, strict=True):
        more = union((marked[channel], memory[region]))
        new |= more != marked[channel]
        marked[channel] = more
    return new


def _read_by(equation: ir.Equation, used: Sequence[Region]) -> list[tuple[ir.Tap, Sequence[Region]]]:
    """Return where each tap is read for the used channels of a variable, by channel of the tap."""
    if isinstance(equation, ir.Contraction):
        weights = (_weights(equation, i, len(used)).swapaxes(1, 2) for i in range(len(equation.taps)))
        return [(tap, _joined_by(matrix, used)) for tap, matrix in zip(equation.taps, weights, strict=True)]
    if isinstance(equation, Attention):
        return list(_attended(equation, used))
    if isinstance(equation, ir.Embedding):
        return [(equation.tap, [union(part) for part in _parts(used, len(equation.tap.channels))])]
    if isinstance(equation, ir.Reduction):
        readers: list[list[Region]] = [[] for _ in equation.tap.channels]
        for region, group in zip(used, _groups(equation, len(used)), strict=True):
            for channel in group:
                readers[channel].append(region)
        return [(equation.tap, [union(regions) for regions in readers])]
    if isinstance(equation, ir.Rowwise):
        rows = [union(part) for part in _parts(used, equation.rows)]
        return [(tap, [row for row in rows for _ in range(len(tap.channels) // len(rows))]) for tap in equation.taps]
    if isinstance(equation, ir.Pointwise) and equation.function == "concat":
        starts = np.cumsum([0, *(_width(operand) for operand in equation.operands)])
        parts = zip(equation.operands, starts, strict=False)
        return [(o, used[start : start + len(o.channels)]) for o, start in parts if isinstance(o, ir.Tap)]
    return [(tap, used) for tap in equation.taps]


def _width(operand: ir.Operand) -> int:
    return len(operand.channels) if isinstance(operand, ir.Tap) else int(operand.values.shape[-1])


def _parts(channels: Sequence[_T], n: int) -> list[Sequence[_T]]:
    each = len(channels) // n
    return [channels[i * each : (i + 1) * each] for i in range(n)]


def asked_of(equation: Attention, used: Sequence[Region]) -> list[list[Region]]:
    """Return for each channel of each step of attention the queries that ask for it, where its channels are `used`."""
    found: list[list[Region]] = [[NOWHERE] * step.channels for step in equation.steps]
    weights = [union(part) for part in _parts(used, equation.heads)] if used else []
    _mark(found[equation.weights.step], equation.weights.channels, weights)
    for step, regions in reversed([*zip(equation.steps, found, strict=True)]):
        for place in step.operands:
            if isinstance(place, Made):
                _mark(found[place.step], place.channels, _shared(regions, len(place.channels)))
    return found


def _mark(regions: list[Region], channels: Iterable[int], more: Sequence[Region]) -> None:
    for channel, region in zip(channels, more, strict=True):
        regions[channel] = union((regions[channel], region))


def _shared(regions: Sequence[Region], n: int) -> list[Region]:
    """Return the regions of n operands' channels: one for each result, or several for one, or one for several."""
    if len(regions) >= n:
        return [union(part) for part in _parts(regions, n)]
    return [region for region in regions for _ in range(n // len(regions))]


def _attended(equation: Attention, used: Sequence[Region]) -> Iterator[tuple[ir.Tap, Sequence[Region]]]:
    for step, regions in zip(equation.steps, asked_of(equation, used), strict=True):
        for place in step.operands:
            if isinstance(place, AtQuery | AtKeys):
                asked = _shared(regions, len(place.tap.channels))
                yield place.tap, [_so_far(r, equation) for r in asked] if isinstance(place, AtKeys) else asked
    if equation.value is not None:
        yield equation.value, [_so_far(region, equation) for region in used]


def _so_far(region: Region, equation: Attention) -> Region:
    """Return what the queries of a region see: their own places and those before, up to a window."""
    back = _FAR if equation.window is None else equation.window - 1
    return frozenset(tuple((start - back, end) for start, end in box) for box in region)
