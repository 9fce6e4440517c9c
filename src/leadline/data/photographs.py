"""Photographs in colour that packages ship, cut into square tiles: parts lie in different columns of a photograph.

A photograph has columns of tiles, counted from the left. Of every ten, the last two hold the validation and the test
tiles, which lie side by side; training tiles lie anywhere in the eight before, at every half tile, so that they overlap
each other. No pixel is in two parts.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path

import torch
from jaxtyping import Integer
from torch import Tensor

from leadline.data.dataset import Dataset, Split
from leadline.data.images import RGB, in_levels
from leadline.data.pictures import read_pictures
from leadline.errors import DataError, UsageError, near_misses

_SMALLEST = 8
_PERIOD = 10
_HELD_OUT = {8: "validation", 9: "test"}
"""Columns of a period that are not trained on."""


@dataclass(frozen=True)
class _Source:
    """A package that ships photographs, the extra that brings it, where they lie in it, and under what licence."""

    package: str
    extra: str
    folder: str
    names: tuple[str, ...]
    licence: str


_SOURCES = {
    "scikit-learn": _Source(
        "sklearn",
        "train",
        "datasets/images",
        ("china.jpg", "flower.jpg"),
        "CC BY 2.0 (china by danielbuechele, flower by vultilion, on Flickr)",
    ),
    "scikit-image": _Source(
        "skimage",
        "photographs",
        "data",
        ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg"),
        "public domain and CC0 (NASA, S. van der Walt, R. Michetti, Middlebury stereo data, SpaceX)",
    ),
}


def photographs(
    *,
    source: str = "scikit-learn",
    size: int = 32,
    color: str | None = None,
    levels: int | None = None,
    binarise: str | None = None,
    seed: int = 0,
) -> Dataset:
    """Tiles of two photographs that scikit-learn ships, or of five that scikit-image does, in red, green and blue.

    Tiles are squares of `size` pixels. ``color="grey"`` turns them into grey levels. They are the same on every call;
    `seed` is that of binarisation. Raises `UsageError` if the package is not installed.

    Examples
    --------
    >>> data = photographs()
    >>> data.shape, data.levels, len(data.train), len(data.validation), len(data.test)
    ((32, 32, 3), 256, 1500, 52, 52)
    """
    if source not in _SOURCES:
        raise UsageError(f"unknown source {source!r}; {near_misses(source, _SOURCES)}")
    if color not in (None, "grey", "rgb"):
        raise UsageError(f"color must be grey or rgb, got {color!r}")
    if size < _SMALLEST:
        raise UsageError(f"size of photographs must be at least {_SMALLEST}, got {size}")
    found: dict[str, list[Tensor]] = {"train": [], "validation": [], "test": []}
    for path in _paths(_SOURCES[source]):
        (picture,) = read_pictures([path], None, color).values
        for part, tile in _tiles(picture, size):
            found[part].append(tile)
    if not all(found.values()):
        raise UsageError(f"size={size} leaves no tiles for some part: the photographs have ten columns of smaller ones")
    return in_levels(
        "photographs",
        [Split(torch.stack(tiles)) for tiles in found.values()],
        depth=256,
        licence=_SOURCES[source].licence,
        division=f"by columns of {size} pixels in each photograph: of ten, eight train, one validates, one tests",
        options={"source": source, "size": size, "color": color, "levels": levels, "binarise": binarise, "seed": seed},
        how=[f"tiles of {size} × {size}", *(["colour turned into grey"] if color == "grey" else [RGB])],
    )


def _paths(source: _Source) -> Iterator[Path]:
    spec = find_spec(source.package)  # its files are read; the package is not loaded
    if spec is None or not spec.submodule_search_locations:
        install = f"pip install 'leadline[{source.extra}]'"
        raise UsageError(f"these photographs are files of {source.package}, which is not installed; run: {install}")
    for name in source.names:
        path = Path(spec.submodule_search_locations[0]) / source.folder / name
        if not os.path.isfile(path):
            raise DataError(f"{path} is missing: this version of {source.package} does not ship it")
        yield path


def _tiles(picture: Integer[Tensor, "h w *c"], size: int) -> Iterator[tuple[str, Integer[Tensor, "s s *c"]]]:
    """Yield tiles and the parts they belong to, region by region, row by row."""
    height, width = picture.shape[:2]
    columns = range(width // size)
    for part, run in groupby(columns, lambda column: _HELD_OUT.get(column % _PERIOD, "train")):
        own = list(run)
        step = max(1, size // 2) if part == "train" else size
        for top in range(0, height - size + 1, step):
            for left in range(own[0] * size, own[-1] * size + 1, step):
                yield part, picture[top : top + size, left : left + size].clone()
