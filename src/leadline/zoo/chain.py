"""A chain of scalar layers ``x ↦ φ(w·x + b)``: the smallest network in which a gradient can vanish or explode."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from leadline.zoo.layers.stack import ACTIVATIONS, Stack
from leadline.zoo.settings import Activation, Depth, factory
from leadline.zoo.specimen import Specimen


@dataclass(frozen=True)
class ChainConfig:
    """`layers` scalar layers, all with the same `weight`, `bias` and `activation`."""

    layers: Depth = 10
    activation: Activation = "sigmoid"
    weight: float = 1.0
    bias: float = 0.0


class Layer(nn.Module):
    """One scalar layer."""

    def __init__(self, config: ChainConfig) -> None:
        super().__init__()
        self.linear = nn.Linear(1, 1)
        nn.init.constant_(self.linear.weight, config.weight)
        nn.init.constant_(self.linear.bias, config.bias)
        self.activation = ACTIVATIONS[config.activation]()

    def forward(self, x: Float[Tensor, "b 1"]) -> Float[Tensor, "b 1"]:
        """Apply the affine map and the activation."""
        y: Tensor = self.activation(self.linear(x))
        return y


class Chain(Stack):
    """Scalar layers, one after another.

    Examples
    --------
    The gradient of sigmoid layers with unit weights is at most ``4^-n``, reached where every pre-activation is 0:

    >>> model = Chain(ChainConfig(layers=3, bias=-0.5))
    >>> x = torch.tensor([[0.5]], requires_grad=True)
    >>> model(x).backward()
    >>> x.grad.item() == 4**-3
    True
    """

    layer = Layer


@factory
def chain(config: ChainConfig, batch: int) -> Specimen:
    """Build a chain of scalar layers; settings are the fields of `ChainConfig`, `batch` and `seed`."""
    return Specimen(Chain(config), (torch.randn(batch, 1),), "b k -> b m")
