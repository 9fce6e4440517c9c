"""Guesses of how a table of times goes on, and that generation is the same with and without them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leadline.domains import generation
from leadline.domains.extrapolation import extrapolated
from leadline.graph.layout import Layout
from leadline.results import Status
from leadline.zoo import build
from tests.domains.test_generations import Shifted, fronts_by_hand


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=4).map(sorted),
    st.integers(0, 5),
    st.integers(1, 5),
    st.sampled_from(["i j", "j i"]),
    st.lists(st.sampled_from([0, 1]), unique=True),
)
def test_a_periodic_table_is_continued(first: list[int], rise: int, down: int, order: str, flipped: list[int]) -> None:
    period, sizes = len(first), {"i": 20, "j": 24}
    along = torch.tensor([first[j % period] + (first[-1] + rise) * (j // period) for j in range(sizes["j"])])
    times = down * torch.arange(sizes["i"]).unsqueeze(1) + along
    ranks = Layout.parse("i j -> i j").ranks(sizes, order)
    known = torch.zeros_like(times, dtype=torch.bool)
    known[:12, :12] = True
    found = extrapolated((times * known).flip(flipped), known.flip(flipped), ranks.flip(flipped))
    assert found is not None
    assert torch.equal(found.flip(flipped), times)


def test_what_shows_no_period_is_not_continued() -> None:
    squares = torch.arange(30) ** 2
    assert extrapolated(squares, torch.arange(30) < 20, torch.arange(30)) is None


@settings(deadline=None, max_examples=8)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=3, unique=True), st.integers(30, 90))
def test_generation_is_that_of_all_passes(offsets: list[int], length: int) -> None:
    model, x = Shifted(*offsets), torch.randn(1, length, 1)
    guessed = generation(model, x, layout="b t c -> b t v", lag=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("leadline.domains._generation._GUESSES", ())
        assert generation(model, x, layout="b t c -> b t v", lag=1) == guessed


def test_a_grid_of_more_fronts_than_passes_is_proved() -> None:
    """A front runs two columns behind the one above it: 2 · (H - 1) + W of them."""
    specimen = build("masked-stack", layers=2, channels=1, height=120, width=70)
    found = generation(specimen.model, *specimen.inputs, layout=specimen.layout, lag=1)
    assert found.fronts.status is Status.PROVED
    assert found.fronts.hi == 2 * 119 + 70
    assert found.steps.hi == 2 * found.fronts.hi
    assert fronts_by_hand(6, 9, [(1, -1), (1, 0), (1, 1), (0, 1)]) == 2 * 5 + 9


def test_a_few_fronts_more_than_the_passes_without_a_guess_are_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leadline.domains._generation._GUESSES", ())
    found = generation(Shifted(1), torch.randn(1, 300, 1), layout="b t c -> b t v", lag=1)
    assert found.fronts.status is Status.BOUND
    assert found.fronts.lo <= 300 <= found.fronts.hi
