"""Finding a data set by its name, or by what a folder holds."""

import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_type_hints

from leadline.data.audio import SOUND_SUFFIXES, speech, tones, wav_folder
from leadline.data.dataset import Dataset
from leadline.data.images import digits, fashion_mnist, idx_directory, image_folder
from leadline.data.pictures import IMAGE_SUFFIXES
from leadline.errors import DataError, UsageError, near_misses, require_seed
from leadline.files.reading import LARGEST
from leadline.key_values import require

NAMED: Mapping[str, Callable[..., Dataset]] = {
    "digits": digits,
    "fashion-mnist": fashion_mnist,
    "speech": speech,
    "tones": tones,
}

_RANGES = {"levels": (2, 256), "limit": (1, LARGEST), "size": (1, 8192), "clips": (3, LARGEST), "length": (2, LARGEST)}
"""The numbers that an option may be, the same for all sets that have it."""


def load(name_or_path: str, **options: Any) -> Dataset:
    """Load a data set by name, or a user's folder of sounds, pictures or IDX.gz files.

    Parameters
    ----------
    name_or_path
        ``digits``, ``fashion-mnist``, ``speech``, ``tones``, or a folder.
    **options
        Settings of that set, such as ``levels``, ``binarise`` (``fixed``, ``threshold``, ``dynamic``), ``size``,
        ``seed``, ``data_dir``.

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
    if name_or_path in NAMED:
        return _call(NAMED[name_or_path], name_or_path, options)
    directory = Path(name_or_path)
    if not os.path.isdir(directory):  # which takes words that cannot be names too
        raise UsageError(f"{name_or_path!r} is neither a data set nor a folder; {near_misses(name_or_path, NAMED)}")
    suffixes = {path.suffix.lower() for path in directory.rglob("*") if not os.path.isdir(path)}
    sounds, pictures = bool(suffixes & SOUND_SUFFIXES), bool(suffixes & IMAGE_SUFFIXES)
    if sounds and pictures:
        raise DataError(f"{directory} holds sounds and pictures; name a folder of one kind")
    if not sounds and not pictures and not any(directory.glob("*-idx3-ubyte.gz")):
        raise DataError(f"{directory} holds no wavs, no FLACs, no pictures and no IDX.gz files")
    return _call(wav_folder if sounds else image_folder if pictures else idx_directory, name_or_path, options)


def _call(loader: Callable[..., Dataset], name: str, options: Mapping[str, Any]) -> Dataset:
    known = [name for name, p in inspect.signature(loader).parameters.items() if p.kind == p.KEYWORD_ONLY]
    hints = get_type_hints(loader)
    for key, value in options.items():
        if key not in known:
            raise UsageError(f"data set {name!r} has no option {key!r}; {near_misses(key, known)}")
        require(f"the option {key} of data set {name!r}", hints[key], value)
        least, most = _RANGES.get(key, (None, None))
        if least is not None and value is not None and not least <= value <= most:
            raise UsageError(f"{key} of data set {name!r} must lie between {least} and {most}, got {value}")
    require_seed(options.get("seed", 0))
    return loader(**options) if loader in NAMED.values() else loader(Path(name), **options)
