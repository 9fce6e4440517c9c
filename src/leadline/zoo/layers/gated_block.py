"""Residual blocks of two shifted convolutions and a gate.

Source: Salimans, Karpathy, Chen, Kingma, "PixelCNN++", 2017.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import elu

from leadline.zoo.layers.dropout import Dropout
from leadline.zoo.layers.shifted import Above, Left


def both_signs(x: Float[Tensor, "b k h w"]) -> Float[Tensor, "b kk h w"]:
    """Return the exponential linear units of `x` and of `-x`."""
    return elu(torch.cat([x, -x], 1))


class Block(nn.Module):
    """``x + value · σ(gate)``, both from two convolutions, the first of which may hear other features, too."""

    def __init__(self, conv: type[Above | Left], channels: int, heard: int, dropout: float) -> None:
        super().__init__()
        self.first = conv(2 * channels, channels)
        self.heard = nn.Conv2d(2 * heard, channels, 1) if heard else None
        self.dropout = Dropout(dropout)
        self.second = conv(2 * channels, 2 * channels)

    def forward(
        self, x: Float[Tensor, "b k h w"], heard: Float[Tensor, "b n h w"] | None = None
    ) -> Float[Tensor, "b k h w"]:
        """Add to `x` what the block makes of it."""
        y = self.first(both_signs(x))
        if self.heard is not None and heard is not None:
            y = y + self.heard(both_signs(heard))
        value, gate = self.second(self.dropout(both_signs(y))).chunk(2, dim=1)
        out: Tensor = x + value * torch.sigmoid(gate)
        return out
