"""Curves, bars and wavefronts as charts of Vega-Lite."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from leadline.document import Bars, Curve, FrontMap, Table
from leadline.report.html.vega import DASHES, SERIES, Spec, chart
from leadline.report.mathematics import Sentence

_READABLE = 16
"""The most columns whose cells have room for a number."""
_MOST_CELLS = 4096
"""Larger grids are drawn by every second, third … cell."""


def curve(block: Curve) -> Spec:
    """Draw series with their intervals, and the levels to compare them with."""
    block = _lettered(block)
    names = [name for name, _ in block.series]
    looks = [(block.among or names).index(name) for name in names]
    colour = {
        "field": "series",
        "scale": {"domain": names, "range": [SERIES[i % len(SERIES)] for i in looks]},
        "legend": {"title": None, "orient": "bottom", "symbolType": "stroke", "columns": _columns(names)}
        if len(names) > 1
        else None,
    }
    dashes = [DASHES[i % len(DASHES)] for i in looks]
    dash = {"field": "series", "scale": {"domain": names, "range": dashes}, "legend": colour["legend"]}
    x = {
        "field": "x",
        "type": "quantitative",
        "title": block.x_label,
        "scale": {"zero": False, "nice": False},
        "axis": {"grid": False, **_ticks(block.x)},
    }
    y = {
        "field": "y",
        "type": "quantitative",
        "title": block.y_label,
        "scale": {"type": "log", "nice": False} if block.log_y else {"zero": False},
        "axis": _powers_of_ten(block) if block.log_y else {"format": ".4~g", "tickCount": 6},
    }
    hints = [{"field": key, "title": title} for key, title in _hints(block)]
    lines = {
        "data": {"values": _points(block)},
        "mark": {"type": "line", "point": {"filled": True, "size": 26}},
        "encoding": {"x": x, "y": y, "color": colour, "strokeDash": dash, "tooltip": hints},
    }
    layers = [*_bands(block, x, y, colour), lines, *_levels(block, y), *_chosen(block, x, y)]
    params = [*([_LIMITS] if block.levels else []), *([_slider(block)] if block.slide else [])]
    return chart(layers, describe=block.caption, height=230, params=params)


def _lettered(block: Curve) -> Curve:
    """Write powers and indices in letters that are raised and lowered: a chart has no markup."""
    return replace(
        block,
        series=tuple((str(Sentence(name)), values) for name, values in block.series),
        bands=tuple((str(Sentence(name)), low, high) for name, low, high in block.bands),
        among=tuple(str(Sentence(name)) for name in block.among),
        x_label=str(Sentence(block.x_label)),
        y_label=str(Sentence(block.y_label)),
    )


_LIMITS: Spec = {"name": "limits", "value": True, "bind": {"input": "checkbox", "name": "limits "}}


def _columns(names: list[str]) -> int:
    """Return how many names of series stand side by side."""
    return 3 if max(map(len, names)) < 14 else 1


def _ticks(x: tuple[float, ...]) -> Spec:
    """Label whole numbers only, where all are."""
    if not all(float(value).is_integer() for value in x):
        return {}
    return {"tickMinStep": 1, "format": "d", "tickCount": max(1, min(10, int(max(x) - min(x))))}


def _powers_of_ten(block: Curve) -> Spec:
    """Label powers of ten, at most eight, if there are two; else whatever fits."""
    drawn = [value for _, values in block.series for value in values if _shown(block, value)]
    drawn += [value for _, value in block.levels if _shown(block, value)]
    if not drawn:
        return {}
    low, high = math.floor(math.log10(min(drawn))), math.ceil(math.log10(max(drawn)))
    if high - low < 2:
        return {"format": ".2~g", "tickCount": 4}
    step = max(1, (high - low) // 8)
    return {"format": "~e", "values": [10.0**power for power in range(low, high + 1, step)]}


def _hints(block: Curve) -> list[tuple[str, str]]:
    named = [("name", block.x_label)] if block.names else [("x", block.x_label)]
    return [*([("series", "series")] if len(block.series) > 1 else []), *named, ("y", block.y_label)]


def _shown(block: Curve, value: float) -> bool:
    """Whether a number has a place on the y axis."""
    return math.isfinite(value) and (value > 0 or not block.log_y)


def _points(block: Curve) -> list[Spec]:
    names = block.names or [""] * len(block.x)
    return [
        {"x": x, "y": y, "series": name, **({"name": called} if called else {})}
        for name, values in block.series
        for x, y, called in zip(block.x, values, names, strict=True)
        if _shown(block, y)
    ]


def _bands(block: Curve, x: Spec, y: Spec, colour: Spec) -> list[Spec]:
    """Shade intervals; on a logarithmic axis one that reaches zero ends a decade below the lowest number."""
    if not block.bands:
        return []
    drawn = [value for _, values in block.series for value in values if _shown(block, value)]
    least = min(drawn, default=1.0) / 10
    rows = [
        {"x": at, "y": max(low, least) if block.log_y else low, "high": high, "series": name}
        for name, lows, highs in block.bands
        for at, low, high in zip(block.x, lows, highs, strict=True)
        if _shown(block, high) and math.isfinite(low)
    ]
    encoding = {"x": x, "y": y, "y2": {"field": "high"}, "color": colour}
    return [{"data": {"values": rows}, "mark": {"type": "area", "opacity": 0.25}, "encoding": encoding}]


def _slider(block: Curve) -> Spec:
    """Let a reader choose an x: along a slider where they are equally spaced, else among buttons."""
    steps = {round(after - before, 9) for before, after in pairwise(block.x)}
    if len(steps) == 1:
        bound: Spec = {"input": "range", "min": block.x[0], "max": block.x[-1], "step": steps.pop()}
    else:
        bound = {"input": "radio", "options": list(block.x)}
    return {"name": "chosen", "value": block.x[0], "bind": {**bound, "name": f"{block.slide} "}}


def _chosen(block: Curve, x: Spec, y: Spec) -> list[Spec]:
    """Mark the x that is chosen, with its name above and its values beside."""
    if not block.slide:
        return []
    names = [{"x": at, "name": name} for at, name in zip(block.x, block.names, strict=True)]
    here: Spec = {"transform": [{"filter": "abs(datum.x - chosen) < 1e-9"}]}
    rule = {"mark": {"type": "rule", "color": "var(--soft)"}, "encoding": {"x": x}}
    word = {
        "mark": {"type": "text", "align": "left", "baseline": "top", "fontWeight": "bold", "dy": 4},
        "encoding": {"x": {"value": 6}, "y": {"value": 0}, "text": {"field": "name"}},
    }
    value = {
        "mark": {"type": "text", "align": "left", "dx": 7, "dy": -7},
        "encoding": {"x": x, "y": y, "text": {"field": "y", "format": ".4~g"}},
    }
    return [
        {"data": {"values": names}, **here, **rule},
        {"data": {"values": names}, **here, **word},
        {"data": {"values": _points(block)}, **here, **value},
    ]


def _levels(block: Curve, y: Spec) -> list[Spec]:
    rows = [{"y": value, "name": name} for name, value in block.levels if _shown(block, value)]
    if not rows:
        return []
    line: Spec = {
        "data": {"values": rows},
        "transform": [{"filter": "limits"}],
        "mark": {"type": "rule", "strokeDash": [3, 3], "color": "var(--bad)", "strokeWidth": 1.5},
        "encoding": {"y": y},
    }
    words: Spec = {
        "data": {"values": rows},
        "transform": [{"filter": "limits"}],
        "mark": {"type": "text", "align": "right", "baseline": "bottom", "dy": -3},
        "encoding": {"y": y, "x": {"value": "width"}, "text": {"field": "name"}},
    }
    return [line, words]


def bars(block: Bars) -> Spec:
    """Draw amounts as bars, each with its words at its end."""
    rows = [{"name": name, "amount": amount, "words": words} for name, amount, words in block.bars]
    named = {"field": "name", "sort": None, "title": None, "axis": {"labelLimit": 190, "domain": False, "ticks": False}}
    y: Spec = {**named, "type": "nominal"}
    most = 1.35 * max((amount for _, amount, _ in block.bars), default=1.0)  # room for the words
    x: Spec = {
        "field": "amount", "type": "quantitative", "axis": None, "scale": {"domain": [0, most or 1.0], "nice": False},
    }  # fmt: skip
    hints = [{"field": "name", "title": "block"}, {"field": "words", "title": block.label}]
    drawn = {
        "mark": {"type": "bar", "aria": False, "color": "var(--series-1)"},
        "encoding": {"x": x, "y": y, "tooltip": hints},
    }
    words = {
        "mark": {"type": "text", "align": "left", "dx": 5},
        "encoding": {"x": x, "y": y, "text": {"field": "words"}},
    }
    return chart([drawn, words], describe=block.caption, height=22 * len(block.bars), data={"values": rows})


def front_map(block: FrontMap) -> Spec:
    """Draw when each cell is computed: up to the front that is chosen, or all of them while it is played."""
    step = math.ceil(math.sqrt(block.cells.size / _MOST_CELLS)) if block.cells.size > _MOST_CELLS else 1
    cells = block.cells[::step, ::step]
    last = int(block.cells.max())
    rows = [{"r": r * step, "c": c * step, "f": int(front)} for (r, c), front in np.ndenumerate(cells)]
    side = max(3, min(26, 460 // max(cells.shape)))
    axis = {"type": "ordinal", "axis": {"labelOverlap": True, "ticks": False, "domain": False, "labelAngle": 0}}
    places = {"x": {"field": "c", "title": None, **axis}, "y": {"field": "r", "title": None, **axis}}
    fill = {
        "condition": [
            {"test": "datum.f > front", "value": "var(--empty)"},
            {"test": "datum.f == front", "value": "url(#front-now)"},
        ],
        "field": "f",
        "type": "quantitative",
        "scale": {"scheme": "blues", "domain": [-0.3 * last, last or 1]},
        "legend": None,
    }
    hints = [{"field": "f", "title": "front"}, {"field": "r", "title": "row"}, {"field": "c", "title": "column"}]
    drawn: list[Spec] = [{"mark": "rect", "encoding": {**places, "color": fill, "tooltip": hints}}]
    if cells.shape[1] <= _READABLE:
        shades = [("datum.f >= front", "var(--ink)"), (f"datum.f > {0.5 * last}", "white")]
        ink = {"condition": [{"test": test, "value": colour} for test, colour in shades], "value": "black"}
        drawn.append({"mark": {"type": "text", "fontSize": 10, "aria": False},
                      "encoding": {**places, "text": {"field": "f"}, "color": ink}})  # fmt: skip
    bound = {"input": "range", "min": 0, "max": last, "step": 1, "name": "front "}
    return chart(
        drawn, describe=block.caption, width=side * cells.shape[1], height=side * cells.shape[0],
        data={"values": rows}, params=[{"name": "front", "value": last, "bind": bound}],
    )  # fmt: skip


def figures_of(block: Curve | Bars) -> Table:
    """Return what a chart shows as a table, for those who do not see it."""
    if isinstance(block, Bars):
        return Table(("", block.label), tuple((name, words) for name, _, words in block.bars))
    head: list[str] = [block.x_label, *(name for name, _ in block.series)]
    columns: list[Any] = [block.names or [f"{x:g}" for x in block.x]]
    columns += [[f"{value:.4g}" if math.isfinite(value) else "" for value in values] for _, values in block.series]
    for name, lows, highs in block.bands:
        head.append(f"{name}, interval")
        columns.append([f"{low:.3g} to {high:.3g}" for low, high in zip(lows, highs, strict=True)])
    return Table(tuple(head), tuple(zip(*columns, strict=True)))
