"""Samples go to files that other programs read, or to none at all."""

import dataclasses
import io
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from leadline.audit.trained import Drawn
from leadline.data.audio import read_sound
from leadline.errors import StorageError, UsageError
from leadline.report.exports import write_samples

PICTURES = Drawn(torch.arange(2 * 4 * 4).reshape(2, 4, 4) % 17, 0.1, "naive", 0, levels=17)
SOUND = Drawn(torch.arange(2 * 40).reshape(2, 40), 0.1, "naive", 0, levels=256, rate=8000, kind="audio")


def test_pictures_as_png(tmp_path: Path) -> None:
    write_samples(PICTURES, tmp_path / "a.png")
    pixels = np.asarray(Image.open(tmp_path / "a.png").convert("L"), dtype=float) / 255
    assert pixels.shape == (6, 11)
    assert np.abs((1 - pixels[1:5, 1:5]) - PICTURES.pictures()[0]).max() < 1 / 200


def test_sound_as_wav(tmp_path: Path) -> None:
    write_samples(SOUND, tmp_path / "a.wav")
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (8000, 1, 40 + 2000 + 40)


def test_flac_holds_the_samples_of_the_wav(tmp_path: Path) -> None:
    for suffix in ("wav", "flac"):
        write_samples(SOUND, tmp_path / f"a.{suffix}")
    (wav, its_rate), (flac, rate) = (soundfile.read(tmp_path / f"a.{suffix}") for suffix in ("wav", "flac"))
    assert np.array_equal(wav, flac)
    assert its_rate == rate == 8000
    assert np.abs(read_sound(tmp_path / "a.flac")[0][:40] - SOUND.waves()[0]).max() < 1e-4
    with pytest.raises(UsageError, match=r"FLAC holds up to 655350 .* these are 700000: write a \.wav"):
        write_samples(dataclasses.replace(SOUND, rate=700_000), tmp_path / "b.flac")


def test_symbols_as_npy(tmp_path: Path) -> None:
    write_samples(SOUND, tmp_path / "a.npy")
    assert np.array_equal(np.load(io.BytesIO((tmp_path / "a.npy").read_bytes())), SOUND.symbols.numpy())


@pytest.mark.parametrize(("drawn", "suffix"), [(PICTURES, ".wav"), (PICTURES, ".flac"), (SOUND, ".png"), (SOUND, "")])
def test_a_suffix_that_does_not_suit_is_refused(drawn: Drawn, suffix: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"go to \.(png|wav or \.flac) or \.npy files"):
        write_samples(drawn, tmp_path / f"a{suffix}")
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="could not be written"):
        write_samples(SOUND, tmp_path / "absent" / "a.npy")


def test_colours_are_drawn_as_they_are(tmp_path: Path) -> None:
    symbols = torch.arange(3 * 2 * 4 * 3).reshape(3, 2, 4, 3) % 5
    write_samples(Drawn(symbols, 0.1, "naive", 0, levels=5), tmp_path / "a.png")
    pixels = np.asarray(Image.open(tmp_path / "a.png"))
    assert pixels.shape == (2 + 2, 3 * (4 + 1) + 1, 3)
    assert np.array_equal(pixels[1:3, 6:10], np.round(symbols[1].numpy() / 4 * 255))
    assert (pixels[0] == 255).all()
