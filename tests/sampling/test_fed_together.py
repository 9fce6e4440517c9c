"""Models of several inputs on one time: conditions are fed with the chunk, on every backend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import leadline
from leadline.errors import UsageError
from leadline.sampling.exported.library import compiler

BACKENDS = ("torch", "numba", *(("c",) if compiler() else ()))
LAYOUT = "b c t, b m t, b t -> b v t"


class Vocoder(nn.Module):
    """Sound from sound, a mel spectrogram and labels; the last two are mixed in, now and late."""

    def __init__(self) -> None:
        super().__init__()
        self.sound, self.mel, self.rows = nn.Conv1d(2, 4, 3), nn.Conv1d(3, 4, 2), nn.Embedding(6, 4)
        self.gru, self.head = nn.GRU(4, 4, batch_first=True), nn.Conv1d(4, 2, 1)

    def forward(self, sound: Tensor, mel: Tensor, label: Tensor) -> Tensor:
        h = self.sound(nn.functional.pad(sound, (2, 0))) + self.mel(nn.functional.pad(mel, (1, 0)))
        h = torch.tanh(h + self.rows(label).mT)
        return self.head(self.gru(h.mT)[0].mT)


torch.manual_seed(0)
MODEL = Vocoder().double().eval()


def inputs(batch: int, length: int) -> tuple[Tensor, Tensor, Tensor]:
    made = torch.randn(batch, 5, length, dtype=torch.float64)
    return made[:, :2], made[:, 2:], torch.randint(6, (batch, length))


STREAMS = {b: leadline.stream(MODEL, *inputs(1, 6), layout=LAYOUT, backend=b) for b in ("torch",)}


def of(backend: Any) -> leadline.Stream:
    if backend not in STREAMS:
        STREAMS[backend] = STREAMS["torch"].using(backend)
    return STREAMS[backend]


@pytest.mark.parametrize("backend", BACKENDS)
@given(st.integers(1, 3), st.lists(st.integers(1, 4), min_size=1, max_size=3))
@settings(max_examples=3, deadline=None)
def test_what_is_fed_together_is_the_forward_pass(backend: str, batch: int, sizes: list[int]) -> None:
    made, (sound, mel, label) = of(backend), inputs(batch, sum(sizes))
    with torch.no_grad():
        wanted = MODEL(sound, mel, label)
    torch.testing.assert_close(made.logits(sound, mel=mel, label=label), wanted, rtol=0, atol=1e-10)
    made.reset(batch)
    parts = zip(sound.split(sizes, 2), mel.split(sizes, 2), label.split(sizes, 1), strict=True)
    found = [made.step(s, mel=m, label=la) for s, m, la in parts]
    torch.testing.assert_close(torch.cat(found, 2), wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_missing_strange_or_of_another_length_is_named(backend: str) -> None:
    made, (sound, mel, label) = of(backend), inputs(1, 4)
    made.reset()
    for others, message in (
        ({}, "this stream is fed sound and, by name, mel, label; it got, by name, nothing"),
        ({"mel": mel}, "it got, by name, mel"),
        ({"mel": mel, "label": label, "pitch": mel}, "it got, by name, mel, label, pitch"),
        ({"mel": mel[..., :3], "label": label}, r"mel has \(3,\) positions"),
        ({"mel": mel, "label": label + 6}, "label holds classes from"),
        ({"mel": mel[:, :2], "label": label}, "mel has 2 features"),
        ({"mel": mel.long(), "label": label}, "mel is torch.int64; the model reads real numbers"),
    ):
        with pytest.raises(UsageError, match=message):
            made.step(sound, **others)
    with pytest.raises(UsageError, match="step_into takes models of one input"):
        made.step_into(sound, torch.zeros(1, 2, 4).double())
    with torch.no_grad():
        torch.testing.assert_close(made.step(sound, mel=mel, label=label), MODEL(sound, mel, label), rtol=0, atol=1e-10)


def test_symbols_are_not_drawn_for_several_inputs() -> None:
    with pytest.raises(UsageError, match="symbols are drawn for models with one input"):
        of("torch").generate(1)


@pytest.mark.parametrize("end", ["c", "pt2"])
def test_they_are_exported_side_by_side(end: str, tmp_path: Path) -> None:
    found = of("torch").export(tmp_path / f"it.{end}", compare=60)
    assert found.inputs[:3] == ("sound", "mel", "label")
    assert found.difference is None or found.difference < 1e-10
