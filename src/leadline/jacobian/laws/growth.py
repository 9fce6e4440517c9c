"""The law by which a gradient grows with depth, exponential, power, or none, and how deep number formats carry it.

Let ``x_l`` be the growth of the log gradient norm on its way back through stage l, counted from the input. Three models
compete, each with normal noise of unknown variance:

* stable:       ``x_l = 0``
* exponential:  ``x_l = r``                           (norm ∝ e^(r · depth))
* power:        ``x_l = c · ln((l + ½)/(l - ½))``     (norm ∝ depth^c; near input, 1 + c/l a stage)

The one with the least Bayesian information criterion, ``m ln(RSS/n) + k ln m``, is chosen. Noise may be correlated from
stage to stage: then m, the independent stages that tell as much, is less than n.

That a law was chosen is part of its interval. Laws are chosen where the estimate happens to be far from 0, so that an
interval around it alone would leave out the truth too often. It holds the rates under which this estimate is none of
the 2.5 % that are least, nor of those that are largest, among the estimates that would have been chosen.

Source: Lee, Sun, Sun and Taylor, Exact post-selection inference, with application to the lasso (2016), for intervals
after a choice.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import scipy
import torch
from numpy.typing import NDArray

from leadline.jacobian.laws.series import mean_of_series
from leadline.results import Estimate

LawKind = Literal["stable", "exponential", "power"]


@dataclass(frozen=True)
class GrowthLaw:
    """The law of growth that the measurements support best.

    `parameter` is the rate per stage, or the exponent of depth, 0 for stable, and `interval` holds it (for stable, the
    rate) with 95 % confidence, the choice of the law and correlated stages included. `criterion` is the Bayesian
    information criterion of all three candidates: lower is better.
    """

    kind: LawKind
    parameter: float
    interval: tuple[float, float]
    criterion: dict[LawKind, float]

    def log_gradient(self, depth: float) -> float:
        """Return the natural log of the factor by which a gradient has grown after so many stages."""
        if self.kind == "power":
            return self.parameter * math.log(max(depth, 1.0))
        return self.parameter * depth

    def further(self, stages: int, times: float, parameter: float | None = None) -> float:
        """Return the log of the growth from a depth to so many times that depth, by the law or another `parameter`.

        Examples
        --------
        >>> law = fit_law(np.log(np.full(10, 0.5)))
        >>> round(law.further(10, 2) / math.log(0.5), 6)  # ten stages more
        10.0
        """
        value = self.parameter if parameter is None else parameter
        return value * math.log(times) if self.kind == "power" else value * (times - 1) * stages

    @property
    def directed(self) -> bool:
        """Whether it is sure that the gradient grows, or that it shrinks."""
        low, high = self.interval
        return self.kind != "stable" and not low <= 0 <= high

    def __str__(self) -> str:
        low, high = self.interval
        if self.kind == "stable":
            return f"stable (rate per stage, in the exponent, 95 % in [{low:.4g}, {high:.4g}])"
        meaning = "per stage, in the exponent" if self.kind == "exponential" else "as the power of depth"
        return f"{self.kind} ({self.parameter:.4g} {meaning}, 95 % in [{low:.4g}, {high:.4g}])"


def trimmed(stages: int) -> slice:
    """Return the stages left when the transients, a tenth at either end, are dropped."""
    tenth = stages // 10
    return slice(tenth, stages - tenth)


def fit_law(
    increments: NDArray[np.float64],
    first: float = 1,
    resolution: float = 1e-12,
    *,
    ends: NDArray[np.float64] | None = None,
) -> GrowthLaw:
    """Choose the law of growth by the Bayesian information criterion.

    The increments are the growth of the log gradient norm through stages ``first, first + 1, …``, counted from the
    input (from 1), or between the depths that are their `ends`, one more than there are increments. Residuals below the
    `resolution`, the rounding error of one increment, tell nothing.

    Examples
    --------
    >>> print(fit_law(np.log(np.full(20, 0.25))))
    exponential (-1.386 per stage, in the exponent, 95 % in [-1.386, -1.386])
    >>> fit_law(np.log1p(0.7 / np.arange(1, 40))).kind
    'power'
    """
    n = len(increments)
    ends = np.arange(first - 0.5, first + n) if ends is None else ends
    shapes: dict[LawKind, NDArray[np.float64]] = {
        "stable": np.zeros(n),
        "exponential": np.diff(ends),
        "power": np.diff(np.log(ends)),
    }
    fits = {kind: _least_squares(increments, shape) for kind, shape in shapes.items()}
    nearest = min(fits, key=lambda kind: fits[kind][1])
    residuals = increments - fits[nearest][0] * shapes[nearest]
    noise = mean_of_series(residuals, resolution=resolution)
    shared = min(max(Estimate.of(residuals).sem, resolution) / noise.sem, 1.0) if n > 1 else 1.0
    told = max(n * shared**2, min(n, 2.0))
    floor = resolution**2 * n
    criterion = {
        kind: told * math.log(max(rss, floor) / n) + (kind != "stable") * math.log(told)
        for kind, (_, rss) in fits.items()
    }
    # Ties (one stage, or residuals beneath the resolution) go to the simpler law, in the order of the table.
    kind = min(criterion, key=lambda k: criterion[k])
    shown: LawKind = "exponential" if kind == "stable" else kind
    value, rss = fits[shown]
    error = math.sqrt(max(rss, floor) / max(n - 1, 1) / float(shapes[shown] @ shapes[shown])) / shared
    half_width = float(scipy.special.stdtrit(n - 1, 0.975)) if n > 1 else math.inf
    if kind == "stable":
        interval = [min(value - half_width * error, 0.0), max(value + half_width * error, 0.0)]
    elif n == 1:
        interval = [-math.inf, math.inf]
    else:
        interval = [math.copysign(error, value) * end for end in _after_choice(abs(value) / error, half_width, n, told)]
    return GrowthLaw(kind, 0.0 if kind == "stable" else value, (min(interval), max(interval)), criterion)


def _after_choice(t: float, half_width: float, n: int, told: float) -> tuple[float, float]:
    """Return the interval, in standard errors, of an estimate that is `t` of them from 0 and was chosen for that."""
    chosen = math.sqrt((n - 1) * told / n * math.expm1(math.log(told) / told))  # nearer to 0 the criterion says stable
    least, below = min(chosen, t), partial(scipy.special.stdtr, n - 1)

    def end(share: float) -> float:
        """Return the truth under which such a share of the estimates that are chosen is no larger than this one."""

        def missing(truth: float) -> float:
            negative = below(-least - truth)
            smaller = negative + below(t - truth) - below(least - truth)
            return float(smaller / (negative + below(truth - least)) - share)

        return float(scipy.optimize.brentq(missing, -100 * half_width, t + 100 * half_width))

    return end(0.975), end(0.025)


def _least_squares(x: NDArray[np.float64], shape: NDArray[np.float64]) -> tuple[float, float]:
    """Fit one coefficient; return it with the residual sum of squares."""
    weight = float(shape @ shape)
    value = float(shape @ x) / weight if weight else 0.0
    return value, float(np.sum((x - value * shape) ** 2))


FORMATS = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


UNREACHABLE = 10**6
"""No network is deeper than this: a power law that needs more is never lost."""


def format_depths(
    law: GrowthLaw | None,
    back: NDArray[np.float64] | None = None,
    *,
    single: bool = False,
    at: NDArray[np.float64] | None = None,
) -> dict[str, int | None]:
    """Return the first depth at which a gradient with entries of size 1 is lost; None: it never is.

    Lost means rounded to zero if the gradient shrinks, and rounded to infinity if it grows. `back` is the log of the
    growth through the first stages, as measured (or to the depths `at`); beyond them the law goes on, and without one
    a format that still carries the gradient is left out. A gradient of a `single` number that keeps more than half of
    itself at each stage is never rounded to zero: it sticks at a subnormal number, and is lost where that is twice its
    true value.

    Examples
    --------
    >>> from leadline.jacobian.laws.growth import fit_law
    >>> import numpy as np
    >>> format_depths(fit_law(np.log(np.full(10, 0.25))))
    {'float16': 13, 'bfloat16': 67, 'float32': 75}
    >>> format_depths(None, np.log([1e-2, 1e-4, 1e-9]))
    {'float16': 3}
    """
    back = np.zeros(0) if back is None else back
    depths = np.arange(1, len(back) + 1) if at is None else at
    last = int(depths[-1]) if len(depths) else 0
    found: dict[str, int | None] = {}
    for name, dtype in FORMATS.items():
        info = torch.finfo(dtype)
        # Half a unit in the last place above the largest number, and half the smallest subnormal.
        most = math.log(info.max * (1 + info.eps / 4))
        least = math.log(info.smallest_normal * info.eps / 2) + (math.log(_stuck(law)) if single else 0.0)
        gone = np.flatnonzero((back <= least) | (back >= most))
        if len(gone):
            found[name] = int(depths[gone[0]])
        elif law is not None:
            found[name] = _beyond(law, last, float(back[-1]) if len(back) else 0.0, least, most)
    return found


def _beyond(law: GrowthLaw, stages: int, grown: float, least: float, most: float) -> int | None:
    """Return the first depth at which the law leaves a range, from what has grown through the stages before."""
    if law.kind == "stable" or law.parameter == 0.0:
        return None
    further = ((most if law.parameter > 0 else least) - grown) / law.parameter
    depth = stages + further if law.kind == "exponential" else max(stages, 1) * math.exp(min(further, 700.0))
    return math.ceil(depth) if depth < UNREACHABLE else None


def _stuck(law: GrowthLaw | None) -> int:
    """Return how many of the smallest subnormals, times a gain, are rounded to themselves again; at least 1."""
    shrinks = law is not None and law.kind == "exponential" and law.parameter < 0
    loss = -math.expm1(law.parameter) if law is not None and shrinks else 1.0
    return max(1, math.floor(0.5 / loss))
