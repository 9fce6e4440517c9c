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


Streams = tuple[Tensor, Tensor]


class Pair(nn.Module):
    """A block of each stream: the second hears the first; on the way up both hear a pair of the way down."""

    def __init__(self, config: PixelCNNPlusConfig, up: bool) -> None:
        super().__init__()
        k = config.channels
        self.above = Block(Above, k, k if up else 0, config.dropout)
        self.left = Block(Left, k, 2 * k if up else k, config.dropout)

    def forward(self, above: Tensor, left: Tensor, skip: Streams | None = None) -> Streams:
        """Return both streams."""
        above = self.above(above, skip[0] if skip else None)
        return above, self.left(left, torch.cat([above, skip[1]], 1) if skip else above)


class Halved(nn.Module):
    """Both streams at half the resolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.above, self.left = Above(channels, channels, stride=2), Left(channels, channels, stride=2)

    def forward(self, above: Tensor, left: Tensor) -> Streams:
        """Let every coarse pixel stand for the first of its pixels."""
        return self.above(above), self.left(left)


class Doubled(nn.Module):
    """Both streams at twice the resolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.above = nn.ConvTranspose2d(channels, channels, (2, 3), stride=2, padding=(0, 1), output_padding=(0, 1))
        self.left = nn.ConvTranspose2d(channels, channels, 2, stride=2)

    def forward(self, above: Tensor, left: Tensor) -> Streams:
        """Let every pixel hear the coarse one that stands for it."""
        return self.above(above), self.left(left)


class Down(nn.Module):
    """Pairs at one resolution, which halves the one before it unless it is the `first`."""

    def __init__(self, config: PixelCNNPlusConfig, first: bool) -> None:
        super().__init__()
        self.halved = None if first else Halved(config.channels)
        self.pairs = nn.ModuleList(Pair(config, up=False) for _ in range(config.layers))

    def forward(self, streams: Streams) -> list[Streams]:
        """Return the streams after every step."""
        kept = [] if self.halved is None else [self.halved(*streams)]
        for pair in self.pairs:
            kept.append(pair(*(kept[-1] if kept else streams)))
        return kept


class Up(nn.Module):
    """Pairs at one resolution, which doubles the one before it unless it is the `first`; each hears the way down."""

    def __init__(self, config: PixelCNNPlusConfig, first: bool) -> None:
        super().__init__()
        self.doubled = None if first else Doubled(config.channels)
        heard = config.layers if first else config.layers + 1  # a finer one also hears what it was halved from
        self.pairs = nn.ModuleList(Pair(config, up=True) for _ in range(heard))

    def forward(self, streams: Streams, skips: list[Streams]) -> Streams:
        """Return the streams; what they hear is taken off the end of `skips`."""
        if self.doubled is not None:
            streams = self.doubled(*streams)
        for pair in self.pairs:
            streams = pair(*streams, skips.pop())
        return streams


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
        self.down = nn.ModuleList(Down(config, first=not scale) for scale in range(config.scales))
        self.up = nn.ModuleList(Up(config, first=not scale) for scale in range(config.scales))
        self.out = MixtureHead(k, config.classes, config.colors, config.components)

    def forward(
        self, x: Int[Tensor, "b h w *c"], label: Int[Tensor, " b"] | None = None
    ) -> Float[Tensor, "b h w *c v"]:
        """Return the parameters for all symbols of images `x`; `label` is needed if the model is conditional."""
        z = as_channels(self.embed(x))
        skips = [(self.condition(self.above(moved_down(z)), label), self.condition(self.left(z), label))]
        for resolution in self.down:
            skips += resolution(skips[-1])
        streams = skips.pop()
        for resolution in self.up:
            streams = resolution(streams, skips)
        logits: Tensor = self.out(elu(streams[1]), x)
        return logits


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
