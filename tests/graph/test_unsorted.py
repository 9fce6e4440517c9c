"""Rows sorted by group and put back: causal where they are, leaks where they leak, counted row by row."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import leadline
from leadline.graph import trace

TOKENS, WIDTH, EXPERTS = 6, 16, 3

pytest.importorskip("transformers.integrations.moe")  # which defines a grouped product for any type of number
grouped = torch.ops.transformers.grouped_mm_fallback


class Experts(nn.Module):
    """Each token goes through the expert that it chose; `order` sorts, `undo` puts rows back."""

    def __init__(
        self,
        order: Callable[[Tensor], tuple[Tensor, Tensor]] = torch.sort,
        undo: Callable[[Tensor, Tensor], Tensor] | None = None,
        within: Callable[[Tensor], Tensor] = torch.tanh,
    ) -> None:
        super().__init__()
        self.order, self.undo, self.within = order, undo or indexed, within
        self.choice = nn.Linear(WIDTH, EXPERTS)
        self.up = nn.Parameter(torch.randn(EXPERTS, WIDTH, 2 * WIDTH))
        self.down = nn.Parameter(torch.randn(EXPERTS, WIDTH, WIDTH))
        self.bias = nn.Parameter(torch.randn(EXPERTS, WIDTH))
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(0, 1)
        chosen, places = self.order(self.choice(rows).argmax(-1))
        ends = torch.histc(chosen.float(), EXPERTS, min=0, max=EXPERTS - 1).cumsum(0, dtype=torch.int32)
        gate, value = grouped(rows[places], self.up, offs=ends).chunk(2, -1)
        hidden = self.within(gate) * value
        out = grouped(hidden, self.down, offs=ends) + self.bias[chosen]
        return self.undo(out, places).view(x.shape)


def indexed(out: Tensor, places: Tensor) -> Tensor:
    """Index by the inverse, written as 0, 1, 2 … at the places."""
    back = torch.empty_like(places)
    back[places] = torch.arange(len(places))
    return out[back]


def argsorted(chosen: Tensor) -> tuple[Tensor, Tensor]:
    places = chosen.argsort()
    return chosen[places], places


ORDERS = {"sort": torch.sort, "stable": lambda c: torch.sort(c, stable=True), "argsort": argsorted}
UNDONE = {
    "index": indexed,
    "argsort of the places": lambda out, places: out[places.argsort()],
    "index_add": lambda out, places: torch.zeros_like(out).index_add(0, places, out),
    "index_copy": lambda out, places: torch.zeros_like(out).index_copy(0, places, out),
    "assignment": lambda out, places: (lambda y: (y.__setitem__(places, out), y)[1])(torch.zeros_like(out)),
    "index_put": lambda out, places: torch.zeros_like(out).index_put((places,), out, accumulate=True),
}
LEAKS = {
    "never put back": Experts(undo=lambda out, _: out),
    "put back twice": Experts(undo=lambda out, places: indexed(indexed(out, places), places)),
    "read instead of put": Experts(undo=lambda out, places: out[places]),
    "summed along the rows": Experts(within=lambda h: h.tanh().cumsum(0)),
    "normed along the rows": Experts(within=lambda h: h.softmax(0)),
    "shifted along the rows": Experts(within=lambda h: h.roll(1, 0)),
    "turned over": Experts(within=lambda h: h.flip(0)),
    "of the mean row": Experts(within=lambda h: h - h.mean(0)),
    "by the row's number": Experts(within=lambda h: h * torch.arange(len(h)).unsqueeze(1)),
}


def reach(model: nn.Module, x: Tensor) -> Tensor:
    """Which tokens change when a token does, for several changes of it."""
    found = torch.zeros(TOKENS, TOKENS, dtype=torch.bool)
    with torch.no_grad():
        for token in range(TOKENS):
            for _ in range(8):
                y = x.clone()
                y[0, token] = 3 * torch.randn(WIDTH, dtype=x.dtype)
                found[:, token] |= ((model(y) - model(x))[0].abs() > 1e-9).any(-1)
    return found


@pytest.mark.parametrize("undo", UNDONE)
@pytest.mark.parametrize("order", ORDERS)
def test_rows_put_back_depend_on_themselves(order: str, undo: str) -> None:
    torch.manual_seed(0)
    model, x = Experts(ORDERS[order], UNDONE[undo]), torch.randn(1, TOKENS, WIDTH, dtype=torch.float64)
    assert trace(model, x).verified
    found = leadline.causality(model, x, layout="b t c -> b t v")
    assert (found.verdict, found.lag) == ("structural", 0)
    assert torch.equal(reach(model, x), torch.eye(TOKENS, dtype=torch.bool))
    counted = leadline.count(model, x)
    assert counted.macs == TOKENS * WIDTH * (EXPERTS + 2 * WIDTH + WIDTH)


@pytest.mark.parametrize("name", LEAKS)
def test_what_mixes_rows_is_not_certified(name: str) -> None:
    torch.manual_seed(0)
    model, x = LEAKS[name], torch.randn(1, TOKENS, WIDTH, dtype=torch.float64)
    assert reach(model, x).triu(1).any()
    found = leadline.causality(model, x, layout="b t c -> b t v", on_unknown="top")
    assert not found.causal


def test_samples_stay_apart() -> None:
    found = leadline.causality(Experts(), torch.randn(3, TOKENS, WIDTH, dtype=torch.float64), layout="b t c -> b t v")
    assert found.cross_batch is None


@pytest.mark.skipif(not hasattr(nn.functional, "grouped_mm"), reason="this torch has no grouped product of its own")
def test_torch_s_own_grouped_product() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.choice, self.weight = nn.Linear(WIDTH, EXPERTS), nn.Parameter(torch.randn(EXPERTS, WIDTH, WIDTH))

        def forward(self, x: Tensor) -> Tensor:
            rows = x.flatten(0, 1)
            chosen, places = self.choice(rows).argmax(-1).sort()
            ends = torch.histc(chosen.float(), EXPERTS, min=0, max=EXPERTS - 1).cumsum(0, dtype=torch.int32)
            return indexed(nn.functional.grouped_mm(rows[places], self.weight, offs=ends), places).view(x.shape)

    model, x = Own().bfloat16(), torch.randn(1, TOKENS, WIDTH, dtype=torch.bfloat16)
    assert leadline.causality(model, x, layout="b t c -> b t v").verdict == "structural"
    assert leadline.count(model, x).macs == TOKENS * WIDTH * (EXPERTS + WIDTH)


def test_groups_that_offsets_do_not_follow_are_refused() -> None:
    class Fixed(Experts):
        def forward(self, x: Tensor) -> Tensor:
            rows = x.flatten(0, 1)
            ends = torch.tensor([2, 4, TOKENS], dtype=torch.int32)
            return grouped(rows, self.down, offs=ends).view(x.shape)

    with pytest.raises(leadline.errors.UnknownOp, match=r"grouped_mm.*test_unsorted\.py:\d+"):
        leadline.causality(Fixed(), torch.randn(1, TOKENS, WIDTH, dtype=torch.float64), layout="b t c -> b t v")
