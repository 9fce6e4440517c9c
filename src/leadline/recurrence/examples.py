"""Small systems written by hand: what the analyses are tried on, and how a system is put together."""

from __future__ import annotations

import numpy as np
import torch

from leadline.recurrence.ir import Contraction, Input, Offset, System, Tap, Variable


def layered(axes: str, sizes: tuple[int, ...], layers: list[dict[Offset, bool]], k: int = 1) -> System:
    """Stack contractions on an input; each layer maps offsets to whether it reads its own variable (True) or the last.

    Parameters
    ----------
    axes
        Names of the axes, ``"h w"``.
    sizes
        Sizes of the grid.
    layers
        One dict for each layer.
    k
        Channels, in and out.

    Examples
    --------
    >>> layered("t", (8,), [{(0,): False, (1,): False}]).output
    'h1'
    """
    names = tuple(axes.split())
    flat = (0,) * len(names)
    variables = [Variable("x", k, Input(), flat)]
    for depth, taps in enumerate(layers, start=1):
        sources = [f"h{depth}" if own else variables[-1].name for own in taps.values()]
        equation = Contraction(
            tuple(Tap(source, offset, np.arange(k)) for source, offset in zip(sources, taps, strict=True)),
            tuple(torch.full((k, k), 0.5 / (k * len(taps))) for _ in taps),
        )
        variables.append(Variable(f"h{depth}", k, equation, flat))
    return System(names, sizes, tuple(variables), ("x",), variables[-1].name, (k,))


def grid_recurrence(layers: int, k: int = 1, sizes: tuple[int, int] = (8, 8)) -> System:
    """Return the multidimensional RNN: each cell reads the layer below, and its neighbours above and to the left."""
    return layered("h w", sizes, [{(0, 0): False, (1, 0): True, (0, 1): True}] * layers, k)


def dilated(layers: int, k: int = 1, size: int = 64) -> System:
    """Return WaveNet's stack of kernel-2 convolutions with dilations 1, 2, 4 and so on."""
    return layered("t", (size,), [{(0,): False, (2**i,): False} for i in range(layers)], k)


def masked(layers: int, k: int = 1, sizes: tuple[int, int] = (8, 8), radius: int = 1) -> System:
    """Return PixelCNN's stack: one convolution with mask A and the given radius, then 3 × 3 ones with mask B."""
    return layered("h w", sizes, [_mask(radius, False)] + [_mask(1, True)] * (layers - 1), k)


def _mask(radius: int, centre: bool) -> dict[Offset, bool]:
    span = range(-radius, radius + 1)
    return {(i, j): False for i in span for j in span if (i, j) > (0, 0) or (centre and (i, j) == (0, 0))}
