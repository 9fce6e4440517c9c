"""Audio: the mu-law curve, wav files of every width, folders, and what is refused."""

import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from leadline.data import load
from leadline.data.audio import SPEECH_DIRECTORY, read_sound
from leadline.data.companding import inverse_linear, inverse_mu_law, linear, mu_law
from leadline.errors import DataError, UsageError


def wav(path: Path, samples: np.ndarray, rate: int = 8000, width: int = 2, channels: int = 1) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        if width == 1:
            raw = (samples * 127 + 128).astype(np.uint8).tobytes()
        else:
            wide = np.round(samples * (2 ** (8 * width - 1) - 1)).astype("<i8")
            raw = wide.view(np.uint8).reshape(-1, 8)[:, :width].tobytes()
        file.writeframes(raw)
    return path


def sine(n: int = 200, pitch: float = 0.05) -> np.ndarray:
    return 0.8 * np.sin(pitch * np.arange(n))


@given(st.integers(2, 256))
def test_mu_law_is_the_identity_on_its_own_values(levels: int) -> None:
    classes = torch.arange(levels)
    assert torch.equal(mu_law(inverse_mu_law(classes, levels), levels), classes)


def test_mu_law_rounds_to_the_nearest_companded_value() -> None:
    x = np.linspace(-1, 1, 1001)
    companded = np.sign(x) * np.log(1 + 255 * np.abs(x)) / np.log(256)
    grid = np.linspace(-1, 1, 256)
    nearest = np.abs(companded[:, None] - grid).argmin(axis=1)
    assert np.abs(mu_law(x).numpy() - nearest).max() <= 1  # ties may go either way
    assert (mu_law(x).numpy() == nearest).mean() > 0.99


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 2])
def test_wavs_of_every_width_hold_the_same_signal(tmp_path: Path, width: int, channels: int) -> None:
    samples = sine()
    path = wav(tmp_path / "a.wav", np.repeat(samples, channels), width=width, channels=channels, rate=11025)
    signal, rate = read_sound(path)
    assert rate == 11025
    np.testing.assert_allclose(signal, samples, atol=0.02 if width == 1 else 1e-4)


def test_written_classes_are_read_back(tmp_path: Path) -> None:
    classes = torch.arange(256)
    signal, _ = read_sound(wav(tmp_path / "a.wav", inverse_mu_law(classes)))
    assert (mu_law(signal) - classes).abs().max() <= 1  # 16 bits cannot tell the innermost classes apart


def test_folder_divides_files_and_not_samples(tmp_path: Path) -> None:
    for i in range(10):
        wav(tmp_path / f"{i}.wav", sine(100 + i))
    (tmp_path / "README").write_text("other files are no matter")
    data = load(str(tmp_path))
    lengths = [sorted(len(clip) for clip in part.examples) for part in (data.train, data.validation, data.test)]
    assert [len(part) for part in lengths] == [8, 1, 1]
    assert sorted(lengths[0] + lengths[1] + lengths[2]) == list(range(100, 110))
    assert (data.kind, data.levels, data.rate, data.shape) == ("audio", 256, 8000, None)
    assert load(str(tmp_path), levels=16, limit=5).levels == 16


def test_bad_wavs_are_named(tmp_path: Path) -> None:
    for i in range(5):
        wav(tmp_path / f"{i}.wav", sine())
    bad = tmp_path / "bad.wav"
    wav(bad, np.zeros(0))
    with pytest.raises(DataError, match=r"bad\.wav is empty"):
        load(str(tmp_path))
    wav(bad, np.full(100, 0.1))
    with pytest.raises(DataError, match=r"bad\.wav is silent"):
        load(str(tmp_path))
    bad.write_bytes(b"RIFFnothing")
    with pytest.raises(DataError, match=r"bad\.wav cannot be read as a wav, FLAC or OGG"):
        load(str(tmp_path))
    wav(bad, sine(), rate=16000)
    with pytest.raises(DataError, match=r"bad\.wav has 16000 samples a second"):
        load(str(tmp_path))
    whole = wav(bad, sine()).read_bytes()
    bad.write_bytes(whole[:-50])
    with pytest.raises(DataError, match=r"bad\.wav"):
        load(str(tmp_path))


@pytest.mark.skipif(not Path(SPEECH_DIRECTORY).is_dir(), reason="asterisk-core-sounds-en-wav is not installed")
def test_speech_leaves_silence_out() -> None:
    data = load("speech", limit=60)
    assert (data.rate, data.levels, len(data.train)) == (8000, 256, 48)
    everything = load("speech")
    assert sum(map(len, (everything.train, everything.validation, everything.test))) > 500


def test_tones_are_seeded() -> None:
    one, same, other = load("tones"), load("tones"), load("tones", seed=1)
    assert all(torch.equal(a, b) for a, b in zip(one.train.examples, same.train.examples, strict=True))
    assert not torch.equal(one.train.examples[0], other.train.examples[0])


@pytest.mark.parametrize(("width", "levels"), [(1, 256), (2, 65536)])
def test_linear_classes_are_the_samples_themselves(tmp_path: Path, width: int, levels: int) -> None:
    raw = np.random.default_rng(0).integers(0, levels, (4, 60))
    for i, row in enumerate(raw):
        with wave.open(str(tmp_path / f"{i}.wav"), "wb") as file:
            file.setparams((1, width, 8000, 0, "NONE", ""))
            samples = row.astype("<u1") if width == 1 else (row - 32768).astype("<i2")
            file.writeframes(samples.tobytes())
    data = load(str(tmp_path), encoding="linear", levels=levels)
    assert (data.levels, data.read_as) == (levels, f"{levels} linear classes")
    assert sorted(clip.tolist() for part in data.parts for clip in part.examples) == sorted(raw.tolist())
    with pytest.raises(UsageError, match="did you mean 'linear'"):
        load(str(tmp_path), encoding="linar")


@given(st.integers(2, 65536))
def test_linear_is_the_identity_on_its_own_values(levels: int) -> None:
    classes = torch.arange(0, levels, max(1, levels // 500))
    assert torch.equal(linear(inverse_linear(classes, levels), levels), classes)
    assert linear(np.array([-1.0, 1.0]), levels).tolist() == [0, levels - 1]


def test_averaged_channels_and_pieces_are_said(tmp_path: Path) -> None:
    for i in range(4):
        wav(tmp_path / f"{i}.wav", np.repeat(sine(50), 2), channels=2)
    assert load(str(tmp_path)).read_as == "2 channels averaged, 256 mu-law classes"
    data = load(str(tmp_path), piece=20)
    assert data.read_as == "2 channels averaged, 256 mu-law classes, scored in pieces of 20"
    assert [len(clip) for clip in data.test.examples] == [20, 20, 10]
    assert [len(clip) for clip in data.train.examples] == [50, 50]


def test_oggs_are_read_and_one_that_is_cut_short_is_not(tmp_path: Path) -> None:
    """Vorbis loses what is not heard: of a sine, little."""
    import soundfile

    for place in range(3):
        soundfile.write(tmp_path / f"{place}.ogg", 0.5 * np.sin(np.arange(20_000) / 9), 8000, subtype="VORBIS")
    data = load(str(tmp_path))
    assert (data.rate, {len(clip) for part in data.parts for clip in part.examples}) == (8000, {20_000})
    signal, _ = read_sound(tmp_path / "0.ogg")
    assert np.sqrt(np.mean((signal - 0.5 * np.sin(np.arange(20_000) / 9)) ** 2)) < 0.05
    whole = (tmp_path / "1.ogg").read_bytes()
    for part in (0.2, 0.6, 0.95):
        (tmp_path / "1.ogg").write_bytes(whole[: int(part * len(whole))])
        with pytest.raises(DataError, match=r"1\.ogg"):
            load(str(tmp_path))


def test_floats_beyond_full_scale_are_clipped_and_that_is_said(tmp_path: Path) -> None:
    import soundfile

    for place, loud in enumerate((0.5, 2.0, 3.0)):
        soundfile.write(tmp_path / f"{place}.wav", loud * np.sin(np.arange(50)), 8000, subtype="FLOAT")
    data = load(str(tmp_path))
    assert data.read_as == "2 sounds clipped, 256 mu-law classes"
    assert np.abs(read_sound(tmp_path / "2.wav")[0]).max() == 1
