"""PixelCNN: an autoregressive density over images from masked convolutions, all pixels trained at once.

The first convolution wears mask A, so no pixel sees itself; residual blocks with mask B follow. Climbing one row, a
masked convolution reaches as many columns to the right as its radius, so the wedge beyond that stays blind at any
depth; `leadline.zoo.gated_pixelcnn` has no such blind spot.

Source: van den Oord, Kalchbrenner, Kavukcuoglu, "Pixel Recurrent Neural Networks", 2016.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from leadline.zoo.layers.colors import as_channels, as_symbols
from leadline.zoo.layers.condition import Condition, LevelEmbedding
from leadline.zoo.layers.dropout import Dropout
from leadline.zoo.layers.masked_conv import MaskedConv2d, pointwise
from leadline.zoo.layers.members import averaged
from leadline.zoo.settings import Fraction, Kernel, Members, Natural, Positive, Range, WideKernel, factory
from leadline.zoo.specimen import Specimen, image_specimen


@dataclass(frozen=True)
class PixelCNNConfig:
    """A first convolution of width `first_kernel`, then `layers` residual blocks, then a head of 1 × 1 convolutions.

    Classes are levels, embedded in `embedding` channels. Blocks narrow `channels` to `inner` around their masked
    convolution of width `kernel`. Pixels of several `colors` have a symbol for each, one after the other. `labels`
    classes condition the model (0: none); if it is `marginal`, in training alone: the density is then the mean of those
    of the classes. `positions` adds a learned vector per pixel, which ties the model to `height` × `width`. The
    probabilities of several `members` are averaged.
    """

    classes: Positive = 17
    height: Positive = 8
    width: Positive = 8
    colors: Positive = 1
    embedding: Positive = 4
    channels: Positive = 64
    inner: Positive = 32
    layers: Annotated[int, Range(0, 100_000)] = 6
    first_kernel: WideKernel = 7
    kernel: Kernel = 3
    head: Positive = 64
    dropout: Fraction = 0.0
    labels: Natural = 0
    positions: bool = False
    members: Members = 1
    marginal: bool = False


class Block(nn.Module):
    """``x + f(x)``, f: 1 × 1 down to `inner` channels, masked convolution, 1 × 1 back up."""

    def __init__(self, config: PixelCNNConfig) -> None:
        super().__init__()
        self.down = pointwise(config.channels, config.inner, config.colors)
        self.conv = MaskedConv2d(config.inner, config.inner, config.kernel, "B", colors=config.colors)
        self.dropout = Dropout(config.dropout)
        self.up = pointwise(config.inner, config.channels, config.colors)

    def forward(self, x: Float[Tensor, "b k h w"]) -> Float[Tensor, "b k h w"]:
        """Add the block's output to its input."""
        y = torch.relu(self.down(torch.relu(x)))
        y = self.dropout(torch.relu(self.conv(y)))
        out: Tensor = x + self.up(y)
        return out


class PixelCNN(nn.Module):
    """Logits of every pixel's class, from the pixels before it in raster order.

    With R and r the radii of `first_kernel` and `kernel` and n = `layers`, a pixel sees ``R + n·r`` pixels to its left;
    of the row a above it, ``1 ≤ a ≤ R + n·r``, the columns from ``R + n·r`` to the left to ``R + r·min(n, a - 1)`` to
    the right (for R ≥ r - 1: a narrower first kernel adds a column that only the later ones reach). Of its own pixel a
    colour sees those before it.

    Examples
    --------
    >>> model = PixelCNN(PixelCNNConfig(classes=4, layers=2))
    >>> model(torch.zeros(1, 8, 8, dtype=torch.long)).shape
    torch.Size([1, 8, 8, 4])
    """

    def __init__(self, config: PixelCNNConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = LevelEmbedding(config.classes, config.embedding)
        inputs = config.embedding * config.colors
        self.first = MaskedConv2d(inputs, config.channels, config.first_kernel, "A", colors=config.colors)
        size = (config.height, config.width) if config.positions else None
        self.condition = Condition(config.channels, config.labels, size)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.hidden = pointwise(config.channels, config.head, config.colors)
        self.dropout = Dropout(config.dropout)
        self.logits = pointwise(config.head, config.classes * config.colors, config.colors)

    def forward(
        self, x: Int[Tensor, "b h w *c"], label: Int[Tensor, " b"] | None = None
    ) -> Float[Tensor, "b h w *c v"]:
        """Return the logits of all symbols of images `x`; `label` is needed if the model is conditional."""
        z = as_channels(self.embed(x))
        z = self.condition(self.first(z), label)
        for block in self.blocks:
            z = block(z)
        z = torch.relu(self.hidden(torch.relu(z)))
        return as_symbols(self.logits(self.dropout(z)), self.config.colors)


@factory
def pixelcnn(config: PixelCNNConfig, batch: int) -> Specimen:
    """Build a PixelCNN; settings are the fields of `PixelCNNConfig`, `batch` and `seed`."""
    return image_specimen(averaged(PixelCNN, config), config, batch)
