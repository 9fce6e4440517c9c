"""A stack of residual layers ``z ↦ z + s·f(z)``, linear or a small ReLU network inside."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from leadline.zoo.layers.stack import Stack
from leadline.zoo.settings import Depth, Positive, factory
from leadline.zoo.specimen import Specimen


@dataclass(frozen=True)
class ResidualConfig:
    """`layers` residual layers of `width` units, their branch f scaled by `scale`, or `scale / layers` if `by_depth`.

    A ``"linear"`` branch is one matrix A, an ``"mlp"`` two with a ReLU between. Matrices are drawn with entries of
    variance 1/width (``"gaussian"``; 2/width behind a ReLU), or as multiples of orthogonal ones with that mean square.
    """

    layers: Depth = 16
    width: Positive = 64
    branch: Literal["linear", "mlp"] = "linear"
    init: Literal["gaussian", "orthogonal"] = "gaussian"
    scale: float = 1.0
    by_depth: bool = False


def matrix(width: int, gain: float, init: str) -> nn.Linear:
    """Build a square layer without bias whose entries have variance ``gain² / width``."""
    layer = nn.Linear(width, width, bias=False)
    if init == "orthogonal":
        nn.init.orthogonal_(layer.weight, gain)
    else:
        nn.init.normal_(layer.weight, std=gain / math.sqrt(width))
    return layer


class Layer(nn.Module):
    """One residual layer."""

    def __init__(self, config: ResidualConfig) -> None:
        super().__init__()
        self.scale = config.scale / config.layers if config.by_depth else config.scale
        inner = matrix(config.width, 1.0, config.init)
        if config.branch == "linear":
            self.branch: nn.Module = inner
        else:
            self.branch = nn.Sequential(inner, nn.ReLU(), matrix(config.width, math.sqrt(2), config.init))

    def forward(self, z: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        """Add the scaled branch to the input."""
        y: Tensor = z + self.scale * self.branch(z)
        return y


class Residual(Stack):
    """Residual layers, one after another.

    Examples
    --------
    >>> model = Residual(ResidualConfig(layers=3, width=4, scale=0.0))
    >>> torch.equal(model(torch.ones(2, 4)), torch.ones(2, 4))
    True
    """

    layer = Layer


@factory
def residual(config: ResidualConfig, batch: int) -> Specimen:
    """Build a residual stack; settings are the fields of `ResidualConfig`, `batch` and `seed`."""
    return Specimen(Residual(config), (torch.randn(batch, config.width),), "b k -> b m")
