"""Bounds are sound against dense Jacobians, and attained where theory says so."""

import statistics

import pytest
import torch
from helpers.bounded import CLASSES, Residual, measured_against_bound
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from leadline.errors import NotDifferentiable, UnknownOp, UsageError
from leadline.jacobian._bound import bound
from leadline.jacobian._jacobian import jacobian
from leadline.jacobian.bounds.norms import certified_range, convolution_norm
from leadline.zoo.mdrnn import GridRNN, GridRNNConfig


class Chain(nn.Module):
    """``x ↦ φ(W x + b)``, n times, with one scalar or matrix W."""

    def __init__(self, W, b, phi, n):
        super().__init__()
        self.W, self.b, self.phi, self.n = nn.Parameter(W), b, phi, n

    def forward(self, x):
        for _ in range(self.n):
            x = self.phi(x @ self.W.T + self.b)
        return x


@settings(max_examples=10)
@given(kind=st.sampled_from(sorted(CLASSES)), seed=st.integers(0, 10**6))
def test_no_measured_value_leaves_its_bound(kind, seed):
    found, low, high = measured_against_bound(kind, seed)
    assert high <= found.hi
    assert low >= found.lo * (1 - 1e-12)


@pytest.mark.slow
def test_over_a_thousand_networks_the_bound_holds_and_its_slack_is_known(capsys):
    for kind in sorted(CLASSES):
        ratios = []
        for seed in range(125):
            found, low, high = measured_against_bound(kind, seed)
            assert low >= found.lo * (1 - 1e-12)
            assert high <= found.hi
            if high > 0:
                ratios.append(found.hi / high)
        with capsys.disabled():
            print(f"{kind:10s} median slack {statistics.median(ratios):.3g} ×")


@pytest.mark.parametrize("n", [1, 10])
def test_the_sigmoid_chain_attains_its_bound(n):
    one = torch.ones(1, 1, dtype=torch.float64)
    model = Chain(one, -0.5, torch.sigmoid, n)
    found = bound(model, one)
    at = jacobian(model, 0.5 * one).dense().item()
    assert at == 4.0**-n
    assert 0 <= found.hi * 4.0**n - 1 < 1e-12


@pytest.mark.parametrize(("weight", "bias"), [(5.0, -2.5), (8.0, -4.0)])
def test_a_heavier_sigmoid_chain_may_explode(weight, bias):
    W = torch.full((1, 1), weight, dtype=torch.float64)
    model = Chain(W, bias, torch.sigmoid, 10)
    attained = jacobian(model, 0.5 * torch.ones(1, 1, dtype=torch.float64)).dense().item()
    found = bound(model, W)
    assert attained == pytest.approx((weight / 4) ** 10)
    assert attained <= found.hi <= attained * (1 + 1e-12)


@pytest.mark.parametrize("n", [10])
def test_the_tanh_chain_attains_its_bound(n):
    one = torch.ones(1, 1, dtype=torch.float64)
    assert 0 <= bound(Chain(one, 0.0, torch.tanh, n), one).hi - 1 < 1e-12


@pytest.mark.parametrize(("n", "k"), [(1, 3), (9, 8)])
def test_the_matrix_chain_attains_its_bound(n, k):
    W = torch.linalg.qr(torch.randn(k, k, dtype=torch.float64))[0] / 2
    model, zero = Chain(W, 0.0, torch.tanh, n), torch.zeros(1, k, dtype=torch.float64)
    attained = torch.linalg.svdvals(jacobian(model, zero).dense())[0].item()
    found = bound(model, zero)
    assert attained == pytest.approx(0.5**n)
    assert attained <= found.hi < 0.5**n * (1 + 1e-12)


def test_a_box_tightens_the_bound():
    one = torch.ones(1, 1, dtype=torch.float64)
    model = Chain(one, 0.1, torch.tanh, 6)
    everywhere, boxed = bound(model, one), bound(model, one, box=(0.0, 1.0))
    assert boxed.hi < 0.9 * everywhere.hi
    assert 0 < boxed.lo < boxed.hi
    assert "all inputs" in everywhere.assumptions


@pytest.mark.parametrize("depth", [1, 3])
def test_residual_steps_have_a_lower_bound(depth):
    branches = [nn.Linear(4, 4, bias=False, dtype=torch.float64) for _ in range(depth)]
    with torch.no_grad():
        for branch in branches:
            branch.weight.mul_(0.2 / torch.linalg.matrix_norm(branch.weight, ord=2))
    found = bound(nn.Sequential(*[Residual(branch) for branch in branches]), torch.zeros(1, 4, dtype=torch.float64))
    assert found.hi == pytest.approx(1.2**depth)
    # Attained by one step; over several, each branch is charged with the largest gain of what comes before it.
    assert found.lo == pytest.approx(0.8) if depth == 1 else 0 < found.lo < 0.8**depth


@settings(max_examples=40)
@given(m=st.integers(1, 8), n=st.integers(1, 8), seed=st.integers(0, 10**6), scale=st.floats(1e-6, 1e6))
def test_certified_range_holds_the_singular_values_closely(m, n, seed, scale):
    torch.manual_seed(seed)
    W = scale * torch.randn(m, n, dtype=torch.float64)
    values = torch.linalg.svdvals(W)
    lo, hi = certified_range(W)
    assert lo <= values[-1].item()
    assert values[0].item() <= hi <= values[0].item() * (1 + 1e-12)
    assert lo >= values[-1].item() - 1e-12 * values[0].item()


@settings(max_examples=12)
@given(
    o=st.integers(1, 3), i=st.integers(1, 2), k=st.integers(1, 3), d=st.integers(1, 2), s=st.integers(1, 2),
    p=st.integers(0, 2), groups=st.integers(1, 2), seed=st.integers(0, 10**6),
)  # fmt: skip
def test_convolution_norm_bounds_the_dense_matrix(o, i, k, d, s, p, groups, seed):
    torch.manual_seed(seed)
    layer = nn.Conv1d(i * groups, o * groups, k, stride=s, padding=p, dilation=d, groups=groups, bias=False).double()
    x = torch.zeros(1, i * groups, 8, dtype=torch.float64)
    dense = torch.linalg.matrix_norm(jacobian(layer, x).dense(), ord=2).item()
    upper = convolution_norm(layer.weight.detach(), (8,), (d,), groups)
    assert dense <= upper
    if s == 1 and p >= d * (k - 1):
        assert upper <= 1.5 * dense + 1e-12


@pytest.mark.parametrize("whole", [True, False])
def test_fixed_statistics_are_a_scaling_whatever_the_mode_of_the_rest(whole):
    norm = nn.BatchNorm1d(3, eps=1e-30).eval()  # some versions of torch refuse 0
    with torch.no_grad():
        norm.running_var.copy_(torch.tensor([0.25, 1.0, 4.0]))
    model = nn.Sequential(norm).train(not whole)
    norm.eval()
    found = bound(model, torch.zeros(2, 3))
    assert (found.lo, found.hi) == (pytest.approx(0.5), pytest.approx(2.0))


@pytest.mark.parametrize("n", [1, 2, 9])
def test_cumulative_sums_attain_their_bound_on_both_sides(n):
    class Sums(nn.Module):
        def forward(self, x):
            return x.cumsum(1)

    x = torch.zeros(1, n, dtype=torch.float64)
    values = torch.linalg.svdvals(jacobian(Sums(), x).dense())
    found = bound(Sums(), x)
    assert found.hi == pytest.approx(values[0].item(), rel=1e-11)
    assert found.lo == pytest.approx(values[-1].item(), rel=1e-11)
    assert found.lo <= values[-1] <= values[0] <= found.hi


def test_a_grid_recurrence_attains_its_bound_where_it_only_sums():
    model = GridRNN(GridRNNConfig(inputs=1, hidden=1)).double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(0.0 if "bias" in name or "north" in name else 0.5)
    row = torch.zeros(1, 1, 24, 1, dtype=torch.float64)
    found = bound(model, row)
    exact = torch.linalg.svdvals(jacobian(model, row).dense())[0].item()
    assert exact <= found.hi == pytest.approx(0.5 * (2 - 0.5**23))
    assert found.hi < 1.05 * exact


class Products(nn.Module):
    def forward(self, x):
        return x.cumprod(1)


def test_cumulative_products_have_no_bound_for_all_inputs():
    with pytest.raises(UnknownOp, match="cumprod"):
        bound(Products(), torch.zeros(1, 3))


@pytest.mark.parametrize(("n", "largest"), [(1, 2.0), (5, 1.5), (9, 0.8)])
def test_cumulative_products_attain_their_bound_within_a_box(n, largest):
    x = torch.full((2, n), largest, dtype=torch.float64)
    found = bound(Products(), x, box=(-largest, largest))
    dense = torch.linalg.matrix_norm(jacobian(Products(), x).dense(), ord=2).item()
    assert dense <= found.hi == pytest.approx(dense)


# By a literal, each of these does something else than what its name usually stands for.
LITERALS = {
    "a slope below zero": nn.Sequential(nn.LeakyReLU(-1.0), nn.Tanh()),
    "a negative alpha": nn.Sequential(nn.ELU(-1.0), nn.Tanh()),
    "a threshold at once": nn.Sequential(nn.Softplus(threshold=0.0), nn.Tanh()),
    "values below a threshold": nn.Sequential(nn.Threshold(0.0, 2.0), nn.Tanh()),
    "a hard shrinkage": nn.Sequential(nn.Hardshrink(1.0), nn.Tanh()),
}


@pytest.mark.parametrize("name", LITERALS)
@pytest.mark.parametrize("box", [None, (-2.0, 0.5), (0.1, 3.0)])
def test_literals_are_read(name, box):
    x = torch.zeros(1, 1, dtype=torch.float64)
    found = bound(LITERALS[name], x, box=box)
    for value in torch.linspace(*(box or (-4.0, 4.0)), 41, dtype=torch.float64):
        norm = jacobian(LITERALS[name], x + value).dense().abs().item()
        assert found.lo * (1 - 1e-12) <= norm <= found.hi


@pytest.mark.parametrize("box", [None, (-2.0, 0.0), (0.0, 1.0)])
def test_a_slope_that_jumps_over_zero_is_never_zero(box):
    found = bound(nn.LeakyReLU(-0.25), torch.zeros(1, 3, dtype=torch.float64), box=box)
    assert (found.lo, found.hi) == (pytest.approx(0.25), pytest.approx(1.0))


def test_a_division_that_rounds_has_no_bound():
    class Rounds(nn.Module):
        def forward(self, x):
            return torch.div(x, 2.0, rounding_mode="floor")

    with pytest.raises(UnknownOp, match="div"):
        bound(Rounds(), torch.zeros(1, 3))


def test_operations_without_a_rule_are_named():
    class Sorts(nn.Module):
        def forward(self, x):
            return x.sort(-1).values

    with pytest.raises(UnknownOp, match="sort"):
        bound(Sorts(), torch.zeros(1, 3))
    loose = bound(Sorts(), torch.zeros(1, 3), on_unknown="top")
    assert loose.hi == float("inf")
    assert any("sort" in assumption for assumption in loose.assumptions)


def test_misuse_is_refused():
    with pytest.raises(NotDifferentiable, match="integers"):
        bound(nn.Embedding(3, 2), torch.zeros(1, dtype=torch.long))
    with pytest.raises(UsageError, match="lo <= hi"):
        bound(nn.Tanh(), torch.zeros(1, 2), box=(1.0, 0.0))
    with pytest.raises(UsageError, match="no output"):
        bound(nn.Tanh(), torch.zeros(1, 2), output="logits")
