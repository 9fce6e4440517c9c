"""A document as one self-contained HTML file: no script, no link, nothing to fetch."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from leadline.document import Block, Curve, Document, FrontMap, GridMap, Pictures, Wave
from leadline.report.figures import curve_svg, data_uri, front_map_svg, grid_map_svg, pictures_png, wave_bytes


def render(document: Document) -> str:
    """Return `document` as HTML; raises `UsageError` if the document holds figures and matplotlib is not installed."""
    environment = Environment(loader=PackageLoader("leadline.report"), autoescape=True, trim_blocks=True)
    template = environment.get_template("document.html.jinja")
    sections = [(section.heading, [_view(block) for block in section.blocks]) for section in document.sections]
    return template.render(title=document.title, subtitle=document.subtitle, sections=sections)


def _view(block: Block) -> dict[str, Any]:
    """Return what the template needs: the block, its kind, and its figure when it has one."""
    figure: str | None = None
    match block:
        case Curve():
            figure = Markup(curve_svg(block))
        case GridMap():
            figure = Markup(grid_map_svg(block))
        case FrontMap():
            figure = Markup(front_map_svg(block))
        case Pictures():
            figure = data_uri("image/png", pictures_png(block))
        case Wave():
            figure = data_uri("audio/wav", wave_bytes(block))
    return {"kind": type(block).__name__, "block": block, "figure": figure}
