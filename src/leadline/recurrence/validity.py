"""How far the laws of an architecture hold over the sizes of its grid: proved from its construction, or tried.

They are proved where a trace with symbols for the sizes shows that the same operations run for all of them, and where
building the model did no arithmetic with them. Otherwise equations are derived at further sizes, where a model would
change: other parities, powers of two, and around every number that it or its builder names.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from leadline.errors import NotUniform
from leadline.graph.ir import Graph
from leadline.graph.reading import Reading
from leadline.graph.symbolic import Sizes, sizes_of_trace
from leadline.recurrence.held import held, same
from leadline.recurrence.watched import Watched

Point = Mapping[str, int]
_LARGEST = 260
"""No further size is larger, so that trying it takes no long time: just past a power of two that people use."""
_BUILT = 4096
"""No model of a larger size is built to see whether it has the same modules."""
_NUMBERS = 4
"""So many of the numbers that a model names are tried."""
_BELOW = 2
"""So many sizes below those that are proved are tried."""


@dataclass(frozen=True)
class Validity:
    """The sizes of the grid, by axis, from `least` to `most`, at which equations are proved, or were found, to be same.

    `tried` are the sizes of which one is known beside those asked for, `doubt` says why there is no proof.
    """

    least: Mapping[str, int]
    most: Mapping[str, int]
    tried: tuple[Point, ...] = ()
    doubt: str = ""


@dataclass(frozen=True)
class Sized:
    """An architecture of any size.

    `build` makes a model and its inputs, `read` reads it, and `derive` returns what is equal at two sizes if the laws
    are. `axes` names the axis of each parameter that is the size of one. Where it is `looped`, a loop goes along them,
    which a trace holds turn by turn: no symbol can stand for its length.
    """

    build: Callable[..., Any]
    read: Callable[[Point], Reading]
    derive: Callable[[Point], Any]
    axes: Mapping[str, str]
    looped: bool


def validity(of: Sized, at: Point, small: Point, region: Mapping[str, int]) -> Validity:
    """Find the sizes for which the equations stay the same, from the largest model that is asked for, `at` its sizes.

    What must be tried is tried on a `small` one, whose laws hold from `region` on, by axis. Raises `NotUniform` if the
    equations change back and forth.
    """
    watched = {name: Watched(size) if name in of.axes else size for name, size in at.items()}
    reading = of.read(watched)
    found = _traced(of, watched, reading)
    others = {name: _other_builds(of, at, watched, found, name) for name in of.axes}
    doubt = found.doubt or next(filter(None, map(partial(_slipped, of, at, found, others), of.axes)), "")
    if doubt:
        built = [(name, size) for name, sizes in others.items() for size in sizes]
        near = [(name, size) for name, size in built if size <= _LARGEST]
        tried = _tried(of, small, region, [*_further(of, small, region, reading), *near], doubt)
        beyond = {of.axes[name]: size - 1 for name, size in built if size > _LARGEST}
        return replace(tried, most=beyond | dict(tried.most))
    return _with_small_sizes(of, small, region, found)


def _traced(of: Sized, watched: Mapping[str, int], reading: Reading) -> Validity:
    """Trace with symbols for all positions; what the builder asked of a size counts as what the model asks."""
    positions = reading.layout.positions
    letters = {name: tuple(axis if axis in positions else None for axis in axes)
               for name, axes in reading.input_axes.items()}  # fmt: skip
    found = Sizes({}, {}, "a loop goes along it") if of.looped else sizes_of_trace(reading.call, letters)
    least, most, doubt = dict(found.least), dict(found.most), found.doubt
    for name, size in watched.items():
        if isinstance(size, Watched):
            axis, asked = of.axes[name], size.asked
            least[axis] = max(least.get(axis, 1), asked.least)
            if asked.most is not None:
                most[axis] = min(most.get(axis, asked.most), asked.most)
            doubt = doubt or (f"arithmetic is done with {name}" if asked.used else "")
    return Validity(least, most, (), doubt)


def _other_builds(of: Sized, at: Point, watched: Point, found: Validity, name: str) -> list[int]:
    """Return the sizes next to this one at which a model, answered as this one was, holds something else.

    A size that became a plain number on the way, the length of a range, is compared unseen: models are built of much
    larger sizes and smaller ones, and around every number that the builder or the model names; then between the last
    that is alike and the first that is not.
    """
    made = _built(of, watched)
    here = held(made)

    def other(size: int) -> bool:
        return not same(here, held(_built(of, {**at, name: size})))

    start, axis = at[name], of.axes[name]
    least, most = max(found.least.get(axis, 1), 1), found.most.get(axis, _BUILT)
    named = {n + beside for n in _constants(of.build) for beside in (-1, 0, 1)}
    sizes = {least, start // 2, start - 1, start + 1, 2 * start, 4 * start + 1, _LARGEST, _BUILT} | named
    ends = []
    for way in (sorted(size for size in sizes if start < size <= most),
                sorted((size for size in sizes if least <= size < start), reverse=True)):  # fmt: skip
        alike = start
        for size in way:
            if other(size):
                ends.append(_between(other, alike, size))
                break
            alike = size
    return ends


def _between(other: Callable[[int], bool], alike: int, size: int) -> int:
    """Return the first size that is other, from one that is alike."""
    while abs(size - alike) > 1:
        middle = (alike + size) // 2
        alike, size = (alike, middle) if other(middle) else (middle, size)
    return size


def _built(of: Sized, sizes: Point) -> nn.Module:
    """Build a model; buffers that are drawn are the same each time."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        made: nn.Module = of.build(**sizes)[0]
    return made


def _slipped(of: Sized, at: Point, found: Validity, others: Mapping[str, list[int]], name: str) -> str:
    """Say in words how a size got into a model unseen; empty: it did not.

    One that is passed on into a call leaves no trace in modules and shapes, but in the equations: one other size shows
    that.
    """
    if others[name]:
        return f"its modules depend on {name}"
    here, low, most = at[name], found.least.get(of.axes[name], 1), found.most.get(of.axes[name], _BUILT)
    if most == here:  # as where a table is built of that size: the limit may be another in a larger model
        return f"it takes no more than the {name} that it is built for"
    other = min(2 * here + 1, most) if most > here else max(low, here - 1)
    alike = other == here or _agrees(of, {**at, name: other}, of.derive(at))
    return "" if alike else f"its equations depend on {name}"


def _with_small_sizes(of: Sized, at: Point, region: Mapping[str, int], found: Validity) -> Validity:
    """Try the sizes below those that symbols can stand for, of which 1 always is one, where the laws reach them."""
    least, tried, here = dict(found.least), list[Point](), of.derive(at)
    for name, axis in of.axes.items():
        for size in range(least.get(axis, 1) - 1, max(region.get(axis, 1), least.get(axis, 1) - _BELOW) - 1, -1):
            point = {**at, name: size}
            if not _agrees(of, point, here):
                break
            least[axis] = size
            tried.append(point)
    return replace(found, least=least, tried=tuple(tried))


def _agrees(of: Sized, point: Point, here: Any) -> bool:
    with suppress(Exception):  # there may be no model of that size
        return bool(of.derive(point) == here)
    return False


def _further(of: Sized, at: Point, region: Mapping[str, int], reading: Reading) -> Iterator[tuple[str, int]]:
    """Yield sizes at which a model may change, with the parameter, none of them among those asked for."""
    kinds = set(_literals(reading.graph)), {*_constants(of.build), *_constants(reading.model)}
    for name, axis in of.axes.items():
        here, low = at[name], region.get(axis, 1)
        power = 2 ** here.bit_length()
        above = [n for named in kinds for n in sorted(n for n in named if here <= n < _LARGEST)[:_NUMBERS]]
        below = [n for named in kinds for n in sorted(n for n in named if low < n < here)[-_NUMBERS:]]
        beyond = {n + beside for n in above for beside in range(3)}  # a band of n beneath the diagonal ends at n + 1
        sizes = {low, here + 1, power, power + 1, *beyond, *below, *(n - 1 for n in below)}
        yield from ((name, size) for size in sorted(sizes - {here}) if low <= size <= _LARGEST)


def _literals(graph: Graph) -> Iterator[int]:
    """Yield the whole numbers that operations are given, and the sizes of tables."""
    for node in graph.nodes:
        for value in (*node.args, *node.kwargs.values()):
            parts = value if isinstance(value, tuple) else (value,)
            yield from (abs(part) for part in parts if isinstance(part, int) and not isinstance(part, bool))


def _constants(value: Any, seen: set[int] | None = None) -> Iterator[int]:
    """Yield the whole numbers that functions name, those of the modules of a model too."""
    seen = set() if seen is None else seen
    if isinstance(value, nn.Module):
        for module in value.modules():
            if not type(module).__module__.startswith("torch."):
                yield from _constants(type(module).forward, seen)
                yield from (n for n in vars(module).values() if isinstance(n, int) and not isinstance(n, bool))
                for held in vars(module).values():
                    if isinstance(held, types.FunctionType):
                        yield from _constants(held, seen)
    elif isinstance(value, types.FunctionType | types.CodeType) and id(value) not in seen:
        seen.add(id(value))
        code = value if isinstance(value, types.CodeType) else value.__code__
        yield from (n for n in code.co_consts if isinstance(n, int) and not isinstance(n, bool))
        inner: Iterable[Any] = (part for part in code.co_consts if isinstance(part, types.CodeType))
        if isinstance(value, types.FunctionType):
            cells = [cell.cell_contents for cell in value.__closure__ or ()]
            bound = [value.__globals__[name] for name in code.co_names if name in value.__globals__]
            yield from (n for n in (*cells, *bound) if isinstance(n, int) and not isinstance(n, bool))
            inner = (*inner, *(part for part in (*cells, *bound) if isinstance(part, types.FunctionType)))
        for part in inner:
            yield from _constants(part, seen)


def _tried(of: Sized, at: Point, region: Mapping[str, int], sizes: list[tuple[str, int]], doubt: str) -> Validity:
    """Derive the equations at further sizes; where they are others, find the end between."""
    here, tried = of.derive(at), list[Point]()
    least = {axis: region.get(axis, 1) for axis in of.axes.values()}
    most: dict[str, int] = {}
    for name, axis in of.axes.items():
        found = {size: _agrees(of, {**at, name: size}, here) for key, size in sizes if key == name}
        same = sorted([at[name], *(size for size, agrees in found.items() if agrees)])
        other = [size for size, agrees in found.items() if not agrees]
        between = [size for size in other if same[0] < size < same[-1]]
        if between:
            raise NotUniform(f"the equations at {name} = {between[0]} are others than at {same[0]} and {same[-1]}")
        below, above = [n for n in other if n < same[0]], [n for n in other if n > same[-1]]
        if below:
            least[axis] = _edge(of, at, name, here, (same[0], max(below)))
        if above:
            most[axis] = _edge(of, at, name, here, (same[-1], min(above)))
        tried += [{**at, name: size} for size in same if size != at[name]]
    return Validity(least, most, tuple(tried), doubt)


def _edge(of: Sized, at: Point, name: str, here: Any, ends: tuple[int, int]) -> int:
    """Return the last size at which the equations are the same, between one of that kind and one of the other."""
    same, other = ends
    while abs(other - same) > 1:
        middle = (same + other) // 2
        same, other = (middle, other) if _agrees(of, {**at, name: middle}, here) else (same, middle)
    return same
