"""Stated intervals hold the truth: a few models of each kind here, a thousand in `make coverage`."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from intervals_that_cover import KINDS, inside

from leadline.jacobian.growth import fit_law
from leadline.jacobian.series import mean_of_series

FEW = 4
LONG = ("chosen", "logistic", "80 stages", "independent steps")


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if not any(word in kind.name for word in LONG)], ids=lambda kind: kind.name
)
def test_stated_intervals_hold_the_truth(kind):
    assert sum(kind.holds(seed) is False for seed in range(FEW)) <= 1


@pytest.mark.parametrize("rho", [0.0, 0.6, 0.9])
@pytest.mark.parametrize("n", [40, 150])
def test_the_mean_of_a_correlated_series_is_covered(n, rho):
    rng = np.random.default_rng(round(10 * rho) + n)
    missed = 0
    for _ in range(150):
        noise = rng.standard_normal(n)
        series = noise.copy()
        for i in range(1, n):
            series[i] = rho * series[i - 1] + math.sqrt(1 - rho**2) * noise[i]
        missed += not inside(mean_of_series(series), 0.0)
    assert missed <= 17  # of 150 by 95 %: 7.5, and 3.5 standard deviations


@settings(max_examples=20)
@given(scale=st.floats(1e-6, 1e6), shift=st.floats(-1e3, 1e3), n=st.integers(2, 200), seed=st.integers(0, 10**6))
def test_the_mean_of_a_series_moves_with_its_unit_and_origin(scale, shift, n, seed):
    series = np.random.default_rng(seed).standard_normal(n)
    plain, moved = mean_of_series(series), mean_of_series(scale * series + shift)
    assert moved.value == pytest.approx(scale * plain.value + shift, rel=1e-9, abs=1e-9 * scale)
    assert moved.sem == pytest.approx(scale * plain.sem, rel=1e-2)


def test_independent_measurements_have_the_error_of_independent_ones():
    rng = np.random.default_rng(0)
    series = [rng.standard_normal(60) for _ in range(100)]
    wider = [mean_of_series(x).half_width() / (1.96 * x.std() / 60**0.5) for x in series]
    assert np.mean(wider) == pytest.approx(1.05, abs=0.1)


def test_one_measurement_and_none_that_differ():
    assert math.isinf(mean_of_series(np.array([0.5])).sem)
    assert mean_of_series(np.full(100, 0.5)).sem == pytest.approx(0.0, abs=1e-15)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_interval_of_every_kind_over_more_models(kind):
    stated = [holds for seed in range(200) if (holds := kind.holds(seed)) is not None]
    assert len(stated) > 20
    assert np.mean(stated) > 0.95 - 3 * math.sqrt(0.05 * 0.95 / len(stated))


def test_chosen_laws_are_covered():
    """Where nothing grows and a law was chosen all the same, its interval says so."""
    rng = np.random.default_rng(4)
    laws = [fit_law(0.2 * rng.standard_normal(30)) for _ in range(300)]
    chosen = [law for law in laws if law.kind != "stable"]
    assert len(chosen) >= 10
    assert sum(not law.interval[0] <= 0 <= law.interval[1] for law in chosen) <= 2
