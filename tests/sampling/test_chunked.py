"""Recurrences that a model computes in chunks: streamed position by position, they are what they are step by step."""

from __future__ import annotations

import copy
import random

import pytest
import torch
from helpers.chunked import FORMS, Form, Mixer
from torch import Tensor, nn

import leadline
from leadline.errors import UsageError
from leadline.likelihoods import Categorical
from leadline.sampling import FrameStream, naive_sample

LAYOUT = "b t c -> b t v"
QUICK = ("a running sum of chunks",)


def built(form: Form, seed: int) -> tuple[Mixer, Mixer, int, int]:
    """Return a model, what it is step by step, its chunk, and its width."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    width, chunk = rng.randint(1, 3), rng.randint(2, 3)
    model = Mixer(form, width, chunk).double().eval()
    slow = copy.deepcopy(model)
    slow.stepwise = True
    return model, slow, chunk, width


def streamed(model: nn.Module, *inputs: Tensor, layout: str = LAYOUT, backend: str = "torch") -> FrameStream:
    made = leadline.stream(model, *inputs, layout=layout, backend=backend)  # type: ignore[arg-type]
    assert isinstance(made, FrameStream)
    return made


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 4))])
@pytest.mark.parametrize(
    "form", [pytest.param(f, marks=() if f.name in QUICK else pytest.mark.slow, id=f.name) for f in FORMS]
)
def test_every_output_comes_with_its_position(form: Form, seed: int) -> None:
    model, slow, chunk, width = built(form, seed)
    made, rng = streamed(model, torch.randn(2, 4 * chunk, width, dtype=torch.float64)), random.Random(seed)
    assert (made.frame, made.early, made.lag) == (chunk, True, 0)
    x = torch.randn(3, 7 * chunk, width, dtype=torch.float64)
    with torch.no_grad():
        wanted = slow(x)
        assert torch.allclose(model(x), wanted, rtol=0, atol=1e-10)
    assert torch.allclose(made.logits(x), wanted, rtol=0, atol=1e-10)
    made.reset(batch=3)
    at, end = 0, 7 * chunk - 1  # within a frame
    while at < end:
        size = min(rng.randint(1, 2 * chunk), end - at)
        assert torch.allclose(made.step(x[:, at : at + size]), wanted[:, at : at + size], rtol=0, atol=1e-10)
        at += size
    assert made.finish().shape[1] == 0
    assert torch.allclose(made.logits(x[:, :end]), wanted[:, :end], rtol=0, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_chunks_run_compiled(form: Form) -> None:
    model, slow, chunk, width = built(form, 7)
    made = streamed(model, torch.randn(2, 4 * chunk, width, dtype=torch.float64), backend="numba")
    assert (made.backend, made.early) == ("numba", True), made.why
    x = torch.randn(2, 5 * chunk + 1, width, dtype=torch.float64)
    with torch.no_grad():
        wanted = slow(x)
    parts = [made.step(x[:, at : at + 1]) for at in range(x.shape[1])]
    assert torch.allclose(torch.cat(parts, 1), wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize("chunks", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_model_that_pads_to_whole_chunks_is_read_at_two_of_them(chunks: int) -> None:
    torch.manual_seed(chunks)
    model = Mixer(FORMS[3], 2, 3, padded=True).double().eval()
    made = streamed(model, torch.randn(2, 3 * chunks + 2, 2, dtype=torch.float64))
    x = torch.randn(2, 11, 2, dtype=torch.float64)
    with torch.no_grad():
        assert torch.allclose(made.logits(x), model(x), rtol=0, atol=1e-10)


class Words(nn.Module):
    """A language model of chunks, of its own symbol or of earlier ones alone."""

    def __init__(self, lag: int) -> None:
        super().__init__()
        self.words, self.mixer, self.lag = nn.Embedding(5, 3), Mixer(FORMS[3], 3, 2), lag
        self.out = nn.Linear(3, 5)

    def forward(self, x: Tensor) -> Tensor:
        h = self.out(self.mixer(self.words(x)) * 9)
        return nn.functional.pad(h, (0, 0, self.lag, -self.lag))


@pytest.mark.parametrize("lag", [0, 1])
def test_symbols_are_those_of_the_naive_sampler(lag: int) -> None:
    torch.manual_seed(lag)
    model = Words(lag).double().eval()
    made = streamed(model, torch.zeros(1, 8, dtype=torch.int64), layout="b t -> b t v")
    first = torch.full((2, 8), 3)
    how = {"n": 2, "length": 8, "given": first, "mask": torch.arange(8) < 1, "uniforms": torch.rand(2, 8)}
    wanted = naive_sample(
        model, torch.zeros(1, 8, dtype=torch.int64), layout="b t -> b t v", likelihood=Categorical(5), lag=lag, **how
    )
    assert torch.equal(made.generate(**how), wanted)


class ByLength(Mixer):
    """A model that is another one for every length."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (1 + x.shape[1] % self.chunk)


class Means(nn.Module):
    """Every position of a chunk sees the whole of it."""

    def forward(self, x: Tensor) -> Tensor:
        cut = x.unflatten(1, (-1, 2))
        return (cut - cut.mean(2, keepdim=True)).flatten(1, 2)


def test_outputs_wait_where_nothing_shows_that_they_need_not() -> None:
    x = torch.randn(1, 8, 2, dtype=torch.float64)
    made = streamed(Means(), x)
    assert not made.early
    assert [made.step(x[:, at : at + 1]).shape[1] for at in range(4)] == [0, 2, 0, 2]
    other = streamed(ByLength(FORMS[3], 2, 2, padded=True).double().eval(), x)
    assert other.early
    with pytest.raises(UsageError, match="whole frames of 2 positions"):
        other.logits(x[:, :7])
