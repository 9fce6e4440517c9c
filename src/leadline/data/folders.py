"""The files of a folder: which of them a data set is read from, and what is said of those that are not."""

import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from leadline.errors import DataError


def files_of(directory: Path, suffixes: Collection[str] | None = None) -> list[Path]:
    """Return the files at any depth of a folder, sorted, those with some `suffixes` (None: all).

    Folders that links lead to are searched too; one that leads back to a folder above it is not. Names that begin with
    a dot are passed over, as every listing does. Raises `DataError` for a folder that cannot be searched.
    """
    return sorted(
        path for path in _below(directory, frozenset()) if suffixes is None or path.suffix.lower() in suffixes
    )


def left_out(directory: Path, suffixes: Collection[str], besides: Sequence[Path] = ()) -> str | None:
    """Say how many files of a folder are not read, by suffix; None where all are, those `besides` them apart."""
    known = {path.resolve() for path in besides}
    others = Counter(
        path.suffix.lower() or "without a suffix"
        for path in files_of(directory)
        if path.suffix.lower() not in suffixes and path.resolve() not in known
    )
    if not others:
        return None
    return "left out: " + ", ".join(f"{number} {suffix}" for suffix, number in sorted(others.items()))


def _below(folder: Path, above: frozenset[str]) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in above:
        return
    try:
        with os.scandir(folder) as found:
            entries = [entry for entry in found if not entry.name.startswith(".")]
            inner = [entry.is_dir(follow_symlinks=True) for entry in entries]
    except OSError as error:
        raise DataError(f"{folder} cannot be searched for files: {error.strerror or error}") from error
    for entry, leads_on in zip(entries, inner, strict=True):
        path = folder / entry.name
        if leads_on:
            yield from _below(path, above | {real})
        else:
            yield path
