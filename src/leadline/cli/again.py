"""A drawing by the sampler that a run keeps: nothing is derived, and for pictures torch is not loaded."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leadline.document import Pictures
from leadline.errors import CheckpointError, UsageError, near_misses
from leadline.files.reading import read_record
from leadline.files.temporary import remove_leftovers
from leadline.files.writing import write_atomically, write_beside
from leadline.report.encoded import pictures_png
from leadline.sampling.compiled.kept import find_kept, question


def classes_of(run: Path, text: str) -> tuple[int, ...]:
    """Return the numbers of the classes that a text names: by the names that they have in the run's data, or as such.

    Raises `UsageError` where it names none, or one that is not there.

    Examples
    --------
    >>> classes_of(Path("nowhere"), "3"), classes_of(Path("nowhere"), "0,1")
    ((3,), (0, 1))
    """
    try:
        names = list(read_record(run / "run.json", dict[str, Any], CheckpointError)["data"]["names"] or ())
    except (CheckpointError, KeyError, TypeError):  # which is said when the run is read
        names = []
    words = [text] if text in names else [part.strip() for part in text.split(",")]
    if not any(map(str.isdecimal, names)) and all(w.isascii() and w.isdecimal() and len(w) < 10 for w in words):
        return tuple(map(int, words))  # names that are numbers, such as years, are not the classes' places
    if not names:
        raise UsageError(f"{text!r} names no classes; write one, or one for each sample: 3 or 0,1,2")
    strange = next((word for word in words if word not in names), None)
    if strange is not None:
        raise UsageError(f"there is no class {strange!r}; {near_misses(strange, names)}")
    return tuple(map(names.index, words))


def asked_of(
    run: Path, n: int, *, length: int | None, label: tuple[int, ...] | None, naive: bool = False, **_: Any
) -> str | None:
    """Return what a drawing asks of a run; None where no sampler is kept: of several classes, or no finished files."""
    if naive or (label is not None and len(set(label)) > 1):
        return None
    try:
        return question(run, n, length, label[0] if label else None)
    except CheckpointError:
        return None


def drawn_again(
    run: Path, n: int, asked: str, out: Path | None, *, seed: int, temperature: float, top_k: int | None, **_: Any
) -> str | None:
    """Draw what was asked of a run before, write it, and say so; None if the run keeps no such sampler."""
    if not 0 <= temperature < np.inf or (kept := find_kept(run, asked)) is None:
        return None
    start = time.perf_counter()
    symbols = kept.draw(seed, temperature, top_k)
    seconds = time.perf_counter() - start
    picture = kept.about.pop("picture", None)
    if picture:
        symbols = symbols.reshape(len(symbols), -1, *picture[1:])
    kind, levels = kept.about["kind"], kept.about["levels"]
    if out is None:
        remove_leftovers(run)
    if kind == "image" and (out is None or out.suffix.lower() == ".png"):
        content = pictures_png(Pictures(symbols / (levels - 1), "samples"))
        if out is None:
            path = write_beside(run / f"samples-{seed}.png", content)
        else:
            write_atomically(path := out, content)
    else:
        path = _written(symbols, seconds, kept.about, seed, run, out)
    many = "1 sample" if n == 1 else f"{n} samples"
    return f"{path}: {many} in {seconds:.2f} s (kept sampler, seed {seed})"


def _written(
    symbols: NDArray[np.int64], seconds: float, about: dict[str, Any], seed: int, run: Path, out: Path | None
) -> Path:
    import torch

    from leadline.audit.trained import Drawn
    from leadline.report.exports import suffixes_of, write_new, write_samples

    drawn = Drawn(torch.from_numpy(symbols.copy()), seconds, "kept", seed, **about)
    if out is not None:
        return write_samples(drawn, out)
    return write_new(drawn, run / f"samples-{seed}{suffixes_of(drawn.kind, drawn.rate)[0]}")
