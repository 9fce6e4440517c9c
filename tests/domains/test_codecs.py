"""Neural audio codecs that nobody here wrote: what they must wait for is what their lag says, reflections included."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.perturbation import dependence
from torch import Tensor, nn

import leadline
from leadline.graph import trace

transformers = pytest.importorskip("transformers")
LAYOUT = "b c t -> b k t"


class Codec(nn.Module):
    """Encoder and decoder without the quantiser between them: sound in, sound out."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = model.encoder, model.decoder

    def forward(self, x: Tensor) -> Tensor:
        codes = self.encoder(x)
        sound = self.decoder(codes if isinstance(codes, Tensor) else codes.latents)
        return sound if isinstance(sound, Tensor) else sound.audio_values


def encodec(*ratios: int, padding: str = "constant") -> nn.Module:
    torch.manual_seed(0)
    config = transformers.EncodecConfig(
        num_filters=4, hidden_size=8, codebook_size=4, codebook_dim=8, upsampling_ratios=list(ratios), pad_mode=padding,
        kernel_size=3, last_kernel_size=3,
    )  # fmt: skip
    return Codec(transformers.EncodecModel(config)).eval()


def mimi(*ratios: int) -> nn.Module:
    torch.manual_seed(0)
    config = transformers.MimiConfig(
        num_filters=8, hidden_size=32, codebook_size=4, codebook_dim=16, vector_quantization_hidden_dimension=16,
        upsampling_ratios=list(ratios), num_attention_heads=2, num_key_value_heads=2, head_dim=16, upsample_groups=32,
        intermediate_size=32, num_hidden_layers=1, kernel_size=3, last_kernel_size=3,
    )  # fmt: skip
    return Codec(transformers.MimiModel(config)).eval()


@pytest.mark.parametrize(
    ("make", "ratios", "frame"),
    [(encodec, (3, 2), 6), (mimi, (2, 2), 8)],  # Mimi halves the number of frames once more
    ids=["EnCodec", "Mimi"],
)
def test_the_lag_of_a_causal_codec_is_its_frame(make, ratios, frame):
    model, x = make(*ratios), torch.randn(1, 1, 2 * frame)
    found = leadline.causality(model, x, layout=LAYOUT)
    assert found.verdict == "leak", "a frame is drawn when its last sample is there"
    assert found.witness.confirmed
    assert found.lag == 1 - frame
    later, earlier = np.nonzero(dependence(model, (x,), LAYOUT))
    assert found.lag == (later - earlier).min()


def test_reflected_padding_makes_a_causal_codec_wait_longer():
    torch.manual_seed(0)
    lags = [
        leadline.causality(encodec(2, padding=p), torch.randn(1, 1, 16), layout=LAYOUT).lag
        for p in ("constant", "reflect")
    ]
    assert lags[1] < lags[0] == -1


def test_paddings_computed_from_buffers_are_known_and_the_buffers_stay():
    model, x = encodec(2), torch.randn(1, 1, 9)
    buffers = dict(model.named_buffers())
    graph = trace(model, x)
    assert graph.verified
    assert graph.meta(graph.outputs["output"]).shape == model(x).shape
    assert all(buffer is buffers[name] for name, buffer in model.named_buffers())
