"""Sweeps over two settings as heat maps, one for each measure, with the lines of theory and of what was measured."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from leadline.document import Curve, HeatMap
from leadline.report.swept.curves import critical_line, numeric, settings_at, sweep_curves
from leadline.sweeps.grid import Value
from leadline.sweeps.swept import Swept, number_of
from leadline.sweeps.theory import Theory, theory_of

_FEWEST = 3
"""With fewer values of a setting than these, curves show more."""
_STEEP = 100.0
_POINTS = 33
"""So many points theory's line has."""

Line = tuple[str, tuple[tuple[float, float], ...]]


def sweep_pictures(swept: Swept) -> tuple[Curve | HeatMap, ...]:
    """Draw every measure that is a number: over two settings of several numbers each as a heat map, else as curves."""
    names = numeric(swept)
    if len(swept.varied) != 2 or len(names) != 2 or min(len(swept.settings[name]) for name in names) < _FEWEST:
        return sweep_curves(swept)
    return tuple(drawn for measure in swept.measures if (drawn := _heat_map(swept, names, measure)) is not None)


def _heat_map(swept: Swept, names: list[str], measure: str) -> HeatMap | None:
    """Draw a measure; along x goes the setting of which theory knows a line, else that of the most values."""
    known = {name: theory_of(swept.model, name, measure) for name in names}
    across = next((name for name in names if (found := known[name]) is not None and found.zero is not None), names[0])
    (up,) = (name for name in names if name != across)
    columns, rows = (dict(sorted((number_of(v), v) for v in swept.settings[name])) for name in (across, up))
    values = np.array([[_mean(swept, measure, {across: x, up: y}) for x in columns.values()] for y in rows.values()])
    if not np.isfinite(values).any():
        return None
    theory = known[across]
    lines = [_theory(swept, theory, up, tuple(rows)), _measured(swept, measure, across, up, rows)] if theory else []
    said = f". {theory.name}: {theory.source}. {critical_line(swept)}" if theory else ""
    low, high = np.nanmin(values), np.nanmax(values)
    seeds = "one seed" if swept.seeds == 1 else f"means over {swept.seeds} seeds"
    return HeatMap(
        tuple(columns), tuple(rows), values, across, up, measure, f"{measure} over {across} and {up}: {seeds}{said}",
        lines=tuple(line for line in lines if len(line[1]) > 1), log=bool(low > 0 and high > _STEEP * low),
    )  # fmt: skip


def _mean(swept: Swept, measure: str, at: dict[str, Value]) -> float:
    found = swept.mean(measure, **at)
    return math.nan if found is None else found.value


def _theory(swept: Swept, theory: Theory, up: str, rows: tuple[float, ...]) -> Line:
    """Return where theory has the measure pass zero, at heights between the lowest row and the highest."""
    at, points = settings_at(swept, swept.model, {}), []
    for y in np.linspace(rows[0], rows[-1], _POINTS).tolist():
        x = None if theory.zero is None else theory.zero({**at, up: y})
        points += [] if x is None else [(x, y)]
    return theory.name, tuple(points)


def _measured(swept: Swept, measure: str, across: str, up: str, rows: dict[float, Value]) -> Line:
    """Return where the measure was found to pass zero."""
    points = []
    for y, value in rows.items():
        fixed: dict[str, Any] = {up: value}
        place = swept.crossing(across, measure, **fixed)
        points += [] if place is None else [(place.value, y)]
    return "measured", tuple(points)
