"""Jacobians over a grid: against automatic differentiation, paths written out, and moments in closed form."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import combinations, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leadline.jacobian.theory.grid import gaussian_moment, grid_jacobians, path_bound

cells = st.tuples(st.integers(0, 4), st.integers(0, 4))


def matrices(seed: int, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(k, k, generator=generator, dtype=torch.float64) for _ in range(2))  # type: ignore[return-value]


def paths(i: int, j: int, N: torch.Tensor, W: torch.Tensor) -> torch.Tensor:
    """Add up the products of all paths, each written out."""
    total = torch.zeros_like(N)
    for south in combinations(range(i + j), i):
        factors = [N if step in south else W for step in range(i + j)]
        J = torch.eye(len(N), dtype=N.dtype)
        for factor in factors:
            J = factor @ J
        total += J
    return total


@given(cell=cells, k=st.integers(1, 3), seed=st.integers(0, 99))
@settings(max_examples=10, deadline=None)
def test_a_jacobian_is_the_sum_of_its_paths_within_their_bound(cell: tuple[int, int], k: int, seed: int) -> None:
    N, W = matrices(seed, k)
    found = grid_jacobians({(1, 0): N, (0, 1): W}, (5, 5))[cell]
    assert torch.allclose(found, paths(*cell, N, W), rtol=1e-10, atol=1e-10)
    a, b = (float(torch.linalg.matrix_norm(M, 2)) for M in (N, W))
    assert torch.linalg.matrix_norm(found, 2) <= path_bound(*cell, a, b) * (1 + 1e-12)
    Q = torch.linalg.qr(N).Q
    attained = torch.linalg.matrix_norm(grid_jacobians({(1, 0): a * Q, (0, 1): b * Q}, (5, 5))[cell], 2)
    assert float(attained) == pytest.approx(path_bound(*cell, a, b), rel=1e-10)


@given(seed=st.integers(0, 99), north_west=st.booleans())
@settings(max_examples=6, deadline=None)
def test_slopes_and_further_taps_are_those_of_a_loop_over_cells(seed: int, north_west: bool) -> None:
    N, W = matrices(seed, 2)
    taps = {(1, 0): N, (0, 1): W} | ({(1, 1): N @ W} if north_west else {})
    driven = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

    def run(first: torch.Tensor) -> torch.Tensor:
        h = {(0, 0): first}
        for i, j in list(product(range(3), range(4)))[1:]:
            reads = [M @ h[i - a, j - b] for (a, b), M in taps.items() if i >= a and j >= b]
            h[i, j] = torch.tanh(driven[i, j] + torch.stack(reads).sum(0))
        return torch.stack(list(h.values())).unflatten(0, (3, 4))

    first = driven[0, 0]
    true = torch.autograd.functional.jacobian(run, first)
    assert torch.allclose(grid_jacobians(taps, (3, 4), 1 - run(first) ** 2), true, atol=1e-12)  # type: ignore[arg-type]


@given(i=st.integers(0, 40), j=st.integers(0, 40), a=st.sampled_from(["0", "0.6", "1.7"]))
def test_the_bound_is_that_of_fractions(i: int, j: int, a: str) -> None:
    exact = math.comb(i + j, i) * Fraction(a) ** i * Fraction("0.3") ** j
    assert path_bound(i, j, float(a), 0.3) == pytest.approx(float(exact), rel=1e-12)


def test_what_float64_does_not_hold_is_infinite_or_zero() -> None:
    assert path_bound(5000, 5000, 1.0, 1.0) == math.inf
    assert path_bound(5000, 5000, 0.1, 0.1) == 0.0
    assert path_bound(5000, 5000, 0.5, 0.5) == pytest.approx(1 / math.sqrt(math.pi * 5000), rel=1e-3)


def odd(n: int) -> int:
    """``E z^(2n)`` of a standard normal z."""
    return math.prod(range(1, 2 * n, 2))


@pytest.mark.parametrize(("i", "j"), [(i, n - i) for n in range(1, 5) for i in range(n + 1)])
def test_moments_are_those_of_numbers_and_lead_with_the_number_of_paths(i: int, j: int) -> None:
    """At k = 1, J(i,j) is C(i+j, i) N^i W^j: for independent N and W, and for one number."""
    count = math.comb(i + j, i)
    assert sum(gaussian_moment(i, j).values()) == count**2 * odd(i) * odd(j)
    assert sum(gaussian_moment(i, j, 1.0).values()) == count**2 * odd(i + j)
    assert (gaussian_moment(i, j)[0], gaussian_moment(i, j, 1.0)[0]) == (count, count**2)


def test_moments_are_those_of_many_small_matrices() -> None:
    generator, draws, k = torch.Generator().manual_seed(0), 40_000, 2
    N, W = (torch.randn(draws, k, k, generator=generator, dtype=torch.float64) / k**0.5 for _ in range(2))
    mixed = 0.6 * N + 0.8 * W
    for west, correlation in ((W, 0.0), (mixed, 0.6)):
        squares = grid_jacobians({(1, 0): N, (0, 1): west}, (3, 3)).square().sum((-1, -2)) / k
        for i, j in ((1, 1), (2, 0), (2, 1), (2, 2)):
            theory = sum(term / k**order for order, term in gaussian_moment(i, j, correlation).items())
            sem = float(squares[i, j].std()) / draws**0.5
            assert abs(float(squares[i, j].mean()) - theory) < 5 * sem
