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
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import scipy
from numpy.typing import NDArray

if TYPE_CHECKING:
    from rich.console import RenderableType


FORMAT = "leadline-result/1"
"""The version of what JSON holds: raised by one when a reader of the old one would misread the new one."""


class Result:
    """What every result can do beside holding its numbers: be printed, shown, exported and saved.

    `print` gives a short verdict; notebooks and rich show a page. How each result is laid out stands in
    `leadline.report`, which is looked up by name when it is first needed, since imports go downward only.

    Examples
    --------
    >>> found = Bound(0.0, 0.25, Status.BOUND)
    >>> found.to_dict()["hi"]
    0.25
    >>> print(found.to_markdown())
    | quantity    | value | status |
    | :---------- | ----: | :----- |
    | lower bound |     0 | bound  |
    | upper bound |  0.25 | bound  |
    """

    derived: ClassVar[tuple[str, ...]] = ()
    """Properties that `to_dict` gives beside the fields."""

    def __str__(self) -> str:
        """Return the verdict, in a line or a few."""
        return str(_presented("verdict", self))

    def __repr__(self) -> str:
        """Return the verdict too, for results that are too large to be written out."""
        return f"<{type(self).__name__} {self}>"

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        return str(_presented("fragment", self))

    def __rich__(self) -> RenderableType:
        """Return what rich prints: the page of a terminal."""
        shown: RenderableType = _presented("renderable", self)
        return shown

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as plain values, with the format's version under ``"format"``; see the JSON Schema."""
        record: dict[str, Any] = _presented("record", self)
        return record

    def to_json(self) -> str:
        """Return the text of `to_dict` as JSON; infinities and NaN are the strings ``"inf"``, ``"-inf"``, ``"nan"``."""
        return str(_presented("json_text", self))

    def to_pandas(self) -> Any:
        """Return a table as a pandas DataFrame; `UsageError` if pandas is not installed."""
        return _presented("frame", self)

    def to_latex(self) -> str:
        """Return the table in LaTeX, with the rules of the package booktabs."""
        return str(_presented("latex", self))

    def to_markdown(self) -> str:
        """Return the table in Markdown."""
        return str(_presented("markdown", self))

    def show(self) -> None:
        """Print the page, or show it in a notebook."""
        _presented("show", self)

    def save(self, path: str | Path) -> None:
        """Write the result to a file: ``.html``, ``.json``, ``.md``, ``.tex``, ``.csv`` or ``.txt``.

        Raises `UsageError` for another suffix, and `StorageError` if the disk refuses; what stood there is intact.
        """
        _presented("save", self, Path(path))


def _presented(what: str, *arguments: Any) -> Any:
    return getattr(import_module("leadline.report.presenting"), what)(*arguments)


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


def owner(module: str) -> str:
    """Return the module that users know: a parametrised weight is its layer's, not that of what computes it.

    Examples
    --------
    >>> owner("conv.parametrizations.weight.0"), owner("conv"), owner("parametrizations.weight")
    ('conv', 'conv', '')
    """
    return f".{module}".partition(".parametrizations.")[0].removeprefix(".")


@dataclass(frozen=True)
class Bound(Result):
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
class Estimate(Result):
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
class Coverage(Result):
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
