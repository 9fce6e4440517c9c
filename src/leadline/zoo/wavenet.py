"""WaveNet: an autoregressive density over sequences from dilated causal convolutions, whose context is 2^depth.

Source: van den Oord, Dieleman, Zen, Simonyan, Vinyals, Graves, Kalchbrenner, Senior, Kavukcuoglu, "WaveNet: A
Generative Model for Raw Audio", 2016.
"""

from dataclasses import dataclass, replace
from typing import Annotated

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from leadline.errors import UsageError
from leadline.zoo.layers.amplitude import Amplitude, spread_scales
from leadline.zoo.layers.causal_conv import CausalConv1d, Pointwise1d, shift
from leadline.zoo.layers.frames import Frames
from leadline.zoo.layers.gated_rows import summed_skips
from leadline.zoo.layers.plain_training import plainly_trained
from leadline.zoo.settings import Depth, Lag, Natural, Positive, Range, factory
from leadline.zoo.specimen import Specimen, density_specimen


@dataclass(frozen=True)
class WaveNetConfig:
    """`stacks` times `layers` gated blocks, dilated by 1 … 2^(layers - 1), then a head over the sum of their skips.

    `labels` classes condition every gate (0: none), and so do frames of so many `conditions`, one for each `hop`
    symbols. With `lag` 1 the logits at t are of symbol t, from those before it
    (a density); with `lag` 0 they are of the symbol after t. `length` is only that of the example inputs.

    With `components` the output is a mixture of so many logistics, and the symbols are read as amplitudes: samples of
    16 bits have too many levels for a table, and for a logit each.

    A `tiled` model without classes and conditions is trained in less time, by as many positions together as fit in a
    core's cache. Its numbers are the same but for rounding, and so steps that hooks or a monitor hear, which run block
    by block, differ from the others by rounding.
    """

    classes: Positive = 256
    length: Positive = 256
    channels: Positive = 32
    skip: Positive = 64
    head: Positive = 64
    layers: Depth = 8
    stacks: Annotated[int, Range(1, 1_000)] = 1
    kernel: Positive = 2
    lag: Lag = 1
    labels: Natural = 0
    conditions: Natural = 0
    hop: Positive = 80
    components: Natural = 0
    tiled: bool = False


class Block(nn.Module):
    """A gated dilated convolution with two ways out: a skip to the head, and a residual to the next block, if any."""

    def __init__(self, config: WaveNetConfig, dilation: int, last: bool) -> None:
        super().__init__()
        k = config.channels
        self.conv = CausalConv1d(k, 2 * k, config.kernel, dilation)
        self.label = nn.Embedding(config.labels, 2 * k) if config.labels else None
        self.frames = Pointwise1d(config.conditions, 2 * k, bias=False) if config.conditions else None
        self.skip = Pointwise1d(k, config.skip)
        self.residual = None if last else Pointwise1d(k, k)

    def forward(
        self,
        z: Float[Tensor, "b k t"],
        label: Int[Tensor, " b"] | None,
        heard: Float[Tensor, "b c t"] | None = None,
    ) -> tuple[Float[Tensor, "b k t"], Float[Tensor, "b s t"]]:
        """Return the input of the next block, and the skip."""
        gates = self.conv(z)
        if self.label is not None:
            gates = gates + self.label(label)[:, :, None]
        if self.frames is not None:
            gates = gates + self.frames(heard)
        value, opening = gates.chunk(2, dim=1)
        y = torch.tanh(value) * torch.sigmoid(opening)
        if self.residual is not None:
            z = z + self.residual(y)
        return z, self.skip(y)


_KINDS = frozenset({nn.ModuleList, Block, CausalConv1d, Pointwise1d})


class WaveNet(nn.Module):
    """Logits over the symbol at (lag 1) or after (lag 0) every position.

    They depend on the last ``1 + stacks · (kernel - 1) · (2^layers - 1)`` symbols that may be seen: 2^layers with one
    stack of kernel 2.

    Examples
    --------
    >>> model = WaveNet(WaveNetConfig(classes=16, layers=3))
    >>> model(torch.zeros(1, 20, dtype=torch.long)).shape
    torch.Size([1, 20, 16])
    """

    def __init__(self, config: WaveNetConfig) -> None:
        super().__init__()
        self.config = config
        read = Amplitude if config.components else nn.Embedding
        self.embed = read(config.classes, config.channels)
        self.frames = Frames(config.conditions, config.hop) if config.conditions else None
        dilations = [2**layer for layer in range(config.layers)] * config.stacks
        lasts = [False] * (len(dilations) - 1) + [True]
        self.blocks = nn.ModuleList(Block(config, d, last) for d, last in zip(dilations, lasts, strict=True))
        self.hidden = Pointwise1d(config.skip, config.head)
        self.logits = Pointwise1d(config.head, 3 * config.components or config.classes)
        if config.components:
            spread_scales(self.logits)

    def forward(
        self,
        x: Int[Tensor, "b t"],
        label: Shaped[Tensor, "b ..."] | None = None,
        frames: Float[Tensor, "b f c"] | None = None,
    ) -> Float[Tensor, "b t v"]:
        """Return the logits at all positions of sequences `x`.

        A `label` is needed if the model has classes, `frames` if it has conditions: the second input, without classes.
        """
        if not self.config.labels:
            label, frames = None, label if frames is None else frames
        if (frames is None) != (self.frames is None):
            raise UsageError(f"this model takes {'no frames' if self.frames is None else 'frames'} (conditions=)")
        heard = None if self.frames is None else self.frames(frames, x.shape[1])
        z = shift(self.embed(x).mT, self.config.lag)
        bare = label is None and heard is None and len(self.blocks) > 1
        if bare and self.config.tiled and plainly_trained(self.blocks, z, _KINDS):
            y = summed_skips(list(self.blocks), z)
        else:
            skips = []
            for block in self.blocks:
                z, skip = block(z, label, heard)
                skips.append(skip)
            y = sum(skips[1:], start=skips[0])
        y = torch.relu(self.hidden(torch.relu(y)))
        logits: Tensor = self.logits(y)
        return logits.mT


@factory
def wavenet(config: WaveNetConfig, batch: int) -> Specimen:
    """Build a WaveNet; settings are the fields of `WaveNetConfig`, `batch` and `seed`."""
    shape, frames = (batch, config.length), (config.conditions, config.hop) if config.conditions else None
    made = density_specimen(WaveNet(config), config.classes, config.labels, shape, "t", config.lag, frames)
    return replace(made, likelihood="logistics") if config.components and config.lag else made
