"""What a gradient does on its way back, in one word and in a sentence: from the law of growth and from end to end.

The law is fitted to the inner stages; the path is what was measured through all of them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from leadline.jacobian.laws.growth import GrowthLaw
from leadline.results import Estimate

GradientKind = Literal["vanishing", "exploding", "stable", "turning", "unknown"]

SLOW, LITTLE = 0.01, math.log(2)
"""A rate below one per cent a stage is called stable while the stages at hand change less than by a factor of two."""

SMALL = 0.1
"""Powers of depth that change the gradient by less than a tenth over the whole model are called stable too."""

UNDECIDED = 0.1
"""A rate that may, with 95 % confidence, be as large as ten per cent a stage either way is not called stable."""

MUCH = math.log(100)
"""A factor of a hundred from end to end is no longer stable, whatever the law."""


@dataclass(frozen=True)
class Path:
    """The log of the gradient norm through all stages: its growth through each of `names`, from the input on."""

    names: Sequence[str]
    growth: NDArray[np.float64]

    @property
    def total(self) -> float:
        """Growth from the output to the input."""
        return float(self.growth.sum())

    @property
    def back(self) -> NDArray[np.float64]:
        """Growth from the output to the beginning of the last stage, of the one before it, and so on."""
        return np.cumsum(self.growth[::-1])

    @property
    def turn(self) -> float:
        """How far the norm goes beyond both of its ends: positive above them, negative beneath."""
        above = max(0.0, float(self.back.max())) - max(0.0, self.total)
        below = min(0.0, float(self.back.min())) - min(0.0, self.total)
        return above if above > -below else below


def kind_of(law: GrowthLaw, rate: Estimate, path: Path) -> GradientKind:
    """Name what the gradient does: by what happens from end to end where that is much, else by the law.

    Examples
    --------
    >>> from leadline.jacobian.laws.growth import fit_law
    >>> growth = np.log([1e-10] + 11 * [1.0])
    >>> kind_of(fit_law(growth[1:-1]), Estimate.of(growth[1:-1]), Path([str(i) for i in range(12)], growth))
    'vanishing'
    """
    stages, total = len(path.growth), path.total
    if abs(total) >= MUCH:
        return "exploding" if total > 0 else "vanishing"
    if abs(path.turn) >= MUCH:
        return "turning"
    low, high = law.interval
    if math.isinf(high - low):
        return "unknown"
    slow = abs(law.parameter) < SLOW and abs(law.log_gradient(stages)) < LITTLE
    slow = slow if law.kind == "exponential" else abs(law.log_gradient(stages)) < SMALL
    if law.kind != "stable" and not slow and not low <= 0 <= high:
        if law.parameter * total < 0:  # the outer stages give back more than the inner ones take
            return "turning"
        return "exploding" if law.parameter > 0 else "vanishing"
    return "stable" if abs(rate.value) + rate.half_width() < UNDECIDED else "unknown"


def in_words(kind: GradientKind, law: GrowthLaw, rate: Estimate, path: Path, depths: dict[str, int | None]) -> str:
    """Say what happens to the gradient, how fast, where, from end to end, and how deep each format carries it."""
    names, total = path.names, path.total
    if kind == "unknown" and len(names) == 1:
        return f"unknown: one stage, {names[0]!r}, changes the gradient by {math.exp(total):.3g} ×; no law follows"
    per_stage = f"{math.exp(rate.value):.3g} × a stage (log rate {rate})"
    all_stages = f"{_factor(total)} over all {len(names):,} stages"
    if kind == "unknown":
        differ = "the stages differ too much for a law; more of them, or typical inputs, may show one"
        return f"unknown: {differ}; the gradient changes by {per_stage}, {all_stages}"
    if kind == "stable":
        return f"stable: the gradient changes by {per_stage}, {all_stages}"
    limits = ", ".join(f"{name} {depth}" for name, depth in depths.items() if depth is not None)
    lost = f"; lost at depth: {limits}" if limits else ""
    turn = path.turn
    between = f"; on the way it comes to {_factor(_farthest(path))}" if abs(turn) >= MUCH or kind == "turning" else ""
    if kind == "turning":
        return f"turning: the growth changes its sign, {all_stages}{between}{lost}"
    manner = " as a power of depth" if law.kind == "power" else ""
    return (
        f"{kind}{manner}: the gradient changes by {per_stage}, {all_stages}, {_where(kind, rate, path)}{between}{lost}"
    )


def _where(kind: GradientKind, rate: Estimate, path: Path) -> str:
    """Name the stage that does far more than the mean one."""
    signed = path.growth if kind == "exploding" else -path.growth
    worst = int(np.argmax(signed))
    if signed[worst] > 3 * abs(rate.value) and len(path.names) > 2:
        return f"most of all in {path.names[worst]!r} ({math.exp(path.growth[worst]):.3g} ×)"
    return "in all stages alike"


def _farthest(path: Path) -> float:
    """Return the growth to where the norm is farthest beyond its ends."""
    return float(path.back.max() if path.turn > 0 else path.back.min())


def _factor(log: float) -> str:
    """Write a factor given by its logarithm, however large."""
    exponent = log / math.log(10)
    if abs(exponent) < 300:
        return f"{math.exp(log):.3g} ×"
    return f"10^{exponent:.0f} ×"
