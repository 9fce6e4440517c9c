"""Lyapunov spectra against closed forms, brute force and the theory of random matrices."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from leadline.errors import Diverged, UsageError
from leadline.jacobian._lyapunov import averaged, exponents_through, lyapunov
from leadline.jacobian.theory.gates import lstm_step
from leadline.jacobian.theory.mean_field import (
    gaussian_product_exponents,
    lstm_forget_exponent,
    residual_product_exponents,
    rnn_exponent,
)


def start(n, k, seed=0):
    return torch.randn(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=6)
@given(values=st.lists(st.floats(0.1, 3.0), min_size=1, max_size=5, unique=True), seed=st.integers(0, 10**6))
def test_a_linear_map_has_its_eigenvalues_as_exponents(values, seed):
    torch.manual_seed(seed)
    n = len(values)
    basis = torch.eye(n, dtype=torch.float64) + 0.2 * torch.rand(n, n, dtype=torch.float64)
    A = basis @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ torch.linalg.inv(basis)
    found = lyapunov(lambda x: A @ x, torch.zeros(n, dtype=torch.float64), steps=30, transient=10, seed=seed)
    total = sum(exponent.value for exponent in found.exponents)
    assert total == pytest.approx(torch.linalg.slogdet(A).logabsdet.item(), abs=1e-6)


@settings(max_examples=5)
@given(n=st.integers(1, 5), steps=st.integers(6, 12), seed=st.integers(0, 10**6))
def test_the_sum_over_time_is_the_volume_of_the_dense_product(n, steps, seed):
    torch.manual_seed(seed)
    W = torch.randn(n, n, dtype=torch.float64)
    x, product = torch.randn(n, dtype=torch.float64), torch.eye(n, dtype=torch.float64)
    found = lyapunov(lambda s: torch.tanh(W @ s), x, steps=steps, transient=0)
    for _ in range(steps):
        product = torch.autograd.functional.jacobian(lambda s: torch.tanh(W @ s), x) @ product
        x = torch.tanh(W @ x)
    volume = torch.linalg.slogdet(product).logabsdet.item()
    if found.steps == steps and all(math.isfinite(e.value) for e in found.exponents):
        assert steps * sum(e.value for e in found.exponents) == pytest.approx(volume, rel=1e-6, abs=1e-6)


def products(n, steps, variance, identity):
    """Independent ``identity · I + A``, A Gaussian with entries of variance/n, as actions on columns."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        A = torch.randn(n, n, generator=generator, dtype=torch.float64) * (variance / n) ** 0.5
        yield (identity * torch.eye(n, dtype=torch.float64) + A).matmul


def test_products_of_gaussian_matrices_follow_newman():
    n, steps = 6, 1500
    found = averaged(exponents_through(products(n, steps, 1.0, 0.0), start(n, n)), 100, 0)
    for measured, expected in zip(found.exponents, gaussian_product_exponents(n), strict=True):
        assert abs(measured.value - expected) < 4.5 * measured.sem


def test_products_of_residual_steps_follow_their_law():
    n, steps, variance = 80, 200, 0.25
    maps = products(n, steps, variance, 1.0)
    found = averaged(exponents_through(maps, start(n, n)), 40, 0)
    top, bottom = residual_product_exponents(variance)
    assert found.exponents[0].value == pytest.approx(top, abs=0.02)
    assert found.exponents[-1].value == pytest.approx(bottom, abs=0.02)


@pytest.mark.parametrize("forget", [0.0, 1.0, 5.0])
def test_an_lstm_without_weights_has_k_exponents_of_its_forget_gate(forget):
    k = 3
    cell = nn.LSTMCell(2, k).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.zero_()
        cell.bias_hh[k : 2 * k] = forget
    zero = torch.zeros(1, k, dtype=torch.float64)
    found = lyapunov(cell, (zero, zero), inputs=torch.randn(30, 1, 2, dtype=torch.float64))
    values = [exponent.value for exponent in found.exponents]
    assert values[:k] == pytest.approx([lstm_forget_exponent(forget)] * k, abs=1e-9)
    assert values[k:] == [-math.inf] * k


def test_a_one_step_norm_is_no_verdict():
    k = 3
    cell = nn.LSTMCell(2, k).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.zero_()
        cell.bias_hh[k : 2 * k] = 5.0
    zero = torch.zeros(k, dtype=torch.float64)
    assert torch.linalg.svdvals(lstm_step(cell, zero[:2], zero, zero).jacobian)[0].item() == pytest.approx(
        1.11, abs=0.005
    )
    assert lstm_forget_exponent(5.0) < 0


def tanh_network(n, gain, seed):
    generator = torch.Generator().manual_seed(seed)
    W = gain * torch.randn(n, n, generator=generator, dtype=torch.float64) / n**0.5
    return (lambda x: W @ torch.tanh(x)), torch.randn(n, generator=generator, dtype=torch.float64)


def test_the_largest_exponent_is_the_rate_at_which_two_trajectories_part():
    step, x = tanh_network(60, 2.0, 1)
    for _ in range(200):
        x = step(x)
    found = lyapunov(step, x, steps=400, k=1, transient=50)
    y, rates = x + 1e-8 * torch.randn(60, dtype=torch.float64), []
    for _ in range(400):
        before = (y - x).norm()
        x, y = step(x), step(y)
        rates.append(math.log((y - x).norm() / before))
        y = x + (y - x) * (1e-8 / (y - x).norm())
    # The two align to the leading direction at their own pace.
    assert sum(rates[50:]) / 350 == pytest.approx(found.largest.value, abs=5e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("gain", "published"), [(2.0, 0.1515), (3.0, 0.3058)])
def test_wide_tanh_networks_reach_the_known_exponents(gain, published):
    found = [
        lyapunov(*tanh_network(500, gain, seed), steps=1200, k=1, transient=200).largest.value for seed in range(6)
    ]
    mean = sum(found) / len(found)
    sem = torch.tensor(found).std().item() / len(found) ** 0.5
    assert abs(mean - published) < 4 * (sem + 0.0018)
    assert mean < rnn_exponent(torch.tanh, gain) + 3 * sem


@pytest.mark.parametrize(("total", "transient"), [(39, 0), (39, 7), (41, None), (100, None)])
def test_all_steps_but_the_transient_are_averaged(total, transient):
    gains = torch.randn(total, generator=torch.Generator().manual_seed(total), dtype=torch.float64)
    found = lyapunov(lambda x, a: a.exp() * x, torch.ones(1, dtype=torch.float64), inputs=gains, transient=transient)
    dropped = total // 5 if transient is None else transient
    assert (found.steps, found.transient) == (total - dropped, dropped)
    assert found.largest.value == pytest.approx(gains[dropped:].mean().item(), abs=1e-12)


def test_misuse_is_refused():
    with pytest.raises(UsageError, match="how long"):
        lyapunov(torch.tanh, torch.ones(2))
    with pytest.raises(UsageError, match="too few"):
        lyapunov(torch.tanh, torch.ones(2), steps=1)
    with pytest.raises(UsageError, match="cannot be -3"):
        lyapunov(torch.tanh, torch.ones(2), steps=9, transient=-3)
    with pytest.raises(Diverged, match="after step"):
        lyapunov(lambda x: x**9 * 1e30, torch.ones(2), steps=50)
