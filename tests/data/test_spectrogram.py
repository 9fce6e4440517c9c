"""The spectrogram against its definition written out, and as a function of a place in a sound."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leadline.data import TrainingBatches, evaluation_batches, load
from leadline.data.companding import inverse_mu_law, mu_law
from leadline.data.spectrogram import Spectrogram
from leadline.errors import UsageError

MADE = Spectrogram(channels=5, hop=20, rate=8000, levels=256)


def by_definition(classes: np.ndarray, made: Spectrogram) -> np.ndarray:
    """Every frame by a discrete Fourier transform as a matrix, and triangles one by one."""
    signal, window = inverse_mu_law(torch.from_numpy(classes)), 4 * made.hop
    n = np.arange(window)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * n / window)
    turns = np.exp(-2j * np.pi * np.outer(np.arange(window // 2 + 1), n) / window)
    mel = 2595 * np.log10(1 + np.arange(window // 2 + 1) * made.rate / window / 700)
    step = 2595 * math.log10(1 + made.rate / 2 / 700) / (made.channels + 1)
    frames = []
    for first in range(0, len(signal), made.hop):
        piece = np.array([signal[i] if 0 <= i < len(signal) else 0.0 for i in first - 3 * made.hop // 2 + n])
        power = np.abs(turns @ (hann * piece)) ** 2 / hann.sum() ** 2
        sums = [sum(p * max(0, 1 - abs(m - c * step) / step) for p, m in zip(power, mel, strict=True))
                for c in range(1, made.channels + 1)]  # fmt: skip
        frames.append([1 + math.log10(s + 1e-6) / 3 for s in sums])
    return np.array(frames)


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1), st.integers(1, 130))
def test_frames_are_what_the_definition_says(seed: int, length: int) -> None:
    classes = np.random.default_rng(seed).integers(0, 256, length)
    np.testing.assert_allclose(MADE.of(torch.from_numpy(classes)).numpy(), by_definition(classes, MADE), atol=2e-4)


@settings(max_examples=30)
@given(st.integers(1, 200), st.data())
def test_frames_of_a_piece_are_those_of_the_whole(length: int, data: st.DataObject) -> None:
    classes = torch.randint(256, (length,))
    first = data.draw(st.integers(0, MADE.frames(length) - 1))
    samples = data.draw(st.integers(1, 100))
    piece = MADE.of(classes, first * 20, samples)
    padded = MADE.of(classes, 0, max(length, first * 20 + samples))
    torch.testing.assert_close(piece, padded[first : first + len(piece)], atol=1e-5, rtol=0)
    assert len(piece) == -(-samples // 20)


def test_silence_and_a_full_sine_lie_where_it_says() -> None:
    t = np.arange(400)
    assert MADE.of(mu_law(np.zeros(400), 256)).max() < -0.99 + 0.02
    loud = Spectrogram(channels=5, hop=20, rate=8000, levels=65536)
    assert loud.of(mu_law(np.sin(2 * np.pi * 1000 / 8000 * t), 65536))[5:-5].max() == pytest.approx(0.8, abs=0.1)


@settings(max_examples=15)
@given(st.integers(0, 1000), st.integers(20, 90))
def test_crops_come_with_the_frames_of_their_place(step: int, crop: int) -> None:
    tones = load("tones", clips=6, length=150, spectrogram=5, hop=20)
    batch = TrainingBatches(tones, size=4, seed=1, crop=crop).at(step)
    assert batch.frames is not None
    assert tones.spectrogram is not None
    for x, mask, frames, i in zip(batch.x, batch.mask, batch.frames, batch.index, strict=True):
        clip, count = tones.train.examples[i], int(mask.sum())
        whole = tones.spectrogram.of(clip, 0, len(clip) + crop)
        starts = [s for s in range(0, len(clip), 20) if torch.equal(clip[s : s + count].long(), x[:count])]
        assert any(torch.allclose(frames, whole[s // 20 : s // 20 + len(frames)], atol=1e-5) for s in starts)


def test_every_sample_is_in_some_crop() -> None:
    tones = load("tones", clips=3, length=150, spectrogram=5, hop=20)
    (clip,) = tones.train.examples
    batches, seen = TrainingBatches(tones, size=8, seed=0, crop=30), set()
    for step in range(20):
        batch = batches.at(step)
        for x, mask in zip(batch.x, batch.mask, strict=True):
            count = int(mask.sum())
            starts = [s for s in range(0, len(clip), 20) if torch.equal(clip[s : s + count].long(), x[:count])]
            seen |= {s + k for s in starts for k in range(count)}
    assert seen == set(range(len(clip)))


def test_examples_are_scored_beside_their_own_frames() -> None:
    tones = load("tones", clips=20, length=150, spectrogram=5, hop=20)
    for batch in evaluation_batches(tones.train, 4, spectrogram=tones.spectrogram):
        for i, x, frames in zip(batch.index, batch.x, batch.frames, strict=True):
            own = tones.spectrogram.of(tones.train.examples[i])
            torch.testing.assert_close(frames[: len(own)], own, atol=1e-5, rtol=0)
            assert len(frames) == -(-len(x) // 20)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"hop": 20}, "say spectrogram="), ({"spectrogram": 200, "hop": 4}, "cannot tell 200 channels"),
     ({"spectrogram": 0}, "must lie between 1 and 1024")],
)  # fmt: skip
def test_what_cannot_be_is_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load("tones", **options)


@pytest.mark.parametrize("value", ["x", 0, -1, 2.5, True, 10**9])
def test_options_as_a_file_may_forge_them_are_refused(value: object) -> None:
    for name in ("spectrogram", "hop"):
        with pytest.raises(UsageError, match=f"{name} must be a whole number"):
            Spectrogram.asked({"spectrogram": 4, name: value}, 8000, 256)


def test_what_a_score_was_given_is_said() -> None:
    said = load("tones", spectrogram=5, hop=20).read_as
    assert said == "256 mu-law classes, given its log mel spectrogram, 5 channels at each 20 samples"
