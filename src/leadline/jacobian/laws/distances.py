"""How a gradient fades over distance: its size by offset, and the law: exponential, power, Gaussian, or none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from leadline.jacobian.laws.growth import FORMATS, GrowthLaw, fit_law, format_depths, trimmed
from leadline.jacobian.laws.series import mean_of_series

DistanceKind = Literal["flat", "exponential", "power", "gaussian", "unknown"]
_LEAST = 4
"""Fewer distances tell no law."""


@dataclass(frozen=True)
class DistanceLaw:
    """How the size of a gradient depends on distance d: as ``exp(p d)``, as ``d^p``, as ``exp(-½ (d / p)²)``, or not.

    `parameter` is p, and `interval` holds it with 95 % confidence. ``"unknown"`` where there are too few distances
    to tell: then the parameter is NaN. For a flat law it is 0.
    """

    kind: DistanceKind
    parameter: float
    interval: tuple[float, float]

    @property
    def half_life(self) -> float | None:
        """The distance over which the gradient halves; None where it never does, or at no fixed distance."""
        if self.kind == "exponential" and self.parameter < 0:
            return math.log(2) / -self.parameter
        return self.parameter * math.sqrt(2 * math.log(2)) if self.kind == "gaussian" else None

    @property
    def sure(self) -> bool:
        """Whether the gradient surely fades with distance, or surely grows, or does neither."""
        low, high = self.interval
        return self.kind == "flat" or (self.kind != "unknown" and (self.kind == "gaussian" or not low <= 0 <= high))

    @property
    def growth(self) -> GrowthLaw | None:
        """The same as a law of growth over depth, for what lies beyond the distances at hand; None if none is sure."""
        if not self.sure:
            return None
        if self.kind == "exponential" or self.kind == "power":
            return GrowthLaw(self.kind, self.parameter, self.interval, {})
        return GrowthLaw("stable", 0.0, self.interval, {}) if self.kind == "flat" else None

    def in_words(self, unit: str = "positions") -> str:
        """Say what the gradient does with distance, in so many `unit`; nothing where that is not sure.

        Examples
        --------
        >>> DistanceLaw("exponential", -0.25, (-0.3, -0.2)).in_words()
        'it halves every 2.77 positions'
        """
        if not self.sure:
            return ""
        match self.kind:
            case "exponential":
                every = self.half_life
                return "it grows with distance" if every is None else f"it halves every {every:.3g} {unit}"
            case "power":
                return f"it changes as distance to the power {self.parameter:.2g}"
            case "gaussian":
                return f"it fades like a bell of spread {self.parameter:.3g}"
        return "it does not fade"

    def __str__(self) -> str:
        if self.kind in ("flat", "unknown"):
            return self.kind
        low, high = self.interval
        meanings = {"exponential": "per step, in the exponent", "power": "as the power of distance"}
        meaning = meanings.get(self.kind, "the spread")
        return f"{self.kind} ({self.parameter:.4g} {meaning}, 95 % in [{low:.4g}, {high:.4g}])"


def by_offset(
    places: Sequence[tuple[int, ...]], maps: Sequence[tuple[Float[Tensor, "..."], Float[Tensor, "..."]]]
) -> tuple[Int[Tensor, "offsets axes"], Float[Tensor, " offsets"], Float[Tensor, " offsets"]]:
    """Average maps of mean squares, each around a place of its own, by the offset from it.

    The maps come with the squared errors of their entries. Returns the offsets ``place - position``, the roots of the
    means, and their standard errors.

    Examples
    --------
    >>> square = torch.tensor([1.0, 4.0, 9.0])
    >>> offsets, rms, _ = by_offset([(2,), (1,)], [(square, 0 * square), (square, 0 * square)])
    >>> offsets.flatten().tolist(), [round(r**2, 6) for r in rms.tolist()]  # offset 0: (9 + 4) / 2
    ([-1, 0, 1, 2], [9.0, 6.5, 2.5, 1.0])
    """
    size = torch.tensor(maps[0][0].shape)
    at = torch.tensor(places)
    least, span = at.min(0).values - (size - 1), at.max(0).values - at.min(0).values + size
    sums, errors, counts = (torch.zeros(span.tolist(), dtype=torch.float64) for _ in range(3))
    for place, (squares, error) in zip(at, maps, strict=True):
        window = tuple(slice(int(a), int(a + n)) for a, n in zip(place - (size - 1) - least, size, strict=True))
        every = list(range(squares.ndim))
        sums[window] += squares.flip(every)
        errors[window] += error.flip(every)
        counts[window] += 1
    covered = counts > 0
    rms = (sums[covered] / counts[covered]).sqrt()
    error = errors[covered].sqrt() / counts[covered]
    sem = torch.where(rms > 0, error / (2 * rms).clamp_min(torch.finfo(torch.float64).tiny), 0.0)
    return covered.nonzero() + least, rms, sem


def by_distance(offsets: Int[Tensor, "offsets axes"], rms: Float[Tensor, " offsets"]) -> Float[Tensor, " distances"]:
    """Return the root of the summed squares at each distance 0, 1, …: steps along the grid, in any direction."""
    distance = offsets.abs().sum(1)
    return rms.new_zeros(int(distance.max()) + 1).index_add(0, distance, rms**2).sqrt()


def fading(
    offsets: Int[Tensor, "offsets axes"],
    rms: Float[Tensor, " offsets"],
    dtype: torch.dtype,
    structural: Bool[Tensor, " offsets"] | None,
) -> tuple[DistanceLaw, dict[str, int | None]]:
    """Return the law of a gradient's size over distance, and where number formats lose a gradient of size 1.

    `structural` says which offsets the outputs see, if that is known. Distances at which they see nothing, as those
    that dilations leave out, have no size: the law is that of the others, and none goes on beyond the last of them. A
    size of 0 at a distance that is seen is a gradient that was lost.
    """
    size = by_distance(offsets, rms)
    seen = size > 0 if structural is None else by_distance(offsets, structural.to(rms)) > 0
    at = 1 + seen[1:].nonzero().flatten()
    alive = size[at] > torch.finfo(dtype).smallest_normal
    end = len(at) if bool(alive.all()) else int(alive.int().argmin())
    logs, places = size[at[:end]].log().numpy(), at[:end].double().numpy()
    law = distance_law(logs, 8 * torch.finfo(dtype).eps, places)
    ends = structural is not None and end == len(at) and (not end or int(at[-1]) < len(size) - 1)
    lost = format_depths(None if ends else law.growth, logs, at=places)
    return law, {**(dict.fromkeys(FORMATS) if ends else {}), **lost}


def distance_law(logs: NDArray[np.float64], resolution: float, at: NDArray[np.float64] | None = None) -> DistanceLaw:
    """Choose the law of the log of a gradient's size at some distances, by the Bayesian information criterion.

    The distances are 1, 2, … where they are not given. Both ends, a tenth each, are left out: what is near the output
    has not settled, and what is far is cut by borders.

    Examples
    --------
    >>> d = np.arange(1.0, 40.0)
    >>> print(distance_law(-0.25 * d, 1e-12))
    exponential (-0.25 per step, in the exponent, 95 % in [-0.25, -0.25])
    >>> print(distance_law(-0.5 * (d / 7) ** 2, 1e-12))
    gaussian (7 the spread, 95 % in [7, 7])
    """
    if len(logs) < _LEAST:
        return DistanceLaw("unknown", math.nan, (-math.inf, math.inf))
    ends = np.arange(1.0, len(logs) + 1) if at is None else at
    window = trimmed(len(logs) - 1)
    growth, ends = np.diff(logs)[window], ends[window.start : window.stop + 1]
    law = fit_law(growth, ends=ends, resolution=resolution)
    shapes = {"exponential": np.diff(ends), "power": np.diff(np.log(ends)), "stable": 0 * growth}
    others = law.parameter * shapes[law.kind]
    place = np.diff(ends**2) / 2  # what the exponent of a bell grows by, in units of its curvature
    curvature = float(place @ growth) / float(place @ place)
    if curvature < 0 and _squares(growth - curvature * place) + resolution**2 < _squares(growth - others):
        return _gaussian(growth, place, curvature, resolution)
    return DistanceLaw("flat" if law.kind == "stable" else law.kind, law.parameter, law.interval)


def _squares(residuals: NDArray[np.float64]) -> float:
    return float(residuals @ residuals)


def _gaussian(
    growth: NDArray[np.float64], place: NDArray[np.float64], curvature: float, resolution: float
) -> DistanceLaw:
    """Return the law whose log grows by ``curvature · place`` from one distance to the next."""
    told = mean_of_series((growth - curvature * place) * place, resolution=resolution)
    error = told.sem / float(np.mean(place**2)) * float(scipy.special.stdtrit(told.dof, 0.975))
    low, high = (max(-curvature + side * error, 0.0) for side in (-1, 1))
    interval = high**-0.5, low**-0.5 if low else math.inf
    return DistanceLaw("gaussian", (-curvature) ** -0.5, interval)
