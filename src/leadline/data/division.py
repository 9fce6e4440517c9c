"""How the files of a folder become three parts, or one that stands for all three."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from jaxtyping import Integer
from torch import Tensor

from leadline.data.dataset import UNDIVIDED, Split
from leadline.errors import DataError

Division = tuple[Sequence[int], Sequence[int], Sequence[int]]
Divide = Callable[[int, int, Path], Division]
"""From a number of files, a seed and where they lie to the places of those in train, validation and test."""


def divide(n: int, seed: int, source: Path) -> Division:
    """Shuffle 0 to n - 1 with `seed` and divide them 8 : 1 : 1, at least one each.

    Raises `DataError` if there are fewer than three files in `source`.

    Examples
    --------
    >>> [len(part) for part in divide(20, seed=0, source=Path("."))]
    [16, 2, 2]
    """
    if n < 3:
        raise DataError(f"{source} holds {n} usable files; train, validation and test need at least one each")
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tolist()
    tenth = max(1, n // 10)
    return order[2 * tenth :], order[tenth : 2 * tenth], order[:tenth]


def undivided(n: int, seed: int, source: Path) -> Division:  # noqa: ARG001 - as every division is called
    """Return all files in their order, for every part; raises `DataError` if there are none."""
    if n < 1:
        raise DataError(f"{source} holds no usable files")
    every = range(n)
    return every, every, every


def words_of(divide: Divide, unit: str, seed: int) -> str:
    """Say how a set was divided.

    Examples
    --------
    >>> words_of(undivided, "file", 0), words_of(divide, "file", 3)
    ('not divided', '8 : 1 : 1 by file, shuffled with seed 3')
    """
    return UNDIVIDED if divide is undivided else f"8 : 1 : 1 by {unit}, shuffled with seed {seed}"


def splits(
    examples: Sequence[Integer[Tensor, "..."]], labels: Integer[Tensor, "n"] | None, division: Division, *, alike: bool
) -> list[Split]:
    """Return the parts of a division; examples that are all `alike` are stacked."""

    def part(places: Sequence[int]) -> Split:
        chosen = tuple(examples[i] for i in places)
        return Split(torch.stack(chosen) if alike else chosen, None if labels is None else labels[list(places)])

    return [part(places) for places in division]


def cut(part: Split, piece: int) -> Split:
    """Cut sequences into pieces of a length, the last one of each shorter; every piece has its sequence's label.

    Examples
    --------
    >>> [len(piece) for piece in cut(Split((torch.arange(7), torch.arange(2))), 3).examples]
    [3, 3, 1, 2]
    """
    pieces = [(place, found) for place, whole in enumerate(part.examples) for found in whole.split(piece)]
    labels = None if part.labels is None else part.labels[[place for place, _ in pieces]]
    return Split(tuple(found for _, found in pieces), labels)
