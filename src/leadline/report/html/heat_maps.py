"""Numbers over a grid of two settings as a chart of Vega-Lite: cells the darker the larger, and lines over them."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np

from leadline.document import HeatMap, Table
from leadline.report.html.vega import DASHES, Spec, chart

_FAINTEST = 0.04
"""A cell of the least value is seen to be there."""
_BELOW, _ABOVE, _ALONE = "var(--series-1)", "var(--series-2)", "var(--seen)"
"""Blue below zero, orange above: all kinds of colour vision tell them apart; light and dark pages have their own."""


def heat_map(block: HeatMap) -> Spec:
    """Draw cells between the middles of neighbouring values, so that lines lie where their numbers say.

    Colours come from the page's styles, which interpolating scales do not take: what is interpolated is opacity.
    """
    (x_ends, x_log), (y_ends, y_log) = edges(block.x), edges(block.y)
    x = _axis(block.x_label, x_ends, x_log)
    y = _axis(block.y_label, y_ends, y_log)
    corners: Spec = {"x": {"field": "x", **x}, "x2": {"field": "x2"}, "y": {"field": "y", **y}, "y2": {"field": "y2"}}
    names = [f"{block.label} below 0", "above 0"]
    cells, size = _cells(block, x_ends, y_ends, names), "size" if block.signed or block.log else "value"
    fill: Spec = {"value": _ALONE}
    if block.signed:
        legend = {"title": None, "orient": "bottom", "symbolType": "square"}
        fill = {"field": "sign", "scale": {"domain": names, "range": [_BELOW, _ABOVE]}, "legend": legend}
    hints = [{"field": key, "title": title, "format": ".4~g"} for key, title in
             (("at_x", block.x_label), ("at_y", block.y_label), ("value", block.label))]  # fmt: skip
    drawn: Spec = {
        "data": {"values": cells},
        "mark": {"type": "rect", "stroke": None},
        "encoding": {**corners, "fill": fill, "opacity": _opacity(block, cells, size), "tooltip": hints},
    }
    return chart([drawn, *_lines(block, x, y)], describe=block.caption, height=260)


def edges(values: tuple[float, ...]) -> tuple[list[float], bool]:
    """Return where the cells of values begin and end, and whether on a logarithmic axis.

    That is taken where the values' quotients are more alike than their differences.

    Examples
    --------
    >>> [round(edge, 3) for edge in edges((1.0, 2.0, 4.0))[0]]
    [0.707, 1.414, 2.828, 5.657]
    >>> edges((1.0, 2.0, 3.0))
    ([0.5, 1.5, 2.5, 3.5], False)
    """
    if len(values) == 1:
        return [values[0] - 0.5, values[0] + 0.5], False
    steps = [after - before for before, after in pairwise(values)]
    log = min(values) > 0
    if log:
        factors = [math.log(after / before) for before, after in pairwise(values)]
        log = max(factors) / min(factors) < (max(steps) / min(steps)) * (1 - 1e-9)
    at = np.log2(values) if log else np.array(values)
    middles = (at[1:] + at[:-1]) / 2
    ends = [2 * at[0] - middles[0], *middles, 2 * at[-1] - middles[-1]]
    return [float(2**end if log else end) for end in ends], log


def _axis(label: str, ends: list[float], log: bool) -> Spec:
    return {
        "type": "quantitative",
        "title": label,
        "scale": {"type": "log" if log else "linear", "domain": [ends[0], ends[-1]], "nice": False, "zero": False},
        "axis": {"grid": False, "format": ".4~g", "tickCount": 6},
    }


def _cells(block: HeatMap, x_ends: list[float], y_ends: list[float], names: list[str]) -> list[Spec]:
    dark = block.darkness()
    return [
        {
            "x": x_ends[column], "x2": x_ends[column + 1], "y": y_ends[row], "y2": y_ends[row + 1],
            "at_x": block.x[column], "at_y": block.y[row], "value": float(value), "dark": float(dark[row, column]),
            "size": abs(float(value)), **({"sign": names[int(value > 0)]} if block.signed else {}),
        }
        for (row, column), value in np.ndenumerate(block.values)
        if math.isfinite(dark[row, column])
    ]  # fmt: skip


def _opacity(block: HeatMap, cells: list[Spec], size: str) -> Spec:
    """Encode how dark a cell is, with a legend in the numbers themselves."""
    numbers = [cell[size] for cell in cells] or [0.0]
    low, high = 0.0 if block.signed else min(numbers), max(numbers)
    scale: dict[str, Any] = {
        "type": "log" if block.log else "linear", "domain": [low, high], "range": [_FAINTEST, 1], "nice": False,
        "zero": False,
    }  # fmt: skip
    title = f"{block.label}, without its sign" if block.signed else block.label
    legend = {"title": title, "orient": "bottom", "symbolType": "square", "symbolStrokeColor": "var(--soft)",
              "symbolStrokeWidth": 1, "format": ".3~g", "symbolFillColor": "var(--ink)" if block.signed else _ALONE,
              "tickCount": 5}  # fmt: skip
    if low == high:
        return {"value": 0.5}
    return {"field": size, "type": "quantitative", "scale": scale, "legend": legend}


def _lines(block: HeatMap, x: Spec, y: Spec) -> list[Spec]:
    """Draw the lines in the colour of ink, each with its own dashes."""
    names = [name for name, points in block.lines if points]
    if not names:
        return []
    rows = [
        {"x": across, "y": up, "line": name, "order": place}
        for name, points in block.lines
        for place, (across, up) in enumerate(points)
    ]
    dashes = [DASHES[i % len(DASHES)] for i in range(len(names))]
    legend = {
        "title": None, "orient": "top", "symbolType": "stroke", "symbolStrokeColor": "var(--here)", "columns": 1
    }  # fmt: skip
    dash = {"field": "line", "scale": {"domain": names, "range": dashes}, "legend": legend}
    mark = {"type": "line", "clip": True, "color": "var(--here)", "strokeWidth": 2}
    encoding = {"x": {"field": "x", **x}, "y": {"field": "y", **y}, "strokeDash": dash, "order": {"field": "order"}}
    return [{"data": {"values": rows}, "mark": mark, "encoding": encoding}]


def figures_of(block: HeatMap) -> Table:
    """Return the numbers of a map as a table, a row for each y, and where its lines lie."""
    head = (f"{block.y_label} \\ {block.x_label}", *(f"{value:g}" for value in block.x))
    rows = [
        (f"{at:g}", *(f"{value:.4g}" if math.isfinite(value) else "" for value in line))
        for at, line in zip(block.y, block.values.tolist(), strict=True)
    ]
    return Table(head, tuple(rows), "; ".join(f"{name}: {_told(points)}" for name, points in block.lines if points))


def _told(points: tuple[tuple[float, float], ...]) -> str:
    shown = points if len(points) < 4 else (points[0], points[len(points) // 2], points[-1])
    return ", ".join(f"({x:.4g}, {y:.4g})" for x, y in shown)
