"""Claims C1 to C3: other norms, another verdict; and each counterexample and figure by other means."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from leadline.claims import CLAIMS, Verdict
from leadline.claims.statements.grid_gradients.models import grid_rnn, through
from leadline.claims.statements.grid_gradients.paths import GridPaths


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"north": 0.5, "west": 0.4}, {"north": 0.9, "west": 0.2}])
def test_the_largest_gradient_grows_as_the_sum_of_the_norms(settings: dict[str, float]) -> None:
    finding = CLAIMS["C1"].run(replace(GridPaths(), **settings))
    a, b = finding.mathematics.north, finding.mathematics.west  # type: ignore[attr-defined]
    assert finding.verdict is (Verdict.PROVED if a + b > 1 else Verdict.CORRECTED)
    figures = {quantity.name: quantity.value for quantity in finding.evidence.quantities}
    largest = max(math.comb(24, i) * a**i * b ** (24 - i) for i in range(25))
    assert figures["largest norm 24 steps away, multiples of one orthogonal matrix"] == pytest.approx(largest)
    assert (a + b) ** 24 / 25 <= largest <= (a + b) ** 24


def test_a_third_tap_adds_paths_beyond_the_bound() -> None:
    finding = CLAIMS["C1"].run(GridPaths(diagonal=0.25, units=2))
    case = finding.counterexample
    assert finding.verdict is Verdict.REFUTED
    assert case is not None
    north, west, both = (case.arrays[f"tap {name}"] for name in ("1 0", "0 1", "1 1"))
    found = np.linalg.norm(north @ west + west @ north + both, 2)
    assert found == pytest.approx(case.values["norm"])
    assert found > float(case.values["claimed"]) == pytest.approx(2 * 0.6 * 0.6)


def test_the_zoo_recurrence_is_differentiated_as_a_loop_over_cells_is() -> None:
    generator = torch.Generator().manual_seed(3)
    N, W, x = (torch.randn(shape, generator=generator).double() / 2 for shape in ((2, 2), (2, 2), (2, 3, 2)))

    def run(first: Any) -> Any:
        h = {(i, j): torch.zeros(2).double() for i in range(-1, 2) for j in range(-1, 3)}
        for i in range(2):
            for j in range(3):
                own = first if (i, j) == (0, 0) else x[i, j]
                h[i, j] = torch.tanh(own + N @ h[i - 1, j] + W @ h[i, j - 1])
        return torch.stack([h[1, 2], h[0, 1]])

    true = torch.autograd.functional.jacobian(run, x[0, 0])
    assert torch.allclose(through(grid_rnn(N, W), x, [(1, 2), (0, 1)]), true, atol=1e-12)  # type: ignore[arg-type]


@pytest.mark.slow
def test_random_matrices_grow_as_claimed_at_full_size() -> None:
    finding = CLAIMS["C3"].run(full=True, seed=5)
    figures = {quantity.name: quantity.value for quantity in finding.evidence.quantities}
    growth: Any = figures["growth a step, measured"]
    assert finding.verdict is Verdict.MEASURED
    assert growth.value == pytest.approx(1.0, abs=5 * growth.sem)
