"""Audio: folders of wav files and seeded synthetic tones, as mu-law classes."""

import os
import wave
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Integer
from torch import Tensor

from leadline.data.dataset import Dataset, Split, divide
from leadline.errors import DataError, UsageError

SPEECH_DIRECTORY = "/usr/share/asterisk/sounds/en_US_f_Allison"


def mu_law(signal: Float[np.ndarray, "..."], levels: int = 256) -> Integer[Tensor, "..."]:
    """Compand a signal in [-1, 1] to classes 0 to levels - 1 (ITU-T G.711's curve, ``mu = levels - 1``).

    Examples
    --------
    >>> mu_law(np.array([-1.0, 0.0, 1.0]))
    tensor([  0, 128, 255])
    """
    mu = levels - 1
    companded = np.sign(signal) * np.log1p(mu * np.abs(signal)) / np.log1p(mu)
    return torch.from_numpy(np.floor((companded + 1) / 2 * mu + 0.5).astype(np.int64))


def inverse_mu_law(classes: Integer[Tensor, "..."], levels: int = 256) -> Float[np.ndarray, "..."]:
    """Return the signal in [-1, 1] that stands for each class; `mu_law` maps it back to the class.

    Examples
    --------
    >>> inverse_mu_law(torch.tensor([0, 255])).tolist()
    [-1.0, 1.0]
    """
    mu = levels - 1
    companded = 2 * classes.double().numpy() / mu - 1
    return np.asarray(np.sign(companded) * ((1 + mu) ** np.abs(companded) - 1) / mu)


def read_wav(path: Path) -> tuple[Float[np.ndarray, "t"], int]:
    """Read one PCM wav (8, 16, 24 or 32 bits), channels averaged, as a signal in [-1, 1] and its rate.

    Raises `DataError` if the file is not a PCM wav, or is empty, cut short or silent; the message names it.
    """
    try:
        with wave.open(str(path), "rb") as file:
            width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
            frames = file.getnframes()
            raw = file.readframes(frames)
    except (wave.Error, EOFError, OSError) as error:
        raise DataError(f"{path} cannot be read as a PCM wav: {error or 'it ends early'}") from error
    if frames == 0:
        raise DataError(f"{path} is empty: it holds no samples")
    if len(raw) != frames * width * channels:
        raise DataError(f"{path} is cut short: {len(raw)} of {frames * width * channels} bytes")
    signal = _pcm(raw, width).reshape(-1, channels).mean(axis=1)
    if np.all(signal == signal[0]):
        raise DataError(f"{path} is silent: all its samples are equal; leave it out")
    return signal, rate


def wav_folder(directory: Path, *, levels: int | None = None, seed: int = 0, limit: int | None = None) -> Dataset:
    """Read a folder of wavs of one rate, searched to any depth, divided 8 : 1 : 1 by file.

    There are 256 mu-law classes unless `levels` says otherwise. At most `limit` files are read, the first in sorted
    order.
    """
    return _wavs(directory, str(directory), "the user's own", {"levels": levels, "seed": seed, "limit": limit})


def _wavs(
    directory: Path, name: str, licence: str, options: Mapping[str, Any], leave_out: frozenset[str] = frozenset()
) -> Dataset:
    """Read a folder of wavs, without subfolders whose names are in `leave_out`."""
    paths = sorted(path for path in directory.rglob("*") if path.suffix.lower() == ".wav")
    paths = [path for path in paths if not leave_out & set(path.relative_to(directory).parts)][: options["limit"]]
    read = [read_wav(path) for path in paths]
    for path, (_, rate) in zip(paths, read, strict=True):
        if rate != read[0][1]:
            raise DataError(
                f"{path} has {rate} samples a second where {paths[0]} has {read[0][1]}; resample one of them"
            )
    parts = divide(len(read), options["seed"], directory)
    return _dataset(name, [signal for signal, _ in read], parts, "file", licence, read[0][1], options)


def speech(
    *, data_dir: str | None = None, levels: int | None = None, seed: int = 0, limit: int | None = None
) -> Dataset:
    """English speech of one speaker, 8 kHz, as mu-law classes: about 550 telephone prompts, 24 minutes.

    Read from `data_dir`, else from the environment's ``LEADLINE_SPEECH``, else from where Debian installs it.
    """
    directory = Path(data_dir or os.environ.get("LEADLINE_SPEECH", SPEECH_DIRECTORY))
    if not directory.is_dir():
        raise DataError(
            f"the English speech set is not in {directory}; "
            "run: apt-get install -y --no-install-recommends asterisk-core-sounds-en-wav, or give data_dir="
        )
    options = {"data_dir": data_dir, "levels": levels, "seed": seed, "limit": limit}
    return _wavs(directory, "speech", "CC-BY-SA-3.0 (Asterisk core sounds)", options, frozenset({"silence"}))


def tones(*, clips: int = 20, length: int = 400, levels: int | None = None, seed: int = 0) -> Dataset:
    """Seeded synthetic tones at 8 kHz: a sine of random pitch, loudness and phase in a little noise; lengths vary.

    Examples
    --------
    >>> data = tones(clips=10, length=50)
    >>> data.kind, len(data.train), data.levels
    ('audio', 8, 256)
    """
    if length < 2:
        raise UsageError(f"a tone has at least 2 samples, got length={length}")
    rng, made = np.random.default_rng(seed), []
    for _ in range(clips):
        t = np.arange(int(rng.integers(length // 2, length + 1)))
        pitch, loudness, phase = rng.uniform(100, 1000), rng.uniform(0.2, 0.9), rng.uniform(0, 2 * np.pi)
        signal = loudness * np.sin(2 * np.pi * pitch / 8000 * t + phase) + rng.normal(0, 0.01, len(t))
        made.append(signal.clip(-1, 1))
    given = {"clips": clips, "length": length, "levels": levels, "seed": seed}
    return _dataset("tones", made, divide(clips, seed, Path("tones")), "clip", "synthetic", 8000, given)


def _dataset(
    name: str,
    signals: Sequence[Float[np.ndarray, "_"]],
    parts: Iterable[Sequence[int]],
    unit: str,
    licence: str,
    rate: int,
    options: Mapping[str, Any],
) -> Dataset:
    """Compand signals, and divide them into train, validation and test."""
    levels = 256 if options["levels"] is None else options["levels"]
    if not 2 <= levels <= 256:
        raise UsageError(f"audio has 2 to 256 mu-law levels, got {levels}")
    clips = [mu_law(signal, levels).to(torch.uint8) for signal in signals]
    train, validation, test = (Split(tuple(clips[i] for i in part)) for part in parts)
    return Dataset(
        name=name,
        kind="audio",
        train=train,
        validation=validation,
        test=test,
        levels=levels,
        licence=licence,
        division=f"8 : 1 : 1 by {unit}, shuffled with seed {options['seed']}",
        rate=rate,
        options={key: value for key, value in options.items() if value is not None},
    )


def _pcm(raw: bytes, width: int) -> Float[np.ndarray, "n"]:
    """Turn little-endian PCM into values in [-1, 1]; 8-bit wavs are unsigned, all others signed."""
    if width == 1:
        return np.frombuffer(raw, np.uint8) / 127.5 - 1
    if width == 3:
        triples = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        wide = np.zeros((len(triples), 4), np.uint8)
        wide[:, 1:] = triples
        return wide.view("<i4").reshape(-1) / 2.0**31
    return np.frombuffer(raw, f"<i{width}") / 2.0 ** (8 * width - 1)
