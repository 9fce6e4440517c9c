"""The two kinds of proof and the search, on statements whose truth is known."""

from __future__ import annotations

import pytest
import sympy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leadline.claims import Grounds
from leadline.claims.claim import Effort
from leadline.claims.scalar_chain import DERIVATIVES, chain, gradients, steepest
from leadline.claims.settling import Point, Search, ascend, exhausted, searched, vanishes


def bumps(height: float) -> Search:
    """A landscape with a low bump that most starts climb and a higher one further away."""

    def excess(point: Point) -> torch.Tensor:
        x = point["x"]
        return 0.5 * torch.exp(-(x**2)) + height * torch.exp(-((x - 3) ** 2)) - 1

    return Search(lambda g, n: {"x": 3 * torch.randn(n, generator=g)}, excess)


@given(st.floats(0.1, 3.0).filter(lambda h: abs(h - 1) > 0.05), st.integers(0, 100))
@settings(max_examples=8, deadline=None)
def test_the_search_finds_what_is_there_and_nothing_else(height: float, seed: int) -> None:
    outcome = searched("the landscape is below 1", bumps(height), Effort(seed=seed), lambda at: {"x": at["x"].item()})
    assert outcome.holds == (height < 1)
    assert outcome.grounds is Grounds.SEARCHED
    if outcome.counterexample is not None:
        x = float(outcome.counterexample.arrays["x"])
        assert bumps(height).excess({"x": torch.tensor([x])}).item() > 0


def test_the_search_is_reproducible_and_passes_over_what_is_not_a_number() -> None:
    holes = Search(
        lambda g, n: {"x": torch.randn(n, generator=g)}, lambda p: torch.where(p["x"] > 0, -p["x"], p["x"] / 0 * 0)
    )
    first, again = ascend(holes, Effort(seed=3)), ascend(holes, Effort(seed=3))
    assert first == again
    assert first[0] <= 0


@given(st.integers(0, 5))
def test_the_first_difference_is_the_counterexample(wrong: int) -> None:
    outcome = exhausted("equal", ({"n": n} for n in range(6)), lambda n: n + (n == wrong), lambda n: n)
    assert outcome.counterexample is not None
    assert dict(outcome.counterexample.values) == {"n": wrong, "claimed": wrong + 1, "true": wrong}


def test_what_vanishes_only_somewhere_does_not_vanish() -> None:
    x, y = sympy.symbols("x y", positive=True)
    assert vanishes((x**2 - y**2) / (x + y) - x + y)
    assert not vanishes(x - sympy.Rational(7, 5))  # zero at the very point that is tried first
    assert not vanishes(x * y - 1)


@pytest.mark.parametrize("activation", DERIVATIVES)
def test_slopes_never_exceed_their_supremum(activation: str) -> None:
    x = torch.linspace(-6, 6, 601, dtype=torch.float64)
    slopes = gradients(chain(activation, 1.0, 1), x, torch.zeros(601, 1, dtype=torch.float64))
    assert slopes.max() <= float(steepest(activation))
    assert slopes.max() > float(steepest(activation)) - 1e-3
