"""PixelSNAIL: gated residual blocks of shifted convolutions, between which every pixel attends to all before it.

Source: Chen, Mishra, Rohaninejad, Abbeel, "PixelSNAIL: An improved autoregressive generative model", 2018.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import elu, pad, scaled_dot_product_attention

from leadline.errors import UsageError
from leadline.zoo.layers.colors import as_channels
from leadline.zoo.layers.condition import Condition, LevelEmbedding
from leadline.zoo.layers.gated_block import Block
from leadline.zoo.layers.mixture_head import MixtureHead
from leadline.zoo.layers.shifted import Before, Left
from leadline.zoo.settings import Depth, Fraction, Natural, Positive, factory
from leadline.zoo.specimen import Specimen, image_specimen


@dataclass(frozen=True)
class PixelSnailConfig:
    """`layers` rounds of `blocks` gated blocks and one attention of `heads` heads of `key` channels.

    Levels are embedded in `embedding` channels a colour. The output is a mixture of `components` logistics for each
    colour; 0, for one colour: a logit for each class. `labels` classes condition the model (0: none); `positions` adds
    a learned vector per pixel, which ties the model to `height` × `width`; the attention is told where pixels stand.
    """

    classes: Positive = 17
    height: Positive = 8
    width: Positive = 8
    colors: Positive = 1
    embedding: Positive = 4
    channels: Positive = 32
    layers: Depth = 2
    blocks: Positive = 2
    heads: Positive = 2
    key: Positive = 8
    components: Natural = 10
    dropout: Fraction = 0.0
    labels: Natural = 0
    positions: bool = False


class Attention(nn.Module):
    """Every pixel attends to what is known at those before it and at itself, in the order of rows.

    At a pixel its features are known, and the pixel just before it, at the end of the row above if need be: that one is
    in no feature yet.

    Examples
    --------
    >>> attention = Attention(PixelSnailConfig(channels=8, embedding=3))
    >>> attention(torch.zeros(1, 8, 4, 5), torch.zeros(1, 3, 4, 5)).shape
    torch.Size([1, 16, 4, 5])
    """

    def __init__(self, config: PixelSnailConfig) -> None:
        super().__init__()
        self.heads, self.size = config.heads, config.heads * config.key
        self.project = nn.Conv2d(config.channels + config.embedding * config.colors + 2, 3 * self.size, 1)

    def forward(self, z: Float[Tensor, "b k h w"], pixels: Float[Tensor, "b e h w"]) -> Float[Tensor, "b d h w"]:
        """Return what is attended to, of all heads, from features and embedded pixels."""
        b, _, h, w = z.shape
        rows = torch.linspace(-1, 1, h, dtype=z.dtype, device=z.device)[:, None].expand(b, 1, h, w)
        columns = torch.linspace(-1, 1, w, dtype=z.dtype, device=z.device).expand(b, 1, h, w)
        before = pad(pixels.flatten(2)[..., :-1], (1, 0)).unflatten(2, (h, w))
        projected = self.project(torch.cat([z, before, rows, columns], 1)).flatten(2).mT
        query, key, value = projected.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = scaled_dot_product_attention(query, key, value, is_causal=True)
        found: Tensor = attended.transpose(1, 2).flatten(2).mT.unflatten(2, (h, w))
        return found


class Round(nn.Module):
    """Gated blocks, then one that also hears what every pixel attends to."""

    def __init__(self, config: PixelSnailConfig) -> None:
        super().__init__()
        k = config.channels
        self.blocks = nn.ModuleList(Block(Left, k, 0, config.dropout) for _ in range(config.blocks))
        self.attention = Attention(config)
        self.merge = Block(Left, k, self.attention.size, config.dropout)

    def forward(self, z: Float[Tensor, "b k h w"], pixels: Float[Tensor, "b e h w"]) -> Float[Tensor, "b k h w"]:
        """Run the round on features; the attention reads the embedded pixels, too."""
        for block in self.blocks:
            z = block(z)
        merged: Tensor = self.merge(z, self.attention(z, pixels))
        return merged


class PixelSnail(nn.Module):
    """Parameters of every symbol's distribution, from all symbols before it in the order of rows, columns and colours.

    Examples
    --------
    >>> model = PixelSnail(PixelSnailConfig(classes=4, channels=8, layers=1))
    >>> model(torch.zeros(1, 8, 8, dtype=torch.long)).shape
    torch.Size([1, 8, 8, 30])
    """

    def __init__(self, config: PixelSnailConfig) -> None:
        super().__init__()
        if config.colors > 1 and not config.components:
            raise UsageError("components=0, a logit for each class, is for one color; give at least one component")
        self.config = config
        self.embed = LevelEmbedding(config.classes, config.embedding)
        self.first = Before(config.embedding * config.colors, config.channels)
        size = (config.height, config.width) if config.positions else None
        self.condition = Condition(config.channels, config.labels, size)
        self.rounds = nn.ModuleList(Round(config) for _ in range(config.layers))
        self.out = MixtureHead(config.channels, config.classes, config.colors, config.components)

    def forward(
        self, x: Int[Tensor, "b h w *c"], label: Int[Tensor, " b"] | None = None
    ) -> Float[Tensor, "b h w *c v"]:
        """Return the parameters for all symbols of images `x`; `label` is needed if the model is conditional."""
        pixels = as_channels(self.embed(x))
        z = self.condition(self.first(pixels), label)
        for each in self.rounds:
            z = each(z, pixels)
        logits: Tensor = self.out(elu(z), x)
        return logits


@factory
def pixelsnail(config: PixelSnailConfig, batch: int) -> Specimen:
    """Build a PixelSNAIL; settings are the fields of `PixelSnailConfig`, `batch` and `seed`."""
    specimen = image_specimen(PixelSnail(config), config, batch)
    return replace(specimen, likelihood="logistics") if config.components else specimen
