"""Intervals hold what models compute, and are no wider than they must be where that is known."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from leadline.domains.values.interval_arithmetic import Interval, image, multiplied, product, within
from leadline.domains.values.intervals import intervals
from leadline.graph.trace import trace

LAYERS = {
    "conv": (lambda: nn.Conv2d(1, 2, 3, stride=2, padding=1, dilation=2), (1, 1, 7, 7)),
    "batch norm": (lambda: nn.BatchNorm1d(3).eval(), (2, 3)),
    "batch norm, training": (lambda: nn.BatchNorm1d(3), (4, 3)),
    "layer norm": (lambda: nn.LayerNorm(5), (2, 5)),
    "max pool": (lambda: nn.MaxPool1d(2, 1), (1, 2, 6)),
    "attention": (lambda: nn.TransformerEncoderLayer(4, 2, 8, batch_first=True).eval(), (1, 3, 4)),
    "gru": (lambda: nn.GRU(2, 3, batch_first=True), (1, 5, 2)),
    "lstm": (lambda: nn.LSTM(2, 3, batch_first=True), (1, 5, 2)),
    "softmax": (lambda: nn.Sequential(nn.Linear(3, 4), nn.Softmax(-1)), (2, 3)),
    "dropout": (lambda: nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5)), (2, 3)),
} | {
    phi.__name__: (lambda phi=phi: nn.Sequential(nn.Linear(3, 4), phi(), nn.Linear(4, 2)), (2, 3))
    for phi in (nn.ReLU, nn.Tanh, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish, nn.ELU, nn.Softplus)
}


@pytest.mark.parametrize("bounded", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_every_sampled_output_lies_within(name, bounded):
    build, shape = LAYERS[name]
    model = build().double()
    x = torch.zeros(shape, dtype=torch.float64)
    graph = trace(model, x)
    box = {next(iter(graph.inputs)): within(shape, -1.5, 2.0)} if bounded else None
    found = intervals(graph, box)
    for _ in range(20):
        sample = 3.5 * torch.rand(shape, dtype=torch.float64) - 1.5
        outputs = model(sample if bounded else 100 * sample)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        for ref, output in zip(graph.outputs.values(), outputs, strict=False):
            if isinstance(output, torch.Tensor):
                assert output.detach() in found[ref]


@given(seed=st.integers(0, 10**6), m=st.integers(1, 4), k=st.integers(1, 4), n=st.integers(1, 4))
def test_products_hold_every_product_of_members(seed, m, k, n):
    torch.manual_seed(seed)
    a = torch.randn(2, m, k, dtype=torch.float64).sort(dim=0).values
    b = torch.randn(2, k, n, dtype=torch.float64).sort(dim=0).values
    first, second = Interval(a[0], a[1]), Interval(b[0], b[1])
    for _ in range(10):
        x = a[0] + torch.rand_like(a[0]) * (a[1] - a[0])
        y = b[0] + torch.rand_like(b[0]) * (b[1] - b[0])
        assert x @ y in product("ik,kj->ij", first, second, k)
        assert x[:1, :1] * y[:1, :1] in multiplied(
            Interval(a[0, :1, :1], a[1, :1, :1]), Interval(b[0, :1, :1], b[1, :1, :1])
        )


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 5))
def test_the_image_under_a_matrix_is_attained_at_corners(seed, k):
    torch.manual_seed(seed)
    W, ends = torch.randn(k, 2, dtype=torch.float64), torch.randn(2, 1, k, dtype=torch.float64).sort(dim=0).values
    found = image(torch.matmul, Interval(ends[0], ends[1]), W, k)
    corners = torch.cartesian_prod(*ends[:, 0].T).reshape(-1, k) @ W
    torch.testing.assert_close(found.lo[0], corners.min(0).values)
    torch.testing.assert_close(found.hi[0], corners.max(0).values)
    assert (found.lo <= corners.min(0).values).all()
    assert (found.hi >= corners.max(0).values).all()


def test_open_ends_stay_open_only_where_a_weight_lets_them_through():
    W = torch.tensor([[1.0, 0.0], [-2.0, 3.0]], dtype=torch.float64)
    x = Interval(torch.tensor([[0.0, -1.0]]).double(), torch.tensor([[math.inf, 1.0]]).double())
    found = image(torch.matmul, x, W, 2)
    assert found.hi[0, 0] == math.inf
    assert found.lo[0, 0] == pytest.approx(-2.0)
    assert found.hi[0, 1] == pytest.approx(3.0)
