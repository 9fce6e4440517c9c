"""The class of every file of a folder: the name of its sub-folder, or what a CSV says."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import torch
from jaxtyping import Integer
from torch import Tensor

from leadline.errors import DataError
from leadline.files.reading import read_bytes

_LARGEST_TABLE = 1 << 26
_MOST_CLASSES = 1 << 16

NOT_TABLES = (None, "none", "folders")
"""What labels may be beside the path of a CSV."""
_FILES = frozenset({"file", "filename", "file_name", "name", "path", "image", "sound", "text", "id"})
_CLASSES = frozenset({"class", "label", "labels", "category", "target"})

Labels = tuple[Integer[Tensor, "n"], tuple[str, ...]]
"""A class for every file, and the name of every class."""


def labels_of(directory: Path, paths: Sequence[Path], how: str | None) -> Labels | None:
    """Return the labels of files in `directory`; None where they have none.

    `how` is ``"folders"`` (a file's class is the first sub-folder that it lies in), ``"none"``, or the path of a CSV
    whose rows are a file and its class. None: by sub-folder if every file lies in one, and there are several. Classes
    are numbered in the order of their names, those that are whole numbers by their value. Raises `DataError` if a file
    has no class.
    """
    if how == "none" or not paths:
        return None
    if how in NOT_TABLES:
        inner = [path.relative_to(directory).parts for path in paths]
        bare = next((path for path, parts in zip(paths, inner, strict=True) if len(parts) < 2), None)
        if how is None and (bare is not None or len({parts[0] for parts in inner}) < 2):
            return None
        if bare is not None:
            raise DataError(f"{bare} lies in no sub-folder of {directory}, so it has no class; set labels=none")
        return _numbered([parts[0] for parts in inner], directory)
    table = _table(Path(str(how)))
    names = [path.relative_to(directory).as_posix() for path in paths]
    missing = next((name for name in names if name not in table), None)
    if missing is not None:
        raise DataError(f"{how} gives no class to {missing}; it needs a row 'file,class' for each file in {directory}")
    return _numbered([table[name] for name in names], directory)


def renumbered(labels: Integer[Tensor, "n"], names: Sequence[str], known: Sequence[str]) -> Integer[Tensor, "n"]:
    """Return labels as the places of their names among `known` ones; raises `DataError` for a name that is not."""
    strange = next((name for name in names if name not in known), None)
    if strange is not None:
        raise DataError(f"the class {strange!r} is none of those that the model was trained on: {', '.join(known)}")
    return torch.tensor([list(known).index(name) for name in names])[labels]


def _numbered(words: Sequence[str], directory: Path) -> Labels:
    names = sorted(set(words), key=lambda word: (0, int(word), word) if _whole(word) else (1, 0, word))
    if len(names) > _MOST_CLASSES:
        raise DataError(f"the files in {directory} have {len(names)} classes; at most {_MOST_CLASSES} are read")
    places = {name: place for place, name in enumerate(names)}
    return torch.tensor([places[word] for word in words]), tuple(names)


def _whole(word: str) -> bool:
    return word.isascii() and word.isdecimal() and len(word) < 19


def _table(path: Path) -> dict[str, str]:
    """Read the files and classes of a CSV, whose columns stand in that order, or as its header says."""
    content = read_bytes(path, DataError, limit=_LARGEST_TABLE)
    try:
        text = content.decode("utf-8-sig")
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text)))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a CSV: {error}") from error
    table: dict[str, str] = {}
    file, label = _columns(path, rows)
    for number, row in enumerate(rows, 1):
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        if len(cells) <= max(file, label) or not cells[label]:
            raise DataError(f"{path} cannot be read: row {number} has no second column, the file's class")
        name = PurePosixPath(cells[file]).as_posix()
        if table.setdefault(name, cells[label]) != cells[label]:
            raise DataError(f"{path} gives {name} two classes: {table[name]} and {cells[label]}")
    return table


def _separator(text: str) -> str:
    """Return what parts columns: commas or, where there are none in the first line, semicolons or tabs."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    return next((mark for mark in ",;\t" if mark in first), ",")


def _columns(path: Path, rows: Sequence[Sequence[str]]) -> tuple[int, int]:
    """Return the columns of files and classes; more than two are told apart by a header alone."""
    named = [cell.strip().lower() for cell in next((row for row in rows if any(map(str.strip, row))), [])]
    files, classes = ([i for i, cell in enumerate(named) if cell in known] for known in (_FILES, _CLASSES))
    if len(files) == 1 and len(classes) == 1:
        return files[0], classes[0]
    if max(map(len, rows), default=0) > 2 and any(cell.strip() for row in rows for cell in row[2:]):
        raise DataError(f"{path} has more than two columns: begin it with a row that names one 'file' and one 'class'")
    return 0, 1
