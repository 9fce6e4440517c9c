"""Maps of what outputs see as charts of Vega-Lite; on some an output is chosen, by pointer or by keyboard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from leadline.document import ContextMaps, GridMap, InputMaps
from leadline.report.html.vega import Spec, chart

_FILLS = {
    "·": "var(--empty)", " ": "transparent", "+": "url(#later)", "#": "var(--seen)", "o": "url(#blind)",
    "x": "url(#always-blind)", ".": "url(#always-blind)", "@": "url(#here)",
}  # fmt: skip
"""What the characters of all maps look like: each is one pattern, and means one thing, on every page."""
_SPARE = "url(#later)"


def runs(cells: NDArray[np.int64]) -> Iterator[tuple[int, int, int, int]]:
    """Yield each run of equal values along the rows, as row, start, stop and value.

    Examples
    --------
    >>> list(runs(np.array([[1, 1, 2], [0, 0, 0]])))
    [(0, 0, 2, 1), (0, 2, 3, 2), (1, 0, 3, 0)]
    """
    for row, values in enumerate(cells):
        ends = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
        for start, stop in pairwise(ends):
            yield row, start, stop, int(values[start])


def grid_map(block: GridMap) -> Spec:
    """Draw the cells of a map, one fill for each value, with their legend."""
    rows, columns = block.cells.shape
    values = [
        {"x": start, "x2": stop, "y": row, "y2": row + 1, "is": block.legend[value][1]}
        for row, start, stop, value in runs(block.cells)
    ]
    sizes = _sizes(rows, columns)
    drawn = {"mark": _CELL, "encoding": {**_corners(rows, columns), "fill": _fill(block.legend), "tooltip": _IS}}
    return chart([drawn], describe=block.caption, data={"values": values}, **sizes)


_CELL: Spec = {"type": "rect", "stroke": None}
_IS = [{"field": "is", "title": "is"}]


def _sizes(rows: int, columns: int) -> Spec:
    """Return width and height: of a line as wide as there is room, of a grid with square cells."""
    if rows == 1:
        return {"height": 40}
    side = max(1, min(32, 320 // max(rows, columns)))
    return {"width": side * columns, "height": side * rows}


def _corners(rows: int, columns: int) -> Spec:
    """Encode a rectangle; rows are counted from the top."""
    x = {"scale": {"domain": [0, columns], "nice": False}, "axis": {"grid": False, "tickMinStep": 1}, "title": None}
    down = {"domain": [0, rows], "nice": False, "reverse": True}
    y = {"scale": down, "axis": {"grid": False, "tickMinStep": 1} if rows > 1 else None, "title": None}
    return {
        "x": {"field": "x", "type": "quantitative", **x}, "x2": {"field": "x2"},
        "y": {"field": "y", "type": "quantitative", **y}, "y2": {"field": "y2"},
    }  # fmt: skip


def _fill(legend: Sequence[tuple[str, str]]) -> Spec:
    named = [(character, name) for character, name in legend if name.strip()]
    scale = {"domain": [name for _, name in named], "range": [_FILLS.get(character, _SPARE) for character, _ in named]}
    shown = {
        "title": None,
        "orient": "bottom",
        "columns": 2,
        "symbolType": "square",
        "symbolStrokeColor": "var(--soft)",
        "symbolStrokeWidth": 1,
        "symbolSize": 150,
    }
    return {"field": "is", "type": "nominal", "scale": scale, "legend": shown}


def context_maps(block: ContextMaps) -> Spec:
    """Draw what the chosen output sees: of a sequence above one another along one axis, of a grid as a map."""
    return _along_a_line(block) if len(block.sizes) == 1 else _on_a_grid(block)


def _bound(block: ContextMaps, axis: int) -> Spec:
    """Return the slider that chooses a place along an axis."""
    places = sorted({place[axis] for place in block.positions})
    step = places[1] - places[0] if len(places) > 1 else 1
    return {
        "input": "range",
        "min": places[0],
        "max": places[-1],
        "step": step,
        "name": f"output {block.axes[axis]} = ",
    }


def _chosen(block: ContextMaps) -> Spec:
    """Return the choice of an output, by a click or by sliders."""
    fields = [f"at{axis}" for axis in range(len(block.axes))]
    first = dict(zip(fields, block.positions[block.chosen], strict=True))
    select = {
        "type": "point",
        "fields": fields[::-1],  # whose sliders stand in the opposite order
        "on": "click",
        "clear": False,
        "toggle": False,
        "nearest": len(fields) > 1,
    }
    bound = {field: _bound(block, axis) for axis, field in enumerate(fields)}
    return {"name": "at", "select": select, "value": [first], "bind": bound}


def _along_a_line(block: ContextMaps) -> Spec:
    """Draw a line for the outputs and one for each input, of whatever length, along the outputs' axis."""
    outputs = f"output {block.axes[0]}"
    lanes = [*(maps.name for maps in block.inputs), outputs]
    places, fill = _lanes(block, lanes), _fill(block.legend)
    ground = [{"x": 0, "x2": block.sizes[0], "lane": maps.name, "is": block.legend[0][1]} for maps in block.inputs]
    chosen = {"condition": {"param": "at", "value": "url(#here)"}, "value": "var(--empty)"}
    pick = {"type": "rect", "cursor": "pointer", "stroke": "var(--soft)", "strokeWidth": 0.5}
    layers: list[Spec] = [
        {"data": {"values": ground}, "mark": _CELL, "encoding": {**places, "fill": fill}},
        {
            "data": {"values": _seen_along(block)},
            "transform": [{"filter": {"param": "at"}}],
            "mark": _CELL,
            "encoding": {**places, "fill": fill, "tooltip": _IS},
        },
        {
            "data": {"values": _picks(block, outputs)},
            "params": [_chosen(block)],
            "mark": pick,
            "encoding": {**places, "fill": chosen},
        },
    ]
    return chart(layers, describe=block.caption, height=34 * len(lanes))


def _lanes(block: ContextMaps, lanes: list[str]) -> Spec:
    """Encode a stretch of a lane."""
    x = {"scale": {"domain": [0, block.sizes[0]], "nice": False}, "axis": {"grid": False, "tickMinStep": 1}}
    y = {
        "sort": lanes,
        "scale": {"domain": lanes, "paddingInner": 0.35, "paddingOuter": 0.1},
        "axis": {"domain": False, "ticks": False, "labelLimit": 130},
    }
    return {
        "x": {"field": "x", "type": "quantitative", "title": block.axes[0], **x},
        "x2": {"field": "x2"},
        "y": {"field": "lane", "type": "nominal", "title": None, **y},
    }


def _picks(block: ContextMaps, lane: str) -> list[Spec]:
    """Return a stretch around each output that can be chosen, up to its neighbours'."""
    half, size = _bound(block, 0)["step"] / 2, block.sizes[0]
    return [
        {"at0": place, "x": max(0.0, place + 0.5 - half), "x2": min(size, place + 0.5 + half), "lane": lane}
        for (place,) in block.positions
    ]


def _seen_along(block: ContextMaps) -> list[Spec]:
    """Return what each output sees; an input of another length is stretched to the outputs'."""
    rows = []
    for maps in block.inputs:
        stretch = block.sizes[0] / maps.cells.shape[-1]
        for (place,), line in zip(block.positions, _lines(maps), strict=True):
            rows += [
                {
                    "at0": place,
                    "x": start * stretch,
                    "x2": stop * stretch,
                    "lane": maps.name,
                    "is": block.legend[value][1],
                }
                for _, start, stop, value in runs(line[None])
                if value
            ]
    return rows


def _lines(maps: InputMaps) -> NDArray[np.int64]:
    """Return the maps along their last axis: of several places what counts most, which is the largest value."""
    lines: NDArray[np.int64] = maps.cells.reshape(len(maps.cells), -1, maps.cells.shape[-1]).max(axis=1)
    return lines


def _on_a_grid(block: ContextMaps) -> Spec:
    """Draw the first input's map, with a mark at each output that can be chosen."""
    maps, (rows, columns) = block.inputs[0], block.sizes
    seen = [
        {"at0": r, "at1": c, "x": start, "x2": stop, "y": row, "y2": row + 1, "is": block.legend[value][1]}
        for (r, c), cells in zip(block.positions, maps.cells, strict=True)
        for row, start, stop, value in runs(cells)
    ]
    picks = [{"at0": r, "at1": c, "x": c + 0.5, "y": r + 0.5} for r, c in block.positions]
    corners = _corners(rows, columns)
    middle = {name: corners[name] for name in "xy"}
    here = {"condition": {"param": "at", "value": "var(--here)"}, "value": "transparent"}
    layers: list[Spec] = [
        {"data": {"values": seen}, "transform": [{"filter": {"param": "at"}}], "mark": _CELL,
         "encoding": {**corners, "fill": _fill(block.legend), "tooltip": _IS}},
        {"data": {"values": picks}, "params": [_chosen(block)],
         "mark": {"type": "point", "cursor": "pointer", "stroke": "var(--here)", "strokeWidth": 1.2},
         "encoding": {**middle, "fill": here, "size": {"condition": {"param": "at", "value": 90}, "value": 12}}},
    ]  # fmt: skip
    return chart(layers, describe=block.caption, **_sizes(rows, columns))
