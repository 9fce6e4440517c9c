"""Small systems written by hand: causal networks as their taps alone, and how a system is put together."""

from collections.abc import Iterable

import numpy as np
import torch

from leadline.recurrence.ir import Contraction, Input, Offset, System, Tap, Variable

NORTH_AND_WEST: tuple[Offset, ...] = ((1, 0), (0, 1))
"""What a cell of an MDRNN reads of its own layer: offsets (rows up, columns left)."""


def layered(axes: str, sizes: tuple[int, ...], layers: Iterable[dict[Offset, bool]], k: int = 1) -> System:
    """Stack contractions of `k` channels on an input, over axes such as ``"h w"``.

    Each layer maps the offsets that it reads to whether it reads them of its own variable (True) or of the last one.
    """
    names = tuple(axes.split())
    flat = (0,) * len(names)
    variables = [Variable("x", k, Input(), flat)]
    for depth, taps in enumerate(layers, start=1):
        reads = [(f"h{depth}" if own else variables[-1].name, offset) for offset, own in taps.items()]
        variables.append(Variable(f"h{depth}", k, product(reads, k), flat))
    return System(names, sizes, tuple(variables), ("x",), variables[-1].name, (k,))


def product(reads: list[tuple[str, Offset]], k: int, cost: int = 1) -> Contraction:
    """Return a sum of products of k channels in and out, given the variables and offsets that it reads."""
    taps = tuple(Tap(source, offset, np.arange(k)) for source, offset in reads)
    return Contraction(taps, tuple(torch.full((k, k), 0.5 / (k * len(taps))) for _ in taps), cost=cost)


def convolutions(
    layers: Iterable[tuple[Offset, ...]], axes: str = "h w", k: int = 1, sizes: tuple[int, ...] | None = None
) -> System:
    """Stack convolutions, given the offsets that each layer sees; sizes of 8 unless given."""
    return layered(axes, sizes or (8,) * len(axes.split()), [dict.fromkeys(seen, False) for seen in layers], k)


def dilated(layers: int, k: int = 1, size: int = 64) -> System:
    """Return WaveNet's stack of kernel-2 convolutions with dilations 1, 2, 4 and so on."""
    return convolutions([((0,), (2**i,)) for i in range(layers)], "t", k, (size,))


def masked(layers: int, k: int = 1, sizes: tuple[int, int] = (8, 8), radius: int = 1, dilation: int = 1) -> System:
    """Return PixelCNN's stack: one convolution with mask A and the given radius, then 3 × 3 ones with mask B."""
    later = [mask(1, centre=True, dilation=dilation)] * (layers - 1)
    return convolutions([mask(radius, centre=False, dilation=dilation), *later], k=k, sizes=sizes)


def mask(radius: int, *, centre: bool, dilation: int = 1) -> tuple[Offset, ...]:
    """Return the offsets that a masked convolution sees; those to the right are negative.

    Examples
    --------
    >>> mask(1, centre=False)
    ((0, 1), (1, -1), (1, 0), (1, 1))
    """
    span = range(-radius, radius + 1)
    seen = [(i, j) for i in span for j in span if (i, j) > (0, 0) or (centre and (i, j) == (0, 0))]
    return tuple((i * dilation, j * dilation) for i, j in seen)


def grid_recurrence(
    layers: int, k: int = 1, sizes: tuple[int, int] = (8, 8), taps: tuple[Offset, ...] = NORTH_AND_WEST
) -> System:
    """Return the MDRNN: each cell reads the layer below, and its own layer at `taps`, above and to the left."""
    return layered("h w", sizes, [{(0, 0): False} | dict.fromkeys(taps, True)] * layers, k)
