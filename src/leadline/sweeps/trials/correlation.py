"""Spearman's rank correlation, and its interval over what seeds say."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leadline.results import Estimate

_RESAMPLES = 2000


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rank correlation of `n` points, and the 95 % interval that resampling the seeds of each gives.

    Examples
    --------
    >>> print(RankCorrelation(1.0, 0.8, 1.0, 4))
    1.00 (0.80 to 1.00, 4 points)
    """

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f}, {self.n} points)"


def ranks(values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rank of each value along the last axis, from 1 on; equal ones share the mean of their ranks.

    Examples
    --------
    >>> ranks([10.0, 30.0, 20.0, 30.0]).tolist()
    [1.0, 3.5, 2.0, 3.5]
    """
    x = np.asarray(values, dtype=float)
    below, alike = x[..., None] > x[..., None, :], x[..., None] == x[..., None, :]
    found: NDArray[np.float64] = below.sum(-1) + (alike.sum(-1) + 1) / 2
    return found


def spearman(a: Sequence[float] | NDArray[np.float64], b: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the correlation of ranks along the last axis; NaN where either side is the same everywhere.

    Source: Spearman, The proof and measurement of association between two things (1904).

    Examples
    --------
    >>> float(spearman([1, 2, 3], [10, 100, 1000])), float(spearman([1, 2, 3], [3, 2, 1]))
    (1.0, -1.0)
    """
    x, y = (each - each.mean(-1, keepdims=True) for each in (ranks(a), ranks(b)))
    scale = np.sqrt((x * x).sum(-1) * (y * y).sum(-1))
    found: NDArray[np.float64] = np.round((x * y).sum(-1) / np.where(scale > 0, scale, np.nan), 12)
    return found


def correlated(a: Sequence[Sequence[float]], b: Sequence[Sequence[float]], seed: int = 0) -> RankCorrelation:
    """Correlate the means of points, each of which has a value for each seed on both sides.

    The interval is the bootstrap's: of each point its seeds are drawn again, with both of their values.
    """
    x, y = ([np.asarray(each, dtype=float) for each in side] for side in (a, b))
    if len(x) < 2:
        return RankCorrelation(math.nan, math.nan, math.nan, len(x))
    drawn = np.random.default_rng(seed)
    chosen = [drawn.integers(len(each), size=(_RESAMPLES, len(each))) for each in x]
    again = [np.stack([each[c].mean(-1) for each, c in zip(side, chosen, strict=True)], -1) for side in (x, y)]
    found = spearman(*again)
    value = float(spearman([each.mean() for each in x], [each.mean() for each in y]))
    low, high = np.nanquantile(found, (0.025, 0.975)) if np.isfinite(found).any() else (math.nan, math.nan)
    return RankCorrelation(value, float(low), float(high), len(x))


@dataclass(frozen=True)
class Agreement:
    """Of the pairs that both sides surely tell apart, how many they order alike, and which they do not.

    `unsure` counts the pairs that one side at least does not tell apart. In `against` the first of a pair is the one
    that the first side puts higher.

    Examples
    --------
    >>> print(Agreement(7, ((0, 3),), 2))
    7 of 8 pairs alike, 2 not told apart
    """

    alike: int
    against: tuple[tuple[int, int], ...]
    unsure: int

    def __str__(self) -> str:
        told = self.alike + len(self.against)
        return f"{self.alike} of {told} pairs alike, {self.unsure} not told apart"


def agreement(a: Sequence[Sequence[float]], b: Sequence[Sequence[float]], places: Sequence[int]) -> Agreement:
    """Compare the order of every pair of points, each of which has a value for each seed on both sides.

    A side tells two points apart if the 95 % interval of their difference, of either's means by Student's t, does not
    hold zero. `places` are what the points are called.
    """
    alike, against, unsure = 0, list[tuple[int, int]](), 0
    for i, j in itertools.combinations(range(len(places)), 2):
        first, second = _order(a[i], a[j]), _order(b[i], b[j])
        if not first * second:
            unsure += 1
        elif first == second:
            alike += 1
        else:
            against.append((places[i], places[j]) if first > 0 else (places[j], places[i]))
    return Agreement(alike, tuple(against), unsure)


def _order(x: Sequence[float], y: Sequence[float]) -> int:
    """Return 1 or -1 where the mean of x surely lies above or below that of y, and 0 where that is not sure."""
    one, other = Estimate.of(list(x)), Estimate.of(list(y))
    half = math.hypot(one.half_width(), other.half_width())
    away = one.value - other.value
    return int(math.copysign(1, away)) if abs(away) > half else 0
