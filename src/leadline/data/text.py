"""Text: folders of text files, one file, and the help texts of Python itself, as bytes or characters."""

import importlib
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Integer
from torch import Tensor

from leadline.data.dataset import Dataset, Split
from leadline.data.division import Divide, cut, divide, splits, undivided, words_of
from leadline.data.folders import files_of
from leadline.data.labels import Labels, labels_of
from leadline.errors import DataError, UsageError, near_misses
from leadline.files.reading import LARGEST, read_bytes

TEXT_SUFFIXES = frozenset({".txt", ".text", ".md", ".rst", ".tex"})
_SYMBOLS = ("bytes", "characters")
_PIECE = 256
_MOST = 1 << 16
_FEWEST = 30
"""Symbols of a text that is cut into train, validation and test."""


def text_files(
    path: Path,
    divide: Divide = divide,
    *,
    symbols: str | None = None,
    alphabet: str | None = None,
    piece: int | None = None,
    labels: str | None = None,
    seed: int = 0,
    limit: int | None = None,
) -> Dataset:
    """Read a text file, or a folder of them, searched to any depth; fewer than three are cut 8 : 1 : 1, in order.

    Symbols are bytes or, with ``symbols="characters"``, characters of UTF-8 as they occur, or of an `alphabet`. What is
    validated and scored is cut into pieces of `piece` symbols. At most `limit` files are read, the first in sorted
    order; `labels` are as in `data.labels.labels_of`. Raises `DataError`, with the file's name, if it is empty, or not
    UTF-8 where characters are asked for.
    """
    folder = os.path.isdir(path)
    paths = files_of(path, TEXT_SUFFIXES)[:limit] if folder else [path]
    named = labels_of(path, paths, labels) if folder else None
    documents, size = [], 0
    for file in paths:
        documents.append(read_bytes(file, DataError, limit=LARGEST // 4))
        size += len(documents[-1])
        if not documents[-1].strip():
            raise DataError(f"{file} is empty: it holds no text")
        if size > LARGEST // 4:
            raise DataError(f"{path} holds more than {LARGEST // 4} bytes; set limit=, the number of files")
    given = {
        "symbols": symbols, "alphabet": alphabet, "piece": piece, "labels": labels, "seed": seed, "limit": limit,
    }  # fmt: skip
    return _texts(str(path), [str(p) for p in paths], documents, "the user's own", given, divide, labels=named)


def pydoc(*, symbols: str | None = None, piece: int | None = None, seed: int = 0) -> Dataset:
    """English: the help texts of the Python language that come with it, about 0.7 MB, divided 8 : 1 : 1 by topic.

    They differ from one version of Python to the next; the data's digest says which they were.
    """
    try:
        topics: Mapping[str, str] = importlib.import_module("pydoc_data.topics").topics
    except ImportError as error:
        raise DataError("this Python comes without its help texts (pydoc_data); install its whole library") from error
    names = sorted(topics)
    given = {"symbols": symbols, "piece": piece, "seed": seed}
    licence = f"PSF-2.0 (help texts of Python {platform.python_version()})"
    return _texts("pydoc", names, [topics[name].encode() for name in names], licence, given, divide)


def decoded(symbols: Integer[Tensor, "t"], alphabet: str | None) -> str:
    """Return the text that symbols stand for; the replacement character is what no character stands for.

    So it is with bytes that are not UTF-8, and with symbols beyond the alphabet: that of one character has two levels.

    Examples
    --------
    >>> decoded(torch.tensor([104, 105]), None), decoded(torch.tensor([1, 0, 2]), "ab")
    ('hi', 'ba�')
    """
    if alphabet is None:
        return bytes(symbols.clamp(max=255).tolist()).decode("utf-8", errors="replace")
    return "".join(alphabet[symbol] if symbol < len(alphabet) else "\ufffd" for symbol in symbols.tolist())


def _texts(
    name: str,
    sources: Sequence[str],
    documents: Sequence[bytes],
    licence: str,
    options: Mapping[str, Any],
    divide: Divide,
    labels: Labels | None = None,
) -> Dataset:
    """Turn documents into symbols, and divide them; what is validated and scored is cut into pieces."""
    kind, piece = options["symbols"] or "bytes", options["piece"] or _PIECE
    if kind not in _SYMBOLS:
        raise UsageError(f"unknown symbols {kind!r}; {near_misses(kind, _SYMBOLS)}")
    alphabet = None
    if kind == "characters" or options.get("alphabet"):
        texts = [_characters(source, content) for source, content in zip(sources, documents, strict=True)]
        alphabet = options.get("alphabet") or "".join(sorted(set().union(*texts)))
        if len(alphabet) > _MOST:
            raise DataError(f"{name} has {len(alphabet)} different characters; at most {_MOST} are read: take bytes")
        encoded = [_placed(source, text, alphabet) for source, text in zip(sources, texts, strict=True)]
        levels, unit = max(2, len(alphabet)), "characters"
    else:
        encoded = [torch.from_numpy(np.frombuffer(content, np.uint8).copy()) for content in documents]
        levels, unit = 256, "bytes"
    classes, names = (None, None) if labels is None else labels
    few = divide is not undivided and len(encoded) < 3
    parts = _in_order(name, encoded, classes) if few else splits(
        encoded, classes, divide(len(encoded), options["seed"], Path(name)), alike=False
    )  # fmt: skip
    train, validation, test = parts[0], cut(parts[1], piece), cut(parts[2], piece)
    division = "each text 8 : 1 : 1, in order" if few else words_of(divide, "text", options["seed"])
    return Dataset(
        name=name,
        kind="text",
        train=train,
        validation=validation,
        test=test,
        levels=levels,
        licence=licence,
        division=division,
        options={key: value for key, value in options.items() if value is not None},
        read_as=f"{unit}, scored in pieces of {piece}",
        names=names,
        alphabet=alphabet,
        piece=piece,
    )


def _characters(source: str, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{source} is not UTF-8 ({error.reason} at byte {error.start}); leave symbols=characters out"
        ) from error


def _placed(source: str, text: str, alphabet: str) -> Integer[Tensor, "t"]:
    """Return the place of every character in the alphabet."""
    places = {character: place for place, character in enumerate(alphabet)}
    strange = next((character for character in text if character not in places), None)
    if strange is not None:
        raise DataError(
            f"{source} holds the character {strange!r}, which is none of the {len(alphabet)} in the alphabet"
        )
    return torch.tensor(
        [places[character] for character in text], dtype=torch.uint8 if len(places) <= 256 else torch.int32
    )


def _in_order(name: str, encoded: Sequence[Tensor], classes: Tensor | None) -> list[Split]:
    """Cut each text into its first eight tenths, the next one, and the last one."""
    if min(map(len, encoded), default=0) < _FEWEST:
        raise DataError(
            f"{name} holds too little text for train, validation and test: at least {_FEWEST} symbols a file"
        )
    cuts = [(0, len(text) * 8 // 10, len(text) * 9 // 10, len(text)) for text in encoded]
    return [
        Split(tuple(text[at[i] : at[i + 1]] for text, at in zip(encoded, cuts, strict=True)), classes) for i in range(3)
    ]
