"""The weights of a stack of grid recurrences."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from leadline.ops.columns import Side


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

    def sides(self) -> dict[Side, Float[Tensor, "d gk k"]]:
        """Return what each layer multiplies its neighbours by; nothing lies below the first."""
        below = pad(self.weight_below, (0, 0, 0, 0, 1, 0))
        return {"north": self.weight_north, "west": self.weight_west, "below": below}
