"""Samples as files: PNG for pictures, WAV for sound, NPY for the symbols themselves."""

import io
from pathlib import Path

import numpy as np

from leadline.audit.trained import Drawn, draw
from leadline.document import Block, Pictures, Wave
from leadline.errors import UsageError
from leadline.files.writing import write_atomically
from leadline.report.html import pictures_png, wave_bytes
from leadline.training import Run

_PAUSE = 0.25
"""Seconds of silence between two clips of one file."""


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


def write_samples(drawn: Drawn, path: Path) -> None:
    """Write all samples to one file; its suffix says how.

    Raises `UsageError` if the suffix is unknown, or does not suit the samples; `StorageError` if the disk refuses; a
    file that stood there is intact.
    """
    write_atomically(path, _content(drawn, path.suffix.lower()))


def _content(drawn: Drawn, suffix: str) -> bytes:
    if suffix == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, drawn.symbols.numpy())
        return buffer.getvalue()
    if suffix == ".png" and drawn.rate is None:
        return pictures_png(Pictures(drawn.pictures(), "samples"))
    if suffix == ".wav" and drawn.rate is not None:
        pause = round(_PAUSE * drawn.rate)
        joined = np.pad(drawn.waves(), ((0, 0), (0, pause))).ravel()
        return wave_bytes(Wave(joined[: len(joined) - pause], drawn.rate, "samples"))
    fitting = ".png" if drawn.rate is None else ".wav"
    raise UsageError(f"samples of this model go to {fitting} or .npy files, not {suffix or 'a file without suffix'}")
