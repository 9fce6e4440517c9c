"""Where a report goes: the terminal, and files that are written whole or not at all; results as JSON.

JSON has field names as they are, and every value with what says how it is known.
"""

import dataclasses
import json
import math
import sys
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from leadline.document import Document
from leadline.files.streams import complain, escaped, printable, taken, takes
from leadline.files.writing import make_directory, write_atomically
from leadline.report import html as html_page
from leadline.report.terminal import show


def encode(result: Any) -> Any:
    """Turn a result into what JSON can hold.

    Dataclasses become objects of their fields and of what is `derived` from them, enums their values, tensors and
    arrays nested lists, formulas what sympy writes, infinities and NaN the strings ``"inf"``, ``"-inf"`` and ``"nan"``
    (JSON has no such numbers). Raises `TypeError` if a value has no JSON form.

    Examples
    --------
    >>> from leadline.results import Bound, Status
    >>> encode(Bound(0.0, math.inf, Status.BOUND))
    {'lo': 0.0, 'hi': 'inf', 'status': 'bound', 'assumptions': []}
    """
    match result:
        case Enum():
            return encode(result.value)
        case None | bool() | int() | str():
            return result
        case float():
            return result if math.isfinite(result) else str(result)
        case Mapping():
            return {str(key): encode(value) for key, value in result.items()}
        case tuple() | list() | set() | frozenset():
            return [encode(value) for value in result]
        case Tensor() | np.ndarray() | np.generic():
            return encode(result.tolist())
        case torch.dtype() | torch.Size() | Path():
            return str(result)
    if "sympy" in sys.modules and isinstance(result, sys.modules["sympy"].Basic):
        return str(result)
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        names = (*(field.name for field in dataclasses.fields(result)), *getattr(result, "derived", ()))
        return {name: encode(getattr(result, name)) for name in names}
    raise TypeError(f"{type(result).__name__} has no JSON form")


def to_json(result: Any, *, ascii_only: bool = False) -> str:
    """Return the text of `encode`'s value, indented; control characters are escaped, and on request all but ASCII."""
    return escaped(json.dumps(encode(result), indent=2, ensure_ascii=ascii_only, allow_nan=False)) + "\n"


def publish(
    describe: Callable[[], Document],
    result: Any,
    *,
    json: Path | None,
    html: Path | None,
    page: Callable[[], Document] | None = None,
    quiet: bool = False,
) -> None:
    """Print a result, unless `quiet`, and write it as JSON and HTML where asked.

    A terminal gets the `page`, by default what HTML gets. With JSON on standard output nothing else is printed there.
    Raises `StorageError` if the disk refuses; files that stood there are intact.
    """
    to_stdout = json is not None and str(json) == "-"
    if json is not None and not to_stdout:  # files first: whoever reads the terminal may stop
        _write(json, to_json(result))
    if html is not None:
        _write(html, html_page.render(_printable(describe())))
    with taken():
        if to_stdout:
            sys.stdout.write(to_json(result, ascii_only=not takes(to_json(result), sys.stdout)))
        elif not quiet:
            show(_printable((page or describe)()), Console())


def _printable(value: Any) -> Any:
    """Return a document without control characters, wherever in it they stand: terminal and HTML show nothing else."""
    if isinstance(value, str):
        shown = printable(value)
        return value if shown == value else shown  # a sentence with formulas stays one
    if isinstance(value, tuple):
        return tuple(map(_printable, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: _printable(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return dataclasses.replace(value, **fields)
    return value


def write_page(path: Path, document: Document) -> None:
    """Write a document as HTML, in a folder that is made if it does not exist; raises `StorageError`."""
    make_directory(path.parent)
    _write(path, html_page.render(_printable(document)))


def _write(path: Path, text: str) -> None:
    write_atomically(path, text.encode())
    complain(f"written: {path}")
