"""Pictures as grey levels: their sizes are known from their headers, before anything is decoded."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from leadline.errors import DataError, LeadlineError, needing
from leadline.files.reading import LARGEST, open_regular

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm"})
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
_MOST_PIXELS = 1 << 25
"""Pixels that one picture may have: decoding takes up to 20 bytes for each."""


def read_pictures(paths: Sequence[Path], size: int | None) -> list[UInt8[Tensor, "h w"]]:
    """Read pictures as grey levels, all of one size, or resized to a square of `size`.

    Raises `DataError`, with the file's name, if one is not a picture, is too large, or of another size than the first
    while `size` is not given, or all together are too large; `UsageError` if Pillow is not installed.
    """
    with needing("train", "reading pictures"):
        from PIL import Image
    if size is None:
        _refuse_sizes(paths)
    elif len(paths) * size * size > LARGEST:
        raise DataError(f"{len(paths)} pictures of {size} × {size} are more than {LARGEST} bytes; give a smaller size=")
    pictures = []
    for path in paths:
        with _opened(path) as file:
            picture = file.convert("L")
            if size is not None:
                picture = picture.resize((size, size), Image.Resampling.BOX)
            pictures.append(torch.from_numpy(np.asarray(picture).astype(np.uint8)))
    return pictures


def _refuse_sizes(paths: Sequence[Path]) -> None:
    first: tuple[int, int] | None = None
    for path in paths:
        with _opened(path) as file:
            width, height = file.size
        first = first or (height, width)
        if (height, width) != first:
            raise DataError(f"{path} is {height} × {width} where {paths[0]} is {first[0]} × {first[1]}; give size=")
        if len(paths) * height * width > LARGEST:
            raise DataError(f"{len(paths)} pictures of {height} × {width} are more than {LARGEST} bytes; give size=")


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a picture, of which nothing is decoded yet; whatever goes wrong with it inside is a `DataError`."""
    from PIL import Image

    try:
        with warnings.catch_warnings(), open_regular(path, DataError) as file:
            warnings.simplefilter("ignore")  # of odd metadata, and of sizes, which are looked at here
            with Image.open(file, formats=_FORMATS) as picture:
                width, height = picture.size
                if not 0 < width * height <= _MOST_PIXELS:
                    raise DataError(
                        f"{path} is {height} × {width}: at most {_MOST_PIXELS} pixels are read, and at least one"
                    )
                yield picture
    except LeadlineError:
        raise
    except Exception as error:  # a decoder raises whatever its author thought of
        said = str(error).partition(" <_io")[0] or type(error).__name__
        raise DataError(f"{path} cannot be read as a picture: {said}") from error
