"""Parts of a grid of any size: unions of boxes whose borders keep their distance from the grid's ends."""

from collections.abc import Callable, Iterable
from typing import TypeAlias

import sympy

from leadline.recurrence.analysis.depth import symbol
from leadline.recurrence.ir import Offset

Box: TypeAlias = tuple[tuple[int, int], ...]
"""For each axis, of size N, its first point and by how much it ends beyond N: ``(1, -2)`` is ``1 ≤ p < N - 2``."""
Region: TypeAlias = frozenset[Box]
"""The union of its boxes, none of which lies in another."""

NOWHERE: Region = frozenset()


def whole(margin: Offset) -> Region:
    """Return the range of a variable with this margin."""
    return frozenset({tuple((0, m) for m in margin)})


def union(regions: Iterable[Region]) -> Region:
    """Return the points that are in any of the regions.

    Examples
    --------
    >>> early, late = frozenset({((0, -1),)}), frozenset({((1, 0),)})
    >>> union([early, late, whole((0,))]) == whole((0,))
    True
    """
    distinct = set(regions)
    if len(distinct) == 1:
        return distinct.pop()
    boxes = frozenset(box for region in distinct for box in region)
    return frozenset(box for box in boxes if not any(_within(box, other) for other in boxes if other != box))


def _within(box: Box, other: Box) -> bool:
    return all(o[0] <= b[0] and b[1] <= o[1] for b, o in zip(box, other, strict=True))


def intersection(a: Region, b: Region) -> Region:
    """Return the points that are in both regions."""
    if a == b:
        return a
    return union(frozenset({_common(x, y)}) for x in a for y in b)


def _common(a: Box, b: Box) -> Box:
    return tuple((max(x[0], y[0]), min(x[1], y[1])) for x, y in zip(a, b, strict=True))


def moved(region: Region, offset: Offset) -> Region:
    """Return the region `offset` further on: where a tap with that offset reads a point of it."""
    if not any(offset):
        return region
    return frozenset(tuple((b[0] + o, b[1] + o) for b, o in zip(box, offset, strict=True)) for box in region)


def size(region: Region, measure: Callable[[Box], sympy.Expr]) -> sympy.Expr:
    """Sum a measure of boxes over a region, points in several boxes once; exact at every size of the grid.

    Examples
    --------
    >>> corner = frozenset({((1, 0), (0, 0)), ((0, 0), (1, 0))})
    >>> sympy.expand(size(corner, lambda box: points(box, ("h", "w"))).replace(sympy.Max, lambda _, n: n))
    H*W - 1
    """
    boxes = sorted(region)
    if not boxes:
        return sympy.Integer(0)
    *rest, last = boxes
    shared = union(frozenset({_common(box, last)}) for box in rest)
    return size(frozenset(rest), measure) + measure(last) - size(shared, measure)


def points(box: Box, axes: tuple[str, ...]) -> sympy.Expr:
    """Return how many points a box holds, in the sizes of the axes: a product of ``max(0, N + end - start)``."""
    extents = [symbol(axis) + end - start for (start, end), axis in zip(box, axes, strict=True)]
    surely = [end - start > -1 for start, end in box]
    return sympy.Mul(*(n if always else sympy.Max(0, n) for n, always in zip(extents, surely, strict=True)))
