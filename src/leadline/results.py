"""The types that results are made of: each number says how it is known.

A number is `proved` (symbolic, exhaustive or exact counting), a `bound` (true, perhaps not tight), an `estimate` (with
its error, sample size and seed) or `unknown` (a sound statement that nothing better is known). Nothing here defaults to
zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import scipy
from numpy.typing import NDArray


class Status(StrEnum):
    """How a result is known."""

    PROVED = "proved"
    FITTED = "fitted"
    BOUND = "bound"
    ESTIMATE = "estimate"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Place:
    """Where in the user's model something stands: the module's path and the source line that ran it.

    Examples
    --------
    >>> print(Place("layers.3.attn", "model.py:41"))
    layers.3.attn (model.py:41)
    """

    module: str
    source: str | None = None

    def __str__(self) -> str:
        module = self.module or "the model itself"
        return f"{module} ({self.source})" if self.source else module


@dataclass(frozen=True)
class Bound:
    """A quantity between `lo` and `hi`; `proved` when they meet. `assumptions` are what the bound rests on.

    Raises
    ------
    ValueError
        If ``lo > hi``, or a bound is not a number.

    Examples
    --------
    >>> Bound(0.0, 0.25, Status.BOUND, ("all inputs",)).width
    0.25
    """

    lo: float
    hi: float
    status: Status
    assumptions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if math.isnan(self.lo) or math.isnan(self.hi) or self.lo > self.hi:
            raise ValueError(f"a bound needs lo <= hi, got [{self.lo}, {self.hi}]")

    @property
    def width(self) -> float:
        """How far the two sides are apart."""
        return self.hi - self.lo

    def __contains__(self, value: float) -> bool:
        return self.lo <= value <= self.hi

    def __str__(self) -> str:
        return f"[{self.lo:.4g}, {self.hi:.4g}] ({self.status})"


@dataclass(frozen=True)
class Estimate:
    """A measured value with its standard error `sem`, from `n` samples drawn with `seed` (None: nothing was drawn).

    `dof` are the degrees of freedom that the error was estimated with: infinitely many if it is known otherwise.

    Examples
    --------
    >>> print(Estimate(1.189, 0.002, n=20, seed=0))
    1.189 ± 0.002 (n=20)
    """

    value: float
    sem: float
    n: int
    seed: int | None = None
    dof: float = math.inf

    @classmethod
    def of(cls, samples: Sequence[float] | NDArray[np.float64], seed: int | None = None) -> Estimate:
        """Return the mean of independent samples; a single one has an infinite error.

        Examples
        --------
        >>> print(Estimate.of([1.0, 2.0, 3.0]))
        2 ± 0.58 (n=3)
        """
        n = len(samples)
        sem = float(np.std(samples, ddof=1)) / math.sqrt(n) if n > 1 else math.inf
        return cls(float(np.mean(samples)), sem, n, seed, dof=max(n - 1, 1))

    @property
    def status(self) -> Status:
        """Always `estimate`."""
        return Status.ESTIMATE

    def half_width(self, confidence: float = 0.95) -> float:
        """Return the standard errors that hold so much of Student's distribution."""
        return float(scipy.special.stdtrit(self.dof, (1 + confidence) / 2)) * self.sem if self.sem else 0.0

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Return the interval that holds the truth with so much confidence, by Student's distribution.

        Examples
        --------
        >>> [round(side, 2) for side in Estimate.of([1.0, 2.0, 3.0]).interval()]
        [-0.48, 4.48]
        """
        half = self.half_width(confidence)
        return self.value - half, self.value + half

    def __str__(self) -> str:
        return f"{self.value:.4g} ± {self.sem:.2g} (n={self.n})"


@dataclass(frozen=True)
class Gap:
    """One operation that is left out: its name and its place."""

    op: str
    place: Place

    def __str__(self) -> str:
        return f"{self.op} at {self.place}"


@dataclass(frozen=True)
class Coverage:
    """How much of a graph the rules covered: `nodes` in total, and a `Gap` for each without a rule.

    Examples
    --------
    >>> print(Coverage(nodes=12))
    12 of 12 operations
    """

    nodes: int
    gaps: tuple[Gap, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every operation had a rule."""
        return not self.gaps

    def __str__(self) -> str:
        text = f"{self.nodes - len(self.gaps)} of {self.nodes} operations"
        return text if self.complete else f"{text}; not: {', '.join(map(str, self.gaps))}"
