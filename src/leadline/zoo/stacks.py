"""Plain cores: k channels in, k channels out, nothing but causal convolutions and a nonlinearity between them.

These are the networks that the growth laws of WaveNet and PixelCNN are stated for.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from leadline.zoo.layers.causal_conv import CausalConv1d
from leadline.zoo.layers.masked_conv import MaskedConv2d
from leadline.zoo.layers.stack import ACTIVATIONS
from leadline.zoo.settings import Activation, Depth, Positive, WideKernel, factory
from leadline.zoo.specimen import Specimen


class Core(nn.Module):
    """Convolutions, one after another, with the nonlinearity of the config after each."""

    def __init__(self, config: Any, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(layers)
        self.nonlinearity = ACTIVATIONS[config.nonlinearity]()

    def forward(self, x: Float[Tensor, "b k *grid"]) -> Float[Tensor, "b k *grid"]:
        """Run the layers in turn."""
        for layer in self.layers:
            x = self.nonlinearity(layer(x))
        return x


@dataclass(frozen=True)
class DilatedStackConfig:
    """`layers` causal convolutions of `channels` channels, dilated by 1 … 2^(layers - 1), a nonlinearity after each.

    `length` is only that of the example input.
    """

    layers: Depth = 4
    channels: Positive = 8
    kernel: Positive = 2
    bias: bool = False
    nonlinearity: Activation = "tanh"
    length: Positive = 64


class DilatedStack(Core):
    """Output t sees the last ``1 + (kernel - 1)·(2^layers - 1)`` inputs, the one at t among them.

    With kernel 2 it has ``k²(2dT - (2^d - 1))`` connections over T ≥ 2^(d-1) steps, d = `layers` and k = `channels`.

    Examples
    --------
    >>> DilatedStack(DilatedStackConfig(channels=3))(torch.zeros(1, 3, 10)).shape
    torch.Size([1, 3, 10])
    """

    def __init__(self, config: DilatedStackConfig) -> None:
        k = config.channels
        super().__init__(config, (CausalConv1d(k, k, config.kernel, 2**i, config.bias) for i in range(config.layers)))


@dataclass(frozen=True)
class MaskedStackConfig:
    """`layers` masked convolutions of `channels` channels, the `first` with mask A or B, all others B.

    `height` and `width` are only those of the example input.
    """

    layers: Depth = 4
    channels: Positive = 8
    kernel: WideKernel = 3
    first: Literal["A", "B"] = "A"
    bias: bool = False
    nonlinearity: Activation = "tanh"
    height: Positive = 8
    width: Positive = 8


class MaskedStack(Core):
    """A plain PixelCNN core: 3 × 3, a layer of mask A has ``k²(4HW - 3H - 3W + 2)`` connections, B k²HW more.

    Examples
    --------
    >>> MaskedStack(MaskedStackConfig(channels=3))(torch.zeros(1, 3, 5, 7)).shape
    torch.Size([1, 3, 5, 7])
    """

    def __init__(self, config: MaskedStackConfig) -> None:
        k, masks = config.channels, [config.first]
        masks += ["B"] * (config.layers - 1)
        super().__init__(config, (MaskedConv2d(k, k, config.kernel, mask, config.bias) for mask in masks))


@factory
def dilated_stack(config: DilatedStackConfig, batch: int) -> Specimen:
    """Build a stack of dilated convolutions; settings are the fields of `DilatedStackConfig`, `batch` and `seed`."""
    x = torch.randn(batch, config.channels, config.length)
    return Specimen(DilatedStack(config), (x,), "b k t -> b m t")


@factory
def masked_stack(config: MaskedStackConfig, batch: int) -> Specimen:
    """Build a stack of masked convolutions; settings are the fields of `MaskedStackConfig`, `batch` and `seed`."""
    x = torch.randn(batch, config.channels, config.height, config.width)
    return Specimen(MaskedStack(config), (x,), "b k h w -> b m h w")
