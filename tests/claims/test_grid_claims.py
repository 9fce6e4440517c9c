"""Claims B1 to B8: other taps, another verdict; and the models behind them."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch

from leadline.claims import CLAIMS, Verdict
from leadline.claims.grids import grid_density
from leadline.claims.statements.dilated_stack import DilatedStack
from leadline.claims.statements.discussion import Discussion
from leadline.claims.statements.grid_count import GridCount
from leadline.claims.statements.grid_steps import GridSteps, longest_generation, longest_training
from leadline.claims.statements.live_state import LiveState
from leadline.claims.statements.masked_count import MaskedCount
from leadline.claims.statements.masked_steps import MaskedSteps, fronts
from leadline.claims.statements.sight import Sight
from leadline.recurrence.analysis.receptive_field import seen_from
from leadline.recurrence.examples import NORTH_AND_WEST, mask, masked

NORTH_EAST = (*NORTH_AND_WEST, (1, -1))


@pytest.mark.parametrize(
    ("claim", "mathematics", "verdict"),
    [
        ("B1", DilatedStack(layers=3), Verdict.PROVED),
        ("B1", DilatedStack(kernel=3, layers=3), Verdict.REFUTED),
        ("B2", MaskedCount(), Verdict.CORRECTED),
        ("B2", MaskedCount(first=mask(1, centre=True)), Verdict.REFUTED),
        ("B3", MaskedSteps(layers=2, gated=2), Verdict.PROVED),
        ("B3", MaskedSteps(dilation=2, layers=2, gated=1), Verdict.REFUTED),
        ("B4", GridCount(), Verdict.PROVED),
        ("B4", GridCount(taps=NORTH_EAST), Verdict.REFUTED),
        ("B5", GridSteps(layers=2), Verdict.CORRECTED),
        ("B5", GridSteps(taps=NORTH_EAST, layers=2), Verdict.REFUTED),
        ("B6", Sight(height=4, width=5), Verdict.CORRECTED),
        ("B6", Sight(taps=NORTH_EAST, height=4, width=5), Verdict.REFUTED),
        ("B7", LiveState(), Verdict.CORRECTED),
        ("B7", LiveState(taps=((2, 0), (0, 1))), Verdict.REFUTED),
        ("B8", Discussion(layers=2), Verdict.PROVED),
        ("B8", Discussion(taps=NORTH_EAST, layers=2), Verdict.REFUTED),
    ],
)
def test_the_verdict_turns_with_the_taps(claim: str, mathematics: Any, verdict: Verdict) -> None:
    finding = CLAIMS[claim].run(mathematics)
    assert finding.verdict is verdict, finding.evidence
    assert (finding.counterexample is None) == (verdict in (Verdict.PROVED, Verdict.MEASURED))


def seen_by_gradient(taps: tuple[tuple[int, int], ...], size: tuple[int, int], place: tuple[int, int]) -> torch.Tensor:
    """Run a scalar recurrence cell by cell over earlier pixels, and ask automatic differentiation."""
    x = torch.rand(size, requires_grad=True)
    h: dict[tuple[int, int], torch.Tensor] = {}
    for i, j in product(range(size[0]), range(size[1])):
        before = [(i - a, j - b) for a, b in taps if i - a >= 0 and 0 <= j - b < size[1]]
        h[i, j] = sum((x[p] + h[p] for p in before), start=torch.zeros(()))
    if not h[place].requires_grad:
        return torch.zeros(size, dtype=torch.bool)
    (gradient,) = torch.autograd.grad(h[place], x)
    return gradient != 0


@pytest.mark.parametrize("taps", [NORTH_AND_WEST, NORTH_EAST, ((1, 1), (0, 2))])
def test_context_equals_that_of_a_loop_over_cells(taps: tuple[tuple[int, int], ...]) -> None:
    size = (4, 5)
    for place in product(range(size[0]), range(size[1])):
        derived = seen_from(grid_density(taps, 1), place, size)["x"]
        assert seen_by_gradient(taps, size, place).numpy().tolist() == derived.tolist()


def longest_chain(H: int, W: int, d: int, drawn: bool) -> int:
    """Longest chain of an MDRNN's cells, by recursion over them."""
    level: dict[tuple[int, int, int], int] = {}
    for i, j, layer in product(range(H), range(W), range(d)):
        before = [level[p, q, layer] for p, q in ((i - 1, j), (i, j - 1)) if p >= 0 and q >= 0]
        if layer:
            before.append(level[i, j, layer - 1])
        elif drawn:
            before += [level[p, q, d - 1] for p, q in ((i - 1, j), (i, j - 1)) if p >= 0 and q >= 0]
        level[i, j, layer] = 1 + max(before, default=0)
    return max(level.values())


@pytest.mark.parametrize(("H", "W", "d"), [(1, 1, 1), (3, 2, 2), (2, 5, 3), (4, 4, 1)])
def test_longest_paths_equal_a_recursion_over_cells(H: int, W: int, d: int) -> None:
    assert longest_training(NORTH_AND_WEST, H, W, d) == longest_chain(H, W, d, False) == H + W + d - 2
    assert longest_generation(NORTH_AND_WEST, H, W, d) == longest_chain(H, W, d, True) == d * (H + W - 1)


@pytest.mark.parametrize("reach", [1, 2])
def test_fronts_equal_a_greedy_drawing(reach: int) -> None:
    """Draw every pixel as soon as all that it sees is drawn."""
    H, W = 3, 5
    stack, at = masked(1, radius=reach), {}
    for i, j in product(range(H), range(W)):
        seen = seen_from(stack, (i, j), (H, W))["x"]
        at[i, j] = 1 + max((at[p] for p in at if seen[p]), default=0)
    assert fronts(stack, (H, W)) == max(at.values())
