"""Samples as files: PNG for pictures, WAV or FLAC for sound, NPY for the symbols themselves."""

import io
from pathlib import Path

import numpy as np

from leadline.audit.trained import Drawn, draw
from leadline.document import Block, Pictures, Wave
from leadline.errors import UsageError
from leadline.files.writing import write_atomically
from leadline.report.html.media import flac_bytes, pictures_png, wave_bytes
from leadline.training import Run

_PAUSE = 0.25
"""Seconds of silence between two clips of one file."""
_FASTEST_FLAC = 655_350


def blocks(drawn: Drawn, caption: str) -> tuple[Block, ...]:
    """Return the samples as blocks of a document: one sheet of pictures, or a sound for each clip."""
    if drawn.rate is None:
        return (Pictures(drawn.pictures(), caption),)
    return tuple(Wave(wave, drawn.rate, f"{caption}, clip {index}") for index, wave in enumerate(drawn.waves()))


def samples_of(run: Run, *, seed: int) -> tuple[Block, ...]:
    """Draw a few samples of a run for its page: sixteen pictures, or one second of sound."""
    sound = run.data.get("rate")
    label = 0 if len(run.specimen.inputs) > 1 else None
    drawn = draw(run, 1 if sound else 16, seed=seed, length=sound, label=label)
    of = "" if label is None else f" of class {label}"
    return blocks(drawn, f"drawn from the trained model{of} by the {drawn.sampler} sampler, seed {seed}")


def check_suffix(path: Path, rate: int | None) -> None:
    """Refuse a file whose suffix does not suit samples of a `rate`, or pictures if that is None, before they are drawn.

    Raises `UsageError`.
    """
    fitting = (".png",) if rate is None else (".wav", ".flac")
    suffix = path.suffix.lower()
    if suffix not in (*fitting, ".npy"):
        known = f"{' or '.join(fitting)} or .npy"
        raise UsageError(f"samples of this model go to {known} files, not {suffix or 'a file without suffix'}")
    if suffix == ".flac" and rate is not None and rate > _FASTEST_FLAC:
        raise UsageError(f"FLAC holds up to {_FASTEST_FLAC} samples a second, and these are {rate}: write a .wav")


def write_samples(drawn: Drawn, path: Path) -> None:
    """Write all samples to one file; its suffix says how.

    Raises `UsageError` if the suffix is unknown, or does not suit the samples; `StorageError` if the disk refuses; a
    file that stood there is intact.
    """
    check_suffix(path, drawn.rate)
    write_atomically(path, _content(drawn, path.suffix.lower()))


def _content(drawn: Drawn, suffix: str) -> bytes:
    if suffix == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, drawn.symbols.numpy())
        return buffer.getvalue()
    if drawn.rate is None:
        return pictures_png(Pictures(drawn.pictures(), "samples"))
    pause = round(_PAUSE * drawn.rate)
    joined = np.pad(drawn.waves(), ((0, 0), (0, pause))).ravel()
    whole = Wave(joined[: len(joined) - pause], drawn.rate, "samples")
    return wave_bytes(whole) if suffix == ".wav" else flac_bytes(whole)
