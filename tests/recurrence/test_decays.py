"""Weights that are exponentials of differences are recurrences, of which the state is one number for each value."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import pytest
import torch
from torch import Tensor, nn

import leadline
from leadline.graph.reading import Reading
from leadline.recurrence.scores import Attention
from leadline.sampling import FrameStream
from leadline.sampling.rates import rated_source_of

Weights: TypeAlias = Callable[[Tensor, Tensor], Tensor]  # of two quantities (b, h, t), for each query and key


class Weighed(nn.Module):
    """Values that are summed up with weights between two positions, for two heads."""

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        self.of, self.value, self.weights = nn.Linear(2, 4), nn.Linear(2, 6), weights

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.of(x).mT.unflatten(1, (2, 2)).unbind(1)
        values = self.value(x).unflatten(-1, (2, 3)).transpose(1, 2)
        return (self.weights(first, second) @ values).transpose(1, 2).flatten(2)


def below(n: int, diagonal: int = 0) -> Tensor:
    return torch.ones(n, n, dtype=torch.bool).tril(diagonal)


def between(a: Tensor, since: int = 1) -> Tensor:
    """Sum what stands from `since` positions after the key up to the query."""
    spread, n = a[..., None].expand(*a.shape, a.shape[-1]), a.shape[-1]
    return spread.masked_fill(~below(n, -since), 0).cumsum(-2).masked_fill(~below(n), -torch.inf).exp()


def as_it_is_written(a: Tensor, since: int) -> Tensor:
    n = a.shape[-1]
    sums = [[a[..., j + since : i + 1].sum(-1) if j <= i else a[..., 0] * 0 - torch.inf for j in range(n)]
            for i in range(n)]  # fmt: skip
    return torch.stack([torch.stack(row, -1) for row in sums], -2).exp()


def differences(a: Tensor, b: Tensor) -> Tensor:
    return (a[..., :, None] - b[..., None, :]).masked_fill(~below(a.shape[-1]), -torch.inf)


def of_one(a: Tensor) -> Tensor:
    return differences(a, a)


RECURRENCES: dict[str, Weights] = {
    "sums": lambda a, _: between(-a.square()),
    "a triangle that is multiplied": lambda a, _: (a[..., None] * below(a.shape[-1], -1)).cumsum(-2).exp().tril(),
    "differences of running sums": lambda a, _: of_one(a.cumsum(-1)).exp(),
    "differences of anything": lambda a, _: of_one(5 * a).exp(),
}
OTHERS: dict[str, Weights] = {
    "sums with the key's own": lambda a, _: between(-a.square(), since=0),
    "differences of two things": lambda a, b: differences(a, b).exp(),
    "twice the difference": lambda a, _: (2 * of_one(a)).exp(),
    "earlier keys alone": lambda a, _: of_one(a).exp() * below(a.shape[-1], -1),
}


@pytest.mark.parametrize("since", [0, 1])
def test_sums_between_positions_are_what_their_name_says(since: int) -> None:
    a = torch.randn(2, 3, 6, dtype=torch.float64)
    assert torch.allclose(between(a, since), as_it_is_written(a, since))


QUICK = ("sums", "differences of anything", "earlier keys alone")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in (*RECURRENCES, *OTHERS)]
)
def test_they_stream_at_any_length(name: str) -> None:
    torch.manual_seed(len(name))
    model = Weighed((RECURRENCES | OTHERS)[name]).double()
    x = torch.randn(3, 6, 2, dtype=torch.float64)
    uniform = leadline.stream(model, x, layout="b t c -> b t v", backend="torch")
    framed = FrameStream(rated_source_of(Reading(model, (x,), {}, layout="b t c -> b t v")))
    attends = any(isinstance(v.equation, Attention) for v in framed.source.system.variables)
    assert attends == (name in OTHERS)
    for length in (6, 11):
        x = torch.randn(2, length, 2, dtype=torch.float64)
        with torch.no_grad():
            wanted = model(x)
        assert torch.allclose(uniform.logits(x), wanted, rtol=1e-10, atol=1e-10)
        assert torch.allclose(framed.logits(x), wanted, rtol=1e-10, atol=1e-10)
    assert (framed.state_bytes < 200) == (not attends)  # which does not grow
