"""The grid recurrence in plain, functional torch, whose derivatives of any order `torch.func` takes.

Plain training runs `kernels` instead.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear, pad

from leadline.grid.cells import Cell, Weights


def run(cell: type[Cell], x: Float[Tensor, "b h w k_in"], *given: Tensor) -> Float[Tensor, "b h w k"]:
    """Return the last layer's outputs for the weights `given`.

    In step s each layer and row advances by the cell in column ``s - layer - row``. A cell before the first column
    stays 0, since nothing drives it; none of the grid's cells reads one after the last column.
    """
    weights, (_, height, width, _) = Weights(*given), x.shape
    layers, k, mixing = weights.layers, weights.units, weights.mixing().mT
    fronts = _skewed(_skewed(_drive(x, weights)).transpose(0, 1)).permute(2, 1, 0, 3, 4)
    carry = fronts.new_zeros(*fronts.shape[1:4], cell.states * k)
    outputs = []
    for front in fronts:
        north = _shifted(carry, 1)
        sides = [north[..., :k], carry[..., :k], *([_shifted(carry[..., :k], 0)] if layers > 1 else [])]
        pre = torch.baddbmm(front.flatten(1, 2), torch.cat(sides, -1).flatten(1, 2), mixing)
        carry = cell.carry(pre.reshape(front.shape), north, carry)
        outputs.append(carry[-1, ..., :k])
    skewed = torch.stack(outputs[layers - 1 :], 1)
    rows = pad(skewed.flatten(0, 1), (0, 0) * 2 + (0, height)).reshape(height, width + height, *skewed.shape[2:])
    return rows[:, :width].permute(2, 0, 1, 3)


def _drive(x: Float[Tensor, "b h w k_in"], weights: Weights) -> Float[Tensor, "d h w b gk"]:
    """Return what the pre-activations receive from outside the recurrence: the input in the first layer, and biases."""
    first = linear(x.permute(1, 2, 0, 3), weights.weight_in, weights.bias[0])[None]
    return torch.cat([first, weights.bias[1:, None, None, None].expand(-1, *first.shape[1:])])


def _skewed(table: Float[Tensor, "l n w b m"]) -> Float[Tensor, "l n v b m"]:
    """Move line i of the second axis i places along the third, with zeros around it."""
    n, w = table.shape[1:3]
    flat = pad(table, (0, 0) * 2 + (0, n)).flatten(1, 2)
    return flat[:, : n * (w + n - 1)].reshape(len(table), n, w + n - 1, *table.shape[3:])


def _shifted(carry: Float[Tensor, "d h b m"], axis: int) -> Float[Tensor, "d h b m"]:
    """Return what the neighbour before each cell along an axis carries, zeros for the first."""
    before = carry.narrow(axis, 0, carry.shape[axis] - 1)
    return pad(before, (0, 0) * (3 - axis) + (1, 0))
