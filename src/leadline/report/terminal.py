"""A document on a terminal, by rich: tables as tables, maps as characters, curves as a row of bars."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table as RichTable
from rich.text import Text as RichText

from leadline.document import (
    Bars,
    Block,
    Card,
    ContextMaps,
    Curve,
    Document,
    Fold,
    FrontMap,
    GridMap,
    HeatMap,
    Mark,
    Pictures,
    ReachMap,
    Row,
    Table,
    Text,
    Wave,
)
from leadline.report.legibility import as_ascii, legible

_BARS = "▁▂▃▄▅▆▇█"
_SHADES = " ░▒▓█"
_DARKNESS = "█▓▒░"
"""Sizes on a grid, from the largest down."""
_NUMBER = re.compile(r"[\d\s.,-]*(?: (?:[KMGT]i)?B)?(?: \([pbeu]\))?")
"""What stands to the right in its column: numbers, with the units and marks of how they are known."""
_LONG_WORD = 14
"""A longer word of a heading is broken at its hyphen."""
_SHORT_CELL = 20
_ABREAST = 3
"""So many models stand side by side; of more there are several tables."""
_COLUMNS = 78
"""What a terminal of the customary 80 leaves beside the margin."""


MARKS: dict[Mark, str] = {"good": "✓", "notice": "!", "bad": "✗", "unknown": "?", "plain": "·"}
_STYLES = {"good": "green", "notice": "yellow", "bad": "bold red", "unknown": "magenta", "plain": "dim"}


def show(document: Document, console: Console) -> None:
    """Print `document` on `console`; its last lines, commands among them, are not broken: they are pasted."""
    console.print(Page(replace(document, footer=())))
    if document.footer:
        console.print(Page(Document("", "", (), footer=document.footer)), soft_wrap=True)


@dataclass(frozen=True)
class Page:
    """A document as something that rich prints; in ASCII where the terminal knows no more."""

    document: Document

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        document = legible(self.document, ascii_only=options.ascii_only)
        for segment in console.render(Group(*_page(document)), options):
            text = as_ascii(segment.text) if options.ascii_only else segment.text
            yield Segment(text, segment.style, segment.control)


def _page(document: Document) -> Iterator[RenderableType]:
    if document.title:
        yield RichText(document.title, style="bold")
    if document.subtitle:
        yield RichText(document.subtitle, style="dim")
    if document.cards:
        if document.title:
            yield RichText()
        yield _cards(document.cards)
    for section in document.sections:
        yield RichText()
        yield RichText(section.heading, style="bold cyan")
        for block in section.blocks:
            yield Padding(_render(block), (0, 0, 0, 2))
    if document.footer:
        yield RichText()
        yield from (RichText(line, style="dim") for line in document.footer)


def _cards(cards: tuple[Card, ...]) -> RenderableType:
    """Lay verdicts out: mark, subject, what is the case, how that is known; and beneath, what to do."""
    table = RichTable.grid(padding=(0, 1, 0, 0), expand=True)
    table.add_column(width=1)
    table.add_column(min_width=10, max_width=24, overflow="fold")
    table.add_column(ratio=1, overflow="fold")
    table.add_column(justify="right", max_width=22)
    for card in cards:
        style = _STYLES[card.mark]
        mark = RichText(MARKS[card.mark], style=style)
        table.add_row(
            mark, RichText(card.subject, style="bold"), RichText(card.text), RichText(card.known, style="dim")
        )
        if card.advice:
            table.add_row("", "", RichText(f"→ {card.advice}", style="italic"), "")
    return table


def _render(block: Block) -> RenderableType:
    match block:
        case Text(text):
            return RichText(text)
        case Table():
            return _table(block)
        case Curve():
            return _curve(block)
        case GridMap() | FrontMap() | ReachMap() | ContextMaps():
            return _map(block)
        case HeatMap():
            return _heat_map(block)
        case Pictures():
            return _pictures(block)
        case Wave(samples, rate, caption):
            return RichText(f"{caption} ({len(samples) / rate:.2f} s at {rate} Hz)", style="italic")
        case Bars():
            return _bars(block)
        case Row(blocks):
            return Group(*map(_render, blocks))
        case Fold(summary, blocks):
            return Group(RichText(summary, style="italic"), *map(_render, blocks))


def _table(block: Table) -> RenderableType:
    """Lay a table out; of columns that are compared a few at a time."""
    columns = range(1, len(block.head))
    abreast = _ABREAST if block.differing else max(1, len(columns))
    parts = [(0, *columns[start : start + abreast]) for start in range(0, max(1, len(columns)), abreast)]
    return Group(*(_part(block, part) for part in parts))


def _part(block: Table, columns: tuple[int, ...]) -> RichTable:
    """Lay some columns of a table out, with a sign before the rows in which they differ."""
    left = len(block.rows) - (block.most or len(block.rows))
    caption = f"{block.caption}; {block.most} of {len(block.rows)}" if left > 0 else block.caption
    table = RichTable(box=box.SIMPLE_HEAD, title=caption or None, title_justify="left", pad_edge=False)
    for index in columns:
        heading, cells = _broken(block.head[index]), [row[index] for row in block.rows]
        numeric, signed = index > 0 and all(map(_NUMBER.fullmatch, cells)), index == 0 and block.differing
        table.add_column(
            heading,
            style="bold" if index == 0 else "",
            overflow="fold",
            justify="right" if numeric else "left",
            width=_fixed(heading, cells) if numeric else _fixed("", [f"≠ {c}" for c in cells]) if signed else None,
        )
    for place, row in enumerate(block.rows[: block.most]):
        first, *others = (RichText(row[index]) for index in columns)
        sign = RichText("≠ " if place in block.differing else "  ", style="yellow") if block.differing else RichText()
        table.add_row(sign + first, *others)
    return table


def _fixed(heading: str, cells: list[str]) -> int | None:
    """Return the width at which no cell is broken, nor any word of the heading; None, any, if that takes too much."""
    widest = max(len(heading) // 2 + 2 if heading else 0, *map(len, (*heading.split(), *cells)), 0)
    return widest if 0 < widest <= _SHORT_CELL else None


def _broken(heading: str) -> str:
    """Break the long words of a heading at their hyphens, where a narrow column would break them anywhere."""
    return " ".join(word.replace("-", "-\n") if len(word) > _LONG_WORD else word for word in heading.split(" "))


def _curve(block: Curve) -> RenderableType:
    lines = [RichText(block.caption, style="italic")]
    for name, values in block.series:
        heights = [math.log10(v) if block.log_y and v > 0 else v for v in values]
        known = [v for v in values if math.isfinite(v)] or [math.nan]
        lines.append(RichText(f"{_sparkline(heights)}  {name}: {known[0]:.3g} … {known[-1]:.3g}"))
    return Group(*lines)


def _sparkline(values: list[float]) -> str:
    finite = [v for v in values if math.isfinite(v)]
    if not finite:
        return "?" * len(values)
    low, high = min(finite), max(finite)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[round((v - low) * scale)] if math.isfinite(v) else " " for v in values)


def _map(block: GridMap | FrontMap | ReachMap | ContextMaps) -> RenderableType:
    match block:
        case GridMap():
            return _grid_map(block)
        case FrontMap():
            return _front_map(block)
        case ReachMap():
            return _reach_map(block)
        case ContextMaps():
            return _chosen_map(block)


def _grid_map(block: GridMap) -> RenderableType:
    rows = ["".join(block.legend[value][0] for value in row) for row in block.cells.tolist()]
    key = "  ".join(f"{character} {name}" for character, name in block.legend)
    return Group(RichText(block.caption, style="italic"), *map(RichText, rows), RichText(key, style="dim"))


def _bars(block: Bars) -> RenderableType:
    most = max(amount for _, amount, _ in block.bars)
    grid = RichTable.grid(padding=(0, 2, 0, 0))
    for name, amount, words in block.bars:
        grid.add_row(RichText(name), RichText("█" * max(1, round(30 * amount / most))), RichText(words))
    return Group(RichText(block.caption, style="italic"), grid)


def _chosen_map(block: ContextMaps) -> RenderableType:
    """Print the map of the output that a page shows first."""
    maps = block.inputs[0]
    cells = maps.cells[block.chosen]
    place = ", ".join(f"{axis} = {at}" for axis, at in zip(block.axes, block.positions[block.chosen], strict=True))
    caption = f"What the output at {place} sees of {maps.name}"
    return _grid_map(GridMap(cells.reshape(-1, cells.shape[-1]), block.legend, caption))


def _front_map(block: FrontMap) -> RenderableType:
    """Print the fronts as numbers; grids wider than the terminal stay for HTML."""
    digits = len(str(block.cells.max()))
    if block.cells.shape[1] * (digits + 1) > _COLUMNS:
        return RichText(f"{block.caption} (in the HTML report)", style="italic")
    rows = [" ".join(f"{front:{digits}d}" for front in row) for row in block.cells.tolist()]
    return Group(RichText(block.caption, style="italic"), *map(RichText, rows))


def _reach_map(block: ReachMap) -> RenderableType:
    """Print a gradient's size by powers of ten: of a line as bars, of a grid as shades."""
    decades, seen, line = block.decades(), block.seen, len(block.size) == 1
    scale = _BARS[::-1] if line else _DARKNESS
    share = math.ceil(decades.shape[1] / _COLUMNS)  # so many cells stand in one column
    rows = []
    for row, sees in zip(decades, seen, strict=True):
        parts = [(row[i : i + share], sees[i : i + share]) for i in range(0, len(row), share)]
        rows.append("".join(_shade(part, bool(saw.any()), scale) for part, saw in parts))
    key = f"{scale[0]} within a tenth of the largest, one step less for each power of ten  · seen, but next to nothing"
    return Group(RichText(block.caption, style="italic"), *map(RichText, rows), RichText(key, style="dim"))


def _shade(decades: NDArray[np.int64], seen: bool, scale: str) -> str:
    """Return the character of some cells: of the largest of them, or of what is seen without a gradient."""
    largest = min((int(decade) for decade in decades if decade >= 0), default=len(scale))
    return scale[largest] if largest < len(scale) else "·" if seen else " "


def _heat_map(block: HeatMap) -> RenderableType:
    """Print a row for each y, the largest above, a bar for each x; of many a share, equally spaced."""
    share = math.ceil(len(block.x) / (_COLUMNS - 14))
    sizes = np.log10(block.values) if block.log else block.values
    low, high = (f"{value:.3g}" for value in (np.nanmin(block.values), np.nanmax(block.values)))
    bars = _sparkline([value if math.isfinite(value) else math.nan for value in sizes[:, ::share].flatten().tolist()])
    width = len(block.x[::share])
    rows = [f"{at:>10.4g}  {bars[row * width : (row + 1) * width]}" for row, at in enumerate(block.y)]
    key = f"{block.y_label} upwards, {block.x_label} from {block.x[0]:g} to {block.x[-1]:g}; ▁ {low}, █ {high}"
    return Group(RichText(block.caption, style="italic"), *map(RichText, rows[::-1]), RichText(key, style="dim"))


def _pictures(block: Pictures) -> RenderableType:
    """Draw small pictures side by side, two characters a pixel; large ones stay for HTML."""
    count, height, width = block.images.shape[:3]
    if height > 16:
        return RichText(f"{block.caption} ({count} pictures of {height} × {width}, in the HTML report)", style="italic")
    shown = block.images[: max(1, _COLUMNS // (2 * width + 2))]
    shown = shown if shown.ndim == 3 else 1 - shown.mean(-1)  # of colours, what they darken
    shades = (shown.clip(0, 1) * (len(_SHADES) - 1)).round().astype(int)
    rows = ("  ".join("".join(_SHADES[v] * 2 for v in image[row]) for image in shades) for row in range(height))
    return Group(RichText(block.caption, style="italic"), *map(RichText, rows))
