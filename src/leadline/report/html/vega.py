"""Vega-Lite, which draws the charts of a page and lets their readers choose: its scripts, and what all charts share."""

from __future__ import annotations

import json
from functools import cache
from typing import Any, TypeAlias

from leadline.errors import needing

Spec: TypeAlias = dict[str, Any]

SERIES = tuple(f"var(--series-{index})" for index in range(1, 7))
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [4, 4], [1, 3])
"""Series differ by dashes too, never by colour alone."""


@cache
def scripts() -> str:
    """Return Vega, Vega-Lite and vega-embed as one script; raises `UsageError` if vl-convert is not installed.

    The styles that vega-embed adds come with it; nothing is fetched.
    """
    with needing("report", "drawing pages"):
        import vl_convert
    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return bundle.replace("</script", "<\\/script")


def in_script(value: Any) -> str:
    r"""Return a value as JSON that nothing ends when it stands within a script element.

    Examples
    --------
    >>> in_script({"name": "</script>"})
    '{"name":"\\u003c/script>"}'
    """
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")


def chart(
    layers: list[Spec], *, describe: str, height: int | Spec, width: int | str = "container", **more: Any
) -> Spec:
    """Return a chart of several layers, as wide as the page allows if no width is given."""
    fit = {"autosize": {"type": "fit-x", "contains": "padding"}} if width == "container" else {}
    return {
        "description": describe,
        "width": width,
        "height": height,
        **fit,
        "layer": layers,
        "config": _CONFIG,
        **more,
    }


def numbers(values: list[Spec]) -> Spec:
    """Return rows as data of a chart."""
    return {"values": values}


_TEXT = {"labelColor": "var(--ink)", "titleColor": "var(--soft)", "titleFontWeight": "normal"}
_CONFIG: Spec = {
    "background": None,
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        **_TEXT,
        "gridColor": "var(--line)",
        "domainColor": "var(--soft)",
        "tickColor": "var(--soft)",
        "labelFontSize": 12,
        "titleFontSize": 12,
    },
    "legend": {
        **_TEXT,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "symbolStrokeWidth": 2,
        "labelLimit": 300,
        "layout": {"bottom": {"direction": "vertical"}},  # side by side they are cut where a page is narrow
    },
    "text": {"color": "var(--ink)", "fontSize": 12},
    "rect": {"aria": False},
    "point": {"aria": False},
    "line": {"aria": False},
    "area": {"aria": False},
    "rule": {"aria": False},
}
