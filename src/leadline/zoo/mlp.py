"""A multilayer perceptron with the initialisation that mean-field theory speaks of."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from leadline.zoo.layers.stack import ACTIVATIONS, Stack
from leadline.zoo.settings import Activation, Depth, Positive, Range, factory
from leadline.zoo.specimen import Specimen


@dataclass(frozen=True)
class MLPConfig:
    """`layers` layers ``x ↦ φ(Wx + b)`` of `width` units.

    Weights have mean square ``sigma_w² / width``, as independent normals or as a multiple of a random orthogonal
    matrix; biases are normal with variance ``sigma_b²``.
    """

    layers: Depth = 16
    width: Positive = 64
    activation: Activation = "tanh"
    init: Literal["gaussian", "orthogonal"] = "gaussian"
    sigma_w: Annotated[float, Range(0)] = 1.0
    sigma_b: Annotated[float, Range(0)] = 0.0


class Layer(nn.Module):
    """One layer, drawn as the config says."""

    def __init__(self, config: MLPConfig) -> None:
        super().__init__()
        self.linear = nn.Linear(config.width, config.width)
        if config.init == "orthogonal":
            nn.init.orthogonal_(self.linear.weight, config.sigma_w)
        else:
            nn.init.normal_(self.linear.weight, std=config.sigma_w / math.sqrt(config.width))
        nn.init.normal_(self.linear.bias, std=config.sigma_b)
        self.activation = ACTIVATIONS[config.activation]()

    def forward(self, x: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        """Apply the affine map and the activation."""
        y: Tensor = self.activation(self.linear(x))
        return y


class MLP(Stack):
    """Layers of equal width, one after another.

    Examples
    --------
    An orthogonal linear network keeps lengths at any depth:

    >>> model = MLP(MLPConfig(layers=20, activation="identity", init="orthogonal"))
    >>> x = torch.randn(1, 64)
    >>> torch.allclose(model(x).norm(), x.norm(), rtol=1e-4)
    True
    """

    layer = Layer


@factory
def mlp(config: MLPConfig, batch: int) -> Specimen:
    """Build a multilayer perceptron; settings are the fields of `MLPConfig`, `batch` and `seed`."""
    return Specimen(MLP(config), (torch.randn(batch, config.width),), "b k -> b m")
