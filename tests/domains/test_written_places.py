"""What is added up or taken at places that are known: zeros stay where nothing is put, beside dense Jacobians."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import leadline

T, C = 4, 2
LAYOUT = "b t c -> b t v"
Way = Callable[[Tensor, Tensor], Tensor]
"""From weights of T × T, of which some are zero, and places, to other weights."""


def reduced(how: str) -> Way:
    return lambda w, at: torch.zeros_like(w).scatter_reduce(-1, at.expand_as(w), w, how, include_self=False)


def put(w: Tensor, at: Tensor) -> Tensor:
    batch, row = torch.arange(len(w)).reshape(-1, 1, 1), torch.arange(T).unsqueeze(1)
    return torch.zeros_like(w).index_put((batch, row, at), w, accumulate=True)


WAYS: dict[str, Way] = {
    "scatter_add": lambda w, at: torch.zeros_like(w).scatter_add(-1, at.expand_as(w), w),
    "index_add": lambda w, at: torch.zeros_like(w).index_add(-1, at, w),
    "index_put": put,
    "sums": reduced("sum"),
    "means": reduced("mean"),
    "largest": reduced("amax"),
    "addcmul": lambda w, at: torch.addcmul(torch.zeros(T, T).to(w), w, (at >= 1).to(w), value=2.0),
    "addcdiv": lambda w, at: torch.zeros(T, T).to(w).addcdiv(w, 1.0 + at),
}


class Weighed(nn.Module):
    def __init__(self, way: Way, mask: Tensor, at: Tensor) -> None:
        super().__init__()
        self.way = way
        self.register_buffer("mask", mask)
        self.register_buffer("at", at)

    def forward(self, x: Tensor) -> Tensor:
        scores = (x @ x.mT).sigmoid() * self.mask
        return self.way(scores, self.at) @ x


def moved(model: nn.Module, x: Tensor) -> Tensor:
    jacobian = torch.autograd.functional.jacobian(model, x)
    return (jacobian[0, ..., 0, :, :].abs() > 1e-12).any(1).any(-1)


def seen(model: nn.Module, x: Tensor) -> Tensor:
    reading = leadline.read(model, x, layout=LAYOUT)
    return torch.stack([reading.context(t, longer=False).map for t in range(T)])


@pytest.mark.parametrize("way", WAYS)
@given(
    mask=st.lists(st.booleans(), min_size=T * T, max_size=T * T),
    at=st.lists(st.integers(0, T - 1), min_size=T, max_size=T),
)
@settings(max_examples=3, deadline=None)
def test_zeros_stay_where_nothing_else_is_put(way: str, mask: list[bool], at: list[int]) -> None:
    """Nothing that has an effect is missed; and what is known to be zero is not seen."""
    torch.manual_seed(0)
    model = Weighed(WAYS[way], torch.tensor(mask).reshape(T, T), torch.tensor(at)).double()
    x = torch.randn(2, T, C, dtype=torch.float64)
    found, truth = seen(model, x), moved(model, x)
    assert not bool((truth & ~found).any())
    if way != "largest":  # of which some do not count as it happens
        assert torch.equal(found, truth)


@given(st.lists(st.booleans(), min_size=T * T, max_size=T * T), st.lists(st.booleans(), min_size=T, max_size=T))
@settings(max_examples=6, deadline=None)
def test_masks_of_several_axes_take_elements_in_order(chosen: list[bool], rows: list[bool]) -> None:
    plane, row = torch.tensor(chosen).reshape(T, T), torch.tensor(rows)

    class Taken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            scores = x @ x.mT
            found = torch.zeros_like(scores).masked_scatter(plane.expand_as(scores), scores[:, plane])
            return (found * row) @ x + x[:, row].sum(1, keepdim=True) * 0.5

    torch.manual_seed(0)
    x = torch.randn(2, T, C, dtype=torch.float64)
    assert torch.equal(seen(Taken(), x), moved(Taken(), x))


@given(st.lists(st.booleans(), min_size=T * T, max_size=T * T), st.integers(0, 2), st.booleans())
@settings(max_examples=6, deadline=None)
def test_what_is_the_same_everywhere_is_written_over_as_a_whole(chosen: list[bool], rows: int, full: bool) -> None:
    """Constants are kept small where they are all alike; a copy writes as much as was there."""
    plane = torch.tensor(chosen).reshape(T, T)[rows * (not full) :]

    class Written(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            mask = torch.full((T, T), 7.0, dtype=x.dtype)
            mask[rows * (not full) :] = plane.to(x.dtype)
            mask[: rows * (not full)].copy_(torch.zeros(1, T, dtype=x.dtype))
            return ((x @ x.mT).sigmoid() * mask) @ x

    torch.manual_seed(0)
    x = torch.randn(2, T, C, dtype=torch.float64)
    assert torch.equal(seen(Written(), x), moved(Written(), x))
