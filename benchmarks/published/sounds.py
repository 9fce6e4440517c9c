"""Models of sound: neural codecs, from sound to sound, and recognisers. A length is a number of frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from architectures import ARCHITECTURES
from torch import Tensor, nn

from published.entry import Published, Through


class Codec(nn.Module):
    """Encoder, quantiser and decoder of a codec of `transformers`: sound in, sound out."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Any:
        sound = self.model(x).audio_values
        return sound if sound.ndim == 3 else sound[:, None]


class Between(nn.Module):
    """Encoder and decoder of a codec without the quantiser between them."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, x: Tensor) -> Any:
        codes = self.encoder(x)
        sound = self.decoder(codes if isinstance(codes, Tensor) else codes.latents)
        return sound if isinstance(sound, Tensor) else sound.audio_values


def _codec(name: str, frame: int, **settings: Any) -> Published:
    def build() -> nn.Module:
        import transformers as hf

        config = getattr(hf, f"{name}Config")(**settings)
        return Codec(getattr(hf, f"{name}Model")(config)).eval()

    return _sound("transformers", name, build, frame)


def _sound(package: str, name: str, build: Callable[[], nn.Module], frame: int) -> Published:
    return Published(
        package,
        name,
        lambda _: build(),
        lambda length: {"x": torch.randn(2, 1, length * frame)},
        {"x": "b c t", "output": "b v t"},
        lengths=(2, 3),
    )


def _snac(whole: bool) -> nn.Module:
    from snac import SNAC

    sizes = {"encoder_dim": 4, "encoder_rates": [2, 2], "decoder_dim": 16, "decoder_rates": [2, 2]}
    model = SNAC(**sizes, attn_window_size=None, codebook_size=16, codebook_dim=4, vq_strides=[2, 1], noise=False)
    made = Through(model, lambda snac, x: snac(x)[0]) if whole else Between(model.encoder, model.decoder)
    return made.eval()


def _mimi() -> nn.Module:
    import transformers as hf

    model = hf.MimiModel(hf.MimiConfig(**_MIMI))
    return Between(model.encoder, model.decoder).eval()


def _encodec() -> nn.Module:
    import transformers as hf

    model = hf.EncodecModel(hf.EncodecConfig(**_ENCODEC))
    return Between(model.encoder, model.decoder).eval()


_ENCODEC = {
    "upsampling_ratios": [3, 2],
    "last_kernel_size": 3,
    "num_filters": 4,
    "hidden_size": 8,
    "codebook_size": 16,
    "codebook_dim": 8,
    "kernel_size": 3,
}
_MIMI = {
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

MODELS: tuple[Published, ...] = (
    _sound("transformers", "Encodec without its quantiser", _encodec, 6),
    _sound("transformers", "Mimi without its quantiser", _mimi, 8),
    _codec(
        "Dac",
        4,
        encoder_hidden_size=8,
        downsampling_ratios=[2, 2],
        decoder_hidden_size=16,
        upsampling_ratios=[2, 2],
        n_codebooks=2,
        codebook_size=16,
        codebook_dim=4,
    ),
    _sound("snac", "SNAC", lambda: _snac(whole=True), 8),
    _sound("snac", "SNAC without its quantiser", lambda: _snac(whole=False), 8),
    *(
        Published(
            "transformers",
            architecture.name,
            lambda _, made=architecture.model: made(),
            lambda length: {"input_values": torch.randn(2, length)},
            architecture.layout,
            lengths=(16, 19),
        )
        for architecture in ARCHITECTURES
        if architecture.name == "wav2vec 2.0"
    ),
)
