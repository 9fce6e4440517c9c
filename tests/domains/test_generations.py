"""Generation by fixed point against a longest path written out, and against the theory's closed forms."""

from functools import cache

import pytest
import torch
from torch import Tensor, nn

from leadline.domains import generation
from leadline.errors import LayoutError, NotCausal
from leadline.results import Status
from leadline.zoo import build


def fronts_by_hand(height: int, width: int, seen: list[tuple[int, int]]) -> int:
    """The longest chain of pixels of which each sees the one before it; `seen`: offsets (rows up, columns left)."""

    @cache
    def front(i: int, j: int) -> int:
        before = [(i - a, j - b) for a, b in seen]
        return 1 + max((front(p, q) for p, q in before if 0 <= p < height and 0 <= q < width), default=0)

    return max(front(i, j) for i in range(height) for j in range(width))


WEDGE = [(1, -1), (1, 0), (1, 1), (0, 1)]


@pytest.mark.parametrize(("height", "width", "layers"), [(1, 5, 2), (4, 6, 3), (5, 2, 1), (3, 7, 2)])
def test_masked_stack(height: int, width: int, layers: int) -> None:
    specimen = build("masked-stack", layers=layers, channels=1, height=height, width=width)
    found = generation(specimen.model, *specimen.inputs, layout=specimen.layout, lag=1)
    by_hand = fronts_by_hand(height, width, WEDGE)
    assert by_hand == min(2, width) * (height - 1) + width
    assert (found.fronts.lo, found.fronts.hi) == (by_hand, by_hand)
    assert found.steps.hi == layers * by_hand
    assert found.fronts.status is Status.PROVED


def test_mdrnn_core_between_shift_and_head() -> None:
    specimen = build("mdrnn", height=3, width=5, layers=2, hidden=2, embedding=2, head=2, classes=3)
    found = generation(specimen.model, *specimen.inputs, layout=specimen.layout, lag=1)
    assert found.fronts.hi == 3 + 5 - 1
    assert found.steps.hi % (3 + 5 - 1) == 0  # layers cannot pipeline: every front waits for the whole depth


class Shifted(nn.Module):
    """Output t reads inputs t - offset, and ones before the first."""

    def __init__(self, *offsets: int) -> None:
        super().__init__()
        self.offsets = offsets
        self.weight = nn.Parameter(torch.ones(1, 1))

    def forward(self, x: Tensor) -> Tensor:
        shifts = [nn.functional.pad(x, (0, 0, k, 0), value=1.0)[:, : x.shape[1]] for k in self.offsets]
        return torch.stack(shifts).sum(0) @ self.weight


@pytest.mark.parametrize(("offsets", "fronts"), [((1,), 12), ((2,), 6), ((3, 5), 4), ((4,), 3)])
def test_positions_that_skip_each_other_are_drawn_at_once(offsets: tuple[int, ...], fronts: int) -> None:
    found = generation(Shifted(*offsets), torch.randn(1, 12, 1), layout="b t c -> b t v", lag=1)
    assert (found.fronts.lo, found.fronts.hi) == (fronts, fronts)
    assert found.steps.hi == fronts


@pytest.mark.parametrize("offset", [0, 1, 3])
def test_the_lag_is_the_one_that_causality_finds(offset: int) -> None:
    found = generation(Shifted(offset), torch.randn(1, 12, 1), layout="b t c -> b t v")
    assert found == generation(Shifted(offset), torch.randn(1, 12, 1), layout="b t c -> b t v", lag=offset)
    assert found.lag == min(offset, 1)


def test_lag_zero_draws_the_next_one() -> None:
    found = generation(Shifted(0), torch.randn(1, 7, 1), layout="b t c -> b t v", lag=0)
    assert found.fronts.hi == 7


def test_beyond_the_passes_it_is_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leadline.domains._generation._PASSES", 5)
    found = generation(Shifted(1), torch.randn(1, 40, 1), layout="b t c -> b t v", lag=1)
    assert found.fronts.status is Status.BOUND
    assert found.fronts.lo <= 40 <= found.fronts.hi
    assert found.steps.lo <= 40 <= found.steps.hi


def test_what_cannot_be_generated_is_refused() -> None:
    with pytest.raises(NotCausal, match="2 places ahead"):
        generation(Shifted(0), torch.randn(1, 7, 1), layout="b t c -> b t v", lag=-2)
    with pytest.raises(LayoutError, match="no single input"):
        generation(nn.Bilinear(2, 2, 2), torch.randn(3, 2), torch.randn(3, 2), layout="b t, b t -> b t", lag=1)
