"""PixelCNN++: two streams of gated residual blocks over several resolutions, and a mixture of logistics at the end.

The stream from above holds what the rows above say, the other one what stands to the left, too. Both are halved by
strides and doubled again, with skips between blocks of the same resolution: what a coarse pixel holds is known before
the first of the pixels that it stands for.

Source: Salimans, Karpathy, Chen, Kingma, "PixelCNN++: Improving the PixelCNN with discretized logistic mixture
likelihood and other modifications", 2017.
"""

from dataclasses import dataclass, replace
from typing import Annotated

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import elu

from leadline.errors import UsageError
from leadline.zoo.layers.colors import as_channels
from leadline.zoo.layers.condition import Condition, LevelEmbedding
from leadline.zoo.layers.gated_block import Block
from leadline.zoo.layers.mixture_head import MixtureHead
from leadline.zoo.layers.shifted import Above, Before, Left, moved_down
from leadline.zoo.settings import Depth, Fraction, Natural, Positive, Range, factory
from leadline.zoo.specimen import Specimen, image_specimen


@dataclass(frozen=True)
class PixelCNNPlusConfig:
    """`layers` blocks a stream at each of `scales` resolutions, on the way down and on the way up again.

    Levels are embedded in `embedding` channels a colour. Height and width are multiples of 2^(scales - 1). The output
    is a mixture of `components` logistics for each colour; 0, for one colour: a logit for each class. `labels` classes
    condition the model (0: none); `positions` adds a learned vector per pixel.
    """

    classes: Positive = 17
    height: Positive = 8
    width: Positive = 8
    colors: Positive = 1
    embedding: Positive = 4
    channels: Positive = 32
    layers: Depth = 2
    scales: Annotated[int, Range(1, 8)] = 2
    components: Natural = 10
    dropout: Fraction = 0.0
    labels: Natural = 0
    positions: bool = False


class Pair(nn.Module):
    """A block of each stream: the second hears the first; on the way up both hear a pair of the way down."""

    def __init__(self, config: PixelCNNPlusConfig, up: bool) -> None:
        super().__init__()
        k = config.channels
        self.above = Block(Above, k, k if up else 0, config.dropout)
        self.left = Block(Left, k, 2 * k if up else k, config.dropout)

    def forward(self, above: Tensor, left: Tensor, skip: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Return both streams."""
        above = self.above(above, skip[0] if skip else None)
        return above, self.left(left, torch.cat([above, skip[1]], 1) if skip else above)


class Halved(nn.Module):
    """Both streams at half the resolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.above, self.left = Above(channels, channels, stride=2), Left(channels, channels, stride=2)

    def forward(self, above: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
        """Let every coarse pixel stand for the first of its pixels."""
        return self.above(above), self.left(left)


class Doubled(nn.Module):
    """Both streams at twice the resolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.above = nn.ConvTranspose2d(channels, channels, (2, 3), stride=2, padding=(0, 1), output_padding=(0, 1))
        self.left = nn.ConvTranspose2d(channels, channels, 2, stride=2)

    def forward(self, above: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
        """Let every pixel hear the coarse one that stands for it."""
        return self.above(above), self.left(left)


class PixelCNNPlus(nn.Module):
    """Parameters of every symbol's distribution, from the symbols before it in the order of rows, columns and colours.

    Examples
    --------
    >>> model = PixelCNNPlus(PixelCNNPlusConfig(classes=256, colors=3, channels=8, layers=1))
    >>> model(torch.zeros(1, 8, 8, 3, dtype=torch.long)).shape
    torch.Size([1, 8, 8, 3, 30])
    """

    def __init__(self, config: PixelCNNPlusConfig) -> None:
        super().__init__()
        _check(config)
        self.config = config
        k, inputs = config.channels, config.embedding * config.colors
        self.embed = LevelEmbedding(config.classes, config.embedding)
        self.above, self.left = Above(inputs, k), Before(inputs, k)
        self.condition = Condition(k, config.labels, (config.height, config.width) if config.positions else None)
        counts = [config.layers] * config.scales
        self.down = nn.ModuleList(nn.ModuleList(Pair(config, up=False) for _ in range(n)) for n in counts)
        self.halved = nn.ModuleList(Halved(k) for _ in counts[1:])
        counts[1:] = [n + 1 for n in counts[1:]]  # finer ones hear what they were halved from, too
        self.up = nn.ModuleList(nn.ModuleList(Pair(config, up=True) for _ in range(n)) for n in counts)
        self.doubled = nn.ModuleList(Doubled(k) for _ in counts[1:])
        self.out = MixtureHead(k, config.classes, config.colors, config.components)

    def forward(
        self, x: Int[Tensor, "b h w *c"], label: Int[Tensor, " b"] | None = None
    ) -> Float[Tensor, "b h w *c v"]:
        """Return the parameters for all symbols of images `x`; `label` is needed if the model is conditional."""
        z = as_channels(self.embed(x))
        streams = self.condition(self.above(moved_down(z)), label), self.condition(self.left(z), label)
        skips = [streams]
        for scale, pairs in enumerate(self.down):
            if scale:
                streams = self.halved[scale - 1](*streams)
                skips.append(streams)
            for pair in pairs:
                streams = pair(*streams)
                skips.append(streams)
        streams = skips.pop()
        for scale, pairs in enumerate(self.up):
            if scale:
                streams = self.doubled[scale - 1](*streams)
            for pair in pairs:
                streams = pair(*streams, skips.pop())
        return self.out(elu(streams[1]), x)


def _check(config: PixelCNNPlusConfig) -> None:
    """Raise `UsageError` for settings that do not fit each other."""
    coarsest = 2 ** (config.scales - 1)
    if config.height % coarsest or config.width % coarsest:
        raise UsageError(
            f"scales={config.scales} halves images {config.scales - 1} times, and {config.height} × {config.width} "
            f"pixels are not multiples of {coarsest}"
        )
    if config.colors > 1 and not config.components:
        raise UsageError("components=0, a logit for each class, is for one color; give at least one component")


@factory
def pixelcnn_plus(config: PixelCNNPlusConfig, batch: int) -> Specimen:
    """Build a PixelCNN++; settings are the fields of `PixelCNNPlusConfig`, `batch` and `seed`."""
    specimen = image_specimen(PixelCNNPlus(config), config, batch)
    return replace(specimen, likelihood="logistics") if config.components else specimen
