"""Audio: folders of wav, FLAC and OGG files, and seeded synthetic tones, as mu-law or linear classes."""

import os
import re
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from jaxtyping import Float, Integer
from torch import Tensor

from leadline.data.companding import linear, mu_law
from leadline.data.dataset import Dataset
from leadline.data.division import Divide, Division, cut, divide, splits, words_of
from leadline.data.folders import files_of
from leadline.data.labels import Labels, labels_of
from leadline.data.spectrogram import Spectrogram
from leadline.errors import DataError, UsageError, near_misses, needing
from leadline.files.reading import LARGEST, open_regular

SOUND_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".oga"})
SPEECH_DIRECTORY = "/usr/share/asterisk/sounds/en_US_f_Allison"
_KINDS = re.compile(
    "(WAV|WAVEX|RF64|FLAC) (PCM_U8|PCM_S8|PCM_16|PCM_24|PCM_32|FLOAT|DOUBLE|ULAW|ALAW)|OGG (VORBIS|OPUS)"
)
_BLOCK = 1 << 20
_LONGEST = 1 << 26
"""Samples that one clip may have: two hours at 8 kHz, 25 minutes at 44.1 kHz."""
_DENSEST = 1 << 14
"""Samples that a byte of a file may stand for; the longest silence in FLAC takes a byte for some hundreds."""
_HIGHEST_RATE = 768_000
_PAGE, _LAST_PAGE = 1 << 16, 4
"""Bytes that a page of an OGG has at most, and the flag of its last one (RFC 3533)."""


def read_sound(path: Path) -> tuple[Float[np.ndarray, "t"], int]:
    """Read one wav (whole numbers of 8 to 32 bits, or floats), FLAC or OGG: channels averaged, in [-1, 1]; its rate.

    Raises `DataError` if the file is none of these, holds numbers that are not finite, or is empty, cut short, silent
    or too long for one clip; the message names it. `UsageError` if soundfile, which reads it, is not installed.
    """
    signal, rate, _ = _read(path)
    return signal.clip(-1, 1), rate


def _read(path: Path) -> tuple[Float[np.ndarray, "t"], int, int]:
    """Return the signal as it is, its rate, and how many channels were averaged."""
    with needing("train", "reading sound"):
        import soundfile
    with open_regular(path, DataError) as file:
        size = os.fstat(file.fileno()).st_size
        _refuse_cut_short(path, file, size)
        try:
            with soundfile.SoundFile(file) as sound:
                frames, channels, rate = sound.frames, sound.channels, sound.samplerate
                _check_header(path, f"{sound.format} {sound.subtype}", frames, rate, size)
                blocks = sound.blocks(max(1, _BLOCK // channels), dtype="float64", always_2d=True)
                signal = np.concatenate([np.zeros(0), *(block.mean(axis=1) for block in blocks)])
        except (soundfile.LibsndfileError, RuntimeError, TypeError, ValueError, OSError) as error:
            raise DataError(f"{path} cannot be read as a wav, FLAC or OGG: {error}") from error
    if len(signal) != frames:
        raise DataError(f"{path} is cut short: {len(signal)} of {frames} samples")
    if not np.isfinite(signal).all():
        raise DataError(f"{path} holds numbers that are not finite")
    if np.all(signal == signal[0]):
        raise DataError(f"{path} is silent: all its samples are equal; leave it out")
    return signal, rate, channels


def _refuse_cut_short(path: Path, file: IO[bytes], size: int) -> None:
    """Refuse a wav or OGG that ends before its samples do: libsndfile would take it for a shorter one."""
    if file.read(4) == b"OggS":
        file.seek(max(0, size - _PAGE))
        end = file.read()
        if not end[end.rfind(b"OggS") :][5:6].ljust(1, b"\0")[0] & _LAST_PAGE:
            raise DataError(f"{path} is cut short: its last page is missing")
    file.seek(0)
    riff, _, wave = struct.unpack("<4sI4s", file.read(12).ljust(12, b"\0"))
    place = 12
    while (riff, wave) == (b"RIFF", b"WAVE") and len(head := file.read(8)) == 8:
        kind, length = struct.unpack("<4sI", head)
        place += 8 + length + length % 2
        if kind == b"data" and place - length % 2 > size:
            raise DataError(f"{path} is cut short: {size} of {place - length % 2} bytes")
        file.seek(place)
    file.seek(0)


def _check_header(path: Path, kind: str, frames: int, rate: int, size: int) -> None:
    """Refuse a sound by what its header says, before anything is read."""
    if not _KINDS.fullmatch(kind):
        raise DataError(f"{path} cannot be read as a wav, FLAC or OGG: it is {kind}")
    if frames == 0:
        raise DataError(f"{path} is empty: it holds no samples")
    if not 1 <= rate <= _HIGHEST_RATE:
        raise DataError(f"{path} has {rate} samples a second; from 1 to {_HIGHEST_RATE} are read")
    if not 0 < frames <= _LONGEST or frames > _DENSEST * size:
        most = min(_LONGEST, _DENSEST * size)
        raise DataError(f"{path} claims {frames} samples, where at most {most} are read; cut it into pieces")


def wav_folder(
    directory: Path,
    divide: Divide = divide,
    *,
    levels: int | None = None,
    encoding: str | None = None,
    labels: str | None = None,
    spectrogram: int | None = None,
    hop: int | None = None,
    piece: int | None = None,
    seed: int = 0,
    limit: int | None = None,
) -> Dataset:
    """Read a folder of wavs, FLACs and OGGs of one rate, searched to any depth, divided 8 : 1 : 1 by file.

    There are 256 mu-law classes unless `encoding` (``"mu-law"``, ``"linear"``) or `levels` says otherwise; 65536 linear
    ones are the samples of 16 bits as they are. `labels` are as in `data.labels.labels_of`, `spectrogram` and `hop` as
    in `data.spectrogram.Spectrogram.asked`. What is validated and scored is cut into pieces of `piece` samples, if
    given. At most `limit` files are read, the first in sorted order.
    """
    options = {
        "levels": levels, "encoding": encoding, "labels": labels, "spectrogram": spectrogram, "hop": hop,
        "piece": piece, "seed": seed, "limit": limit,
    }  # fmt: skip
    return _wavs(directory, str(directory), "the user's own", options, divide=divide)


def _wavs(
    directory: Path,
    name: str,
    licence: str,
    options: Mapping[str, Any],
    leave_out: frozenset[str] = frozenset(),
    divide: Divide = divide,
) -> Dataset:
    """Read a folder of sounds, without subfolders whose names are in `leave_out`."""
    paths = files_of(directory, SOUND_SUFFIXES)
    paths = [path for path in paths if not leave_out & set(path.relative_to(directory).parts)][: options["limit"]]
    named = labels_of(directory, paths, options.get("labels", "none"))
    parts = divide(len(paths), options["seed"], directory)
    clips: list[Integer[Tensor, "_"]] = []
    rate, most, loud = 0, 1, 0
    for path in paths:
        signal, its_rate, channels = _read(path)
        rate, most, loud = rate or its_rate, max(most, channels), loud + bool(abs(signal).max() > 1)
        if its_rate != rate:
            raise DataError(f"{path} has {its_rate} samples a second where {paths[0]} has {rate}; resample one of them")
        clips.append(classes_of(signal.clip(-1, 1), options))
        if sum(clip.nbytes for clip in clips) > LARGEST:
            raise DataError(f"{directory} holds more than {LARGEST} bytes; set limit=, the number of files")
    division = words_of(divide, "file", options["seed"])
    made = (*([f"{most} channels averaged"] if most > 1 else []), *([f"{loud} sounds clipped"] if loud else []))
    return _dataset(name, clips, parts, division, licence, rate, options, labels=named, made=made)


def speech(
    *,
    data_dir: str | None = None,
    levels: int | None = None,
    encoding: str | None = None,
    spectrogram: int | None = None,
    hop: int | None = None,
    piece: int | None = None,
    seed: int = 0,
    limit: int | None = None,
) -> Dataset:
    """English speech of one speaker, 8 kHz, as mu-law classes: about 550 telephone prompts, 24 minutes.

    Read from `data_dir`, else from the environment's ``LEADLINE_SPEECH``, else from where Debian installs it.
    """
    directory = Path(data_dir or os.environ.get("LEADLINE_SPEECH", SPEECH_DIRECTORY))
    if not os.path.isdir(directory):
        raise DataError(
            f"the English speech set is not in {directory}; "
            "run: apt-get install -y --no-install-recommends asterisk-core-sounds-en-wav, or give data_dir="
        )
    options = {"data_dir": data_dir, "levels": levels, "encoding": encoding, "piece": piece, "seed": seed}
    options |= {"spectrogram": spectrogram, "hop": hop, "limit": limit}
    return _wavs(directory, "speech", "CC-BY-SA-3.0 (Asterisk core sounds)", options, frozenset({"silence"}))


def tones(
    *,
    clips: int = 20,
    length: int = 400,
    levels: int | None = None,
    encoding: str | None = None,
    spectrogram: int | None = None,
    hop: int | None = None,
    piece: int | None = None,
    seed: int = 0,
) -> Dataset:
    """Seeded synthetic tones at 8 kHz: a sine of random pitch, loudness and phase in a little noise; lengths vary.

    Classes are as in `wav_folder`: 256 of mu-law, unless `levels` or `encoding` says otherwise.

    Examples
    --------
    >>> data = tones(clips=10, length=50)
    >>> data.kind, len(data.train), data.levels
    ('audio', 8, 256)
    """
    if length < 2:
        raise UsageError(f"a tone has at least 2 samples, got length={length}")
    if clips * length > LARGEST:
        raise UsageError(f"{clips} tones of up to {length} samples are more than {LARGEST} samples")
    given: dict[str, Any] = {"clips": clips, "length": length, "levels": levels, "piece": piece, "seed": seed}
    given |= {"spectrogram": spectrogram, "hop": hop, "encoding": encoding}
    rng, made, parts = np.random.default_rng(seed), [], divide(clips, seed, Path("tones"))
    for _ in range(clips):
        t = np.arange(int(rng.integers(length // 2, length + 1)))
        pitch, loudness, phase = rng.uniform(100, 1000), rng.uniform(0.2, 0.9), rng.uniform(0, 2 * np.pi)
        signal = loudness * np.sin(2 * np.pi * pitch / 8000 * t + phase) + rng.normal(0, 0.01, len(t))
        made.append(classes_of(signal.clip(-1, 1), given))
    return _dataset("tones", made, parts, words_of(divide, "clip", seed), "synthetic", 8000, given)


_ENCODINGS = ("mu-law", "linear")


def classes_of(signal: Float[np.ndarray, "t"], options: Mapping[str, Any]) -> Integer[Tensor, "t"]:
    """Return the classes of a signal in [-1, 1] that options of a data set, `levels` and `encoding`, ask for."""
    levels = _levels(options)
    found = linear(signal, levels) if options.get("encoding") == "linear" else mu_law(signal, levels)
    return found.to(torch.uint8 if levels <= 256 else torch.int32)


def _levels(options: Mapping[str, Any]) -> int:
    encoding = options.get("encoding")
    if encoding not in (None, *_ENCODINGS):
        raise UsageError(f"unknown encoding {encoding!r}; {near_misses(encoding, _ENCODINGS)}")
    levels: object = options.get("levels")
    if levels is None:
        return 256
    if not (type(levels) is int and 2 <= levels <= 65536):  # as a file may say
        raise UsageError(f"audio has 2 to 65536 levels, got {levels!r}")
    return levels


def _dataset(
    name: str,
    clips: Sequence[Integer[Tensor, "_"]],
    parts: Division,
    division: str,
    licence: str,
    rate: int,
    options: Mapping[str, Any],
    *,
    labels: Labels | None = None,
    made: Sequence[str] = (),
) -> Dataset:
    """Divide clips of classes into train, validation and test; `made` is what was made of them before."""
    classes, names = (None, None) if labels is None else labels
    heard = Spectrogram.asked(options, rate, _levels(options))
    train, validation, test = splits(clips, classes, parts, alike=False)
    piece = options.get("piece")
    if piece is not None:
        validation, test = cut(validation, piece), cut(test, piece)
    said = [*made, f"{_levels(options)} {options.get('encoding') or 'mu-law'} classes"]
    said += [] if piece is None else [f"scored in pieces of {piece}"]
    said += [] if heard is None else [f"given {heard}"]
    return Dataset(
        name=name,
        kind="audio",
        train=train,
        validation=validation,
        test=test,
        levels=_levels(options),
        licence=licence,
        division=division,
        rate=rate,
        options={key: value for key, value in options.items() if value is not None},
        read_as=", ".join(said),
        names=names,
        piece=piece,
        spectrogram=heard,
    )
