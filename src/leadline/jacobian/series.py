"""The mean of successive measurements, which are correlated: growth from stage to stage, stretching from step to step.

Long series are averaged over batches first, which takes most of the correlation away. What is left is taken for an
autoregressive process of the first order, of unknown mean, variance and correlation ρ. Given ρ, the mean minus the
truth is Student's t times a known scale; the interval is that of the mixture of them, each ρ weighed by its marginal
likelihood and by how likely it is beforehand.

Few measurements do not show their correlation: that of three may be 0 or 0.9, and no interval fits both. `PRIOR` is
such that 95 % intervals hold the mean in no less than 94 % of all cases up to ρ = 0.9, however few the measurements;
where they are fewer than twenty and independent, in up to 99 %.

Sources: Law and Carson, A sequential procedure for determining the length of a steady-state simulation (1979), for
batches and what is left within them; Zellner and Tiao, Bayesian analysis of the regression model with autocorrelated
errors (1964), for the mixture.
"""

import math

import numpy as np
import scipy
from numpy.typing import NDArray

from leadline.results import Estimate

BATCHES = 60
"""More batches than these would not make the interval shorter."""

GRID = (np.arange(80) + 0.5) / 80
"""Where ρ is summed over, by ``ρ = 1 - 2 u²``: close together near 1, where the scale changes fast."""

PRIOR = GRID**0.2
"""How likely each u is beforehand, but for a factor: with GRID itself all ρ were alike, and large ones too rare."""


def mean_of_series(series: NDArray[np.float64], seed: int | None = None, *, resolution: float = 0.0) -> Estimate:
    """Return the mean of successive measurements, with an error that allows for their correlation.

    `resolution` is the rounding error of one of them. The error is such that Student's t with ``dof`` degrees of
    freedom gives the 95 % interval. One measurement has an infinite error.

    Examples
    --------
    >>> steps = np.cumsum(np.random.default_rng(0).standard_normal(40))  # a random walk has no mean
    >>> mean_of_series(steps).sem > 4 * Estimate.of(steps).sem
    True
    """
    n, value = len(series), float(np.mean(series))
    size = math.ceil(n / BATCHES)
    means = np.array([part.mean() for part in np.array_split(series, n // size)])
    dof = max(len(means) - 1, 1)
    sem = Estimate.of(means).sem
    if len(means) > 1 and sem > resolution:
        sem = _half_width(means - means.mean(), dof) / float(scipy.special.stdtrit(dof, 0.975))
    return Estimate(value, math.hypot(sem, resolution), n, seed, dof=dof)


def _half_width(deviations: NDArray[np.float64], dof: int) -> float:
    """Return how far from the truth the mean is in 95 % of all cases, given deviations from the mean in their order."""
    n, rho = len(deviations), 1 - 2 * GRID**2
    ends = float(deviations[0] + deviations[-1])
    all_squares, inner = float(deviations @ deviations), float(deviations[1:-1] @ deviations[1:-1])
    lagged = float(deviations[1:] @ deviations[:-1])
    # R is the correlation matrix ρ^|i-j|: the information 1ᵀR⁻¹1, the squares yᵀR⁻¹y less those of the fitted mean.
    information = (n - (n - 2) * rho) / (1 + rho)
    shift = rho * ends / (1 + rho)
    squares = (all_squares + rho**2 * inner - 2 * rho * lagged) / (1 - rho**2) - shift**2 / information
    squares = np.maximum(squares, np.finfo(np.float64).tiny)
    log_likelihood = -0.5 * ((n - 1) * np.log1p(-(rho**2)) + np.log(information) + (n - 1) * np.log(squares))
    weights = PRIOR * np.exp(log_likelihood - log_likelihood.max())
    weights /= weights.sum()
    variance_of_mean = ((1 + rho) / (1 - rho) - 2 * rho * (1 - rho**n) / (n * (1 - rho) ** 2)) / n
    scales = np.sqrt(squares / (n - 1) * np.maximum(variance_of_mean, np.finfo(np.float64).eps))

    def beyond(log_width: float) -> float:
        return float(weights @ (2 * scipy.special.stdtr(dof, -math.exp(log_width) / scales))) - 0.05

    least, most = (math.log(float(bound)) for bound in (scales.min(), scales.max() * 1e3))
    return math.exp(float(scipy.optimize.brentq(beyond, least, most, xtol=1e-4)))
