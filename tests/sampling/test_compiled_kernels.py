"""Kernels of the compiled path beside plain numpy: drawing line by line, and gates by one division."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
import pytest

from leadline.sampling.compiled.kernels import draw, gated
from leadline.sampling.compiled.lanes import lanes, load, store

RNG = np.random.default_rng(0)


@nb.njit(error_model="numpy")
def _draw(p: Any, n: int, u: float, temperature: float, top_k: int, chosen: Any) -> int:
    return draw(p, n, u, temperature, top_k, chosen)


@nb.njit(error_model="numpy")
def _gates(a: Any, b: Any, out: Any) -> None:
    for at in range(0, len(a), lanes(a)):
        store(out, at, gated(load(a, at), load(b, at)))


def _drawn(logits: Any, u: float, temperature: float = 1.0, top_k: int | None = None) -> int:
    n = len(logits)
    return int(_draw(np.append(logits, np.zeros(64)), n, u, temperature, top_k or n, np.zeros(n, np.int64)))


def _expected(logits: Any, u: float, temperature: float, top_k: int) -> int:
    scaled = logits / temperature
    dropped = np.argsort(-scaled, kind="stable")[top_k:]
    shares = np.exp(scaled - scaled.max())
    shares[dropped] = 0
    steps = np.cumsum(shares)
    return int(np.searchsorted(steps, u * steps[-1], side="right"))


@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 17, 64, 256])
def test_a_drawn_class_is_the_one_whose_step_holds_the_uniform(n: int) -> None:
    for _ in range(200):
        logits, u = RNG.normal(size=n) * RNG.choice([0.1, 3, 30]), RNG.random()
        temperature, top_k = RNG.choice([0.5, 1.0, 2.0]), int(RNG.integers(1, n + 1))
        assert _drawn(logits, u, temperature, top_k) == _expected(logits, u, temperature, top_k)


@pytest.mark.parametrize("n", [1, 8, 20])
def test_the_ends_of_a_distribution_are_classes_that_have_a_share(n: int) -> None:
    last = 1 - 2.0**-53
    for place in range(n):
        logits = np.full(n, -1e6)
        logits[place] = 3.0
        assert _drawn(logits, 0.0) == _drawn(logits, last) == place
        assert _drawn(RNG.permutation(logits), 0.5, temperature=0.0) < n


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 3, 12])
def test_nothing_is_drawn_from_what_is_not_finite(odd: float, place: int) -> None:
    logits = np.zeros(13)
    logits[place] = odd
    assert _drawn(logits, 0.5) == -1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_gate_is_a_tangent_times_a_sigmoid(dtype: Any) -> None:
    ends = np.array([0, -0.0, 1e-6, 19.9, 20.1, 60, 300, 1e4, np.inf])
    ends = np.concatenate([ends, -ends, RNG.normal(size=14)])
    a, b = (grid.ravel().astype(dtype) for grid in np.meshgrid(ends, ends))
    found = np.zeros(len(a), dtype)
    _gates(a, b, found)
    with np.errstate(over="ignore"):
        expected = np.tanh(a.astype(np.float64)) / (1 + np.exp(-b.astype(np.float64)))
    assert np.abs(found - expected).max() < 4 * np.finfo(dtype).eps
    nan = np.full(64, np.nan, dtype)
    _gates(nan, np.zeros(64, dtype), nan)
    assert np.isnan(nan).all()
