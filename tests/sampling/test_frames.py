"""Streams of several rates: what comes out of chunks is the forward pass, as early as the stated lag says."""

from __future__ import annotations

import random

import torch
from hypothesis import given
from hypothesis import strategies as st
from rated_networks import C, network
from torch import Tensor, nn

import leadline
from leadline.sampling import FrameStream

LAYOUT = "b c t -> b v t"


def streamed(model: nn.Module, length: int, channels: int = C) -> FrameStream:
    made = leadline.stream(model, torch.randn(2, channels, length, dtype=torch.float64), layout=LAYOUT)
    assert isinstance(made, FrameStream)
    return made


def in_pieces(made: FrameStream, x: Tensor, rng: random.Random) -> Tensor:
    """Feed random chunks, and check that what is due is there each time."""
    made.reset(batch=len(x))
    parts, at, count = [], 0, 0
    per = made.source.system.rates[made.source.system.output][0] * made.frame
    while at < x.shape[-1]:
        size = rng.randint(1, 2 * made.frame)
        parts.append(made.step(x[..., at : at + size]))
        at, count = min(at + size, x.shape[-1]), count + parts[-1].shape[-1]
        assert count >= max(0, (at - made.ahead) // made.frame) * per
    return torch.cat([*parts, made.finish()], -1)


def looks_ahead(model: nn.Module, frame: int, frames: int) -> int:
    """Return how many frames ahead some output of a frame depends on; -1 if on earlier ones only."""
    x = torch.randn(1, C, frame * frames, dtype=torch.float64)
    slope = torch.autograd.functional.jacobian(model, x).abs()[0, :, :, 0].amax((0, 2))
    by_frame = slope.reshape(frames, -1, frames, frame).amax((1, 3)) > 0
    return max(int(later) - int(now) for now, later in by_frame.nonzero())


@given(st.integers(0, 10**9))
def test_chunks_give_the_forward_pass_and_the_lag_is_the_tightest(seed: int) -> None:
    rng = random.Random(seed)
    torch.manual_seed(seed)
    model, frame = network(rng, rng.randint(1, 2), ahead=rng.random() < 0.6, smooth=True)
    model = model.double().eval()
    frames = 12 // frame + 9
    made = streamed(model, frame * frames)
    assert frame % made.frame == 0  # strides of 1, or within patches, need no longer frame
    for length in (frames, frames + 2):
        x = torch.randn(2, C, frame * length, dtype=torch.float64)
        with torch.no_grad():
            wanted = model(x)
        assert torch.allclose(made.logits(x), wanted, rtol=0, atol=1e-10)
        assert torch.allclose(in_pieces(made, x, rng), wanted, rtol=0, atol=1e-10)
    assert -made.lag == looks_ahead(model, made.frame, frame * frames // made.frame)
