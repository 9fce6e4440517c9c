"""Thresholds that running sums of a sorted row give: a sparsemax keeps no masked score, and sees none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers.perturbation import dependence
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

import leadline
from leadline.report.verdicts import cards

T, C = 5, 3
LAYOUT = "b t c -> b t v"


def by_support(z: Tensor, dim: int = -1) -> Tensor:
    """Martins and Astudillo's algorithm, as the package `entmax` writes it."""
    z = z - z.max(dim, keepdim=True)[0]
    ordered = z.sort(dim, descending=True)[0]
    less = ordered.cumsum(dim) - 1
    shape = [1] * z.ndim
    shape[dim] = -1
    rho = torch.arange(1, z.shape[dim] + 1, dtype=z.dtype).view(shape).transpose(0, 0)
    size = (rho * ordered > less).sum(dim).unsqueeze(dim)
    tau = less.gather(dim, size - 1)
    tau /= size.to(z.dtype)
    return torch.clamp(z - tau, min=0)


def of_the_first(z: Tensor) -> Tensor:
    """The same over some of the largest alone."""
    ordered = z.topk(3, -1)[0]
    less = ordered.cumsum(-1) - 1
    size = (torch.arange(1, 4) * ordered > less).sum(-1, keepdim=True)
    return (z - less.gather(-1, size - 1) / size).relu()


def by_factors(z: Tensor) -> Tensor:
    """As it is written where truth values become factors."""
    z = z - z.amax(-1, keepdim=True)
    ordered = torch.sort(z, -1, descending=True).values
    place = torch.arange(1, z.shape[-1] + 1, dtype=z.dtype).expand_as(ordered)
    kept = torch.gt(1 + place * ordered, ordered.cumsum(-1)).type(z.dtype)
    most = torch.max(kept * place, dim=-1, keepdim=True)[0]
    tau = ((kept * ordered).sum(-1, keepdim=True) - 1) / most.expand_as(z)
    return torch.max(torch.zeros_like(z), z - tau)


def from_means(z: Tensor) -> Tensor:
    """With running means in the place of sums."""
    ordered = z.sort(-1, descending=True).values
    place = torch.arange(1, z.shape[-1] + 1)
    size = ((ordered.cumsum(-1) - 1) / place < ordered).sum(-1, keepdim=True)
    return F.relu(z - ((ordered.cumsum(-1) - 1) / place).gather(-1, size - 1))


class Sparsemax(torch.autograd.Function):
    """The same as an autograd function."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        found = by_support(z)
        ctx.save_for_backward(found)
        return found

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        kept = ctx.saved_tensors[0] > 0
        return (grads[0] - (grads[0] * kept).sum(-1, keepdim=True) / kept.sum(-1, keepdim=True)) * kept


WAYS: dict[str, Callable[[Tensor], Tensor]] = {
    "by support": by_support,
    "by columns": lambda z: by_support(z.mT, 1).mT,
    "of the first": of_the_first,
    "by factors": by_factors,
    "from means": from_means,
    "a function": Sparsemax.apply,
}


def by_squares(z: Tensor) -> Tensor:
    """Entmax of order 1.5, whose threshold comes from means of squares."""
    z = (z - z.max(-1, keepdim=True)[0]) / 2
    ordered = z.sort(-1, descending=True)[0]
    rho = torch.arange(1, z.shape[-1] + 1, dtype=z.dtype)
    mean, squares = ordered.cumsum(-1) / rho, (ordered**2).cumsum(-1) / rho
    tau = mean - ((1 - rho * (squares - mean**2)) / rho).clamp(0).sqrt()
    size = (tau <= ordered).sum(-1, keepdim=True)
    return (z - tau.gather(-1, size - 1)).clamp(min=0) ** 2


def by_halves(z: Tensor) -> Tensor:
    """A sparsemax by bisection."""
    low, step = z.amax(-1, keepdim=True) - 1, torch.ones(())
    for _ in range(12):
        step = step / 2
        low = torch.where((z - low - step).clamp(min=0).sum(-1, keepdim=True) >= 1, low + step, low)
    return (z - low).clamp(min=0)


class Attention(nn.Module):
    def __init__(self, way: Callable[[Tensor], Tensor], hidden: Tensor, low: float, added: bool) -> None:
        super().__init__()
        self.way, self.low, self.added = way, low, added
        self.q, self.k, self.v = (nn.Linear(C, C) for _ in range(3))
        self.register_buffer("hidden", hidden)

    def forward(self, x: Tensor) -> Tensor:
        scores = self.q(x) @ self.k(x).mT
        scores = scores + self.low * self.hidden if self.added else scores.masked_fill(self.hidden, self.low)
        return self.way(scores) @ self.v(x)


@st.composite
def hidden(draw: st.DrawFn) -> Tensor:
    """Masks of which each row leaves something."""
    rows = st.lists(st.booleans(), min_size=T, max_size=T).filter(lambda row: not all(row))
    return torch.tensor([draw(rows) for _ in range(T)])


def seen(model: nn.Module, x: Tensor) -> tuple[str, int | None]:
    found = leadline.causality(model, x, layout=LAYOUT)
    return found.verdict.value, found.lag


@pytest.mark.parametrize("way", WAYS)
@given(mask=hidden(), low=st.sampled_from([-1e4, -1e9, torch.finfo(torch.float32).min / 4]), added=st.booleans())
@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_sparsemax_sees_what_is_not_masked(way: str, mask: Tensor, low: float, added: bool) -> None:
    """No more than the mask leaves, and no less: beside a perturbation in float64."""
    torch.manual_seed(3)
    model, x = Attention(WAYS[way], mask, low, added), torch.randn(2, T, C)
    verdict, lag = seen(model, x)
    moved = torch.from_numpy(dependence(model, (x,), LAYOUT)) | torch.eye(T, dtype=torch.bool)
    assert not bool((moved & ~(~mask | torch.eye(T, dtype=torch.bool))).any())
    places = torch.arange(T)
    ahead = int((places - places.unsqueeze(1))[~mask | torch.eye(T, dtype=torch.bool)].max())
    assert lag == -ahead
    assert verdict == ("leak" if ahead else "finite-mask")


def test_what_is_not_a_support_stays_unknown() -> None:
    """A threshold on which masked scores have an effect is no certificate."""
    later = torch.ones(T, T, dtype=torch.bool).triu(1)

    def least(z: Tensor) -> Tensor:
        ordered = z.sort(-1, descending=True).values
        kept = torch.arange(1, T + 1) * ordered > ordered.cumsum(-1) - 1
        return (z - (ordered * ~kept).sum(-1, keepdim=True)).relu()

    for added in (False, True):
        assert seen(Attention(least, later, -1e4, added), torch.randn(2, T, C)) == ("leak", 1 - T)


def test_thresholds_of_numbers_without_a_mask_are_not_decided() -> None:
    """A constant that is as far from all of a row hides nothing."""
    nowhere = torch.zeros(T, T, dtype=torch.bool)

    def far(z: Tensor) -> Tensor:
        return by_support(z - 5000)

    assert seen(Attention(far, nowhere, 0.0, False), torch.randn(2, T, C)) == ("leak", 1 - T)


@pytest.mark.parametrize("way", [by_squares, by_halves])
def test_what_no_rule_says_of_a_finite_mask_is_unknown(way: Callable[[Tensor], Tensor]) -> None:
    """No false leak: minus infinity hides by structure what no perturbation shows here. A leak that is there is one."""
    torch.manual_seed(4)
    later, x = torch.ones(T, T, dtype=torch.bool).triu(1), torch.randn(2, T, C)
    assert seen(Attention(way, later, -torch.inf, False), x) == ("structural", 0)
    found = leadline.causality(Attention(way, later, -1e9, False), x, layout=LAYOUT)
    assert (found.verdict.value, found.lag, found.coverage.complete) == ("unknown", 1 - T, True)
    assert found.witness is not None
    assert not found.witness.confirmed
    assert cards(found)[0].advice == "mask by minus infinity"
    assert seen(Attention(way, ~later, -1e9, False), x)[0] == "leak"
