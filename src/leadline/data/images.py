"""Images: scikit-learn's digits, directories of IDX.gz files, folders of pictures."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Integer
from torch import Tensor

from leadline.data.dataset import Dataset, Split
from leadline.data.division import Divide, divide, splits, words_of
from leadline.data.folders import files_of
from leadline.data.idx import read_idx
from leadline.data.labels import labels_of
from leadline.data.pictures import IMAGE_SUFFIXES, read_pictures
from leadline.data.transforms import Binarise, reduce_levels
from leadline.errors import DataError, UsageError, near_misses, needing

FASHION_DIRECTORY = "/usr/share/datasets/fashion-mnist"
RGB = "3 colours a pixel"
_BINARISATIONS = {
    "fixed": "fixed: every pixel drawn once with its intensity as probability (seed {seed})",
    "threshold": "threshold: 1 where the intensity is above one half",
    "dynamic": "dynamic: training pixels drawn anew each time, validation and test drawn once (seed {seed})",
}


def digits(*, levels: int | None = None, binarise: str | None = None, seed: int = 0) -> Dataset:
    """Scikit-learn's 1797 handwritten digits, 8 × 8, integers 0 to 16: first 1000, next 350, last 447.

    Examples
    --------
    >>> data = digits()
    >>> tuple(data.train.examples.shape), len(data.validation), len(data.test), data.levels
    ((1000, 8, 8), 350, 447, 17)
    """
    with needing("train", "the data set digits"):
        from sklearn.datasets import load_digits
    bunch = load_digits()
    images = torch.from_numpy(bunch.images.astype(np.int64))
    labels = torch.from_numpy(bunch.target.astype(np.int64))
    parts = [
        Split(images[start:stop], labels[start:stop]) for start, stop in ((0, 1000), (1000, 1350), (1350, len(images)))
    ]
    given = {"levels": levels, "binarise": binarise, "seed": seed}
    return in_levels(
        "digits",
        parts,
        depth=17,
        licence="BSD-3-Clause (scikit-learn; UCI ML hand-written digits)",
        division="first 1000, next 350, last 447, in dataset order",
        options=given,
    )


def fashion_mnist(
    *, data_dir: str | None = None, levels: int | None = None, binarise: str | None = None, seed: int = 0
) -> Dataset:
    """Fashion-MNIST, 28 × 28, bytes: the first 55,000 training images, the last 5,000, and the 10,000 test images.

    Read from `data_dir`, else from the environment's ``LEADLINE_FASHION_MNIST``, else from where Debian installs it.
    """
    directory = Path(data_dir or os.environ.get("LEADLINE_FASHION_MNIST", FASHION_DIRECTORY))
    if not os.path.isdir(directory):
        raise DataError(
            f"Fashion-MNIST is not in {directory}; "
            "run: apt-get install -y --no-install-recommends dataset-fashion-mnist, or give data_dir="
        )
    given = {"data_dir": data_dir, "levels": levels, "binarise": binarise, "seed": seed}
    return _idx(directory, "fashion-mnist", "MIT (Zalando Research)", given)


def idx_directory(directory: Path, *, levels: int | None = None, binarise: str | None = None, seed: int = 0) -> Dataset:
    """Four files in MNIST's naming; the last 1/12 of the training images becomes the validation part.

    Raises `DataError` if a file is missing or corrupt, or images and labels differ in number.
    """
    given = {"levels": levels, "binarise": binarise, "seed": seed}
    return _idx(directory, str(directory), "the user's own", given)


def _idx(directory: Path, name: str, licence: str, options: Mapping[str, Any]) -> Dataset:
    train, train_labels = _idx_pair(directory, "train")
    test, test_labels = _idx_pair(directory, "t10k")
    cut = len(train) - len(train) // 12
    parts = [Split(train[:cut], train_labels[:cut]), Split(train[cut:], train_labels[cut:]), Split(test, test_labels)]
    division = f"first {cut} training images, last {len(train) - cut}, and the {len(test)} test images, in file order"
    return in_levels(name, parts, depth=256, licence=licence, division=division, options=options)


def image_folder(
    directory: Path,
    divide: Divide = divide,
    *,
    size: int | None = None,
    color: str | None = None,
    labels: str | None = None,
    levels: int | None = None,
    binarise: str | None = None,
    seed: int = 0,
) -> Dataset:
    """Read a folder of pictures, searched to any depth, divided 8 : 1 : 1 by file; `size` resizes them.

    Pictures in colour have a symbol each for red, green and blue, and so have grey ones among them: all have, if one
    does. ``color="grey"`` turns all into grey levels, ``color="rgb"`` gives all three colours. Of 16 bits the levels
    are merged into 256, or `levels`. `labels` are as in `data.labels.labels_of`. Raises `DataError`, with the file's
    name, if it is not a picture, or if sizes differ while `size` is not given.
    """
    if color not in (None, "grey", "rgb"):
        raise UsageError(f"color must be grey or rgb, got {color!r}")
    paths = files_of(directory, IMAGE_SUFFIXES)
    named = labels_of(directory, paths, labels)
    read = read_pictures(paths, size, color)
    classes, names = (None, None) if named is None else named
    parts = splits(read.values, classes, divide(len(paths), seed, directory), alike=True)
    given = {"size": size, "color": color, "labels": labels, "levels": levels, "binarise": binarise, "seed": seed}
    how = [
        *read.changed,
        *(["colour turned into grey"] if read.coloured and color == "grey" else []),
        *([RGB] if read.values[0].ndim == 3 else []),
        *([f"resized to {size} × {size}"] if size is not None else []),
    ]
    return in_levels(
        str(directory),
        parts,
        depth=read.depth,
        licence="the user's own",
        division=words_of(divide, "file", seed),
        options=given,
        how=how,
        names=names,
    )


def _idx_pair(directory: Path, prefix: str) -> tuple[Integer[Tensor, "n h w"], Integer[Tensor, "n"]]:
    paths = [directory / f"{prefix}-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1")]
    for path in paths:
        if not os.path.isfile(path):
            raise DataError(f"{path} is missing; a set in IDX format needs images and labels of train and t10k")
    images, labels = (read_idx(path) for path in paths)
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise DataError(
            f"{paths[0]} holds {tuple(images.shape)} and {paths[1]} {tuple(labels.shape)}: they do not match"
        )
    return images, labels.long()


def in_levels(
    name: str,
    parts: list[Split],
    *,
    depth: int,
    division: str,
    options: Mapping[str, Any],
    how: Sequence[str] = (),
    **about: Any,
) -> Dataset:
    """Reduce or binarise three parts of levels 0 to depth - 1; 256 of them are kept at most, unless `levels` asks."""
    levels, binarise, seed = options["levels"], options["binarise"], options["seed"]
    if binarise is not None and binarise not in _BINARISATIONS:
        raise UsageError(f"unknown binarisation {binarise!r}; {near_misses(binarise, _BINARISATIONS)}")
    if binarise is not None and levels not in (None, 2):
        raise UsageError(f"binarised data has 2 levels; leave out levels={levels}")
    levels = 2 if binarise else levels or min(depth, 256)
    if levels < depth:
        what = "grey values" if parts[0].examples[0].ndim == 2 else "values of each colour"
        how = [*how, f"{depth} {what} {'made bits' if binarise else f'merged into {levels}'}"]
    train, validation, test = parts
    if depth > 256 and binarise in ("fixed", "dynamic"):  # bits are drawn of bytes
        train, validation, test = (_mapped(part, lambda x: reduce_levels(x, depth, 256), 256) for part in parts)
        depth = 256
    binarised = Binarise(depth)
    if binarise in ("fixed", "dynamic"):
        generator = torch.Generator().manual_seed(seed)
        validation, test = (_mapped(part, lambda x: binarised(x, generator), 2) for part in (validation, test))
        if binarise == "fixed":
            train = _mapped(train, lambda x: binarised(x, generator), 2)
    else:
        train, validation, test = (_mapped(part, lambda x: reduce_levels(x, depth, levels), levels) for part in parts)
    return Dataset(
        name=name,
        kind="image",
        train=train,
        validation=validation,
        test=test,
        levels=levels,
        division=division,
        shape=tuple(train.examples[0].shape),
        binarisation=_BINARISATIONS[binarise].format(seed=seed) if binarise else None,
        transforms=(binarised,) if binarise == "dynamic" else (),
        options={key: value for key, value in options.items() if value is not None},
        read_as=", ".join(how) or None,
        **about,
    )


def _mapped(part: Split, change: Any, levels: int) -> Split:
    images = part.examples
    assert isinstance(images, Tensor)
    return Split(change(images).to(torch.uint8 if levels <= 256 else torch.int32), part.labels)
