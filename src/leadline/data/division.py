"""Dividing files into train, validation and test."""

from __future__ import annotations

from pathlib import Path

import torch

from leadline.errors import DataError


def divide(n: int, seed: int, source: Path) -> tuple[list[int], list[int], list[int]]:
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
