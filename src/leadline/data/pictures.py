"""Pictures as levels of grey or of three colours: sizes are known from headers, before anything is decoded.

What would be lost in the reading (transparency, bits) is refused in a sentence; colour is lost where the caller asks.
"""

import sys
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
    """Levels of 0 to `depth` - 1, of grey or of red, green and blue, and whether any picture was in colour."""

    values: list[Integer[Tensor, "h w *c"]]
    depth: int
    coloured: bool


def read_pictures(paths: Sequence[Path], size: int | None, color: str | None = None) -> Pictures:
    """Read pictures with levels of 8 or 16 bits, all of one size, or resized to a square of `size`.

    If one is in colour, all have red, green and blue, which are equal in grey ones; `color` asks for that
    (``"rgb"``) or for grey levels (``"grey"``) whatever they are. Where some have 16 bits, those of 8 are widened to
    them. Pictures with transparent places, and numbers that are not whole, are refused.

    Raises `DataError`, with the file's name, if one is not a picture, is too large, or of another size than the first
    while `size` is not given, or all together are too large; `UsageError` if Pillow is not installed.
    """
    with needing("train", "reading pictures"):
        import PIL  # noqa: F401 - whether it is installed
    deep = _refuse_sizes(paths, size, color)
    found, coloured = [], False
    for path in paths:
        with _opened(path) as file:
            picture, its_depth = _as_levels(path, file)
            coloured |= picture.ndim == 3
            if picture.ndim == 3 and color == "grey":
                picture = _grey_of(picture)
            values = _resized(picture, size).astype(np.int32 if deep else np.uint8)
            found.append(torch.from_numpy(values * 257 if deep and its_depth == 256 else values))
    if color == "rgb" or (coloured and color != "grey"):
        found = [values if values.ndim == 3 else values.unsqueeze(-1).repeat(1, 1, 3) for values in found]
    return Pictures(found, 65536 if deep else 256, coloured)


_DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N")
"""Pillow's modes for more than 8 bits of grey."""
_GREY = (*_DEEP, "1", "L", "LA", "La")


def _as_levels(path: Path, file: Any) -> tuple[NDArray[Any], int]:
    """Return a picture's levels, (h, w) of grey or (h, w, 3) of colours, and how many there may be."""
    if file.mode == "F":
        raise DataError(f"{path} holds numbers that are not whole; save it with 8 or 16 bits")
    if file.mode not in _DEEP and _wide(file):  # before it is decoded, and the tiles are gone
        return _deep_colours(path, file), 65536
    veiled = file.mode.endswith(("A", "a")) or "transparency" in file.info
    if veiled and (file.mode in _DEEP or np.asarray(file.convert("RGBA"))[..., 3].min() < 255):
        raise DataError(f"{path} has transparent places, whose colour nobody knows; lay it on a background")
    if file.mode in _DEEP:
        values = np.asarray(file)
        if values.min() < 0 or values.max() > 65535:
            raise DataError(f"{path} holds numbers from {values.min()} to {values.max()}; 8 and 16 bits are read")
        return values, 65536
    if file.mode in ("1", "L"):
        return np.asarray(file.convert("L")), 256
    rgb = np.asarray(file.convert("RGB"))
    return (rgb[..., 0] if _equal(rgb) else rgb), 256


def _wide(file: Any) -> bool:
    """Whether colours have more than 8 bits, which Pillow would cut."""
    many = any(isinstance(t.args, tuple) and t.codec_name == "ppm" and t.args[-1] > 255 for t in file.tile)
    return many or any(";16" in str(tile) or ";32" in str(tile) for tile in file.tile)


def _deep_colours(path: Path, file: Any) -> NDArray[Any]:
    """Return colours of 16 bits: Pillow decodes the upper bytes; told that bytes come in the other order, the lower."""
    upper = _bytes_of(file, file.tile)
    with _opened(path) as again:
        swapped = [tile._replace(args=_swapped(tile.args)) for tile in again.tile]
        if upper is None or swapped == again.tile:
            raise DataError(f"{path} is in colour of more than 8 bits as they are not read; save it as PNG")
        lower = _bytes_of(again, swapped)
    assert lower is not None
    both: NDArray[Any] = upper.astype(np.int32) * 256 + lower
    if both.shape[-1] > 3 and both[..., 3:].min() < 65535:
        raise DataError(f"{path} has transparent places, whose colour nobody knows; lay it on a background")
    return both[..., 0] if _equal(both[..., :3]) else both[..., :3]


def _bytes_of(file: Any, tiles: list[Any]) -> NDArray[Any] | None:
    """Decode tiles; None if they are neither red, green and blue, nor these with a veil."""
    file.tile = tiles
    return np.asarray(file) if file.mode in ("RGB", "RGBA") else None


def _swapped(args: Any) -> Any:
    """Return what tells a decoder how bytes lie, with the bytes of each number in the other order."""
    if isinstance(args, tuple):
        return tuple(map(_swapped, args))
    if not isinstance(args, str) or ";16" not in args:
        return args
    native = "L" if sys.byteorder == "little" else "B"
    kind, order = args[:-1], native if args[-1] == "N" else args[-1]
    return kind + {"L": "B", "B": "L"}.get(order, order)


def _equal(rgb: NDArray[Any]) -> bool:
    return bool((rgb == rgb[..., :1]).all())


def _grey_of(rgb: NDArray[Any]) -> NDArray[Any]:
    """Return the luma of ITU-R 601, rounded as Pillow does."""
    luma: NDArray[Any] = rgb.astype(np.int64) @ np.array([19595, 38470, 7471]) + 0x8000 >> 16
    return luma.astype(rgb.dtype)


def _resized(values: NDArray[Any], size: int | None) -> NDArray[Any]:
    """Return a square of `size`, each pixel the mean of what it covers."""
    from PIL import Image

    if size is None:
        return values
    whole = values.astype(np.uint8) if values.dtype == np.uint8 else values.astype(np.int32)
    if whole.ndim == 3 and whole.dtype != np.uint8:  # Pillow has no such pictures
        return np.stack([_resized(one, size) for one in np.moveaxis(whole, -1, 0)], -1)
    return np.asarray(Image.fromarray(whole).resize((size, size), Image.Resampling.BOX))


def _refuse_sizes(paths: Sequence[Path], size: int | None, color: str | None) -> bool:
    """Look at the headers; say whether some picture has more than 8 bits."""
    first: tuple[int, int] | None = None
    deep, bytes_each = False, 3 if color == "rgb" else 1
    for path in paths:
        with _opened(path) as file:
            width, height = file.size
            deep |= file.mode in _DEEP or _wide(file)
            if color is None and file.mode not in _GREY:
                bytes_each = 3
        first = first or (height, width)
        if size is None and (height, width) != first:
            raise DataError(f"{path} is {height} × {width} where {paths[0]} is {first[0]} × {first[1]}; give size=")
        height, width = (height, width) if size is None else (size, size)
        if len(paths) * height * width * bytes_each * (4 if deep else 1) > LARGEST:
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
