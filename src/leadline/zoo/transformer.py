"""A causal decoder-only Transformer: every output sees every earlier symbol through attention.

Source: Vaswani et al., "Attention Is All You Need", 2017 (``norm="post"``); pre-norm after Xiong et al., "On Layer
Normalization in the Transformer Architecture", 2020.
"""

from dataclasses import dataclass, replace
from typing import Literal

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from leadline.errors import UsageError
from leadline.zoo.layers.amplitude import Amplitude, spread_scales
from leadline.zoo.layers.causal_conv import shift
from leadline.zoo.layers.dropout import Dropout
from leadline.zoo.layers.logits import Logits
from leadline.zoo.settings import Depth, Fraction, Lag, Natural, Positive, factory
from leadline.zoo.specimen import Specimen, density_specimen


@dataclass(frozen=True)
class TransformerConfig:
    """`layers` blocks of `heads` heads of `head_channels` channels each, for sequences of at most `length` symbols.

    `labels` classes condition every position (0: none). With `lag` 0 the logits at t are of the symbol after t; with
    `lag` 1 they are of symbol t, from those before it. With `components` the output is a mixture of so many logistics,
    and the symbols are read as amplitudes, as those of sound are.
    """

    classes: Positive = 256
    length: Positive = 64
    heads: Positive = 4
    head_channels: Positive = 16
    layers: Depth = 2
    norm: Literal["pre", "post"] = "pre"
    dropout: Fraction = 0.0
    lag: Lag = 0
    labels: Natural = 0
    components: Natural = 0


class Attention(nn.Module):
    """Multi-head self-attention over the positions up to one's own."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        k = config.heads * config.head_channels
        self.heads = config.heads
        self.qkv = nn.Linear(k, 3 * k)
        self.out = nn.Linear(k, k)

    def forward(self, x: Float[Tensor, "b t k"]) -> Float[Tensor, "b t k"]:
        """Attend, and mix the heads."""
        q, k, v = (z.unflatten(-1, (self.heads, -1)).transpose(1, 2) for z in self.qkv(x).chunk(3, dim=-1))
        y = scaled_dot_product_attention(q, k, v, is_causal=True)
        out: Tensor = self.out(y.transpose(1, 2).flatten(-2))
        return out


class FeedForward(nn.Module):
    """Two linear layers with four times the channels between them."""

    def __init__(self, k: int) -> None:
        super().__init__()
        self.up = nn.Linear(k, 4 * k)
        self.down = nn.Linear(4 * k, k)

    def forward(self, x: Float[Tensor, "b t k"]) -> Float[Tensor, "b t k"]:
        """Apply both at every position."""
        y: Tensor = self.down(gelu(self.up(x)))
        return y


class Block(nn.Module):
    """Attention and feed-forward, each residual, normalised before (pre) or after the addition (post)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        k = config.heads * config.head_channels
        self.pre = config.norm == "pre"
        self.attention, self.feed_forward = Attention(config), FeedForward(k)
        self.norm_1, self.norm_2 = nn.LayerNorm(k), nn.LayerNorm(k)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Float[Tensor, "b t k"]) -> Float[Tensor, "b t k"]:
        """Apply both sublayers."""
        if self.pre:
            x = x + self.dropout(self.attention(self.norm_1(x)))
            x = x + self.dropout(self.feed_forward(self.norm_2(x)))
        else:
            x = self.norm_1(x + self.dropout(self.attention(x)))
            x = self.norm_2(x + self.dropout(self.feed_forward(x)))
        return x


class Transformer(nn.Module):
    """Logits over the symbol after (lag 0) or at (lag 1) every position, from all symbols that may be seen.

    Examples
    --------
    >>> import torch
    >>> model = Transformer(TransformerConfig(classes=16))
    >>> model(torch.zeros(1, 20, dtype=torch.long)).shape
    torch.Size([1, 20, 16])
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        k = config.heads * config.head_channels
        self.embed = Amplitude(config.classes, k) if config.components else nn.Embedding(config.classes, k)
        self.position = nn.Embedding(config.length, k)
        self.label = nn.Embedding(config.labels, k) if config.labels else None
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(k) if config.norm == "pre" else nn.Identity()
        self.logits = Logits(k, 3 * config.components or config.classes)
        if config.components:
            spread_scales(self.logits)

    def forward(self, x: Int[Tensor, "b t"], label: Int[Tensor, " b"] | None = None) -> Float[Tensor, "b t v"]:
        """Return the logits at all positions of sequences `x`; `label` is needed if the model is conditional.

        Raises `UsageError` if the sequence is longer than the table of positions.
        """
        length = x.shape[1]
        if length > self.config.length:
            raise UsageError(f"this transformer has {self.config.length} positions, got a sequence of {length}")
        z = shift(self.embed(x).mT, self.config.lag).mT
        z = z + self.position.weight[:length]
        if self.label is not None:
            z = z + self.label(label)[:, None]
        for block in self.blocks:
            z = block(z)
        logits: Tensor = self.logits(self.norm(z))
        return logits


@factory
def transformer(config: TransformerConfig, batch: int) -> Specimen:
    """Build a Transformer; settings are the fields of `TransformerConfig`, `batch` and `seed`."""
    shape = (batch, config.length)
    made = density_specimen(Transformer(config), config.classes, config.labels, shape, "t", config.lag)
    mixed = config.components and config.lag
    return replace(made, most=config.length, likelihood="logistics" if mixed else made.likelihood)
