"""The derivatives of the grid recurrence, each as one differentiable sweep over the fronts and a few large products.

All tables are laid out ``[layers, h, w, b, features]``. What need not wait for the neighbours (the first layer's input
projection, pre-activations once all outputs are known, the weights' gradients) stays outside the sweeps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear, pad

from leadline.grid.cells import Cell
from leadline.grid.fronts import Front
from leadline.grid.sweep import Neighbours, sweep
from leadline.grid.weights import Weights


@dataclass(frozen=True)
class Linearised:
    """The grid recurrence, linearised at an input, weights and the carries they lead to."""

    cell: type[Cell]
    x: Float[Tensor, "b h w k_in"]
    weights: Weights
    carry: Float[Tensor, "d h w b sk"]

    def tangent(self, dx: Float[Tensor, "b h w k_in"], d_weights: Weights) -> Float[Tensor, "d h w b sk"]:
        """Return the carries' tangent for a tangent of the input and the weights."""
        cell, k, mixing = self.cell, self.weights.units, self.weights.mixing().mT

        def step(front: Front, near: Neighbours, tables: tuple[Tensor, ...]) -> Tensor:
            pre = _mix(tables[0], near.features(k), mixing[front.layers])
            return cell.push(cell.linearise(*tables[1:]), pre, near.north, near.west)

        moved_weights = self._recur(_drive(self.x, d_weights), d_weights)
        moved_input = dx.permute(1, 2, 0, 3) @ self.weights.weight_in.mT
        drive = torch.cat([moved_weights[:1] + moved_input, moved_weights[1:]])
        return sweep(step, (drive, *self._around()), cell.states * k)

    def adjoint(self, g: Float[Tensor, "d h w b sk"]) -> tuple[Float[Tensor, "b h w k_in"], Weights]:
        """Return the gradient of the input and the weights for a gradient of the carries."""
        cell, k, gated = self.cell, self.weights.units, self.cell.gates * self.weights.units
        mixing = _mixing_back(self.weights)

        def step(front: Front, near: Neighbours, tables: tuple[Tensor, ...]) -> Tensor:
            h = _mix(tables[0][..., :k], near.features(gated), mixing[front.layers])
            arrived = h if cell.states == 1 else torch.cat([h, tables[0][..., k:]], -1)
            return cell.pull(cell.linearise(*tables[1:]), arrived, near.north, near.west)

        carried = gated + 2 * (cell.states - 1) * k
        delta = sweep(step, (g, *self._around()), carried, keep=gated, reverse=True)
        return delta[0].permute(2, 0, 1, 3) @ self.weights.weight_in, self._weight_gradients(delta)

    def _around(self) -> tuple[Tensor, ...]:
        """Return what the linearisation of a cell takes."""
        if self.cell.states == 1:
            return (self.carry,)
        pre = self._recur(_drive(self.x, self.weights), self.weights)
        states = self.carry[..., self.weights.units :]
        return pre, states, _north(states), _west(states)

    def _recur(self, drive: Float[Tensor, "d h w b gk"], weights: Weights) -> Float[Tensor, "d h w b gk"]:
        """Add what weights (or their tangent) make of the neighbours' outputs, now that all are known, to the drive."""
        return torch.baddbmm(drive.flatten(1, 3), self._context(), weights.mixing().mT).reshape(drive.shape)

    def _context(self) -> Float[Tensor, "d n s"]:
        """Return what each cell read from its neighbours: their outputs, side by side."""
        h = self.carry[..., : self.weights.units]
        sides = [_north(h), _west(h)] + ([_below(h)] if self.weights.layers > 1 else [])
        return torch.cat(sides, -1).flatten(1, 3)

    def _weight_gradients(self, delta: Float[Tensor, "d h w b gk"]) -> Weights:
        cells = self.x.permute(1, 2, 0, 3).flatten(0, 2)
        sides = torch.bmm(delta.flatten(1, 3).mT, self._context()).chunk(3 if self.weights.layers > 1 else 2, -1)
        below = sides[2][1:] if self.weights.layers > 1 else torch.zeros_like(self.weights.weight_below)
        return Weights(delta[0].flatten(0, 2).mT @ cells, below, sides[0], sides[1], delta.sum((1, 2, 3)))


def _mix(drive: Tensor, features: Float[Tensor, "l n s"], mixing: Float[Tensor, "l s m"]) -> Tensor:
    """Add the batched product over the layers of a front to what drives it."""
    return torch.baddbmm(drive.flatten(1, 2), features, mixing).reshape(*drive.shape[:3], mixing.shape[-1])


def _mixing_back(weights: Weights) -> Float[Tensor, "d t k"]:
    """Stack the transposed matrices for the way back, the last layer first."""
    sides = [weights.weight_north, weights.weight_west]
    if weights.layers > 1:
        sides.append(pad(weights.weight_below, (0, 0, 0, 0, 0, 1)))
    return torch.cat(sides, -2).flip(0)


def _drive(x: Float[Tensor, "b h w k_in"], weights: Weights) -> Float[Tensor, "d h w b gk"]:
    """Return what the pre-activations receive from outside the recurrence: the input in the first layer, and biases."""
    first = linear(x.permute(1, 2, 0, 3), weights.weight_in, weights.bias[0])[None]
    if weights.layers == 1:
        return first
    biases = weights.bias[1:, None, None, None]
    return torch.cat([first, biases.expand(-1, *first.shape[1:])])


def _north(table: Float[Tensor, "d h w b m"]) -> Float[Tensor, "d h w b m"]:
    return pad(table[:, :-1], (0, 0) * 3 + (1, 0))


def _west(table: Float[Tensor, "d h w b m"]) -> Float[Tensor, "d h w b m"]:
    return pad(table[:, :, :-1], (0, 0) * 2 + (1, 0))


def _below(table: Float[Tensor, "d h w b m"]) -> Float[Tensor, "d h w b m"]:
    return pad(table[:-1], (0, 0) * 4 + (1, 0))
