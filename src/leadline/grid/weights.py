"""The weights of a stack of grid recurrences."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad


class Weights(NamedTuple):
    """The weights of `d` layers of `k` units with `g` gates each; gates are the outer part of the first axis."""

    weight_in: Float[Tensor, "gk k_in"]
    weight_below: Float[Tensor, "d-1 gk k"]
    weight_north: Float[Tensor, "d gk k"]
    weight_west: Float[Tensor, "d gk k"]
    bias: Float[Tensor, "d gk"]

    @property
    def layers(self) -> int:
        """Number of layers."""
        return self.weight_north.shape[0]

    @property
    def units(self) -> int:
        """Width of each layer's output."""
        return self.weight_north.shape[-1]

    def mixing(self) -> Float[Tensor, "d gk s"]:
        """Return, side by side, what multiplies the northern, western and lower neighbours; none is below the first."""
        sides = [self.weight_north, self.weight_west]
        if self.layers > 1:
            sides.append(pad(self.weight_below, (0, 0, 0, 0, 1, 0)))
        return torch.cat(sides, -1)

    def scaled(self, rows: Float[Tensor, " gk"]) -> Weights:
        """Multiply what each pre-activation is made of by a number."""
        column = rows[:, None]
        return Weights._make([*(weight * column for weight in self[:4]), self.bias * rows])
