"""What a finding wants drawn, before anyone decides how: lines, a map or rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Lines:
    """Named series over a common x axis."""

    x: tuple[float, ...]
    series: tuple[tuple[str, tuple[float, ...]], ...]
    x_label: str
    y_label: str
    caption: str
    log_y: bool = False


@dataclass(frozen=True, eq=False)
class Map:
    """Small integers on a grid; ``legend[value]`` is a character and a name."""

    cells: NDArray[np.int64]
    legend: tuple[tuple[str, str], ...]
    caption: str


@dataclass(frozen=True)
class Rows:
    """Rows of words under headings."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str


Picture = Lines | Map | Rows
