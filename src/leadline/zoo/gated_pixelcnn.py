"""Gated PixelCNN: two stacks of gated convolutions that together see every earlier pixel within reach.

The vertical stack at a pixel holds what the rows *above* say: its first convolution stops one row short, once; the
later ones include their own row, which already stands for the rows above. (Shifting every vertical layer instead, a
known mistake, leaves pixels unseen.) The horizontal stack adds what stands to the left, and reads the vertical stack in
each layer.

Source: van den Oord, Kalchbrenner, Vinyals, Espeholt, Graves, Kavukcuoglu, "Conditional Image Generation with PixelCNN
Decoders", 2016.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from leadline.errors import UsageError
from leadline.zoo.layers.colors import as_channels, as_symbols
from leadline.zoo.layers.condition import Condition, LevelEmbedding
from leadline.zoo.layers.dropout import Dropout
from leadline.zoo.layers.masked_conv import CroppedConv2d, MaskedRow, Pointwise, pointwise
from leadline.zoo.layers.members import averaged
from leadline.zoo.settings import Depth, Fraction, Kernel, Members, Natural, Positive, WideKernel, factory
from leadline.zoo.specimen import Specimen, image_specimen


@dataclass(frozen=True)
class GatedPixelCNNConfig:
    """A first layer of width `first_kernel` and `layers` - 1 more of width `kernel`, then a head of 1 × 1 convolutions.

    Classes are levels, embedded in `embedding` channels. Pixels of several `colors` have a symbol for each, one after
    the other; `channels` is a multiple of them. `labels` classes condition every layer (0: none); if it is `marginal`,
    in training alone: the density is then the mean of those of the classes. `positions` adds a learned vector per pixel
    in the first layer, which ties the model to `height` × `width`. The probabilities of several `members` are averaged.
    """

    classes: Positive = 17
    height: Positive = 8
    width: Positive = 8
    colors: Positive = 1
    embedding: Positive = 4
    channels: Positive = 32
    layers: Depth = 6
    first_kernel: WideKernel = 7
    kernel: Kernel = 3
    head: Positive = 64
    dropout: Fraction = 0.0
    labels: Natural = 0
    positions: bool = False
    members: Members = 1
    marginal: bool = False


def gate(x: Float[Tensor, "b kk h w"]) -> Float[Tensor, "b k h w"]:
    """Multiply tanh of one half of the channels by the sigmoid of the other."""
    value, opening = x.chunk(2, dim=1)
    return torch.tanh(value) * torch.sigmoid(opening)


class Layer(nn.Module):
    """One layer of both stacks; the `first` one stops short of the own row above, and of the own pixel to the left."""

    def __init__(self, config: GatedPixelCNNConfig, first: bool) -> None:
        super().__init__()
        k, kernel = config.channels, config.first_kernel if first else config.kernel
        radius = kernel // 2
        seen = radius if first else radius + 1
        size = (config.height, config.width) if config.positions and first else None
        self.first = first
        inputs = config.embedding * config.colors if first else k
        self.above = CroppedConv2d(inputs, 2 * k, (seen, kernel), padding=radius)
        if config.colors == 1:
            self.left: nn.Module = CroppedConv2d(inputs, 2 * k, (1, seen), padding=(0, radius))
        else:
            self.left = MaskedRow(inputs, 2 * k, radius, config.colors, "A" if first else "B")
        self.link = Pointwise(2 * k, 2 * k)
        self.condition = Condition(2 * k, config.labels, size)
        self.dropout = Dropout(config.dropout)
        self.out = pointwise(k, k, config.colors)

    def forward(
        self, v: Float[Tensor, "b e h w"], h: Float[Tensor, "b e h w"], label: Int[Tensor, " b"] | None
    ) -> tuple[Float[Tensor, "b k h w"], Float[Tensor, "b k h w"]]:
        """Return the vertical and the horizontal state; the latter is residual, except over the pixel itself."""
        above = self.condition(self.above(v), label)
        y = self.out(self.dropout(gate(self.left(h) + self.link(above))))
        v = self.dropout(gate(above))
        return v, y if self.first else h + y


class GatedPixelCNN(nn.Module):
    """Logits of every pixel's class, from the pixels before it in raster order.

    With R and r the radii of `first_kernel` and `kernel`, a pixel sees ``D = R + (layers - 1)·r`` pixels to its left
    and, of each of the D rows above, D columns to either side: every earlier pixel of that box. Of its own pixel a
    colour sees those before it.

    Examples
    --------
    >>> model = GatedPixelCNN(GatedPixelCNNConfig(classes=4, layers=2))
    >>> model(torch.zeros(1, 8, 8, dtype=torch.long)).shape
    torch.Size([1, 8, 8, 4])
    """

    def __init__(self, config: GatedPixelCNNConfig) -> None:
        super().__init__()
        if config.channels % config.colors:
            raise UsageError(f"channels={config.channels} is not a multiple of colors={config.colors}")
        self.config = config
        self.embed = LevelEmbedding(config.classes, config.embedding)
        self.layers = nn.ModuleList(Layer(config, first=index == 0) for index in range(config.layers))
        self.hidden = pointwise(config.channels, config.head, config.colors)
        self.dropout = Dropout(config.dropout)
        self.logits = pointwise(config.head, config.classes * config.colors, config.colors)

    def forward(
        self, x: Int[Tensor, "b h w *c"], label: Int[Tensor, " b"] | None = None
    ) -> Float[Tensor, "b h w *c v"]:
        """Return the logits of all symbols of images `x`; `label` is needed if the model is conditional."""
        v = h = as_channels(self.embed(x))
        for layer in self.layers:
            v, h = layer(v, h, label)
        z = torch.relu(self.hidden(torch.relu(h)))
        return as_symbols(self.logits(self.dropout(z)), self.config.colors)


@factory
def gated_pixelcnn(config: GatedPixelCNNConfig, batch: int) -> Specimen:
    """Build a Gated PixelCNN; settings are the fields of `GatedPixelCNNConfig`, `batch` and `seed`."""
    return image_specimen(averaged(GatedPixelCNN, config), config, batch)
