"""A document as one self-contained HTML file, with figures in it: no script, no link, nothing to fetch.

Figures are SVG by matplotlib, PNG and WAV as data URIs. matplotlib is imported when a figure is drawn, never when
leadline is.
"""

from __future__ import annotations

import base64
import importlib.util
import io
import wave
from typing import TYPE_CHECKING, Any

import numpy as np
from jinja2 import Environment, PackageLoader
from markupsafe import Markup
from numpy.typing import NDArray

from leadline.document import Block, Curve, Document, FrontMap, GridMap, Pictures, Table, Text, Wave
from leadline.errors import UsageError
from leadline.report.terminal import MARKS


def render(document: Document) -> str:
    """Return `document` as HTML; raises `UsageError` if the document holds figures and matplotlib is not installed."""
    environment = Environment(loader=PackageLoader("leadline.report"), autoescape=True, trim_blocks=True)
    template = environment.get_template("document.html.jinja")
    sections = [(section.heading, [_view(block) for block in section.blocks]) for section in document.sections]
    cards = [(MARKS[card.mark], card) for card in document.cards]
    head = {"title": document.title, "subtitle": document.subtitle, "cards": cards, "footer": document.footer}
    return template.render(**head, sections=sections)


def _view(block: Block) -> dict[str, Any]:
    """Return what the template needs: the block, its kind, and its figure when it has one."""
    figure: str | None = None
    if not isinstance(block, Text | Table | Wave):
        _require()
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


if TYPE_CHECKING:
    from matplotlib.figure import Figure

_READABLE = 16
"""The most columns whose cells have room for a number."""
_PALETTE = ("#f3f1ea", "#1f6f8b", "#c8553d", "#8a8a8a", "#e0a458", "#588157", "#5e548e", "#222222")


def curve_svg(block: Curve) -> str:
    """Draw the series of `block` as one SVG element."""
    figure = _figure(6.4, 3.0)
    axes = figure.subplots()
    for index, (name, values) in enumerate(block.series):
        axes.plot(block.x, values, marker=".", markersize=3, linewidth=1.4, color=_PALETTE[1 + index % 6], label=name)
    if block.log_y:
        axes.set_yscale("log")
    if all(float(x).is_integer() for x in block.x):
        axes.locator_params(axis="x", integer=True)
    axes.set_xlabel(block.x_label)
    axes.set_ylabel(block.y_label)
    axes.spines[["top", "right"]].set_visible(False)
    if len(block.series) > 1:
        axes.legend(frameon=False)
    return _svg(figure)


def grid_map_svg(block: GridMap) -> str:
    """Draw the cells of `block`, one colour for each value, with their legend."""
    from matplotlib.colors import BoundaryNorm, ListedColormap
    from matplotlib.patches import Patch

    rows, columns = block.cells.shape
    figure = _figure(6.4, float(np.clip(6.4 * rows / columns, 0.9, 5.0)) + 0.4)
    axes = figure.subplots()
    colours = [_PALETTE[i % len(_PALETTE)] for i in range(len(block.legend))]
    norm = BoundaryNorm(np.arange(len(colours) + 1) - 0.5, len(colours))
    axes.imshow(block.cells, cmap=ListedColormap(colours), norm=norm, interpolation="nearest", aspect="auto")
    axes.set_aspect("equal" if rows > 1 else "auto")
    axes.tick_params(length=0, labelsize=7)
    if rows == 1:
        axes.set_yticks([])
    keys = [
        Patch(facecolor=c, edgecolor="#999", label=name) for c, (_, name) in zip(colours, block.legend, strict=True)
    ]
    axes.legend(handles=keys, loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=3, frameon=False, fontsize=8)
    return _svg(figure)


def front_map_svg(block: FrontMap) -> str:
    """Draw when every cell is computed, from light to dark; numbers where they can be read."""
    rows, columns = block.cells.shape
    figure = _figure(6.4, float(np.clip(6.4 * rows / columns, 0.9, 5.0)))
    axes = figure.subplots()
    last = max(1, int(block.cells.max()))
    image = axes.imshow(block.cells, cmap="YlGnBu", vmin=0, vmax=last, interpolation="nearest")
    axes.tick_params(length=0, labelsize=7)
    if columns <= _READABLE:
        for (row, column), front in np.ndenumerate(block.cells):
            ink = "white" if front > 0.6 * last else "black"
            axes.text(column, row, str(front), ha="center", va="center", color=ink, fontsize=7)
    figure.colorbar(image, ax=axes, label="front", shrink=0.8)
    return _svg(figure)


def pictures_png(block: Pictures) -> bytes:
    """Return the pictures side by side, eight to a row, as one PNG with ink in black."""
    _require()
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    imsave(buffer, 1.0 - contact_sheet(block.images), cmap="gray", vmin=0.0, vmax=1.0, format="png")
    return buffer.getvalue()


def contact_sheet(images: NDArray[np.float64], across: int = 8) -> NDArray[np.float64]:
    """Lay (n, height, width) pictures out in rows of `across`, one pixel apart."""
    count, height, width = images.shape
    columns = min(across, count)
    rows = -(-count // columns)
    sheet = np.zeros((rows * (height + 1) + 1, columns * (width + 1) + 1))
    for index, image in enumerate(images):
        top, left = (index // columns) * (height + 1) + 1, (index % columns) * (width + 1) + 1
        sheet[top : top + height, left : left + width] = image.clip(0, 1)
    return sheet


def wave_bytes(block: Wave) -> bytes:
    """Return the sound as a 16-bit mono WAV."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(block.rate)
        stream.writeframes((block.samples.clip(-1, 1) * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


def _require() -> None:
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError("figures need matplotlib; run: pip install 'leadline[report]'")


def _figure(width: float, height: float) -> Figure:
    _require()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _svg(figure: Figure) -> str:
    """Render without date and with fixed identifiers, so that the same data gives the same file."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "leadline", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def data_uri(kind: str, content: bytes) -> str:
    """Return `content` as a URI that an HTML file carries within itself."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
