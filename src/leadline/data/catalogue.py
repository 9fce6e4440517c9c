"""Finding a data set by its name, or by what a folder holds."""

import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_type_hints

from leadline.data.audio import SOUND_SUFFIXES, speech, tones, wav_folder
from leadline.data.dataset import Dataset
from leadline.data.division import undivided
from leadline.data.flattened import flattened
from leadline.data.folders import files_of, left_out
from leadline.data.images import digits, fashion_mnist, idx_directory, image_folder
from leadline.data.labels import NOT_TABLES
from leadline.data.photographs import photographs
from leadline.data.pictures import IMAGE_SUFFIXES
from leadline.data.spectrogram import MOST_CHANNELS, MOST_HOP
from leadline.data.text import TEXT_SUFFIXES, pydoc, text_files
from leadline.errors import DataError, UsageError, near_misses, require_seed
from leadline.files.reading import LARGEST
from leadline.key_values import require

Loader = Callable[..., Dataset]

NAMED: Mapping[str, Loader] = {
    "digits": digits,
    "fashion-mnist": fashion_mnist,
    "photographs": photographs,
    "pydoc": pydoc,
    "speech": speech,
    "tones": tones,
}

_DIVIDED: Mapping[Loader, frozenset[str]] = {
    wav_folder: SOUND_SUFFIXES,
    image_folder: IMAGE_SUFFIXES,
    text_files: TEXT_SUFFIXES,
}
"""Loaders of files that come without a division of their own, and the suffixes of those files."""

_RANGES = {
    "levels": (2, 65536),
    "limit": (1, LARGEST),
    "size": (1, 8192),
    "clips": (3, LARGEST),
    "length": (2, LARGEST),
    "piece": (2, LARGEST),
    "spectrogram": (1, MOST_CHANNELS),
    "hop": (1, MOST_HOP),
}
"""The numbers that an option may be, the same for all sets that have it."""


def load(name_or_path: str, **options: Any) -> Dataset:
    """Load a data set by name, or a user's folder of sounds, pictures, texts or IDX.gz files, or one text file.

    Parameters
    ----------
    name_or_path
        ``digits``, ``fashion-mnist``, ``photographs``, ``pydoc``, ``speech``, ``tones``, a folder, or a text file.
    **options
        Settings of that set, such as ``levels``, ``binarise`` (``fixed``, ``threshold``, ``dynamic``), ``size``,
        ``color``, ``flatten``, ``encoding``, ``spectrogram``, ``symbols``, ``labels``, ``seed``, ``data_dir``.

    Raises
    ------
    DataError
        If the set is missing (the message says how to install it), empty or malformed.
    UsageError
        If the name or an option is unknown.

    Examples
    --------
    >>> load("digits", binarise="fixed").levels
    2
    """
    return _call(_loader(name_or_path), name_or_path, options)


def load_whole(name_or_path: str, **options: Any) -> Dataset:
    """Load a data set as `load` does; files that come without a division of their own are not divided.

    Examples
    --------
    >>> load_whole("digits").division
    'first 1000, next 350, last 447, in dataset order'
    """
    loader = _loader(name_or_path)
    return _call(loader, name_or_path, options, *((undivided,) if loader in _DIVIDED else ()))


def options_of(name_or_path: str) -> frozenset[str]:
    """Return the options that `load` takes for a data set.

    Examples
    --------
    >>> sorted(options_of("digits"))
    ['binarise', 'flatten', 'levels', 'seed']
    """
    return frozenset(_known(_loader(name_or_path)))


def _loader(name_or_path: str) -> Loader:
    """Find what loads a set called so, or a folder of what is in it."""
    if name_or_path in NAMED:
        return NAMED[name_or_path]
    directory = Path(name_or_path)
    if not os.path.isdir(directory):  # which takes words that cannot be names too
        if directory.suffix.lower() in TEXT_SUFFIXES and os.path.isfile(directory):
            return text_files
        known = near_misses(name_or_path, NAMED)
        raise UsageError(f"{name_or_path!r} is neither a data set nor a folder, nor a file of text; {known}")
    suffixes = {path.suffix.lower() for path in files_of(directory)}
    sounds, pictures = bool(suffixes & SOUND_SUFFIXES), bool(suffixes & IMAGE_SUFFIXES)
    if sounds and pictures:
        raise DataError(f"{directory} holds sounds and pictures; name a folder of one kind")
    if sounds or pictures:
        return wav_folder if sounds else image_folder
    if any(directory.glob("*-idx3-ubyte.gz")):
        return idx_directory
    if suffixes & TEXT_SUFFIXES:
        return text_files
    read = "; ".join(", ".join(sorted(some)) for some in _DIVIDED.values())
    raise DataError(f"{directory} holds no files that are read: sounds, pictures or texts ({read}), or IDX.gz files")


def _known(loader: Loader) -> list[str]:
    own = [name for name, p in inspect.signature(loader).parameters.items() if p.kind == p.KEYWORD_ONLY]
    return [*own, "flatten"] if "binarise" in own else own  # which pictures are


def _call(loader: Loader, name: str, options: Mapping[str, Any], *how: Any) -> Dataset:
    known, hints = _known(loader), {**get_type_hints(loader), "flatten": bool}
    for key, value in options.items():
        if key not in known:
            raise UsageError(f"data set {name!r} has no option {key!r}; {near_misses(key, known)}")
        require(f"the option {key} of data set {name!r}", hints[key], value)
        least, most = _RANGES.get(key, (None, None))
        if least is not None and value is not None and not least <= value <= most:
            raise UsageError(f"{key} of data set {name!r} must lie between {least} and {most}, got {value}")
    require_seed(options.get("seed", 0))
    asked = {key: value for key, value in options.items() if key != "flatten"}
    dataset = loader(**asked) if loader in NAMED.values() else loader(Path(name), *how, **asked)
    dataset = flattened(dataset) if options.get("flatten") else dataset
    if loader in _DIVIDED and os.path.isdir(name):
        table = asked.get("labels")
        said = left_out(Path(name), _DIVIDED[loader], [] if table in NOT_TABLES else [Path(table)])
        dataset = replace(dataset, read_as=", ".join(filter(None, (dataset.read_as, said))) or None)
    return dataset
