"""Bounds on residual steps: sound for random matrices, attained by constructed ones, refuted where the paper errs."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from leadline.jacobian.theory.residual import attaining, smallest_possible, weyl_lower

values_of = st.lists(st.floats(1e-3, 100.0), min_size=1, max_size=6)


def svdvals(A):
    return torch.linalg.svdvals(A)


def plus_identity(A):
    return torch.eye(len(A), dtype=A.dtype) + A


def search_smallest(values, *, steps=300, starts=4, seed=0):
    """Search for an A with the singular values given that makes σ_n(I + A) small, knowing no formula.

    Descends on the orthogonal factor of ``A = Q diag(values)`` (the other one does not matter, by invariance of I) from
    random starts of either determinant.
    """
    n = len(values)
    generator = torch.Generator().manual_seed(seed)
    eye = torch.eye(n, dtype=torch.float64)
    diagonal = torch.diag(values.double())
    best, least = diagonal, math.inf
    for _ in range(starts):
        basis = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))[0]
        skew = torch.zeros(n, n, dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.Adam([skew], lr=0.05)
        for step in range(steps):
            for group in optimiser.param_groups:
                group["lr"] = 0.05 * (1 - step / steps) ** 2
            A = basis @ torch.linalg.matrix_exp(skew - skew.T) @ diagonal
            smallest = torch.linalg.svdvals(eye + A)[-1]
            if smallest.item() < least:
                best, least = A.detach().clone(), smallest.item()
            optimiser.zero_grad()
            smallest.backward()
            optimiser.step()
    return best.to(values.dtype)


@given(values=values_of, seed=st.integers(0, 10**6))
def test_weyl_bounds_hold_for_random_factors(values, seed):
    torch.manual_seed(seed)
    n = len(values)
    left, right = (torch.linalg.qr(torch.randn(n, n, dtype=torch.float64))[0] for _ in range(2))
    ordered = torch.tensor(sorted(values, reverse=True), dtype=torch.float64)
    A = left @ torch.diag(ordered) @ right
    found = svdvals(plus_identity(A))
    slack = 1e-10 * (1 + ordered[0])
    assert (found >= weyl_lower(ordered) - slack).all()
    assert (found <= 1 + ordered + slack).all()
    assert found[-1] >= smallest_possible(ordered) - slack
    assert found[-1] >= 1 + torch.linalg.eigvalsh((A + A.T) / 2)[0] - slack


@given(values=values_of)
def test_the_least_singular_value_is_attained(values):
    ordered = torch.tensor(sorted(values, reverse=True), dtype=torch.float64)
    A = attaining(ordered)
    torch.testing.assert_close(svdvals(A), ordered, rtol=1e-9, atol=1e-9)
    least = svdvals(plus_identity(A))[-1].item()
    assert least == pytest.approx(smallest_possible(ordered), abs=1e-9 * (1 + ordered[0].item()))


def test_the_search_finds_a_counterexample_to_the_claim_about_small_values():
    values = torch.tensor([100.0, 0.01], dtype=torch.float64)
    A = search_smallest(values)
    torch.testing.assert_close(svdvals(A), values, rtol=1e-9, atol=1e-12)
    claimed = abs(values[-1] - 1).item()  # 0.99
    assert svdvals(plus_identity(A))[-1].item() < 0.01 * claimed


def test_the_search_finds_none_where_none_exists():
    values = torch.tensor([0.6, 0.3, 0.2], dtype=torch.float64)
    assert svdvals(plus_identity(search_smallest(values)))[-1].item() >= 0.4 - 1e-9


@given(norms=st.lists(st.floats(0.0, 2.0), min_size=1, max_size=8), seed=st.integers(0, 10**6))
def test_products_of_residual_steps_stay_within_their_bound(norms, seed):
    torch.manual_seed(seed)
    J = torch.eye(4, dtype=torch.float64)
    for norm in norms:
        A = torch.randn(4, 4, dtype=torch.float64)
        J = plus_identity(norm * A / svdvals(A)[0]) @ J
    found = svdvals(J)
    assert found[0] <= math.prod(1 + norm for norm in norms) * (1 + 1e-9)
    assert found[-1] >= math.prod(max(0.0, 1 - norm) for norm in norms) * (1 - 1e-9) - 1e-9
