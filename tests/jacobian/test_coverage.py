"""Stated intervals hold the truth: a few models of each kind here, a thousand in `make coverage`."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from intervals_that_cover import KINDS, correlated, inside, logistic
from torch import nn

from leadline import gradient, lyapunov
from leadline.jacobian._lyapunov import averaged
from leadline.jacobian.laws.growth import fit_law, trimmed
from leadline.jacobian.laws.series import mean_of_series

FEW = 4


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_stated_intervals_hold_the_truth(kind):
    assert sum(kind.holds(seed) is False for seed in range(FEW)) <= 1


@pytest.mark.parametrize("stages", [3, 24])
def test_a_chain_that_grows_as_drawn_gives_the_statistics_of_what_was_drawn(stages):
    growth = 0.3 * correlated(np.random.default_rng(stages), stages, 0.5)
    layers = []
    for log in growth:
        layer = nn.Linear(2, 2, bias=False, dtype=torch.float64)
        nn.init.orthogonal_(layer.weight).data.mul_(math.exp(log))
        layers.append(layer)
    found = gradient(nn.Sequential(*layers), torch.ones(1, 2, dtype=torch.float64), probes=2)
    inner = trimmed(stages)
    rate, law = mean_of_series(growth[inner]), fit_law(growth[inner], first=inner.start + 1)
    assert found.rate.interval() == pytest.approx(rate.interval(), rel=1e-9, abs=1e-12)
    assert found.law.kind == law.kind
    assert found.law.interval == pytest.approx(law.interval, rel=1e-9, abs=1e-12)


def test_recurrences_that_stretch_as_drawn_give_the_statistics_of_what_was_drawn():
    stretches = logistic(7, steps=30)
    start = torch.rand(1, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    found = lyapunov(lambda x: 4 * x * (1 - x), start, steps=30).largest
    assert found.interval() == pytest.approx(averaged(stretches[:, None], None, 0).largest.interval(), rel=1e-9)
    gains = 0.3 * torch.from_numpy(correlated(np.random.default_rng(3), 20, 0.9))
    scaled = lyapunov(lambda x, a: a.exp() * x, torch.full((1,), 1e-30, dtype=torch.float64), inputs=list(gains))
    assert scaled.largest.interval() == pytest.approx(averaged(gains[:, None], None, 0).largest.interval(), rel=1e-9)


@pytest.mark.parametrize("rho", [0.0, 0.6, 0.9])
@pytest.mark.parametrize("n", [2, 3, 5, 8, 12, 40, 150])
def test_the_mean_of_a_correlated_series_is_covered(n, rho):
    rng = np.random.default_rng(round(10 * rho) + n)
    missed = sum(not inside(mean_of_series(correlated(rng, n, rho)), 0.0) for _ in range(150))
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


@pytest.mark.parametrize("mean", [0.5, 2.0])
def test_chosen_laws_are_covered_where_something_grows_a_little(mean):
    """Of those that chance chose with the wrong sign too."""
    rng = np.random.default_rng(6)
    truth = mean / math.sqrt(30)
    laws = [fit_law(truth + rng.standard_normal(30), first=3) for _ in range(250)]
    chosen = [law for law in laws if law.kind == "exponential"]
    missed = sum(not law.interval[0] <= truth <= law.interval[1] for law in chosen)
    assert len(chosen) >= 10
    assert missed <= 0.05 * len(chosen) + 3 * math.sqrt(0.05 * 0.95 * len(chosen))


@pytest.mark.parametrize("n", [64, 200])
@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_batches_of_something_slow_cover_its_mean_and_no_wider_than_that(n, noise):
    """The covariance of batches is that of the process: an interval that only allows for more of it would be wider."""
    rng = np.random.default_rng(n)
    held = [inside(mean_of_series(correlated(rng, n, 0.9) + noise * rng.standard_normal(n)), 0.0) for _ in range(150)]
    assert np.mean(held) > (0.78 if noise else 0.9)
    assert noise or np.mean(held) < 0.99
