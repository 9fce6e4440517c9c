"""Pictures as grey levels: their sizes are known from their headers, before anything is decoded.

What would be lost in the reading (colour, transparency, bits) is refused in a sentence, unless the caller asks for it.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Integer
from numpy.typing import NDArray
from torch import Tensor

from leadline.errors import DataError, LeadlineError, needing
from leadline.files.reading import LARGEST, open_regular

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm"})
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
_MOST_PIXELS = 1 << 25
"""Pixels that one picture may have: decoding takes up to 20 bytes for each."""


@dataclass(frozen=True)
class Pictures:
    """Grey levels of 0 to `depth` - 1, and whether any of them was in colour."""

    grey: list[Integer[Tensor, "h w"]]
    depth: int
    coloured: bool


def read_pictures(paths: Sequence[Path], size: int | None, color: str | None = None) -> Pictures:
    """Read pictures as grey levels of 8 or 16 bits, all of one size, or resized to a square of `size`.

    Where some have 16 bits, those of 8 are widened to them. Colour is refused unless `color` is ``"grey"``, pictures
    with transparent places, numbers that are not whole, and colours of 16 bits always are.

    Raises `DataError`, with the file's name, if one is not a picture, is too large, or of another size than the first
    while `size` is not given, or all together are too large; `UsageError` if Pillow is not installed.
    """
    with needing("train", "reading pictures"):
        import PIL  # noqa: F401
    deep = _refuse_sizes(paths, size)
    found, coloured = [], False
    for path in paths:
        with _opened(path) as file:
            picture, its_depth, in_colour = _as_grey(path, file, color)
            coloured |= in_colour
            values = _resized(picture, size).astype(np.int32 if deep else np.uint8)
            found.append(torch.from_numpy(values * 257 if deep and its_depth == 256 else values))
    return Pictures(found, 65536 if deep else 256, coloured)


_DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N")
"""Pillow's modes for more than 8 bits of grey."""


def _as_grey(path: Path, file: Any, color: str | None) -> tuple[NDArray[Any], int, bool]:
    """Return a picture's grey levels, how many there may be, and whether it was in colour."""
    if file.mode == "F":
        raise DataError(f"{path} holds numbers that are not whole; save it with 8 or 16 bits")
    wide = any(
        ";16" in str(tile) or ";32" in str(tile) for tile in file.tile
    )  # before it is decoded, and they are gone
    if file.mode not in _DEEP and wide:
        raise DataError(f"{path} is in colour of more than 8 bits, which is not read; save it in grey, or with 8 bits")
    veiled = file.mode.endswith(("A", "a")) or "transparency" in file.info
    if veiled and (file.mode in _DEEP or np.asarray(file.convert("RGBA"))[..., 3].min() < 255):
        raise DataError(f"{path} has transparent places, whose grey nobody knows; lay it on a background")
    if file.mode in _DEEP:
        values = np.asarray(file)
        if values.min() < 0 or values.max() > 65535:
            raise DataError(f"{path} holds numbers from {values.min()} to {values.max()}; 8 and 16 bits are read")
        return values, 65536, False
    if file.mode in ("1", "L"):
        return np.asarray(file.convert("L")), 256, False
    rgb = np.asarray(file.convert("RGB"))
    if (rgb == rgb[..., :1]).all():
        return rgb[..., 0], 256, False
    if color != "grey":
        raise DataError(f"{path} is in colour, and models of pictures read grey; set color=grey to turn it into grey")
    return np.asarray(file.convert("RGB").convert("L")), 256, True


def _resized(values: NDArray[Any], size: int | None) -> NDArray[Any]:
    """Return a square of `size`, each pixel the mean of what it covers."""
    from PIL import Image

    if size is None:
        return values
    whole = values.astype(np.uint8) if values.dtype == np.uint8 else values.astype(np.int32)
    return np.asarray(Image.fromarray(whole).resize((size, size), Image.Resampling.BOX))


def _refuse_sizes(paths: Sequence[Path], size: int | None) -> bool:
    """Look at the headers; say whether some picture has more than 8 bits."""
    first: tuple[int, int] | None = None
    deep = False
    for path in paths:
        with _opened(path) as file:
            width, height = file.size
            deep |= file.mode in _DEEP
        first = first or (height, width)
        if size is None and (height, width) != first:
            raise DataError(f"{path} is {height} × {width} where {paths[0]} is {first[0]} × {first[1]}; give size=")
        height, width = (height, width) if size is None else (size, size)
        if len(paths) * height * width * (4 if deep else 1) > LARGEST:
            raise DataError(f"{len(paths)} pictures of {height} × {width} are more than {LARGEST} bytes; give size=")
    return deep


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
