"""The reach of a gradient within the structural context as a chart of Vega-Lite: along a line, or over a grid."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from leadline.document import ReachMap
from leadline.report.html.vega import Spec, chart

_FLOOR = 1e-8
"""Less of the largest gradient than this is not drawn."""
_NAMES = ("within a tenth of the largest", "a hundredth", "a thousandth", "a millionth", "less, or none, but seen")
_LIMITS = (1, 2, 3, 6)
_INK = (1.0, 0.72, 0.46, 0.24, 0.0)


def reach_map(block: ReachMap) -> Spec:
    """Draw the gradient's size, with what the output sees shaded along a line, or outlined on a grid."""
    return _line(block) if len(block.size) == 1 else _grid(block)


def _line(block: ReachMap) -> Spec:
    """Draw bars on a logarithmic axis over the shaded stretch of places that the output sees."""
    step, start = block.step, block.first[1]
    sizes = block.size[0]
    bars = [
        {"x": start + step * i, "x2": start + step * (i + 1), "y": float(size), "y2": _FLOOR, "seen": "gradient"}
        for i, size in enumerate(sizes)
        if size > _FLOOR
    ]
    shades = [
        {"x": start + step * a, "x2": start + step * b, "y": 1.0, "y2": _FLOOR, "seen": "what the output sees"}
        for a, b in _stretches(block.seen[0])
    ]
    ends = [start, start + step * len(sizes)]
    x: Spec = {"field": "x", "type": "quantitative", "title": "place, counted from the output's",
               "scale": {"domain": ends, "nice": False}, "axis": {"grid": False, "tickMinStep": 1}}  # fmt: skip
    y: Spec = {"field": "y", "type": "quantitative", "title": "gradient, of the largest",
               "scale": {"type": "log", "domain": [_FLOOR, 1.0]},
               "axis": {"format": "~e", "values": [10.0**-power for power in range(0, 9, 2)]}}  # fmt: skip
    fill = {
        "field": "seen",
        "scale": {"domain": ["gradient", "what the output sees"], "range": ["var(--series-1)", "var(--empty)"]},
        "legend": {"title": None, "orient": "top", "symbolType": "square"},
    }
    corners = {"x": x, "x2": {"field": "x2"}, "y": y, "y2": {"field": "y2"}, "fill": fill}
    hints = [{"field": "x", "title": "place"}, {"field": "y", "title": "gradient, of the largest", "format": ".2~e"}]
    layers: list[Spec] = [
        {"data": {"values": shades}, "mark": _CELL, "encoding": corners},
        {"data": {"values": bars}, "mark": _CELL, "encoding": {**corners, "tooltip": hints}},
        {"data": {"values": [{"x": 0.5}]}, "mark": {"type": "rule", "color": "var(--here)", "strokeDash": [3, 3]},
         "encoding": {"x": x}},
    ]  # fmt: skip
    return chart(layers, describe=block.caption, height=180)


_CELL: Spec = {"type": "rect", "stroke": None}


def _stretches(seen: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Yield where each run of places that are seen starts and stops.

    Examples
    --------
    >>> list(_stretches(np.array([True, True, False, True])))
    [(0, 2), (3, 4)]
    """
    ends = np.flatnonzero(np.diff(np.concatenate([[False], seen, [False]]).astype(int)))
    yield from zip(ends[::2].tolist(), ends[1::2].tolist(), strict=True)


def _grid(block: ReachMap) -> Spec:
    """Draw cells the darker the larger the gradient, an outline around what is seen, and the output's own place."""
    rows, columns = block.size.shape
    (top, left), step = block.first, block.step
    classes = np.searchsorted(_LIMITS, block.decades(), side="right")
    classes[block.decades() < 0] = len(_LIMITS)
    cells = [
        {**_cell(block, r, c), "is": _NAMES[int(classes[r, c])], "size": float(block.size[r, c])}
        for r, c in np.argwhere(block.seen | (block.size > 0)).tolist()
    ]
    x = {"scale": {"domain": [left, left + step * columns], "nice": False}, "axis": _AXIS, "title": None}
    down = {"domain": [top, top + step * rows], "nice": False, "reverse": True}
    corners: Spec = {
        "x": {"field": "x", "type": "quantitative", **x}, "x2": {"field": "x2"},
        "y": {"field": "y", "type": "quantitative", "scale": down, "axis": _AXIS, "title": None}, "y2": {"field": "y2"},
    }  # fmt: skip
    shade = {"field": "is", "type": "nominal", "scale": {"domain": list(_NAMES), "range": list(_INK)},
             "legend": {"title": None, "orient": "bottom", "columns": 1, "symbolType": "square",
                        "symbolFillColor": "var(--seen)", "symbolStrokeColor": "var(--soft)", "symbolStrokeWidth": 1,
                        "symbolSize": 150}}  # fmt: skip
    hints = [{"field": "is", "title": "gradient"}, {"field": "size", "title": "of the largest", "format": ".2~e"}]
    line = {"type": "rule", "color": "var(--here)", "strokeWidth": 1.2}
    here = {"x": 0.5, "y": 0.5}
    middle = {name: corners[name] for name in "xy"}
    layers: list[Spec] = [
        {"data": {"values": cells}, "mark": {**_CELL, "fill": "var(--seen)"},
         "encoding": {**corners, "fillOpacity": shade, "tooltip": hints}},
        {"data": {"values": list(_outline(block))}, "mark": line, "encoding": corners},
        {"data": {"values": [here]}, "mark": {"type": "point", "filled": True, "color": "var(--here)", "size": 60},
         "encoding": middle},
    ]  # fmt: skip
    side = max(1, min(32, 320 // max(rows, columns)))
    return chart(layers, describe=block.caption, width=side * columns, height=side * rows)


_AXIS: Spec = {"grid": False, "tickMinStep": 1}


def _cell(block: ReachMap, row: int, column: int) -> Spec:
    (top, left), step = block.first, block.step
    y, x = top + step * row, left + step * column
    return {"x": x, "x2": x + step, "y": y, "y2": y + step}


def _outline(block: ReachMap) -> Iterator[Spec]:
    """Yield the borders between what is seen and what is not."""
    seen = np.pad(block.seen, 1)
    (top, left), step = block.first, block.step
    for row, (above, below) in enumerate(pairwise(seen)):
        for a, b in _stretches((above != below)[1:-1]):
            y = top + step * row
            yield {"x": left + step * a, "x2": left + step * b, "y": y, "y2": y}
    for column, (before, after) in enumerate(pairwise(seen.T)):
        for a, b in _stretches((before != after)[1:-1]):
            x = left + step * column
            yield {"x": x, "x2": x, "y": top + step * a, "y2": top + step * b}
