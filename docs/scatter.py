"""Pictures of a trial's models: the score or the loss along a verdict, as SVG that a text editor can read."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, LEFT, TOP, BOTTOM, BETWEEN = 300, 280, 52, 44, 46, 56
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Of Okabe and Ito, Color universal design (2008): told apart by all eyes."""


@dataclass(frozen=True)
class Dot:
    """A model: where it stands, its standard error, the group that gives its colour, and if it is large."""

    x: float
    y: float
    error: float
    group: str
    large: bool
    title: str


@dataclass(frozen=True)
class Axis:
    """Where a number stands, from 0 to 1, and which numbers are named, in their order."""

    place: Callable[[float], float]
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Panel:
    """Models along one verdict: what stands below, what is shown, and the axes across and up."""

    label: str
    result: str
    dots: tuple[Dot, ...]
    across: Axis
    up: Axis


def signed(values: Sequence[float]) -> Axis:
    """Return an axis for logs of growth: by log(1 + |x|) to either side of zero."""
    marks = (0.0, 1.0, 3.0, 10.0, 30.0, 100.0)

    def along(x: float) -> float:
        return math.copysign(math.log1p(abs(x)), x)

    low, high = min(0.0, *map(along, values)) - 0.2, max(0.0, *map(along, values)) + 0.2
    ticks = [sign * mark for mark in marks for sign in (1, -1) if low <= along(sign * mark) <= high]
    named = tuple((t, f"{t:g}".replace("-", "−")) for t in sorted({*ticks}))
    return Axis(lambda x: (along(x) - low) / (high - low), named)


QUARTERS = tuple((share, f"{share:.0%}") for share in (0.0, 0.25, 0.5, 0.75, 1.0))
SHARES, INSET = Axis(lambda x: x, QUARTERS), Axis(lambda x: 0.04 + 0.92 * x, QUARTERS)
"""Axes from nothing to all, with and without room for what lies at an end."""


def linear(values: Sequence[float]) -> Axis:
    """Return an axis from zero to a round number above all values."""
    most = max(values)
    size = 10.0 ** math.floor(math.log10(most))
    step = next(step * size for step in (0.1, 0.2, 0.25, 0.5, 1.0, 2.0, 2.5) if most <= 5 * step * size)
    number = math.ceil(most / step)
    return Axis(lambda x: x / (number * step), tuple((n * step, f"{n * step:.4g}") for n in range(number + 1)))


def picture(title: str, panels: Sequence[Panel], small: str, large: str) -> str:
    """Return panels side by side, with a legend below; `small` and `large` say what the two sizes stand for."""
    groups = list(dict.fromkeys(dot.group for panel in panels for dot in panel.dots))
    width, height = LEFT + len(panels) * (WIDTH + BETWEEN), TOP + HEIGHT + BOTTOM + 26
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="sans-serif" font-size="12" role="img" aria-label="{escape(title)}">',
        f'<rect width="{width}" height="{height}" rx="6" fill="#ffffff"/>',
    ]
    for place, panel in enumerate(panels):
        parts += _panel(panel, LEFT + place * (WIDTH + BETWEEN), groups)
    x, y = LEFT, height - 12
    for group, color in zip(groups, COLORS[: len(groups)], strict=True):
        parts.append(f'<circle cx="{x + 5}" cy="{y - 4}" r="5" fill="{color}"/>')
        parts.append(f'<text x="{x + 14}" y="{y}" fill="#333333">{escape(group)}</text>')
        x += 26 + round(6.5 * len(group))
    if small != large:
        said = f"open: {escape(small)}, filled: {escape(large)}"
        parts.append(f'<text x="{width - 22}" y="16" text-anchor="end" fill="#333333">{said}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(panel: Panel, left: float, groups: list[str]) -> list[str]:
    """Draw axes, and each model with its error."""

    def across(x: float) -> float:
        return left + WIDTH * panel.across.place(x)

    def up(y: float) -> float:
        return TOP + HEIGHT * (1 - min(max(panel.up.place(y), 0.0), 1.0))

    lines = [
        f'<text x="{left}" y="{TOP - 12}" fill="#333333">{escape(panel.result)}</text>',
        f'<path d="M{left} {TOP}V{TOP + HEIGHT}H{left + WIDTH}" fill="none" stroke="#777777"/>',
    ]
    for y, name in panel.up.ticks:
        lines.append(f'<path d="M{left} {up(y):.1f}h{WIDTH}" stroke="#e4e4e4"/>')
        lines.append(f'<text x="{left - 6}" y="{up(y) + 4:.1f}" text-anchor="end" fill="#555555">{name}</text>')
    for x, name in panel.across.ticks:
        lines.append(f'<path d="M{across(x):.1f} {TOP + HEIGHT}v4" stroke="#777777"/>')
        lines.append(
            f'<text x="{across(x):.1f}" y="{TOP + HEIGHT + 17}" text-anchor="middle" fill="#555555">{name}</text>'
        )
    at = f'x="{left + WIDTH / 2:.0f}" y="{TOP + HEIGHT + 34}" text-anchor="middle"'
    lines.append(f'<text {at} fill="#333333">{escape(panel.label)}</text>')
    for dot in panel.dots:
        color, x = COLORS[groups.index(dot.group)], across(dot.x)
        if math.isfinite(dot.error):
            ends = f"M{x:.1f} {up(dot.y - dot.error):.1f}V{up(dot.y + dot.error):.1f}"
            lines.append(f'<path d="{ends}" stroke="{color}"/>')
        fill = color if dot.large else "#ffffff"
        lines.append(
            f'<circle cx="{x:.1f}" cy="{up(dot.y):.1f}" r="5" fill="{fill}" stroke="{color}" stroke-width="2">'
            f"<title>{escape(dot.title)}</title></circle>"
        )
    return lines
