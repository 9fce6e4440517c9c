"""What a sweep found, as one frozen table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from leadline.errors import UsageError, near_misses
from leadline.results import Estimate, Result
from leadline.sweeps.grid import Value
from leadline.sweeps.table import Rows


@dataclass(frozen=True)
class Swept(Result):
    """What a sweep found: a row for each cell, with its settings, its `seed`, its measures and its `error`.

    Attributes
    ----------
    model
        The model, as it was named; of several their names, with commas between them.
    settings
        The values that each setting took; of several models `model` is the first one.
    seeds
        How many seeds; they are counted from 0 on.
    measures
        The names of the measures, which are columns.
    rows
        A mapping from column to value for each cell; the `error` is None where the cell was measured, and the measures
        are where it was not.
    made_with
        Versions that the numbers rest on.
    """

    model: str
    settings: Mapping[str, tuple[Value, ...]]
    seeds: int
    measures: tuple[str, ...]
    rows: Rows
    made_with: str

    @property
    def failed(self) -> int:
        """How many cells have an error, or were not reached."""
        return sum(row.get("error") is not None for row in self.rows)

    @property
    def models(self) -> tuple[str, ...]:
        """The names of the models."""
        return tuple(self.model.split(","))

    @property
    def varied(self) -> tuple[str, ...]:
        """The settings of several values."""
        return tuple(name for name, values in self.settings.items() if len(values) > 1)

    def where(self, **fixed: Value) -> Rows:
        """Return the rows of some settings."""
        for name in fixed:
            if name not in (*self.settings, "seed"):
                raise UsageError(f"this sweep has no setting {name!r}; {near_misses(name, self.settings)}")
        return tuple(row for row in self.rows if all(row[name] == value for name, value in fixed.items()))

    def mean(self, measure: str, **fixed: Value) -> Estimate | None:
        """Return the mean of a measure over the seeds of one combination of settings; None where none was measured."""
        values = [number_of(row[measure]) for row in self.where(**fixed)]
        known = [value for value in values if math.isfinite(value)]
        return Estimate.of(known) if known else None

    def crossing(self, along: str, measure: str, level: float = 0.0, **fixed: Value) -> Estimate | None:
        """Return where a measure first passes a level as a setting grows, other settings fixed: the mean over seeds.

        Between two values a straight line is drawn. None where it passes at no seed.
        """
        found = []
        for seed in range(self.seeds):
            rows = self.where(seed=seed, **fixed)
            points = sorted((number_of(row[along]), number_of(row[measure]) - level) for row in rows)
            place = _first_zero([point for point in points if math.isfinite(point[1])])
            found += [] if place is None else [place]
        return Estimate.of(found) if found else None

    def __str__(self) -> str:
        failed = f", {self.failed} failed" if self.failed else ""
        grid = " × ".join(f"{len(values)} of {name}" for name, values in self.settings.items() if len(values) > 1)
        seeds = f"{self.seeds} seed{'s' if self.seeds > 1 else ''}"
        return f"{self.model}: {len(self.rows)} cells ({' × '.join(filter(None, (grid, seeds)))}){failed}"


def number_of(value: Any) -> float:
    """Return a value as a number; NaN if it is none."""
    return float(value) if isinstance(value, int | float) else math.nan


def _first_zero(points: list[tuple[float, float]]) -> float | None:
    for (x, y), (after, beyond) in pairwise(points):
        if y == 0:
            return x
        if y * beyond < 0:
            return x + (after - x) * y / (y - beyond)
    return points[-1][0] if points and points[-1][1] == 0 else None
