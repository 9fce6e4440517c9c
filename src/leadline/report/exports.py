"""Samples as files: PNG for pictures, WAV or FLAC for sound, TXT for text, NPY for the symbols themselves."""

import io
from pathlib import Path

import numpy as np

from leadline.audit.trained import Drawn, draw
from leadline.document import Block, Pictures, Text, Wave
from leadline.errors import UsageError
from leadline.files.writing import write_atomically, write_beside
from leadline.report.encoded import flac_bytes, pictures_png, wave_bytes
from leadline.training import Run

_PAUSE = 0.25
"""Seconds of silence between two clips of one file."""
_FASTEST_FLAC = 655_350


def blocks(drawn: Drawn, caption: str) -> tuple[Block, ...]:
    """Return the samples as blocks of a document: one sheet of pictures, a sound for each clip, or what is written."""
    if drawn.kind == "image":
        return (Pictures(drawn.pictures(), caption),)
    if drawn.kind == "text":
        return tuple(Text(f"{caption}, {index}: {text}") for index, text in enumerate(drawn.texts()))
    if drawn.rate is None:
        return ()
    return tuple(Wave(wave, drawn.rate, f"{caption}, clip {index}") for index, wave in enumerate(drawn.waves()))


def samples_of(run: Run, *, seed: int) -> tuple[Block, ...]:
    """Draw a few samples of a run for its page: sixteen pictures, one second of sound, or a text."""
    images = run.data["kind"] == "image"
    label = 0 if len(run.specimen.inputs) > 1 else None
    drawn = draw(run, 16 if images else 1, seed=seed, length=run.data.get("rate"), label=label)
    of = "" if label is None else f" of class {label}"
    return blocks(drawn, f"drawn from the trained model{of} by the {drawn.sampler} sampler, seed {seed}")


_SUFFIXES = {"image": (".png",), "audio": (".wav", ".flac"), "text": (".txt",)}


def suffixes_of(kind: str, rate: int | None) -> tuple[str, ...]:
    """Return the suffixes of files that samples of a kind may go to, the usual one first."""
    return (".npy",) if kind == "audio" and rate is None else (*_SUFFIXES[kind], ".npy")


def check_suffix(path: Path, kind: str, rate: int | None) -> None:
    """Refuse a file whose suffix does not suit samples of a `kind` and a `rate`, before they are drawn.

    Raises `UsageError`.
    """
    *first, last = suffixes_of(kind, rate)
    suffix = path.suffix.lower()
    if suffix not in (*first, last):
        known = " or ".join((*first, last))
        raise UsageError(f"samples of this model go to {known} files, not {suffix or 'a file without suffix'}")
    if suffix == ".flac" and rate is not None and rate > _FASTEST_FLAC:
        raise UsageError(f"FLAC holds up to {_FASTEST_FLAC} samples a second, and these are {rate}: write a .wav")


def write_samples(drawn: Drawn, path: Path) -> Path:
    """Write all samples to one file, which is returned; its suffix says how.

    Raises `UsageError` if the suffix is unknown, or does not suit the samples; `StorageError` if the disk refuses; a
    file that stood there is intact.
    """
    check_suffix(path, drawn.kind, drawn.rate)
    write_atomically(path, _content(drawn, path.suffix.lower()))
    return path


def write_new(drawn: Drawn, path: Path) -> Path:
    """Write all samples as `write_samples` does, but never over other ones; return where they stand."""
    check_suffix(path, drawn.kind, drawn.rate)
    return write_beside(path, _content(drawn, path.suffix.lower()))


def _content(drawn: Drawn, suffix: str) -> bytes:
    if suffix == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, drawn.symbols.numpy())
        return buffer.getvalue()
    if suffix == ".txt":
        return "\n\n".join(drawn.texts()).encode()
    if drawn.rate is None:
        return pictures_png(Pictures(drawn.pictures(), "samples"))
    pause = round(_PAUSE * drawn.rate)
    joined = np.pad(drawn.waves(), ((0, 0), (0, pause))).ravel()
    whole = Wave(joined[: len(joined) - pause], drawn.rate, "samples")
    return wave_bytes(whole) if suffix == ".wav" else flac_bytes(whole)
