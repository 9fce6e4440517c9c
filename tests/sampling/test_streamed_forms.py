"""What people write at one position, along positions and in loops streams as the forward pass computes it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from helpers.examples import examples
from helpers.streamed_forms import FORMS, Parts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import leadline
from leadline.errors import NotCausal, NotUniform

FEW = settings(max_examples=examples(1, 3), deadline=None, suppress_health_check=[HealthCheck.too_slow])
LAYOUT = "b t c -> b t v"
QUICK = ("gathered", "block diagonal", "one number", "shift by roll", "written in strides", "learned start", "maps")
BOUND = ("running norm", "shift repeating", "shift by masked roll", "doubling")
"""Forms that hold a table by position, which ends where the trace ends."""


def quick_first(names: Iterable[str]) -> list[Any]:
    return [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in names]


def built(name: str, half: int, seed: int) -> Parts:
    torch.manual_seed(seed)
    return Parts(FORMS[name], half).double().eval()


def signal(batch: int, length: int, model: Parts) -> Tensor:
    return torch.randn(batch, length, model.width, dtype=torch.float64)


@pytest.mark.parametrize("name", quick_first(FORMS))
@given(
    half=st.integers(1, 4),
    batch=st.integers(1, 3),
    traced=st.integers(4, 9),
    length=st.integers(1, 14),
    chunk=st.integers(1, 5),
    seed=st.integers(0, 2**20),
)
@FEW
def test_a_form_streams(name: str, half: int, batch: int, traced: int, length: int, chunk: int, seed: int) -> None:
    model = built(name, half, seed)
    made = leadline.stream(model, signal(2, traced, model), layout=LAYOUT, backend="torch")
    x = signal(batch, max(length, 4), model)  # of a loop, four turns say what it is
    expected = model(x)
    assert torch.allclose(made.logits(x), expected, rtol=1e-10, atol=1e-10)
    made.reset(batch, length=None if name not in BOUND else x.shape[1])
    parts = [made.step(part) for part in x.split(chunk, 1)]
    assert torch.allclose(torch.cat(parts, 1), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMS)
def test_a_form_streams_through_the_compiled_interpreter(name: str) -> None:
    model = built(name, 3, 5)
    made = leadline.stream(model, signal(2, 7, model), layout=LAYOUT, backend="numba")
    x = signal(3, 11, model)
    assert torch.allclose(made.logits(x), model(x), rtol=1e-10, atol=1e-10)


class Rolled(nn.Module):
    """Positions rolled on, with what has come around left in."""

    def forward(self, x: Tensor) -> Tensor:
        return x.roll(1, 1).tanh()


class Turned(nn.Module):
    """The last positions put first."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((x[:, -1:], x[:, :-1]), 1)


class Far(nn.Module):
    """A convolution over far too many features to be laid out as a matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x.reshape(-1, 1, 100, 100)).reshape(x.shape)


@pytest.mark.parametrize(
    ("model", "shape", "why"),
    [
        (Rolled(), (1, 5, 2), "it reads what comes around from the last positions"),
        (Far(), (1, 3, 10_000), "is a map of 10000 numbers to 10000, too large to lay out"),
    ],
)
def test_what_does_not_stream_is_refused_by_name(model: nn.Module, shape: tuple[int, ...], why: str) -> None:
    with pytest.raises(NotUniform, match=why):
        leadline.stream(model, torch.randn(shape), layout=LAYOUT, backend="torch")


def test_what_looks_ahead_is_refused() -> None:
    with pytest.raises((NotCausal, NotUniform)):
        leadline.stream(Turned(), torch.randn(1, 5, 2), layout=LAYOUT, backend="torch")
