"""What the gradient of a loss was at one step of a training, as a frozen record and as numbers for a tracker."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from leadline.jacobian import Reach
from leadline.jacobian.laws.growth import trimmed
from leadline.jacobian.laws.series import mean_of_series
from leadline.results import Estimate, Result

LOST = {"float16": 2.0**-25, "bfloat16": 2.0**-134}
"""Numbers no larger than these are rounded to zero: half the smallest subnormal number of each format."""

_ROUNDING = 1e-6
_SHARES = (0.5, 0.9, 0.99)


@dataclass(frozen=True)
class Moment(Result):
    """What the gradient of the loss was at one step of a training.

    Attributes
    ----------
    step
        How many updates the weights had seen.
    stages, norms
        The stages, as `gradient` finds them, in forward order, and the norm of the loss's gradient where each begins;
        after the last one, where it ends. None where training computes no gradient. Of many steps through time some,
        equally spaced.
    rate
        Slope of the log norm per stage, counted from the output back, without the first and the last tenth of the
        stages: positive explodes. None with fewer than two norms.
    underflow
        For float16 and bfloat16 the share of the gradient's values, of all stages and without zeros, that the format
        rounds to zero.
    reach
        How far back the gradient of outputs reaches, if it was measured at this step.
    """

    step: int
    stages: tuple[str, ...]
    norms: tuple[float | None, ...]
    rate: Estimate | None
    underflow: Mapping[str, float]
    reach: Reach | None = None

    def scalars(self) -> dict[str, float]:
        """Return the numbers by flat names, as trackers and ``metrics.jsonl`` hold them.

        Examples
        --------
        >>> moment_of(3, ("a", "b"), [4.0, 1.0, None], {"float16": (1, 4)}).scalars()
        {'gradient/norm/a': 2.0, 'gradient/norm/b': 1.0, 'gradient/rate': 0.6931471805599453, 'gradient/underflow/float16': 0.25}
        """  # noqa: E501
        return dict(self._scalars())

    def _scalars(self) -> Iterator[tuple[str, float]]:
        for name, norm in zip((*self.stages, "the end"), self.norms, strict=False):
            if norm is not None:
                yield f"gradient/norm/{name}", norm
        if self.rate is not None:
            yield "gradient/rate", self.rate.value
        for name, share in self.underflow.items():
            yield f"gradient/underflow/{name}", share
        if self.reach is not None:
            yield from ((f"reach/within {share:.0%}", float(self.reach.within(share))) for share in _SHARES)
            if self.reach.half_life is not None:
                yield "reach/half-life", self.reach.half_life

    def __str__(self) -> str:
        if self.rate is None:
            found = "no gradient between stages was seen"
        else:
            found = f"the gradient changes by {math.exp(self.rate.value):.3g} × a stage (log rate {self.rate})"
        lost = ", ".join(f"{share:.2%} in {name}" for name, share in self.underflow.items() if share)
        reached = f"; {self.reach}" if self.reach is not None else ""
        return f"step {self.step:,}: {found}{f'; rounded to zero: {lost}' if lost else ''}{reached}"


def moment_of(
    step: int,
    stages: Sequence[str],
    squares: Sequence[float | None],
    lost: Mapping[str, tuple[float, float]],
    reach: Reach | None = None,
    *,
    apart: int = 1,
) -> Moment:
    """Make a record of the squared norms at boundaries, so many stages apart, and of the values that formats lose."""
    norms = tuple(None if square is None else math.sqrt(square) for square in squares)
    shares = {name: part / whole for name, (part, whole) in lost.items() if whole}
    return Moment(step, tuple(stages), norms, _rate(squares, apart), shares, reach)


def _rate(squares: Sequence[float | None], apart: int) -> Estimate | None:
    """Return the growth of the log norm per stage between boundaries that both have a gradient; None without any."""
    logs = np.array([math.log(s) / 2 if s is not None and 0 < s < math.inf else math.nan for s in squares])
    growth = (logs[:-1] - logs[1:]) / apart
    growth = growth[np.isfinite(growth)]
    return mean_of_series(growth[trimmed(len(growth))], resolution=_ROUNDING) if len(growth) else None
