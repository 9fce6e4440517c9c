"""A document as one self-contained HTML file: styles, scripts, pictures and sounds are in it, and nothing is fetched.

Vega-Lite draws the charts when the page is read. Its scripts come with vl-convert, which is imported when a page holds
charts, never when leadline is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from leadline.document import (
    Bars,
    Block,
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
from leadline.report.encoded import pictures_png, wave_bytes
from leadline.report.html import charts, glossary, heat_maps, maps, reaches, tables
from leadline.report.html.media import data_uri
from leadline.report.html.vega import Spec, in_script, scripts

MARKS: dict[Mark, tuple[str, str]] = {
    "good": ("✓", "fine"),
    "notice": ("!", "note"),
    "bad": ("✗", "problem"),
    "unknown": ("?", "unknown"),
    "plain": ("i", "fact"),
}
"""The icon and the word of each verdict: colour says nothing that they do not."""
_WIDE = 3
"""Tables of more columns take the whole width of the page."""


def render(document: Document) -> str:
    """Return `document` as HTML; raises `UsageError` if it holds figures and what draws them is not installed."""
    sections = [
        {
            "heading": section.heading,
            "id": f"{index}-{re.sub(r'[^a-z0-9]+', '-', section.heading.lower()).strip('-')}",
            "views": [view(block) for block in section.blocks],
            "wide": any(_is_wide(block) for block in section.blocks),
        }
        for index, section in enumerate(document.sections, start=1)
    ]
    drawn = any(_has_charts(block) for section in document.sections for block in section.blocks)
    return (
        _environment()
        .get_template("document.html.jinja")
        .render(
            document=document,
            sections=sections,
            marks=MARKS,
            facts=[line.partition(": ")[::2] if ": " in line else ("", line) for line in document.footer],
            glossary=glossary.used(" ".join(_texts(document))),
            styles=[Markup(_asset(name)) for name in ("page.css", "print.css")],
            charts=Markup(scripts()) if drawn else None,
            scripts=Markup(_asset("page.js")),
        )
    )


@cache
def _environment() -> Environment:
    """Return the templates, which are compiled once."""
    loader = PackageLoader("leadline.report.html")
    return Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)


@cache
def _asset(name: str) -> str:
    return (files("leadline.report.html") / "assets" / name).read_text(encoding="utf-8")


def view(block: Block) -> dict[str, Any]:
    """Return what the template of a block needs, and which template that is."""
    match block:
        case Text(text):
            return {"kind": "text", "text": text}
        case Table():
            return {"kind": "table", **_table(block)}
        case Curve():
            return _chart(block.caption, charts.curve(block), charts.figures_of(block))
        case Bars():
            return _chart(block.caption, charts.bars(block), charts.figures_of(block))
        case HeatMap():
            return _chart(block.caption, heat_maps.heat_map(block), heat_maps.figures_of(block))
        case FrontMap():
            return _chart(block.caption, charts.front_map(block)) | {"plays": int(block.cells.max())}
        case GridMap() | ContextMaps() | ReachMap():
            return _chart(block.caption, _map(block))
        case Pictures():
            return {"kind": "picture", "caption": block.caption, "uri": data_uri("image/png", pictures_png(block))}
        case Wave():
            return {"kind": "sound", "caption": block.caption, "uri": data_uri("audio/wav", wave_bytes(block))}
        case Row(blocks):
            return {"kind": "row", "views": [view(inner) for inner in blocks]}
        case Fold(summary, blocks):
            return {"kind": "fold", "summary": summary, "views": [view(inner) for inner in blocks]}


def _map(block: GridMap | ContextMaps | ReachMap) -> Spec:
    match block:
        case GridMap():
            return maps.grid_map(block)
        case ContextMaps():
            return maps.context_maps(block)
        case ReachMap():
            return reaches.reach_map(block)


def _chart(caption: str, spec: Spec, shown: Table | None = None) -> dict[str, Any]:
    """Return a chart, with the table of what it shows, if it is to be had."""
    figures = None if shown is None else {"kind": "table", **_table(shown)}
    return {"kind": "chart", "caption": caption, "spec": Markup(in_script(spec)), "figures": figures, "plays": None}


def _table(block: Table) -> dict[str, Any]:
    forms = {"LaTeX": tables.as_latex, "CSV": tables.as_csv, "Markdown": tables.as_markdown}
    return {
        "table": block,
        "rows": tables.cells_of(block),
        "numeric": tables.numeric(block),
        "copies": Markup(in_script({name: form(block) for name, form in forms.items()})),
        "forms": list(forms),
        "pairs": len(block.head) == 3 and not block.head[0],
    }


def _is_wide(block: Block) -> bool:
    return isinstance(block, Row) or (isinstance(block, Table) and len(block.head) > _WIDE)


def _has_charts(block: Block) -> bool:
    if isinstance(block, Row | Fold):
        return any(_has_charts(inner) for inner in block.blocks)
    return isinstance(block, Curve | Bars | FrontMap | GridMap | HeatMap | ContextMaps | ReachMap)


def _texts(value: Any) -> Iterator[str]:
    """Yield every text of a document."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, tuple):
        for part in value:
            yield from _texts(part)
    elif is_dataclass(value):
        for field in fields(value):
            yield from _texts(getattr(value, field.name))
