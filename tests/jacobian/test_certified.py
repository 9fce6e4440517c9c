"""Bounds are sound against dense Jacobians, and attained where theory says so."""

import statistics

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from leadline.errors import NotDifferentiable, UnknownOp, UsageError
from leadline.jacobian.certified import bound
from leadline.jacobian.eager import jacobian
from leadline.jacobian.norms import certified_range, convolution_norm


class Residual(nn.Module):
    def __init__(self, branch):
        super().__init__()
        self.branch = branch

    def forward(self, x):
        return x + self.branch(x)


class Chain(nn.Module):
    """``x ↦ φ(W x + b)``, n times, with one scalar or matrix W."""

    def __init__(self, W, b, phi, n):
        super().__init__()
        self.W, self.b, self.phi, self.n = nn.Parameter(W), b, phi, n

    def forward(self, x):
        for _ in range(self.n):
            x = self.phi(x @ self.W.T + self.b)
        return x


class Gated(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x):
        return torch.tanh(self.first(x)) * torch.sigmoid(self.second(x))


class First(nn.Module):
    def __init__(self, of):
        super().__init__()
        self.of = of

    def forward(self, x):
        return self.of(x)[0]


ACTIVATIONS = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.LeakyReLU, nn.Softplus, nn.Mish, nn.Hardswish)


def phi(draw):
    return ACTIVATIONS[draw(len(ACTIVATIONS))]()


def mlp(draw):
    w = 2 + draw(4)
    return nn.Sequential(nn.Linear(w, w), phi(draw), nn.Linear(w, 2 + draw(4)), phi(draw)), (1, w)


def residual(draw):
    w = 2 + draw(4)
    branches = [nn.Sequential(nn.Linear(w, w), phi(draw)) for _ in range(1 + draw(3))]
    return nn.Sequential(*[Residual(branch) for branch in branches]), (1, w)


def conv(draw):
    first = nn.Conv2d(1, 2, 1 + 2 * draw(2), stride=1 + draw(2), padding=draw(2), dilation=1 + draw(2))
    return nn.Sequential(first, nn.BatchNorm2d(2).eval(), phi(draw), nn.Flatten()), (1, 1, 6, 6)


def pooled(draw):
    pool = (nn.MaxPool1d, nn.AvgPool1d)[draw(2)](2 + draw(2), stride=1 + draw(2))
    return nn.Sequential(nn.Conv1d(2, 2, 2, groups=1 + draw(2)), phi(draw), pool), (1, 2, 9)


def recurrent(draw):
    kind = (nn.RNN, nn.GRU, nn.LSTM)[draw(3)]
    return First(kind(2, 3, 1 + draw(2), batch_first=True, bias=bool(draw(2)))), (1, 4, 2)


def gated(draw):
    return Gated(3 + draw(2)), None


def attention(draw):
    norm_first = bool(draw(2))
    return nn.TransformerEncoderLayer(4, 1 + draw(2), 5, batch_first=True, norm_first=norm_first).eval(), (1, 3, 4)


def softmaxed(draw):
    return nn.Sequential(nn.Linear(3, 4), (nn.Softmax, nn.LogSoftmax)[draw(2)](-1), nn.LayerNorm(4)), (1, 3)


CLASSES = {f.__name__: f for f in (mlp, residual, conv, pooled, recurrent, gated, attention, softmaxed)}


def measured_against_bound(kind, seed):
    """Return the bound of a generated network, and its largest and least singular value at random inputs in the box."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)

    def draw(n):
        return int(torch.randint(n, (), generator=generator))

    model, shape = CLASSES[kind](draw)
    model = model.double()
    shape = shape or (1, model.first.in_features)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.3 + 2 * torch.rand((), generator=generator, dtype=torch.float64))
    box = (-1.0, 0.5) if kind == "attention" or draw(2) else None
    found = bound(model, torch.zeros(shape, dtype=torch.float64), box=box)
    low, high = float("inf"), 0.0
    for _ in range(3):
        x = torch.rand(shape, dtype=torch.float64) * 1.5 - 1.0 if box else 3 * torch.randn(shape, dtype=torch.float64)
        values = torch.linalg.svdvals(jacobian(model, x).dense())
        low, high = min(low, values[-1].item()), max(high, values[0].item())
    return found, low, high


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
    norm = nn.BatchNorm1d(3, eps=0.0).eval()
    with torch.no_grad():
        norm.running_var.copy_(torch.tensor([0.25, 1.0, 4.0]))
    model = nn.Sequential(norm).train(not whole)
    norm.eval()
    found = bound(model, torch.zeros(2, 3))
    assert (found.lo, found.hi) == (pytest.approx(0.5), pytest.approx(2.0))


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
