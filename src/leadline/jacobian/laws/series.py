"""The mean of successive measurements, which are correlated: growth from stage to stage, stretching from step to step.

Long series are averaged over batches first, which takes most of the correlation away. The measurements are taken for an
autoregressive process of the first order, of unknown mean, variance and correlation ρ; long series for one that may
have noise of its own besides, of which few measurements tell nothing. Given ρ and the share of the noise, the mean
minus the truth is Student's t times a known scale; the interval is that of the mixture of them, each model weighed by
its marginal likelihood and by how likely it is beforehand.

Few measurements do not show their correlation: that of three may be 0 or 0.9, and no interval fits both. `PRIOR` is
such that 95 % intervals hold the mean in no less than 94 % of all cases up to ρ = 0.9, however few the measurements;
where they are fewer than twenty and independent, in up to 99 %. Noise around something slow (ρ = 0.9) that is as large
hides it from less than a hundred measurements: their intervals hold the mean in 70 to 90 % of such cases.

Sources: Law and Carson, A sequential procedure for determining the length of a steady-state simulation (1979), for
batches and what is left within them; Zellner and Tiao, Bayesian analysis of the regression model with autocorrelated
errors (1964), for the mixture.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from leadline.results import Estimate

Numbers = NDArray[np.float64]

BATCHES = 60
"""More batches than these would not make the interval shorter."""

GRID = (np.arange(24) + 0.5) / 24
"""Where ρ is summed over, by ``ρ = 1 - 2 u²``: close together near 1, where the scale changes fast."""

PRIOR = GRID**0.2
"""How likely each u is beforehand, but for a factor: with GRID itself all ρ were alike, and large ones too rare."""

NOISE = {0.0: 2 / 3, 0.3: 1 / 15, 0.6: 1 / 15, 0.8: 1 / 15, 0.9: 1 / 15, 0.95: 1 / 15}
"""Shares of the variance that may be noise of single measurements, and how likely each is, where ρ is above `SLOW`."""

SLOW = 0.3


class Models(NamedTuple):
    """Candidates for what lies behind a number of batches: of each its weight, and what makes squares and scales."""

    log_weight: Numbers
    whitening: Numbers
    """Takes the batches to independent deviations from their fitted mean."""
    variance_of_mean: Numbers


def mean_of_series(series: Numbers, seed: int | None = None, *, resolution: float = 0.0) -> Estimate:
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
        deviations = (means - means.mean()) / sem  # no unit: squares neither over- nor underflow
        sem *= _half_width(deviations, _models(len(means), size)) / float(scipy.special.stdtrit(dof, 0.975))
    return Estimate(value, math.hypot(sem, resolution), n, seed, dof=dof)


def _half_width(deviations: Numbers, models: Models) -> float:
    """Return how far from the truth the mean is in 95 % of all cases, given deviations from the mean in their order."""
    dof = len(deviations) - 1
    squares = np.maximum(((models.whitening @ deviations) ** 2).sum(axis=1), np.finfo(np.float64).tiny)
    log_weight = models.log_weight - 0.5 * dof * np.log(squares)
    weights = np.exp(log_weight - log_weight.max())
    weights /= weights.sum()
    scales = np.sqrt(squares / dof * models.variance_of_mean)

    def beyond(log_width: float) -> float:
        return float(weights @ (2 * scipy.special.stdtr(dof, -math.exp(log_width) / scales))) - 0.05

    least, most = (math.log(float(bound)) for bound in (scales.min(), scales.max() * 1e3))
    return math.exp(float(scipy.optimize.brentq(beyond, least, most, xtol=1e-4)))


@lru_cache(maxsize=8)
def _models(n: int, size: int) -> Models:
    """Return all models of so many batches of such a size."""
    covariance, prior = list[Numbers](), list[float]()
    for rho, likely in zip(1 - 2 * GRID**2, PRIOR, strict=True):
        slow = _of_batches(float(rho), n, size)
        shares = NOISE if size > 1 and rho > SLOW else {0.0: 1.0}
        covariance += [(1 - share) * slow + share * np.eye(n) / size for share in shares]
        prior += [float(likely) * probability for probability in shares.values()]
    stacked = np.stack(covariance)
    roots = np.linalg.cholesky(stacked)
    whitening = np.linalg.inv(roots)
    ones = whitening.sum(axis=2)
    information = (ones**2).sum(axis=1)
    whitening -= ones[:, :, None] * (ones[:, None, :] @ whitening) / information[:, None, None]
    log_determinant = 2 * np.log(np.diagonal(roots, axis1=1, axis2=2)).sum(axis=1)
    log_weight = np.log(prior) - 0.5 * (log_determinant + np.log(information))
    return Models(log_weight, whitening, stacked.sum(axis=(1, 2)) / n**2)


def _of_batches(rho: float, n: int, size: int) -> Numbers:
    """Return the covariance of the means of batches of an autoregressive process of variance 1."""
    within = np.arange(1 - size, size)
    pairs = size - np.abs(within)  # as many pairs of two batches' measurements are so much further apart
    apart = np.abs(size * np.arange(n)[:, None] + within)
    covariances = np.sign(rho) ** (apart % 2) * np.abs(rho) ** apart @ pairs / size**2
    return np.asarray(covariances[np.abs(np.arange(n)[:, None] - np.arange(n))])
