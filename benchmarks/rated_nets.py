"""Networks whose positions change their rate, small and with random weights: what `streamable.py` streams in frames.

A length is a number of frames.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from causal_nets import CausalNet
from torch import Tensor, nn
from torch.nn import functional as fn

ENCODEC = {
    "upsampling_ratios": [3, 2],
    "last_kernel_size": 3,
    "num_filters": 4,
    "hidden_size": 8,
    "codebook_size": 16,
    "codebook_dim": 8,
    "kernel_size": 3,
}
MIMI = {
    "num_filters": 8,
    "hidden_size": 32,
    "codebook_size": 16,
    "codebook_dim": 16,
    "kernel_size": 3,
    "vector_quantization_hidden_dimension": 16,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "upsample_groups": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "last_kernel_size": 3,
    "upsampling_ratios": [2, 2],
    "num_quantizers": 4,
}
DAC = {
    "encoder_hidden_size": 4,
    "downsampling_ratios": [2, 2],
    "decoder_hidden_size": 8,
    "upsampling_ratios": [2, 2],
    "n_codebooks": 2,
    "codebook_size": 16,
    "codebook_dim": 4,
}
HIFIGAN = {
    "model_in_dim": 5,
    "upsample_initial_channel": 8,
    "upsample_rates": [2, 2],
    "upsample_kernel_sizes": [4, 4],
    "resblock_kernel_sizes": [3],
    "resblock_dilation_sizes": [[1, 3]],
}


class Part(nn.Module):
    """One part of a codec, or encoder and decoder without the quantiser between them: a tensor in, a tensor out."""

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Tensor:
        for part in self.parts:
            made = part(x)
            x = made if isinstance(made, Tensor) else next(iter(made.values()))
        return x


class CausalVocoder(nn.Module):
    """A HiFi-GAN whose convolutions, the transposed ones too, see no later frame: from spectra to sound."""

    def __init__(self, bands: int = 5, width: int = 8, rates: tuple[int, ...] = (3, 2)) -> None:
        super().__init__()
        self.first, self.rates = nn.Conv1d(bands, width, 3), rates
        self.ups = nn.ModuleList(nn.ConvTranspose1d(width, width, 2 * r, stride=r) for r in rates)
        self.blocks = nn.ModuleList(
            nn.ModuleList(nn.Conv1d(width, width, 3, dilation=d) for d in (1, 3)) for _ in rates
        )
        self.last = nn.Conv1d(width, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(fn.pad(x, (2, 0)))
        for rate, up, block in zip(self.rates, self.ups, self.blocks, strict=True):
            x = up(fn.leaky_relu(x, 0.1))[..., :-rate]
            for layer in block:
                x = x + layer(fn.pad(fn.leaky_relu(x, 0.1), (2 * layer.dilation[0], 0)))
        return torch.tanh(self.last(fn.pad(fn.leaky_relu(x, 0.1), (2, 0))))


class UNet(nn.Module):
    """A causal U-Net along time: strided convolutions down, nearest enlargement up, skips between equal rates."""

    def __init__(self, channels: int = 2, width: int = 6, rates: tuple[int, ...] = (2, 3)) -> None:
        super().__init__()
        self.first, self.rates = nn.Conv1d(channels, width, 3), rates
        self.downs = nn.ModuleList(nn.Conv1d(width, width, 2 * r, stride=r) for r in rates)
        self.middle = nn.GRU(width, width, batch_first=True)
        self.ups = nn.ModuleList(nn.Conv1d(width, width, 3) for _ in rates)
        self.joins = nn.ModuleList(nn.Conv1d(2 * width, width, 1) for _ in rates)
        self.last = nn.Conv1d(width, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x, kept = fn.silu(self.first(fn.pad(x, (2, 0)))), []
        for rate, down in zip(self.rates, self.downs, strict=True):
            kept.append(x)
            x = fn.silu(down(fn.pad(x, (rate, 0))))
        x = self.middle(x.mT)[0].mT
        for rate, up, join in zip(self.rates[::-1], self.ups, self.joins, strict=True):
            x = up(fn.pad(fn.interpolate(x, scale_factor=float(rate)), (2, 0)))
            x = fn.silu(join(torch.cat([x, kept.pop()], 1)))
        return self.last(x)


class Shifted(nn.Module):
    """A convolution of pictures that sees the rows above and what is left in its own; of any stride, down or up."""

    def __init__(self, width: int, stride: int = 1, up: bool = False) -> None:
        super().__init__()
        self.stride, self.up = stride, up
        kind = nn.ConvTranspose2d if up else nn.Conv2d
        self.above = kind(width, width, (2, 3), stride=stride)
        self.left = kind(width, width, (2, 2), stride=stride)

    def forward(self, above: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
        if self.up:
            h, w = (self.stride * n for n in above.shape[-2:])
            return self.above(above)[..., :h, 1 : w + 1], self.left(left)[..., :h, :w]
        return self.above(fn.pad(above, (1, 1, 1, 0))), self.left(fn.pad(left, (1, 0, 1, 0)))


class PixelUNet(nn.Module):
    """The shape of PixelCNN++ (Salimans et al., 2017): two streams, halved and doubled, with skips between them."""

    def __init__(self, width: int = 4, classes: int = 4) -> None:
        super().__init__()
        self.embedded = nn.Embedding(classes, width)
        self.start = nn.ModuleList([nn.Conv2d(width, width, (1, 3)), nn.Conv2d(width, width, (1, 1))])
        self.down, self.same = Shifted(width, 2), nn.ModuleList(Shifted(width) for _ in range(3))
        self.up, self.last = Shifted(width, 2, up=True), nn.Conv2d(width, classes, 1)

    def block(self, layer: nn.Module, above: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
        a, b = layer(fn.elu(above), fn.elu(left))
        return above + a, left + torch.tanh(a) + b

    def forward(self, x: Tensor) -> Tensor:
        x = self.embedded(x).permute(0, 3, 1, 2)
        rows = fn.pad(x, (0, 0, 1, 0))[..., :-1, :]  # the row above
        above = self.start[0](fn.pad(rows, (1, 1, 0, 0)))
        left = above + self.start[1](fn.pad(x, (1, 0, 0, 0))[..., :-1])
        skip = above, left = self.block(self.same[0], above, left)
        # a coarse cell is read by the next finer cells only after the pixels it holds
        above, left = self.down(above, left)
        above = fn.pad(above, (0, 0, 1, 0))[..., :-1, :]
        left = fn.pad(left, (1, 0, 0, 0))[..., :-1] + above
        above, left = self.up(*self.block(self.same[1], above, left))
        above, left = self.block(self.same[2], above + skip[0], left + skip[1])
        return self.last(fn.elu(left))


def _part(name: str, model: str, parts: str, frame: int, settings: dict[str, Any], channels: int = 1) -> CausalNet:
    """Return parts of a codec of `transformers`."""

    def build() -> nn.Module:
        import transformers as hf

        whole = getattr(hf, f"{model}Model")(getattr(hf, f"{model}Config")(**settings))
        return Part(*(getattr(whole, part) for part in parts.split())).eval()

    return _sound(name, "transformers", build, frame, channels)


def _sound(name: str, package: str, build: Callable[[], nn.Module], frame: int, channels: int = 1) -> CausalNet:
    layout = {"x": "b c t", "output": "b v t"}
    return CausalNet(name, package, build, lambda n: {"x": torch.randn(2, channels, n * frame)}, layout)


def _hifigan() -> nn.Module:
    import transformers as hf

    made: nn.Module = hf.SpeechT5HifiGan(hf.SpeechT5HifiGanConfig(**HIFIGAN)).eval()
    return made


RATED: tuple[CausalNet, ...] = (
    _part("EnCodec encoder", "Encodec", "encoder", 6, ENCODEC),
    _part("EnCodec decoder", "Encodec", "decoder", 1, ENCODEC, 8),
    _part("EnCodec encoder, zero padding", "Encodec", "encoder", 6, ENCODEC | {"pad_mode": "constant"}),
    _part("EnCodec decoder, zero padding", "Encodec", "decoder", 1, ENCODEC | {"pad_mode": "constant"}, 8),
    _part("Mimi encoder", "Mimi", "encoder", 8, MIMI),
    _part("Mimi decoder", "Mimi", "decoder", 1, MIMI, 32),
    _part("Mimi encoder and decoder", "Mimi", "encoder decoder", 8, MIMI),
    _part("DAC encoder", "Dac", "encoder", 4, DAC),
    _part("DAC decoder", "Dac", "decoder", 1, DAC, 16),
    CausalNet(
        "HiFi-GAN of SpeechT5",
        "transformers",
        _hifigan,
        lambda n: {"spectrogram": torch.randn(2, n, 5)},
        {"spectrogram": "b t c", "output": "b t"},
    ),
    _sound("causal HiFi-GAN", "torch", lambda: CausalVocoder().eval(), 1, 5),
    _sound("1-D U-Net", "torch", lambda: UNet().eval(), 6, 2),
    CausalNet(
        "2-D U-Net (PixelCNN++ shape)",
        "torch",
        lambda: PixelUNet().eval(),
        lambda n: {"x": torch.randint(4, (2, 2 * (n // 4), 8))},
        {"x": "b h w", "output": "b v h w"},
    ),
)
