"""One document model: what an audit or a claim shows, before anyone decides how it looks.

A `Document` is a title, verdicts as cards, and sections; a section is a heading and blocks: sentences, tables, curves,
maps and pictures.
The terminal prints what it can (maps as characters), HTML draws everything.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Text:
    """A sentence or two."""

    text: str


@dataclass(frozen=True)
class Table:
    """Rows of cells under headings; the first column names the row."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.head):
                raise ValueError(f"row {row!r} has {len(row)} cells under {len(self.head)} headings")


@dataclass(frozen=True)
class Curve:
    """Named series over a common x axis."""

    x: tuple[float, ...]
    series: tuple[tuple[str, tuple[float, ...]], ...]
    x_label: str
    y_label: str
    caption: str
    log_y: bool = False


@dataclass(frozen=True)
class GridMap:
    """A small integer map on a grid: one name and one character for each value.

    `cells` is (rows, columns); `legend[value]` is ``(character, name)``.
    """

    cells: NDArray[np.int64]
    legend: tuple[tuple[str, str], ...]
    caption: str


@dataclass(frozen=True)
class FrontMap:
    """The front in which every cell of a grid is computed: (rows, columns) of whole numbers from 0 on."""

    cells: NDArray[np.int64]
    caption: str


@dataclass(frozen=True)
class Pictures:
    """Greyscale pictures side by side: (n, height, width) in [0, 1], 1 being ink."""

    images: NDArray[np.float64]
    caption: str


@dataclass(frozen=True)
class Wave:
    """A sound: samples in [-1, 1] at `rate` hertz."""

    samples: NDArray[np.float64]
    rate: int
    caption: str


Block = Text | Table | Curve | GridMap | FrontMap | Pictures | Wave


@dataclass(frozen=True)
class Section:
    """A heading and its blocks."""

    heading: str
    blocks: tuple[Block, ...]


Mark = Literal["good", "notice", "bad", "unknown", "plain"]


@dataclass(frozen=True)
class Card:
    """A verdict: how good it is, what it is about, what is the case, how that is known, and what to do about it."""

    mark: Mark
    subject: str
    text: str
    known: str = ""
    advice: str = ""

    def __str__(self) -> str:
        known = f" ({self.known})" if self.known else ""
        return f"{self.subject}: {self.text}{known}"


@dataclass(frozen=True)
class Document:
    """A title, one line under it, verdicts, sections, and at the end how to see the same again."""

    title: str
    subtitle: str
    sections: tuple[Section, ...]
    cards: tuple[Card, ...] = ()
    footer: tuple[str, ...] = ()
