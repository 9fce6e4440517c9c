"""The grid recurrence cell by cell, as a reader of the definition would write it: the oracle of the op.

Raster order, one small product after another; autograd differentiates it. Slow on purpose.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

Layer = tuple[Tensor, Tensor, Tensor, Tensor]


def grid_rnn(
    x: Float[Tensor, "b h w k_in"],
    weight_in: Float[Tensor, "k k_in"],
    weight_below: Float[Tensor, "below k k"],
    weight_north: Float[Tensor, "d k k"],
    weight_west: Float[Tensor, "d k k"],
    bias: Float[Tensor, "d k"],
) -> Float[Tensor, "b h w k"]:
    """Return the last layer's outputs; see `leadline.grid.grid_rnn`."""
    for layer in zip([weight_in, *weight_below], weight_north, weight_west, bias, strict=True):
        x = _tanh_layer(x, layer)
    return x


def grid_lstm(
    x: Float[Tensor, "b h w k_in"],
    weight_in: Float[Tensor, "gk k_in"],
    weight_below: Float[Tensor, "below gk k"],
    weight_north: Float[Tensor, "d gk k"],
    weight_west: Float[Tensor, "d gk k"],
    bias: Float[Tensor, "d gk"],
) -> Float[Tensor, "b h w k"]:
    """Return the last layer's outputs; see `leadline.grid.grid_lstm`."""
    for layer in zip([weight_in, *weight_below], weight_north, weight_west, bias, strict=True):
        x = _lstm_layer(x, layer)
    return x


def _tanh_layer(x: Tensor, layer: Layer) -> Tensor:
    weight_in, weight_north, weight_west, bias = layer
    batch, height, width, _ = x.shape
    outside = x.new_zeros(batch, weight_north.shape[-1])
    h: dict[tuple[int, int], Tensor] = {}
    for i in range(height):
        for j in range(width):
            north, west = h.get((i - 1, j), outside), h.get((i, j - 1), outside)
            h[i, j] = (x[:, i, j] @ weight_in.T + north @ weight_north.T + west @ weight_west.T + bias).tanh()
    return _grid(h, height, width)


def _lstm_layer(x: Tensor, layer: Layer) -> Tensor:
    weight_in, weight_north, weight_west, bias = layer
    batch, height, width, _ = x.shape
    outside = x.new_zeros(batch, weight_north.shape[-1])
    h: dict[tuple[int, int], Tensor] = {}
    c: dict[tuple[int, int], Tensor] = {}
    for i in range(height):
        for j in range(width):
            north, west = h.get((i - 1, j), outside), h.get((i, j - 1), outside)
            pre = x[:, i, j] @ weight_in.T + north @ weight_north.T + west @ weight_west.T + bias
            out, entry, candidate, keep_north, keep_west = pre.chunk(5, -1)
            kept = keep_north.sigmoid() * c.get((i - 1, j), outside) + keep_west.sigmoid() * c.get((i, j - 1), outside)
            c[i, j] = kept + entry.sigmoid() * candidate.tanh()
            h[i, j] = out.sigmoid() * c[i, j].tanh()
    return _grid(h, height, width)


def _grid(cells: dict[tuple[int, int], Tensor], height: int, width: int) -> Tensor:
    return torch.stack([torch.stack([cells[i, j] for j in range(width)], 1) for i in range(height)], 1)
