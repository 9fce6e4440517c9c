"""What a gradient does on its way back, in one word and in a sentence: from the law of growth and from end to end.

The law is fitted to the inner stages; the path is what was measured through all of them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy
from numpy.typing import NDArray

from leadline.jacobian.laws.growth import GrowthLaw
from leadline.results import Estimate

GradientKind = Literal["vanishing", "exploding", "stable", "turning", "unknown"]

MUCH = math.log(100)
"""A factor of a hundred is no longer stable, whether it comes through the stages at hand or through as many again."""

WILD = math.log(5)
"""Stages whose growth differs by a factor of five from one to the next tell nothing of as many more."""


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


def kind_of(law: GrowthLaw, path: Path, inner: NDArray[np.float64]) -> GradientKind:
    """Name what the gradient does, by what follows: a factor of a hundred at this depth, or at twice it.

    Beyond the stages at hand the law decides, if it is sure; else as many stages again do the same. Where the `inner`
    ones differ wildly, so that as many like them may as well grow as shrink so much, it is not known.

    Examples
    --------
    >>> from leadline.jacobian.laws.growth import fit_law
    >>> growth = np.log([1e-10] + 11 * [1.0])
    >>> kind_of(fit_law(growth[1:-1]), Path([str(i) for i in range(12)], growth), growth[1:-1])
    'vanishing'
    >>> halved = np.full(48, math.log(0.5) / 48)  # 0.5 × over all stages, and 0.25 × over twice as many
    >>> kind_of(fit_law(halved), Path([str(i) for i in range(48)], halved), halved)
    'stable'
    """
    stages, total = len(path.growth), path.total
    if abs(total) >= MUCH:
        return "exploding" if total > 0 else "vanishing"
    if abs(path.turn) >= MUCH:
        return "turning"
    worst = abs(total) + stages * float(np.abs(path.growth).max())
    if not goes_on(law, stages) and worst >= MUCH and _either_way(inner, stages, total):
        return "unknown"
    ahead = total + further(law, stages, total, 2)
    if abs(ahead) < MUCH:
        return "stable"
    if ahead * total < 0:  # the outer stages give back more than the inner ones take
        return "turning"
    return "exploding" if ahead > 0 else "vanishing"


def _either_way(inner: NDArray[np.float64], stages: int, total: float) -> bool:
    """Whether so many wild stages more may take the total to a hundredth as well as to a hundred: 95 % hold both."""
    n = len(inner)
    if n < 2:
        return True
    middle, t = total + stages * float(np.mean(inner)), float(scipy.special.stdtrit(n - 1, 0.975))
    one = float(np.std(inner, ddof=1))
    spread = t * one * math.sqrt(stages + stages**2 / n)
    return one >= WILD and middle - spread <= -MUCH and middle + spread >= MUCH


def further(law: GrowthLaw, stages: int, total: float, times: int) -> float:
    """Return the log of the growth from these stages to so many times as many, by the law, or else by more of the same.

    Examples
    --------
    >>> from leadline.jacobian.laws.growth import fit_law
    >>> further(fit_law(np.array([0.1, 0.9, -0.7])), 3, 0.3, 2)  # no law is sure
    0.3
    """
    return law.further(stages, times) if goes_on(law, stages) else (times - 1) * total


def goes_on(law: GrowthLaw, stages: int) -> bool:
    """Whether a law says what happens beyond the stages at hand: one with a direction, or one that surely has none."""
    if law.kind != "stable":
        return law.directed
    return all(abs(law.further(stages, 2, end)) < MUCH for end in law.interval)


def in_words(
    kind: GradientKind, law: GrowthLaw, rate: Estimate, path: Path, depths: dict[str, int | None], through: int
) -> str:
    """Say what happens to the gradient, how fast, where, from end to end and deeper, and what each format carries.

    `through` is the number of all stages; some of them may be lost.
    """
    names, total = path.names, path.total
    if len(names) == 1:
        return f"{kind}: one stage, {names[0]!r}, changes the gradient by {math.exp(total):.3g} ×; no law follows"
    per_stage = f"{math.exp(rate.value):.3g} × a stage (log rate {rate})"
    all_stages = f"{_factor(total)} over all {len(names):,} stages"
    if kind == "unknown":
        differ = "the stages differ too much for a law; more of them, or typical inputs, may show one"
        return f"unknown: {differ}; the gradient changes by {per_stage}, {all_stages}"
    limits = ", ".join(f"{name} {depth}" for name, depth in depths.items() if depth is not None)
    lost = f"; lost at depth: {limits}" if limits else ""
    deeper = _deeper(law, path) if through == len(names) else ""
    if kind == "stable":
        return f"stable: the gradient changes by {per_stage}, {all_stages}{deeper}{lost}"
    turn = path.turn
    between = f"; on the way it comes to {_factor(_farthest(path))}" if abs(turn) >= MUCH or kind == "turning" else ""
    if kind == "turning":
        return f"turning: the growth changes its sign, {all_stages}{between}{lost}"
    manner = " as a power of depth" if law.kind == "power" and abs(total) < MUCH else ""
    where = _where(kind, rate, path)
    return f"{kind}{manner}: the gradient changes by {per_stage}, {all_stages}, {where}{between}{deeper}{lost}"


def _deeper(law: GrowthLaw, path: Path) -> str:
    """Say what the law makes of twice and ten times as many stages."""
    stages = len(path.growth)
    more = [f"{_factor(path.total + further(law, stages, path.total, n))} over {n * stages:,}" for n in (2, 10)]
    return f"; {'by the law' if goes_on(law, stages) else 'if they go on so'} {' and '.join(more)}"


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
