"""A document on a terminal, by rich: tables as tables, maps as characters, curves as a row of bars."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table as RichTable
from rich.text import Text as RichText

from leadline.document import Block, Card, Curve, Document, FrontMap, GridMap, Mark, Pictures, Table, Text, Wave
from leadline.report.legibility import as_ascii, legible

_BARS = "▁▂▃▄▅▆▇█"
_SHADES = " ░▒▓█"
_NUMBER = re.compile(r"[\d\s.,-]*(?: (?:[KMGT]i)?B)?(?: \([pbeu]\))?")
"""What stands to the right in its column: numbers, with the units and marks of how they are known."""
_COLUMNS = 78
"""What a terminal of the customary 80 leaves beside the margin."""


MARKS: dict[Mark, str] = {"good": "✓", "notice": "!", "bad": "✗", "unknown": "?", "plain": "·"}
_STYLES = {"good": "green", "notice": "yellow", "bad": "bold red", "unknown": "magenta", "plain": "dim"}


def show(document: Document, console: Console) -> None:
    """Print `document` on `console`."""
    console.print(Page(document))


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
        case GridMap():
            return _grid_map(block)
        case FrontMap():
            return _front_map(block)
        case Pictures():
            return _pictures(block)
        case Wave(samples, rate, caption):
            return RichText(f"{caption} ({len(samples) / rate:.2f} s at {rate} Hz)", style="italic")


def _table(block: Table) -> RenderableType:
    table = RichTable(box=box.SIMPLE_HEAD, title=block.caption or None, title_justify="left", pad_edge=False)
    for index, heading in enumerate(block.head):
        numeric = index > 0 and all(_NUMBER.fullmatch(row[index]) for row in block.rows)
        style: str = "bold" if index == 0 else ""
        table.add_column(heading, style=style, overflow="fold", justify="right" if numeric else "left")
    for row in block.rows:
        table.add_row(*(RichText(cell) for cell in row))
    return table


def _curve(block: Curve) -> RenderableType:
    lines = [RichText(block.caption, style="italic")]
    for name, values in block.series:
        heights = [math.log10(v) if block.log_y and v > 0 else v for v in values]
        lines.append(RichText(f"{_sparkline(heights)}  {name}: {values[0]:.3g} … {values[-1]:.3g}"))
    return Group(*lines)


def _sparkline(values: list[float]) -> str:
    finite = [v for v in values if math.isfinite(v)]
    if not finite:
        return "?" * len(values)
    low, high = min(finite), max(finite)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[round((v - low) * scale)] if math.isfinite(v) else "?" for v in values)


def _grid_map(block: GridMap) -> RenderableType:
    rows = ["".join(block.legend[value][0] for value in row) for row in block.cells.tolist()]
    key = "  ".join(f"{character} {name}" for character, name in block.legend)
    return Group(RichText(block.caption, style="italic"), *map(RichText, rows), RichText(key, style="dim"))


def _front_map(block: FrontMap) -> RenderableType:
    """Print the fronts as numbers; grids wider than the terminal stay for HTML."""
    digits = len(str(block.cells.max()))
    if block.cells.shape[1] * (digits + 1) > _COLUMNS:
        return RichText(f"{block.caption} (in the HTML report)", style="italic")
    rows = [" ".join(f"{front:{digits}d}" for front in row) for row in block.cells.tolist()]
    return Group(RichText(block.caption, style="italic"), *map(RichText, rows))


def _pictures(block: Pictures) -> RenderableType:
    """Draw small pictures side by side, two characters a pixel; large ones stay for HTML."""
    count, height, width = block.images.shape
    if height > 16:
        return RichText(f"{block.caption} ({count} pictures of {height} × {width}, in the HTML report)", style="italic")
    shown = block.images[: max(1, _COLUMNS // (2 * width + 2))]
    shades = (shown.clip(0, 1) * (len(_SHADES) - 1)).round().astype(int)
    rows = ("  ".join("".join(_SHADES[v] * 2 for v in image[row]) for image in shades) for row in range(height))
    return Group(RichText(block.caption, style="italic"), *map(RichText, rows))
