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
    """Rows of cells under headings; the first column names the row.

    A page lets its readers sort the rows where that makes sense, and marks those in which columns are `differing`.
    Where there is little room, on a terminal and on paper, so many rows are shown at `most`.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    sortable: bool = False
    differing: frozenset[int] = frozenset()
    most: int | None = None

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.head):
                raise ValueError(f"row {row!r} has {len(row)} cells under {len(self.head)} headings")


@dataclass(frozen=True)
class Curve:
    """Named series over a common x axis.

    `bands` are intervals around series, by name: the lower and the upper ends. `levels` are named values of y to
    compare with, `names` say what stands at each x. A series looks alike in all curves that count it `among` the same.
    With the letter of a parameter as `slide`, a page lets its readers choose an x, and shows its name and its values.
    """

    x: tuple[float, ...]
    series: tuple[tuple[str, tuple[float, ...]], ...]
    x_label: str
    y_label: str
    caption: str
    log_y: bool = False
    bands: tuple[tuple[str, tuple[float, ...], tuple[float, ...]], ...] = ()
    levels: tuple[tuple[str, float], ...] = ()
    names: tuple[str, ...] = ()
    among: tuple[str, ...] = ()
    slide: str = ""


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
class ReachMap:
    """How large a gradient is around an output, by (row, column), and which of these places the output sees at all.

    Of a sequence there is one row. `size` is relative to the largest; `first` is where the cell (0, 0) begins, counted
    from the output's own place, and each cell stands for `step` places along either axis.
    """

    size: NDArray[np.float64]
    seen: NDArray[np.bool_]
    first: tuple[int, int]
    step: int
    caption: str

    def decades(self) -> NDArray[np.int64]:
        """Return by how many powers of ten each cell lies below the largest; -1 where no gradient arrives.

        Examples
        --------
        >>> size = np.array([[0.0, 0.002, 0.1, 1.0]])
        >>> ReachMap(size, size > 0, (0, -3), 1, "").decades().tolist()
        [[-1, 2, 1, 0]]
        """
        with np.errstate(divide="ignore"):
            below = -np.log10(self.size)
        return np.where(self.size > 0, np.floor(np.where(self.size > 0, below, 0.0) + 1e-9), -1).astype(np.int64)


@dataclass(frozen=True)
class HeatMap:
    """A number over a grid of two others: `values[row, column]` at ``(x[column], y[row])``, NaN where there is none.

    x and y rise. `lines` are curves over the map, by name, each through its points; with `log` equal factors are equal
    steps in darkness. Values of both signs have a colour for each, and darken away from zero.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]
    values: NDArray[np.float64]
    x_label: str
    y_label: str
    label: str
    caption: str
    lines: tuple[tuple[str, tuple[tuple[float, float], ...]], ...] = ()
    log: bool = False

    @property
    def signed(self) -> bool:
        """Whether there are values above zero and below."""
        return bool((self.values < 0).any() and (self.values > 0).any())

    def darkness(self) -> NDArray[np.float64]:
        """Return how dark each cell is, from 0 to 1; NaN where there is no number.

        Examples
        --------
        >>> HeatMap((1, 2, 3), (0,), np.array([[-1.0, 0.0, 4.0]]), "x", "y", "z", "").darkness().tolist()
        [[0.25, 0.0, 1.0]]
        >>> HeatMap((1, 2, 3), (0,), np.array([[1.0, 10.0, 100.0]]), "x", "y", "z", "", log=True).darkness().tolist()
        [[0.0, 0.5, 1.0]]
        """
        known = np.where(np.isfinite(self.values), self.values, np.nan)
        size = np.log10(known) if self.log else np.abs(known) if self.signed else known
        if not np.isfinite(size).any():
            return size
        low, high = 0.0 if self.signed else np.nanmin(size), np.nanmax(size)
        return np.where(np.isfinite(size), 0.5, np.nan) if high == low else (size - low) / (high - low)


@dataclass(frozen=True)
class Pictures:
    """Pictures side by side: (n, height, width) in [0, 1], 1 being ink; with colours (…, 3), 1 being light."""

    images: NDArray[np.float64]
    caption: str


@dataclass(frozen=True)
class Wave:
    """A sound: samples in [-1, 1] at `rate` hertz."""

    samples: NDArray[np.float64]
    rate: int
    caption: str


@dataclass(frozen=True)
class Bars:
    """Named amounts, each with the words that say it."""

    bars: tuple[tuple[str, float, str], ...]
    label: str
    caption: str


@dataclass(frozen=True)
class InputMaps:
    """What outputs see of one input: (outputs, *its axes), of whole numbers that a legend names."""

    name: str
    axes: tuple[str, ...]
    cells: NDArray[np.int64]


@dataclass(frozen=True)
class ContextMaps:
    """What outputs at several positions see; on a page one of them is chosen.

    `positions` are all combinations of equally spaced places along the output's position axes, in raster order;
    `chosen` is the index of the one that is shown first. `sizes` are those of the axes.
    """

    axes: tuple[str, ...]
    sizes: tuple[int, ...]
    positions: tuple[tuple[int, ...], ...]
    chosen: int
    inputs: tuple[InputMaps, ...]
    legend: tuple[tuple[str, str], ...]
    caption: str


@dataclass(frozen=True)
class Row:
    """Blocks side by side, as far as there is room."""

    blocks: "tuple[Block, ...]"


@dataclass(frozen=True)
class Fold:
    """Blocks that a page shows when its readers ask for them; a terminal prints them."""

    summary: str
    blocks: "tuple[Block, ...]"


Maps = GridMap | FrontMap | ReachMap | HeatMap | ContextMaps
Block = Text | Table | Curve | Maps | Pictures | Wave | Bars | Row | Fold


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
