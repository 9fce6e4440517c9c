"""Layers of two matrices with a ReLU between them, and with or without a skip connection past each."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from leadline.zoo.layers.stack import Stack
from leadline.zoo.residual import matrix


@dataclass(frozen=True)
class SkipConfig:
    """`layers` layers of `width` units: ``x + scale · f(x)`` with `skip`, ``scale · f(x)`` without.

    The matrices are drawn so that f keeps the mean square of its input.
    """

    layers: int = 10
    width: int = 64
    skip: bool = True
    scale: float = 1.0


class Layer(nn.Module):
    """One layer."""

    def __init__(self, config: SkipConfig) -> None:
        super().__init__()
        self.skip, self.scale = config.skip, config.scale
        self.inner, self.outer = (matrix(config.width, gain, "gaussian") for gain in (1.0, math.sqrt(2)))

    def forward(self, x: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        """Apply f, and add the input to it."""
        y: Tensor = self.scale * self.outer(torch.relu(self.inner(x)))
        return x + y if self.skip else y


class SkipNet(Stack):
    """Such layers, one after another.

    Examples
    --------
    >>> x = torch.randn(2, 4)
    >>> [torch.equal(SkipNet(SkipConfig(3, 4, skip, scale=0.0))(x), x) for skip in (True, False)]
    [True, False]
    """

    layer = Layer
