"""Mean-field theory: the known numbers, and wide networks measured beside them."""

import math

import pytest
import torch
from scipy.special import erf
from torch import nn
from torch.nn.functional import gelu, silu

from leadline.errors import UsageError
from leadline.jacobian import gradient
from leadline.jacobian.theory import mean_field
from leadline.jacobian.theory.quadrature import correlated_mean, derivative_mean, normal_mean


@pytest.mark.parametrize(
    ("phi", "growth"),
    [(torch.relu, 1.4669), (torch.tanh, 1.1778), (torch.erf, 1.2257), (gelu, 1.3188), (silu, 1.2121)],
)
def test_growth_under_batch_normalisation(phi, growth):
    assert mean_field.batchnorm_growth(phi) == pytest.approx(growth, abs=5e-5)


def test_relu_has_closed_forms():
    pi = math.pi
    assert mean_field.batchnorm_growth(torch.relu) == pytest.approx(pi / (pi - 1), rel=1e-12)
    assert mean_field.residual_growth(torch.relu, "sum", 1) == pytest.approx(2 * pi / (2 * pi - 1), rel=1e-12)
    assert mean_field.residual_growth(torch.relu, "plain", 10) == pytest.approx(2.0**10, rel=1e-10)
    steps = math.prod(1 + pi / (pi - 1) / layer for layer in range(1, 31))
    assert mean_field.residual_growth(torch.relu, "branch", 30) == pytest.approx(steps, rel=1e-10)
    variance = [1 + layer * (1 - 1 / pi) for layer in range(30)]  # W relu(x) adds 2 Var relu = 1 - 1/π a layer
    before = math.prod(1 + 1 / v for v in variance)
    assert mean_field.residual_growth(torch.relu, "before", 30) == pytest.approx(before, rel=1e-10)


def test_the_identity_at_finite_batch():
    assert mean_field.batchnorm_growth(lambda x: x, batch=32) == pytest.approx(30 / 29)
    with pytest.raises(UsageError, match="identity"):
        mean_field.batchnorm_growth(torch.tanh, batch=32)


@pytest.mark.parametrize("batch", [6, 16])
def test_relu_at_finite_batch_against_random_features(batch):
    """One layer of many features at the fixed point: the mean of what a unit of gradient becomes, over the sphere."""
    generator = torch.Generator().manual_seed(batch)
    u = torch.randn(400_000, batch, generator=generator, dtype=torch.float64)
    u = u - u.mean(1, keepdim=True)
    x = u / u.square().mean(1, keepdim=True).sqrt()
    kernel = torch.relu(x).T @ torch.relu(x) / len(x)
    a = kernel.diagonal().mean() - (kernel.sum() - kernel.trace()) / (batch * (batch - 1))
    g = torch.randn(len(x), batch, generator=generator, dtype=torch.float64)
    g = (g - g.mean(1, keepdim=True)) * (x > 0)
    g = g - g.mean(1, keepdim=True) - x * (x * g).mean(1, keepdim=True)
    squares = (g.square().sum(1) / (a * u.square().mean(1))) / (batch - 1)
    sem = squares.std().item() / len(x) ** 0.5
    assert abs(squares.mean().item() - mean_field.batchnorm_growth(torch.relu, batch)) < 4 * sem + 1e-3


def test_a_large_batch_is_the_limit_of_finite_ones():
    limit = mean_field.batchnorm_growth(torch.relu)
    assert mean_field.batchnorm_growth(torch.relu, batch=10**6) == pytest.approx(limit, rel=1e-5)


def test_the_phases_of_tanh():
    critical, q = mean_field.critical_point(torch.tanh, 0.05)
    assert (critical, q) == pytest.approx((1.7610, 0.5700), abs=1e-4)
    ordered = mean_field.fixed_point(torch.tanh, 1.3, 0.05)
    assert (ordered.chi, ordered.c, ordered.depth_scale) == pytest.approx((0.8802, 1.0, 7.834), abs=1e-3)
    chaotic = mean_field.fixed_point(torch.tanh, 2.5, 0.05)
    assert (chaotic.chi, chaotic.c, chaotic.depth_scale) == pytest.approx((1.1335, 0.447, 11.80), abs=5e-3)
    assert chaotic.rate == pytest.approx(math.log(1.1335) / 2, abs=1e-4)


@pytest.mark.parametrize("excess", [1e-2, 1e-3, 1e-5])
def test_fixed_points_near_criticality_are_fixed(excess):
    """For an odd activation without bias, correlations vanish in the chaotic phase, however near its edge."""
    point = mean_field.fixed_point(torch.tanh, 1 + excess)
    after = (1 + excess) * normal_mean(lambda u: torch.tanh(u) ** 2, point.q)
    assert after == pytest.approx(point.q, rel=1e-13)
    assert point.q == pytest.approx(excess / 2, rel=3 * excess)
    assert point.c == pytest.approx(0.0, abs=1e-12)
    assert mean_field.critical_point(torch.tanh, 0.0)[0] == pytest.approx(1.0, abs=1e-6)


def test_variance_that_has_no_fixed_point_is_refused():
    with pytest.raises(UsageError, match="without bound"):
        mean_field.fixed_point(torch.relu, 2.5)


@pytest.mark.parametrize("q", [0.3, 1.0, 4.0])
def test_quadrature_against_closed_forms(q):
    assert normal_mean(lambda u: u**4, q) == pytest.approx(3 * q**2, rel=1e-10)
    assert normal_mean(torch.relu, q) == pytest.approx(math.sqrt(q / (2 * math.pi)), rel=1e-10)
    expected = 2 / math.pi * math.asin(2 * q / (1 + 2 * q))
    assert normal_mean(lambda u: torch.erf(u) ** 2, q) == pytest.approx(expected, rel=1e-10)
    assert derivative_mean(torch.erf, q) == pytest.approx(4 / math.pi / math.sqrt(1 + 4 * q), rel=1e-10)
    assert erf(0.5) == pytest.approx(torch.erf(torch.tensor(0.5)).item())
    for c in (0.0, 0.4, 1.0):
        both = 2 / math.pi * math.asin(2 * q * c / (1 + 2 * q))
        assert correlated_mean(torch.erf, q, c) == pytest.approx(both, abs=1e-9)


def test_products_of_wide_matrices_have_the_predicted_squared_values():
    n, depth = 300, 3
    generator = torch.Generator().manual_seed(0)
    product = torch.eye(n, dtype=torch.float64)
    for _ in range(depth):
        product = torch.randn(n, n, generator=generator, dtype=torch.float64) / n**0.5 @ product
    squares = torch.linalg.svdvals(product) ** 2
    # The edge of the spectrum is approached from within, at a rate of n^(-2/3).
    edge = mean_field.largest_squared_value(depth)
    assert 0.85 * edge < squares[0].item() < 1.02 * edge
    predicted = mean_field.squared_value_variance(lambda x: x, 1.0, 1.0, depth)
    assert predicted == pytest.approx(depth)
    assert squares.var().item() == pytest.approx(predicted, rel=0.1)


def test_orthogonal_linear_networks_do_not_spread():
    assert mean_field.squared_value_variance(lambda x: x, 1.0, 1.0, 9, orthogonal=True) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(("weight_variance", "kind"), [(1.0, "vanishing"), (3.0, "exploding")])
def test_a_wide_tanh_network_grows_at_the_predicted_rate(weight_variance, kind):
    torch.manual_seed(0)
    width, layers = 300, []
    for _ in range(24):
        layer = nn.Linear(width, width)
        nn.init.normal_(layer.weight, std=(weight_variance / width) ** 0.5)
        nn.init.normal_(layer.bias, std=0.05**0.5)
        layers += [layer, nn.Tanh()]
    found = gradient(nn.Sequential(*layers), torch.randn(2, width), probes=4)
    predicted = mean_field.fixed_point(torch.tanh, weight_variance, 0.05).rate
    assert abs(found.rate.value - predicted) < 4 * found.rate.sem + 0.02
    assert found.kind == kind


def test_a_wide_normalised_network_grows_at_the_predicted_rate():
    torch.manual_seed(0)
    width, batch = 192, 192
    layers = [m for _ in range(16) for m in (nn.ReLU(), nn.Linear(width, width, bias=False), nn.BatchNorm1d(width))]
    found = gradient(nn.Sequential(*layers), torch.randn(batch, width), probes=4)
    assert found.kind == "exploding"
    # Finite width lowers the growth of π/(π-1) = 1.467 by about one in a hundred, a finite batch raises it as much.
    assert math.exp(2 * found.rate.value) == pytest.approx(math.pi / (math.pi - 1), rel=0.03)
