"""Closed forms of GRU and LSTM steps against autograd, and their bounds against dense singular values."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from leadline.jacobian.theory.gates import gru_bound, gru_step, lstm_carry_bound, lstm_step


def scaled(cell, scale):
    cell = cell.double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.mul_(scale)
    return cell


cases = {
    "k": st.integers(1, 6),
    "scale": st.floats(0.1, 6.0),
    "bias": st.booleans(),
    "seed": st.integers(0, 10**6),
}


@settings(max_examples=12)
@given(**cases)
def test_gru_step(k, scale, bias, seed):
    torch.manual_seed(seed)
    cell = scaled(nn.GRUCell(3, k, bias=bias), scale)
    x, h = torch.randn(3, dtype=torch.float64), 2 * torch.rand(k, dtype=torch.float64) - 1
    step = gru_step(cell, x, h)
    dense = torch.autograd.functional.jacobian(lambda state: cell(x, state), h)
    torch.testing.assert_close(step.jacobian, dense, rtol=1e-9, atol=1e-12)
    values = torch.linalg.svdvals(dense)
    for bound in (step.bound, gru_bound(cell)):
        assert bound.lo - 1e-9 <= values[-1]
        assert values[0] <= bound.hi + 1e-9


def test_gru_bounds_are_tight_where_the_gate_only_carries():
    cell = scaled(nn.GRUCell(2, 3), 0.0)
    with torch.no_grad():
        cell.bias_ih[3:6] = 40.0  # z = 1
    step = gru_step(cell, torch.zeros(2, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))
    assert step.bound.lo == pytest.approx(1.0)
    assert step.bound.hi == pytest.approx(1.0)
    assert gru_bound(cell).hi == pytest.approx(1.0)


@settings(max_examples=12)
@given(**cases)
def test_lstm_step(k, scale, bias, seed):
    torch.manual_seed(seed)
    cell = scaled(nn.LSTMCell(3, k, bias=bias), scale)
    x, h, c = (torch.randn(n, dtype=torch.float64) for n in (3, k, k))
    step = lstm_step(cell, x, h, c)
    dense = torch.autograd.functional.jacobian(
        lambda state: torch.cat(cell(x, (state[:k], state[k:]))), torch.cat([h, c])
    )
    torch.testing.assert_close(step.jacobian, dense, rtol=1e-9, atol=1e-12)
    values = torch.linalg.svdvals(dense)
    assert (values[:k] >= step.lower - 1e-9).all()
    assert step.determinant == pytest.approx(torch.linalg.det(dense).item(), rel=1e-6, abs=1e-9)


def test_an_lstm_whose_cell_is_zero_is_singular():
    cell = scaled(nn.LSTMCell(2, 3), 1.0)
    with torch.no_grad():
        cell.weight_ih.zero_(), cell.weight_hh[6:9].zero_(), cell.bias_ih[6:9].zero_(), cell.bias_hh[6:9].zero_()
    zero = torch.zeros(3, dtype=torch.float64)
    step = lstm_step(cell, zero[:2], zero, zero)  # g = 0 and c = 0, so c' = 0
    assert step.determinant == 0.0
    assert torch.linalg.svdvals(step.jacobian)[-1] < 1e-12


@settings(max_examples=6)
@given(scale=st.floats(0.01, 0.3), forget=st.floats(1.0, 5.0), steps=st.integers(1, 25), seed=st.integers(0, 10**6))
def test_the_cell_carries_gradients_at_least_as_far_as_the_bound_says(scale, forget, steps, seed):
    torch.manual_seed(seed)
    k = 3
    cell = scaled(nn.LSTMCell(2, k), scale)
    with torch.no_grad():
        cell.bias_hh[k : 2 * k] += forget
    h, c = torch.zeros(k, dtype=torch.float64), torch.randn(k, dtype=torch.float64)
    J, extremes = torch.eye(2 * k, dtype=torch.float64), []
    for _ in range(steps):
        x = torch.randn(2, dtype=torch.float64)
        step = lstm_step(cell, x, h, c)
        J = step.jacobian @ J
        norms = [torch.linalg.matrix_norm(M, ord=2).item() for M in (step.P, step.Q)]
        extremes.append((step.f.min().item(), step.s.max().item(), *norms))
        with torch.no_grad():
            h, c = cell(x, (h, c))
    f, s, P, Q = (pick(column) for pick, column in zip((min, max, max, max), zip(*extremes, strict=True), strict=True))
    bound = lstm_carry_bound(f, s, P, Q, steps)
    assert torch.linalg.svdvals(J[k:, k:])[-1].item() >= bound.lo * (1 - 1e-9)
