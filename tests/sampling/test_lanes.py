"""Lanes compute what numpy computes, in their own precision, special values included."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
import pytest

from leadline.sampling.compiled.lanes import (
    choose_less,
    exponential,
    fma,
    lane,
    lanes,
    load,
    same,
    spread,
    store,
    with_lane,
)

RNG = np.random.default_rng(0)


@nb.njit(error_model="numpy")
def _exponentials(memory: Any) -> None:
    for at in range(0, len(memory), lanes(memory)):
        store(memory, at, exponential(load(memory, at)))


@nb.njit(error_model="numpy")
def _arithmetic(a: Any, b: Any, out: Any) -> None:
    x, y, line = load(a, 0), load(b, 0), lanes(a)
    store(out, 0, x + y)
    store(out, line, x - 2.0)
    store(out, 2 * line, 0.5 * (x * y))
    store(out, 3 * line, 1.0 / y)
    store(out, 4 * line, fma(x, y, spread(a, 3)))
    store(out, 5 * line, choose_less(x, y, same(7.0, x), y))
    store(out, 6 * line, with_lane(x, 1, lane(y, lanes(y) - 1)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exponentials_are_right_to_a_few_units_in_the_last_place(dtype: Any) -> None:
    low, high = (-87, 88.3) if dtype is np.float32 else (-708, 709.4)
    x = np.linspace(low, high, 1 << 14).astype(dtype)
    x[:5] = [np.nan, np.inf, -np.inf, 0, -1e30]
    found = x.copy()
    _exponentials(found)
    assert np.isnan(found[0])
    assert found[1:5].tolist() == [np.inf, 0, 1, 0]
    exact = np.exp(x[5:].astype(np.longdouble))
    assert np.max(np.abs(found[5:] / exact - 1)) < 4 * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_lanes_are_as_many_as_fill_a_line_and_keep_to_themselves(dtype: Any) -> None:
    line = 64 // np.dtype(dtype).itemsize
    a, b = RNG.standard_normal((2, line)).astype(dtype)
    out = np.full(8 * line, 9, dtype)
    _arithmetic(a, b, out)
    wanted = [a + b, a - 2, a * b / 2, 1 / b, a * b + a[3], np.where(a < b, 7, b)]
    wanted += [np.where(np.arange(line) == 1, b[-1], a), np.full(line, 9)]
    assert np.allclose(out.reshape(8, line), np.array(wanted), rtol=8 * np.finfo(dtype).eps)
