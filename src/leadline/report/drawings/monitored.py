"""Gradients in the course of a training, as its monitor recorded them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from leadline.document import Curve
from leadline.report.drawings.curves import metrics
from leadline.training import Run

_MOST = 6
"""So many stages have a colour of their own; of more, equally spaced ones are drawn."""
_NORM, _RATE, _LOST, _REACH = "gradient/norm/", "gradient/rate", "gradient/underflow/", "reach/"

Lines = Sequence[Mapping[str, float | bool | None]]


def monitor_curves(run: Run) -> tuple[Curve, ...]:
    """Draw norms by stage, the rate, what formats lose, and how far back the gradient reaches, over a run's steps.

    Nothing where none were recorded.

    Raises `CheckpointError` if `metrics.jsonl` is damaged.
    """
    lines = [line for line in metrics(run.path / "metrics.jsonl") if any(key.startswith(_NORM) for key in line)]
    if len(lines) < 2:
        return ()
    steps = tuple(_number(line.get("step")) for line in lines)
    norms = spread([key for key in lines[0] if key.startswith(_NORM)])
    shown = (
        _curve(steps, lines, norms, _NORM, "gradient norm", "Norm of the loss's gradient where stages begin"),
        _curve(steps, lines, [_RATE], "gradient/", "log rate a stage", "Log rate of the gradient norm a stage"),
        _curve(steps, lines, _losing(lines), _LOST, "share", "Share of the gradient's values that are rounded to zero"),
        _reaching(lines),
    )
    return tuple(curve for curve in shown if curve is not None)


def _reaching(lines: Lines) -> Curve | None:
    """Draw within how many positions most of the squared gradient lies, at the steps at which that was measured."""
    measured = [line for line in lines if any(key.startswith(_REACH) for key in line)]
    if len(measured) < 2:
        return None
    keys = list(dict.fromkeys(key for line in measured for key in line if key.startswith(_REACH)))
    steps = tuple(_number(line.get("step")) for line in measured)
    caption = "How far back the gradient reaches: positions within which a share of its square lies"
    return _curve(steps, measured, keys, _REACH, "positions", caption)


def spread(keys: Sequence[str]) -> list[str]:
    """Return at most so many keys, equally spaced, the first and the last among them.

    Examples
    --------
    >>> spread("abcdefghijk")
    ['a', 'c', 'e', 'g', 'i', 'k']
    """
    if len(keys) <= _MOST:
        return list(keys)
    return [keys[round(place * (len(keys) - 1) / (_MOST - 1))] for place in range(_MOST)]


def _losing(lines: Lines) -> list[str]:
    keys = [key for key in lines[0] if key.startswith(_LOST)]
    return [key for key in keys if any(line.get(key) for line in lines)]


def _curve(
    steps: tuple[float, ...], lines: Lines, keys: Sequence[str], prefix: str, label: str, caption: str
) -> Curve | None:
    series = tuple((key.removeprefix(prefix), tuple(_number(line.get(key)) for line in lines)) for key in keys)
    drawn = [value for _, values in series for value in values if math.isfinite(value)]
    if not drawn:
        return None
    return Curve(steps, series, "step", label, caption, log_y=prefix == _NORM and min(drawn) > 0)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
