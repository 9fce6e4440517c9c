"""Discrete Fourier transforms in one form: along which axes, over how many elements, and what a sum is scaled by."""

from __future__ import annotations

import math
from dataclasses import dataclass

from leadline.domains.engine import NoRule
from leadline.graph.ir import Node
from leadline.graph.table import Half

_SCALES = {"backward": 0, "ortho": 1, "forward": 2}
"""Powers of the root that a transform forwards is divided by."""


@dataclass(frozen=True)
class Fourier:
    """Sums over `count` elements along `axes`, times `scale`; `real` says which side is half a symmetric spectrum.

    The halves are along the last of the axes, where the signal has a `length`.
    """

    axes: tuple[int, ...]
    count: int
    scale: float
    real: Half
    shortened: bool
    length: int

    @property
    def most(self) -> float:
        """The largest singular value: that of an orthogonal map times a root, with half a spectrum used twice."""
        return self.scale * math.sqrt(self.count * (2 if self.real is Half.OUTPUT else 1)) * (1 + 1e-15)

    @property
    def least(self) -> float:
        """The smallest singular value; an element of half a spectrum stands for two at most."""
        if self.shortened or self.real is Half.OUTPUT:
            return 0.0
        return self.scale * math.sqrt(self.count / (2 if self.real is Half.INPUT else 1)) * (1 - 1e-15)


def fourier_of(node: Node, shape: tuple[int, ...]) -> Fourier:
    """Read a transform of a tensor of this shape; `NoRule` for any other operation."""
    named, transform = node.bound(), node.operation.transform
    if transform is None:
        raise NoRule
    sizes = named.get("n", named.get("s"))
    sizes = (sizes,) if isinstance(sizes, int) else sizes
    dim = named.get("dim")
    dims = (dim,) if isinstance(dim, int) else dim
    if dims is None:
        dims = tuple(range(-len(sizes or shape), 0))
    axes = tuple(d % len(shape) for d in dims)
    given = dict(zip(axes, sizes or (-1,) * len(axes), strict=True))
    lengths = {axis: shape[axis] if given[axis] == -1 else given[axis] for axis in axes}
    signal = lengths if transform.real is Half.INPUT else {axis: node.shape[axis] for axis in axes}
    count = math.prod(signal.values())
    shortened = any(lengths[axis] < shape[axis] for axis in axes)
    length = signal[axes[-1]] if axes else 1
    return Fourier(axes, count, count ** (-_power(node) / 2), transform.real, shortened, length)


def _power(node: Node) -> int:
    """Return the power of the root of the count that sums are divided by."""
    named, transform = node.bound(), node.operation.transform
    if "normalization" in named:
        return int(named["normalization"])
    if "norm" not in named or transform is None:
        return 0
    power = _SCALES[named["norm"] or "backward"]
    return 2 - power if transform.inverse else power
