"""Pictures as levels of grey or of three colours: sizes are known from headers, before anything is decoded.

What would be lost in the reading (transparency, bits) is refused in a sentence; colour is lost where the caller asks.
"""

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
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

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pbm", ".pgm", ".pnm", ".ppm"}
)
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
_MOST_PIXELS = 1 << 25
"""Pixels that one picture may have: decoding takes up to 20 bytes for each."""


@dataclass(frozen=True)
class Pictures:
    """Levels of 0 to `depth` - 1, of grey or of three colours; whether any was in colour, and what was changed."""

    values: list[Integer[Tensor, "h w *c"]]
    depth: int
    coloured: bool
    changed: tuple[str, ...] = ()


def read_pictures(paths: Sequence[Path], size: int | None, color: str | None = None) -> Pictures:
    """Read pictures with levels of 8 or 16 bits, all of one size, or resized to a square of `size`.

    If one is in colour, all have red, green and blue, which are equal in grey ones; `color` asks for that
    (``"rgb"``) or for grey levels (``"grey"``) whatever they are. Where some have 16 bits, those of 8 are widened to
    them. They stand upright, as cameras note it in a file (its EXIF orientation). Pictures with transparent places,
    files of several pictures, and numbers that are not whole, are refused.

    Raises `DataError`, with the file's name, if one is not a picture, is too large, or of another size than the first
    while `size` is not given, or all together are too large; `UsageError` if Pillow is not installed.
    """
    with needing("train", "reading pictures"):
        import PIL  # noqa: F401 - whether it is installed
    deep = _refuse_sizes(paths, size, color)
    found, coloured, changed = [], False, set()
    for path in paths:
        with _opened(path) as file:
            picture, its_depth = _as_levels(path, file)
            if file.mode in _OTHER_COLOURS:
                changed.add(f"{file.mode} turned into red, green and blue")
            if (way := _orientation(file)) in _UPRIGHT:
                picture = _UPRIGHT[way](picture)
                changed.add("turned upright, as files say")
            coloured |= picture.ndim == 3
            if picture.ndim == 3 and color == "grey":
                picture = _grey_of(picture)
            values = _resized(picture, size).astype(np.int32 if deep else np.uint8)
            found.append(torch.from_numpy(values * 257 if deep and its_depth == 256 else values.copy()))
            _refuse_other_size(path, found[-1], paths[0], found[0])
    if color == "rgb" or (coloured and color != "grey"):
        found = [values if values.ndim == 3 else values.unsqueeze(-1).repeat(1, 1, 3) for values in found]
    return Pictures(found, 65536 if deep else 256, coloured, tuple(sorted(changed)))


_DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N")
"""Pillow's modes for more than 8 bits of grey."""
_GREY = (*_DEEP, "1", "L", "LA", "La")
_OTHER_COLOURS = ("CMYK", "YCbCr", "LAB", "HSV")
_UPRIGHT: Mapping[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    2: np.fliplr,
    3: lambda values: np.rot90(values, 2),
    4: np.flipud,
    5: lambda values: values.swapaxes(0, 1),
    6: lambda values: np.rot90(values, -1),
    7: lambda values: np.rot90(values, 2).swapaxes(0, 1),
    8: np.rot90,
}
"""What puts a picture upright, by its EXIF orientation (CIPA DC-008, tag 0x0112); 1 is upright."""


def _orientation(file: Any) -> int:
    """Return how a decoded picture lies; notes that cannot be read say nothing. Of TIFF Pillow has turned it itself."""
    try:
        return int(file.getexif().get(0x0112, 1))
    except Exception:  # a decoder raises whatever its author thought of
        return 1


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
        values = _of_sixteen_bits(file)
        if values.min() < 0 or values.max() > 65535:
            raise DataError(f"{path} holds numbers from {values.min()} to {values.max()}; 8 and 16 bits are read")
        return values, 65536
    if file.mode in ("1", "L"):
        return np.asarray(file.convert("L")), 256
    rgb = np.asarray(file.convert("RGB"))
    return (rgb[..., 0] if _equal(rgb) else rgb), 256


def _of_sixteen_bits(file: Any) -> NDArray[Any]:
    """Return grey levels of 0 to 65535, of which Pillow leaves those of 12 bits, and those where 0 is white, as is."""
    twelve = any("I;12" in str(tile) for tile in file.tile)
    white_is_zero = file.format == "TIFF" and file.tag_v2.get(262) == 0
    values = np.asarray(file)
    if twelve:
        values = (values.astype(np.int32) * 65535 + 2047) // 4095
    return 65535 - values.astype(np.int32) if white_is_zero else values


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
    """Look at the headers; say whether some picture has more than 8 bits. One may lie on its side yet."""
    first: tuple[int, int] | None = None
    deep, bytes_each = False, 3 if color == "rgb" else 1
    for path in paths:
        with _opened(path) as file:
            width, height = file.size
            deep |= file.mode in _DEEP or _wide(file)
            if color is None and file.mode not in _GREY:
                bytes_each = 3
            frames = 1 if file.format == "MPO" else getattr(file, "n_frames", 1)  # MPO: one view, and more of it
        if frames > 1:
            raise DataError(f"{path} holds {frames} pictures, one after the other; save each in a file of its own")
        first = first or (height, width)
        if size is None and sorted((height, width)) != sorted(first):
            raise DataError(_other_size(path, (height, width), paths[0], first))
        height, width = (height, width) if size is None else (size, size)
        if len(paths) * height * width * bytes_each * (4 if deep else 1) > LARGEST:
            raise DataError(f"{len(paths)} pictures of {height} × {width} are more than {LARGEST} bytes; give size=")
    return deep


def _refuse_other_size(path: Path, values: Tensor, first_path: Path, first: Tensor) -> None:
    if values.shape[:2] != first.shape[:2]:
        raise DataError(_other_size(path, tuple(values.shape), first_path, tuple(first.shape)))


def _other_size(path: Path, size: Sequence[int], first_path: Path, first: Sequence[int]) -> str:
    return f"{path} is {size[0]} × {size[1]} where {first_path} is {first[0]} × {first[1]}; give size="


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
