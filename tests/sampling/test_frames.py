"""Streams of several rates: what comes out of chunks is the forward pass, as early as the stated lag says."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from helpers.examples import examples
from helpers.rated_networks import Apply, C, network
from hypothesis import given, settings
from hypothesis import strategies as st
from rated_nets import RATED, PixelUNet
from streamable import double, forward
from torch import Tensor, nn
from torch.nn.functional import pad

import leadline
from leadline.errors import LeadlineError, NotCausal, NotUniform, UsageError
from leadline.likelihoods import Categorical
from leadline.sampling import FrameStream, naive_sample

LAYOUT = "b c t -> b v t"


def streamed(model: nn.Module, *inputs: Tensor, layout: str = LAYOUT, backend: Any = "torch") -> FrameStream:
    made = leadline.stream(model, *inputs, layout=layout, backend=backend)
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
    x = torch.randn(1, C, frame * frames, dtype=torch.float64, requires_grad=True)
    outputs, ahead = model(x).unflatten(-1, (frames, frame)), -frames
    for now in range(frames):
        seen = outputs[:, :, now].mul(torch.randn(C, frame, dtype=torch.float64)).sum()
        (slope,) = torch.autograd.grad(seen, x, retain_graph=True)
        later = slope.abs().unflatten(-1, (frames, frame)).amax((0, 1, 3)).nonzero()
        ahead = max([ahead, *(int(frame) - now for frame in later)])
    return ahead


@settings(deadline=None, max_examples=examples(3, 60))
@given(st.integers(0, 10**9))
def test_chunks_give_the_forward_pass_and_the_lag_is_the_tightest(seed: int) -> None:
    rng = random.Random(seed)
    torch.manual_seed(seed)
    model, frame = network(rng, rng.randint(1, 2), ahead=rng.random() < 0.6, smooth=True)
    model, frames = model.double().eval(), 12 // frame + 9
    made = streamed(model, torch.randn(2, C, frame * frames, dtype=torch.float64))
    assert frame % made.frame == 0  # strides of 1, or within patches, need no longer frame
    for length in (frames, frames + 2):
        x = torch.randn(2, C, frame * length, dtype=torch.float64)
        with torch.no_grad():
            wanted = model(x)
        assert torch.allclose(made.logits(x), wanted, rtol=0, atol=1e-10)
        assert torch.allclose(in_pieces(made, x, rng), wanted, rtol=0, atol=1e-10)
    assert -made.lag == looks_ahead(model, made.frame, frame * frames // made.frame)


@settings(deadline=None, max_examples=examples(2, 30))
@given(st.integers(0, 10**9))
def test_frames_run_compiled(seed: int) -> None:
    rng = random.Random(seed)
    torch.manual_seed(seed)
    model, frame = network(rng, rng.randint(1, 2), ahead=rng.random() < 0.5, smooth=False)
    model, frames = model.double().eval(), 12 // frame + 5  # of fewer no mirrored padding can be made
    made = streamed(model, torch.randn(2, C, frame * frames, dtype=torch.float64), backend="numba")
    if made.backend == "torch":
        assert "pads after the end by what lies within" in made.why
        return
    for length in (frames + 3, 5):  # shorter than what is waited for, too
        x = torch.randn(2, C, frame * length, dtype=torch.float64)
        with torch.no_grad():
            wanted = model(x)
        assert torch.allclose(made.logits(x), wanted, rtol=0, atol=1e-10)
        assert torch.allclose(in_pieces(made, x, rng), wanted, rtol=0, atol=1e-10)


QUICK = ("causal HiFi-GAN", "2-D U-Net (PixelCNN++ shape)")


@pytest.mark.parametrize(
    "name", [pytest.param(n.name, marks=() if n.name in QUICK else pytest.mark.slow) for n in RATED]
)
def test_networks_of_several_rates_stream(name: str) -> None:
    torch.manual_seed(0)
    (net,) = (net for net in RATED if net.name == name)
    model, inputs = net.model().double(), double(net.inputs(12))
    made = leadline.stream(model, layout=net.layout, backend="torch", **inputs)
    assert isinstance(made, FrameStream)
    for given_ in (inputs, double(net.inputs(16))):
        (x,) = (x for key, x in given_.items() if net.layout[key] is not None)
        wanted = forward(net, model, given_)
        assert torch.allclose(made.logits(x), wanted, rtol=1e-10, atol=1e-10)


class Vocoder(nn.Module):
    """Sound that rests on what came before, on spectra at a fourth of its rate, and on labels at half of it."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.past, self.label = nn.ConvTranspose1d(3, 4, 8, stride=4), nn.Conv1d(1, 4, 3), nn.Embedding(7, 4)
        self.out = nn.Conv1d(4, 2, 1)

    def forward(self, audio: Tensor, mel: Tensor, label: Tensor) -> Tensor:
        past = self.past(pad(audio, (2, 0)))
        return self.out(torch.tanh(past + self.up(mel)[..., :-4] + self.label(label).mT.repeat_interleave(2, -1)))


def spoken(frames: int) -> tuple[Tensor, Tensor, Tensor]:
    wide = {"dtype": torch.float64}
    return torch.randn(2, 1, 4 * frames, **wide), torch.randn(2, 3, frames, **wide), torch.randint(7, (2, 2 * frames))


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_inputs_of_their_own_rates_go_on_with_the_chunk(backend: str) -> None:
    model = Vocoder().double()
    made = streamed(model, *spoken(4), layout="b c t, b m t, b t -> b v t", backend=backend)
    assert made.backend == backend
    assert (made.frame, made.lag, made.ahead) == (4, 0, 0)
    audio, mel, label = spoken(7)  # longer than traced
    with torch.no_grad():
        wanted = model(audio, mel, label)
    assert torch.allclose(made.logits(audio, mel=mel, label=label), wanted, rtol=0, atol=1e-10)
    made.reset(batch=2)
    parts = []
    for at in range(0, 28, 2):  # a spectrum comes with the second half of its frame
        new = {"mel": mel[..., at // 4 : at // 4 + 1]} if at % 4 else {}
        parts.append(made.step(audio[..., at : at + 2], label=label[:, at // 2 : at // 2 + 1], **new))
    assert torch.allclose(torch.cat([*parts, made.finish()], -1), wanted, rtol=0, atol=1e-10)
    with pytest.raises(UsageError, match="8 positions of audio go with 2 of mel, and 1 were given"):
        made.step(audio[..., :8], mel=mel[..., :1], label=label[:, :4])
    with pytest.raises(UsageError, match="streams no input 'melody'; did you mean 'mel'"):
        made.step(audio[..., :4], melody=mel)


def test_pictures_are_drawn_as_the_naive_sampler_draws_them() -> None:
    torch.manual_seed(0)
    model, x = PixelUNet().double().eval(), torch.zeros(1, 4, 6, dtype=torch.int64)
    made = streamed(model, x, layout="b h w -> b v h w")
    how: dict[str, Any] = {"n": 2, "seed": 3}
    naive = naive_sample(model, x, layout="b h w -> b v h w", likelihood=Categorical(4), **how)
    assert torch.equal(made.generate(**how), naive)
    assert torch.equal(made.generate(**how, given=naive[:, :2])[:, :2], naive[:, :2])


def test_sounds_are_drawn_from_frames_that_rest_on_earlier_ones() -> None:
    class Patches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.rnn, self.out = nn.Embedding(3, 4), nn.GRU(8, 6, batch_first=True), nn.Linear(7, 3)

        def forward(self, x: Tensor) -> Tensor:
            y = self.embed(x)
            deep = self.rnn(y.reshape(len(x), -1, 8))[0]  # two symbols make a patch, which its successor reads
            below = pad(deep, (0, 0, 1, -1)).repeat_interleave(2, 1)
            return self.out(torch.cat([below, pad(y[..., :1], (0, 0, 1, -1))], -1))

    model, x = Patches().double().eval(), torch.zeros(1, 8, dtype=torch.int64)
    made = streamed(model, x, layout="b t -> b t v")
    how: dict[str, Any] = {"n": 3, "seed": 1, "length": 12}
    naive = naive_sample(model, x, layout="b t -> b t v", likelihood=Categorical(3), **how)
    assert torch.equal(made.generate(**how), naive)


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_tables_by_position_end_where_the_trace_ends(backend: str) -> None:
    class Placed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.places, self.mix = nn.Parameter(torch.randn(6, 4)), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            patches = x.reshape(len(x), -1, 4)
            placed = patches + self.places[: patches.shape[1]]
            later = pad(placed, (0, 0, -1, 1))  # a patch looks one ahead
            return self.mix(torch.cat([placed, later], -1)).reshape(len(x), -1)

    model = Placed().double()
    made = streamed(model, torch.randn(1, 16, dtype=torch.float64), layout="b t -> b t", backend=backend)
    assert (made.backend, made.frame, made.lag, made.ahead) == (backend, 4, -1, 4)
    for length in (8, 16, 24):
        x = torch.randn(2, length, dtype=torch.float64)
        assert torch.allclose(made.logits(x), model(x), rtol=0, atol=1e-10)
    with pytest.raises(UsageError, match=r"reset\(length=\.\.\.\)"):
        made.step(torch.randn(1, 20, dtype=torch.float64))
    made.reset(length=24)
    assert made.step(torch.randn(1, 24, dtype=torch.float64)).shape == (1, 20)
    assert made.finish().shape == (1, 4)
    with pytest.raises(UsageError, match="positional table ends"):
        made.logits(torch.randn(1, 28, dtype=torch.float64))


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_what_is_kept_does_not_grow(backend: str) -> None:
    model = nn.Sequential(nn.Conv1d(C, C, 6, stride=3), nn.Tanh(), nn.ConvTranspose1d(C, C, 6, stride=3)).double()
    made = streamed(model, torch.randn(1, C, 12, dtype=torch.float64), backend=backend)
    kept = set()
    for _ in range(20):
        made.step(torch.randn(1, C, 3, dtype=torch.float64))
        assert made._live is not None
        kept.add(made._live.machine.state_bytes)
    assert max(kept) == made.state_bytes
    assert len(kept) <= 3  # of the first frames less is kept


def test_what_does_not_fit_is_said() -> None:
    made = streamed(nn.Conv1d(C, C, 3, stride=3), torch.randn(1, C, 9))
    x = torch.randn(1, C, 9)
    assert made.step(x[..., :4]).shape[-1] == 1
    with pytest.raises(UsageError, match="ends within a frame: 4 positions are no multiple of 3"):
        made.finish()
    with pytest.raises(UsageError, match="nothing to finish"):
        made.finish()
    made.step(x)
    with pytest.raises(UsageError, match=r"begin one with reset\(batch=2\)"):
        made.step(x.expand(2, C, 9))
    with pytest.raises(UsageError, match="whole frames of 3"):
        made.logits(x[..., :8])
    with pytest.raises(NotUniform, match="no C is written"):
        made.export("sound.c")
    with pytest.raises(NotCausal, match="rests on an input 1 positions later"):
        _ahead().generate()


def _ahead() -> FrameStream:
    embed, mix = nn.Embedding(3, C), nn.Conv1d(C, C, 3, stride=2, padding=1)
    model = Apply(lambda x, e, m: m(e(x).mT).repeat_interleave(2, -1), embed, mix)
    return streamed(model, torch.zeros(1, 8, dtype=torch.int64), layout="b t -> b v t")


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (nn.Upsample(scale_factor=2, mode="linear"), NotUniform, "skipped or put into another order"),
        (nn.Conv1d(C, C, 2, stride=2, padding=1, padding_mode="circular"), NotUniform, "padding by circular"),
        (Apply(lambda x: x[..., ::2].flip(-1)), NotUniform, "another order"),
        (nn.AdaptiveAvgPool1d(4), NotUniform, "adaptive_avg_pool1d"),
        (Apply(lambda x: x[..., ::2] + x[..., :4]), NotUniform, "different rates"),
    ],
)
def test_what_does_not_stream_in_frames_is_named(model: nn.Module, error: type[LeadlineError], message: str) -> None:
    with pytest.raises(error, match=message):
        leadline.stream(model, torch.randn(1, C, 8), layout=LAYOUT, backend="torch")


def test_the_length_traced_is_of_whole_frames() -> None:
    with pytest.raises(NotUniform, match="multiple of 2"):
        leadline.stream(nn.Conv1d(C, C, 2, stride=2), torch.randn(1, C, 7), layout=LAYOUT, backend="torch")
