"""Singular values against the dense decomposition."""

from fractions import Fraction

import pytest
import torch
from helpers.jacobians import CASES, First
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from leadline.errors import UsageError
from leadline.jacobian._jacobian import jacobian
from leadline.jacobian._spectrum import DENSE_BELOW, spectrum
from leadline.jacobian.density import density, frobenius
from leadline.jacobian.golub_kahan import largest, orthonormalised
from leadline.jacobian.operators import Dense
from leadline.results import Status


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def identity(n):
    return Dense(torch.eye(n, dtype=torch.float64))


def second_moments(spread):
    return (spread.weights * spread.nodes**2).sum(dim=1)


def with_values(values, m, n, seed=0):
    generator = seeded(seed)
    left = torch.linalg.qr(torch.randn(m, len(values), generator=generator, dtype=torch.float64))[0]
    right = torch.linalg.qr(torch.randn(n, len(values), generator=generator, dtype=torch.float64))[0]
    return left @ torch.diag(torch.as_tensor(values, dtype=torch.float64)) @ right.T


@pytest.mark.parametrize("name", CASES)
def test_the_iteration_agrees_with_the_dense_decomposition(name):
    model, x = CASES[name]()
    J = jacobian(model, x)
    truth = torch.linalg.svdvals(J.dense())
    found = largest(J, 4, tolerance=1e-10, generator=seeded())
    torch.testing.assert_close(found.values, truth[:4], rtol=1e-8, atol=0)


def generated(kind, width, seed):
    """Draw a model of some kind, too large for its Jacobian to be formed by default, and an input."""
    torch.manual_seed(seed)
    layers, shape = {
        "dense": (lambda: [nn.Linear(90, 90), nn.Tanh(), nn.Linear(90, 90)], (3, 90)),
        "conv": (lambda: [nn.Conv2d(2, 3, 3), nn.SiLU(), nn.Conv2d(3, 2, 3, padding=2)], (1, 2, 12, 4 * width)),
        "recurrent": (lambda: [First((nn.RNN, nn.GRU, nn.LSTM)[seed % 3](5, 8, batch_first=True))], (2, 15 * width, 5)),
        "attention": (lambda: [nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()], (1, 20 * width, 8)),
        "BN in train mode": (lambda: [nn.Linear(9, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, 9)], (16 * width, 9)),
    }[kind]
    return nn.Sequential(*layers()).double(), torch.randn(*shape, dtype=torch.float64)


@pytest.mark.parametrize("kind", ["dense", "conv", "recurrent", "attention", "BN in train mode"])
@settings(max_examples=2)
@given(width=st.integers(3, 5), seed=st.integers(0, 10**6))
def test_generated_models_agree_with_the_dense_decomposition_within_their_errors(kind, width, seed):
    model, x = generated(kind, width, seed)
    assert min(jacobian(model, x).shape) > DENSE_BELOW
    found, truth = spectrum(model, x, k=3, seed=seed), torch.linalg.svdvals(jacobian(model, x).dense())
    torch.testing.assert_close(found.values, truth[:3], rtol=1e-8, atol=0)
    nearest = (found.values[:, None] - truth[None, :]).abs().min(dim=1).values
    assert (nearest <= found.errors).all()


@settings(max_examples=30)
@given(
    m=st.integers(1, 60),
    n=st.integers(1, 60),
    k=st.integers(1, 6),
    spread=st.floats(0.0, 3.0),
    seed=st.integers(0, 10**6),
)
def test_values_are_lower_estimates_within_their_errors(m, n, k, spread, seed):
    torch.manual_seed(seed)
    values = torch.exp(-spread * torch.rand(min(m, n), dtype=torch.float64)).sort(descending=True).values
    A = with_values(values, m, n, seed)
    found = largest(Dense(A), k, tolerance=1e-9, generator=seeded(seed))
    truth = torch.linalg.svdvals(A)
    assert len(found.values) == min(k, m, n)
    torch.testing.assert_close(found.values, truth[:k], rtol=1e-8, atol=1e-12)
    assert (found.values <= truth[:k] * (1 + 1e-12)).all()
    nearest = (found.values[:, None] - truth[None, :]).abs().min(dim=1).values
    assert (nearest <= found.residuals + 1e-12).all()


def test_early_values_are_within_their_residuals():
    A = with_values([1 / (1 + i) ** 0.3 for i in range(200)], 220, 200)
    truth = torch.linalg.svdvals(A)
    found = largest(Dense(A), 3, tolerance=0.05, generator=seeded())
    assert found.residuals.max() > 1e-6  # it did stop early
    distances = (found.values[:, None] - truth[None, :]).abs().min(dim=1).values
    assert (distances <= found.residuals).all()
    assert (found.values <= truth[:3] + 1e-12).all()


def test_a_smaller_block_goes_on_when_its_space_is_exhausted():
    found = largest(Dense(with_values([1.0] * 40, 50, 45)), 5, tolerance=1e-9, generator=seeded(), block=2)
    torch.testing.assert_close(found.values, torch.ones(5, dtype=torch.float64), rtol=1e-8, atol=0)


@pytest.mark.parametrize("values", [[3.0] * 5 + [1.0] * 20, [1.0] * 40, [2.0, 1.0] + [0.0] * 30, [0.0] * 12])
def test_coinciding_and_vanishing_values_are_all_found(values):
    A = Dense(with_values(values, 50, 45))
    found = largest(A, 5, tolerance=1e-9, generator=seeded())
    torch.testing.assert_close(found.values, torch.linalg.svdvals(A.matrix)[:5], rtol=1e-8, atol=1e-12)


@given(n=st.integers(2, 20), j=st.integers(0, 5), b=st.integers(1, 5), rank=st.integers(0, 5), seed=st.integers(0, 999))
def test_splitting_a_block_is_exact(n, j, b, rank, seed):
    torch.manual_seed(seed)
    j = min(j, n - 1)
    Q = torch.linalg.qr(torch.randn(n, j, dtype=torch.float64))[0].T
    X = torch.randn(b, min(rank, b), dtype=torch.float64) @ torch.randn(min(rank, b), n, dtype=torch.float64)
    F, H, S = orthonormalised(X, Q)
    torch.testing.assert_close(H @ Q + S @ F, X, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(F @ F.T, torch.eye(len(F), dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(F @ Q.T, torch.zeros(len(F), j, dtype=torch.float64), rtol=0, atol=1e-12)


def test_small_jacobians_are_exact_and_say_so():
    model, x = CASES["dense"]()
    found = spectrum(model, x, k=3, probes=2)
    assert found.status is Status.ESTIMATE  # nothing more precise than float64 measures what its products err by
    assert spectrum(Dense(jacobian(model, x).dense()), k=3).status is Status.PROVED
    truth = torch.linalg.svdvals(jacobian(model, x).dense())
    torch.testing.assert_close(found.values, truth[:3])
    assert found.frobenius.value == pytest.approx(truth.norm().item())
    assert found.density.below(truth[1].item() * (1 - 1e-9)).value == pytest.approx(1 - 2 / x.numel())


def test_large_jacobians_are_estimates_with_errors():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(300, 400), nn.Tanh(), nn.Linear(400, 320)).double()
    x = torch.randn(1, 300, dtype=torch.float64)
    found, truth = spectrum(net, x, k=5), torch.linalg.svdvals(jacobian(net, x).dense())
    assert found.status is Status.ESTIMATE
    torch.testing.assert_close(found.values, truth[:5], rtol=1e-8, atol=0)
    assert ((found.values - truth[:5]).abs() <= found.errors).all()
    assert abs(found.frobenius.value - truth.norm().item()) < 5 * found.frobenius.sem
    assert "double backward" in found.method


def test_density_counts_what_the_decomposition_counts():
    values = torch.linspace(0, 1, 200, dtype=torch.float64)
    A = Dense(with_values(values, 210, 200))
    spread = density(A, steps=40, probes=12, generator=seeded())
    torch.testing.assert_close(spread.weights.sum(dim=1), torch.ones(12, dtype=torch.float64))
    for edge in (0.25, 0.5, 0.8):
        counted = spread.below(edge)
        assert abs(counted.value - edge) < 5 * counted.sem + 1 / 40
    second = second_moments(spread)
    assert abs(second.mean() - values.square().mean()) < 5 * second.std() / 12**0.5


def test_density_and_frobenius_of_an_orthogonal_map_are_exact():
    spread = density(identity(64), steps=5, probes=3, generator=seeded())
    assert second_moments(spread).mean().item() == pytest.approx(1.0)
    assert spread.below(1 - 1e-9).value == pytest.approx(0.0)
    found = largest(identity(300), 6, tolerance=1e-9, generator=seeded())
    assert frobenius(found.probes, 300, 1.0).value == pytest.approx(300**0.5)


def test_the_stated_error_of_the_frobenius_norm_is_no_less_than_the_spread_of_many_estimates():
    A = Dense(with_values([1 / (1 + i) for i in range(60)], 70, 60))
    found = [largest(A, 1, tolerance=1.0, generator=seeded(seed), block=3) for seed in range(300)]
    norms = [frobenius(ritz.probes, 60, 1.0) for ritz in found]
    values = torch.tensor([norm.value for norm in norms])
    assert values.std() <= norms[0].sem
    assert values.square().mean().sqrt().item() == pytest.approx(torch.linalg.norm(A.matrix).item(), rel=0.05)


@settings(max_examples=25)
@given(m=st.integers(12, 60), n=st.integers(12, 60), power=st.floats(0.2, 2.0), seed=st.integers(0, 10**6))
def test_a_loose_tolerance_is_met_though_residuals_are_far_larger(m, n, power, seed):
    A = with_values([(1 + i) ** -power for i in range(min(m, n))], m, n, seed)
    found = largest(Dense(A), 3, tolerance=1e-3, generator=seeded(seed), block=2)
    truth = torch.linalg.svdvals(A)[:3]
    assert ((truth - found.values) / truth).max() < 1e-3


def chain_of_inverses(decades, scale, n, seed):
    """A matrix of some condition and about its inverse, in float32, with the singular values of their exact product."""
    torch.manual_seed(seed)
    left, right = (torch.linalg.qr(torch.randn(n, n, dtype=torch.float64))[0] for _ in range(2))
    A = left @ torch.diag(torch.logspace(0, -decades, n, dtype=torch.float64)) @ right
    layers = [nn.Linear(n, n, bias=False) for _ in range(2)]
    layers[0].weight.data, layers[1].weight.data = (scale * A).float(), torch.linalg.inv(A).float()
    return nn.Sequential(*layers), torch.linalg.svdvals(layers[1].weight.double() @ layers[0].weight.double())


@settings(max_examples=15)
@given(decades=st.floats(0, 5.5), exponent=st.integers(-18, 18), n=st.integers(2, 16), seed=st.integers(0, 10**6))
def test_the_error_of_a_proved_value_counts_the_products(decades, exponent, n, seed):
    net, truth = chain_of_inverses(decades, 10.0**exponent, n, seed)
    found = spectrum(net, torch.randn(1, n), k=2)
    nearest = (found.values.double()[:, None] - truth[None, :]).abs().min(dim=1).values
    assert (nearest <= found.errors.double()).all()
    assert found.status is Status.PROVED or found.errors[0] > 0.1 * found.values[0]


@pytest.mark.parametrize("n", [6, 270])
@pytest.mark.parametrize(("gain", "layers"), [(40.0, 12), (1e3, 12), (1e-23, 1), (1e-3, 12)])
def test_spectra_in_float32_neither_over_nor_underflow(n, gain, layers):
    torch.manual_seed(0)
    turns = [nn.Linear(n, n, bias=False) for _ in range(layers)]
    for layer in turns:
        layer.weight.data = gain * torch.linalg.qr(torch.randn(n, n))[0]
    net, x = nn.Sequential(*turns), torch.randn(1, n)
    found, truth = spectrum(net, x, k=2), gain**layers
    assert (found.values.double() / truth).tolist() == pytest.approx([1.0, 1.0], rel=1e-4)
    assert (found.errors.double() < 1e-3 * truth).all()
    assert abs(found.frobenius.value / (truth * n**0.5) - 1) < 1e-4


def test_noise_and_own_formats_are_not_compared():
    dropout = spectrum(nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.5)), torch.randn(1, 6), k=1)
    A = torch.randn(5, 5)
    own = spectrum(lambda x: A @ x, torch.randn(5), k=1)
    rounded = spectrum(lambda x: torch.tanh(x.float()) * 2, torch.randn(5), k=1)
    for found in (dropout, own, rounded):
        assert found.status is Status.ESTIMATE
        assert "not measured" in found.method


def test_products_of_float64_err_less_than_is_stated():
    torch.manual_seed(0)
    A = torch.diag(torch.logspace(0, -9, 6, dtype=torch.float64))
    A = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))[0] @ A
    layers = [nn.Linear(6, 6, bias=False, dtype=torch.float64) for _ in range(2)]
    layers[0].weight.data, layers[1].weight.data = A, torch.linalg.inv(A)
    found = spectrum(nn.Sequential(*layers), torch.randn(1, 6, dtype=torch.float64), k=1)
    rows, columns = layers[1].weight.tolist(), layers[0].weight.T.tolist()
    exact = [
        [sum(Fraction(b) * Fraction(a) for b, a in zip(row, column, strict=True)) for column in columns] for row in rows
    ]
    truth = torch.linalg.svdvals(torch.tensor([[float(entry) for entry in row] for row in exact], dtype=torch.float64))
    assert abs(found.values[0] - truth[0]) <= found.errors[0]


def test_a_density_says_what_it_does_not_resolve():
    values = torch.cat([torch.zeros(150, dtype=torch.float64), torch.rand(150, dtype=torch.float64)])
    spread = density(Dense(with_values(values, 300, 300)), probes=8, generator=seeded())
    for edge in (1e-4, 0.1, 0.5, 0.9):
        low, high = spread.below(edge).interval()
        assert low <= (values <= edge).double().mean() <= high


def test_no_values_at_all_are_refused():
    with pytest.raises(UsageError, match="at least 1"):
        spectrum(torch.sin, torch.zeros(3), k=0)
