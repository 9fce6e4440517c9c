"""Four places for batch normalisation in a deep network of layers ``f(x) = W relu(x)``."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from leadline.zoo.layers.stack import Stack
from leadline.zoo.settings import Depth, Positive, factory
from leadline.zoo.specimen import Specimen

Placement = Literal["plain", "branch", "before", "after"]


@dataclass(frozen=True)
class BatchNormConfig:
    """`layers` layers of `width` units with batch normalisation at `placement`.

    ``"plain"``: BN(f(x)); ``"branch"``: x + BN(f(x)); ``"before"``: x + f(BN(x)); ``"after"``: BN(x + f(x)). Weights
    are drawn after He: normal with variance 2/width; the only biases are those of BN.
    """

    layers: Depth = 16
    width: Positive = 64
    placement: Placement = "branch"


class Layer(nn.Module):
    """One layer with its normalisation."""

    def __init__(self, config: BatchNormConfig) -> None:
        super().__init__()
        self.placement = config.placement
        self.linear = nn.Linear(config.width, config.width, bias=False)
        nn.init.kaiming_normal_(self.linear.weight, nonlinearity="relu")
        self.norm = nn.BatchNorm1d(config.width)

    def f(self, x: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        """W relu(x)."""
        y: Tensor = self.linear(torch.relu(x))
        return y

    def forward(self, x: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        """Apply f and the normalisation in the order of the placement."""
        y: Tensor
        match self.placement:
            case "plain":
                y = self.norm(self.f(x))
            case "branch":
                y = x + self.norm(self.f(x))
            case "before":
                y = x + self.f(self.norm(x))
            case "after":
                y = self.norm(x + self.f(x))
        return y


class BatchNormNet(Stack):
    """Normalised layers, one after another; in train mode the examples of a batch depend on each other.

    Examples
    --------
    >>> model = BatchNormNet(BatchNormConfig(layers=3, width=4, placement="after"))
    >>> y = model(torch.randn(32, 4))
    >>> bool(y.mean(0).abs().max() < 1e-5)
    True
    """

    layer = Layer


@factory
def batchnorm(config: BatchNormConfig, batch: int) -> Specimen:
    """Build a normalised stack; settings are the fields of `BatchNormConfig`, `batch` and `seed`."""
    return Specimen(BatchNormNet(config), (torch.randn(batch, config.width),), "b k -> b m")
