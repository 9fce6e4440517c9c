"""Formulas as a person writes them, and what they grow like."""

from __future__ import annotations

import pytest
import sympy

from leadline.recurrence.analysis.fits import fit
from leadline.recurrence.analysis.notation import growth, written

d, k, H, W, T, layers, width = sympy.symbols("d k H W T layers width", integer=True, positive=True)


@pytest.mark.parametrize(
    ("expression", "text", "order"),
    [
        (k**2 * d * (4 * H * W - 3 * H - 3 * W + 2), "d·k²·(4HW - 3H - 3W + 2)", "Θ(H·W·d·k²)"),
        (H + W + d - 2, "H + W + d - 2", "Θ(H + W + d)"),
        (d * (2 * H - 2 + W), "d·(2H + W - 2)", "Θ(d·(H + W))"),
        (k * (2**d - 1), "k·(2^d - 1)", "Θ(2^d·k)"),
        (2 ** (d - 1), "2^(d - 1)", "Θ(2^d)"),
        (2 * 2**d * k - k, "k·(2·2^d - 1)", "Θ(2^d·k)"),
        ((3 * d**2 + 5 * d) / 2, "d·(3d + 5)/2", "Θ(d²)"),
        (2 * layers * width + layers, "layers·(2·width + 1)", "Θ(layers·width)"),
        (sympy.Integer(12), "12", "Θ(1)"),
        (3 - T, "3 - T", "O(T)"),
        (sympy.Min(T, 4), "Min(4, T)", None),
    ],
)
def test_formulas_are_written_and_their_order_is_read_off(expression: sympy.Expr, text: str, order: str | None) -> None:
    assert written(sympy.expand(expression)) == text
    assert growth(expression) == order


def test_sums_are_collected_by_the_sizes_that_were_fitted() -> None:
    whole = k**2 * (d * (5 * H * W - 3 * H - 3 * W + 2) - H * W)
    assert written(sympy.expand(whole), by=[d, k]) == "k²·(d·(5HW - 3H - 3W + 2) - HW)"


def test_a_region_says_what_a_power_of_two_is_smaller_than() -> None:
    count = k**2 * (2 * d * T - 2**d + 1)
    assert growth(count) == "O(k²·(Td + 2^d))"
    assert growth(count, {"T": 2 ** (d - 1)}) == growth(count, {"T": sympy.Max(2, 2**d / 2)}) == "Θ(T·d·k²)"


def test_formulas_are_fitted_exactly_or_not_at_all() -> None:
    points = [{"d": n, "k": m} for n in range(1, 5) for m in range(1, 4)]
    wanted = k**2 * (2**d - 3) + T * d
    values = [wanted.subs({d: p["d"], k: p["k"]}) for p in points]
    assert sympy.expand(fit(points, values) - wanted) == 0
