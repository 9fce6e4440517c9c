"""A document on a terminal, by rich: tables as tables, maps as characters, curves as a row of bars."""

import math

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text as RichText

from leadline.document import Block, Curve, Document, FrontMap, GridMap, Pictures, Table, Text, Wave

_BARS = "▁▂▃▄▅▆▇█"
_SHADES = " ░▒▓█"
_COLUMNS = 78
"""What a terminal of the customary 80 leaves beside the margin."""


def show(document: Document, console: Console) -> None:
    """Print `document` on `console`."""
    console.print(RichText(document.title, style="bold"))
    console.print(RichText(document.subtitle, style="dim"))
    for section in document.sections:
        console.print()
        console.print(RichText(section.heading, style="bold cyan"))
        for block in section.blocks:
            console.print(Padding(_render(block), (0, 0, 0, 2)))


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
        table.add_column(heading, style="bold" if index == 0 else None, overflow="fold")
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
