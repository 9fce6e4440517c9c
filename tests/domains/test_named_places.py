"""Indices found in masked scores: hard attention sees what stands where they may point, and a top-k what it chooses."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

import leadline

T, C = 5, 3
LATER = torch.ones(T, T, dtype=torch.bool).triu(1)
LEAST = torch.finfo(torch.float32).min
Way = Callable[[Tensor, Tensor, float], Tensor]
"""From masked scores, values, and what masks them, to what attention gives."""


def looked_up(find: Callable[[Tensor], Tensor]) -> Way:
    return lambda w, v, _: v.gather(1, find(w).expand(-1, -1, C))


def weighed(find: Callable[[Tensor], Tensor]) -> Way:
    return lambda w, v, _: find(w).to(v) @ v


def straight_through(w: Tensor) -> Tensor:
    soft = w.softmax(-1)
    return F.one_hot(soft.argmax(-1), T) - soft.detach() + soft


def thinned(k: int) -> Way:
    def way(w: Tensor, v: Tensor, low: float) -> Tensor:
        dropped = torch.ones_like(w, dtype=torch.bool).scatter(-1, w.topk(k).indices.int().long(), False)
        return w.masked_fill(dropped, low).softmax(-1) @ v

    return way


def put_down(values: Tensor, places: Tensor) -> Tensor:
    return torch.zeros(len(values), T, T).to(values).scatter(-1, places, values)


WAYS: dict[str, Way] = {
    "one-hot": weighed(lambda w: F.one_hot(w.argmax(-1), T)),
    "one-hot of weights": weighed(lambda w: F.one_hot(w.softmax(-1).argmax(-1), T)),
    "one-hot by columns": weighed(lambda w: F.one_hot(w.mT.argmax(1), T)),
    "straight through": weighed(straight_through),
    "compared": weighed(lambda w: w.argmax(-1, keepdim=True) == torch.arange(T)),
    "scattered": weighed(lambda w: torch.zeros_like(w).scatter_(-1, w.max(-1, keepdim=True)[1], 1.0)),
    "looked up": looked_up(lambda w: w.argmax(-1, keepdim=True)),
    "along an axis": lambda w, v, _: torch.take_along_dim(v, w.argmax(-1, keepdim=True), 1),
    "of one top": looked_up(lambda w: w.topk(1, sorted=False).indices),
    "of the order": looked_up(lambda w: w.argsort(-1, descending=True)[..., :1]),
    "last of the order": looked_up(lambda w: w.sort(-1).indices[..., -1:]),
    "least of the negative": looked_up(lambda w: (-w).argmin(-1, keepdim=True)),
    "by lists": lambda w, v, _: v[torch.arange(len(v)).unsqueeze(1), w.argmax(-1)],
    "in one list": lambda w, v, _: v.flatten(0, 1)[w.argmax(-1) + T * torch.arange(len(v)).unsqueeze(1)],
    "largest put down": weighed(lambda w: put_down(*w.max(-1, keepdim=True))),
    "thinned to two": thinned(2),
    "thinned to all": thinned(T),
}
LEFT: dict[str, Way] = {
    "two largest": weighed(lambda w: torch.zeros_like(w).scatter(-1, w.topk(2).indices, 1.0)),
    "least": looked_up(lambda w: w.argmin(-1, keepdim=True)),
    "second": looked_up(lambda w: w.argsort(-1, descending=True)[..., 1:2]),
}


class Hard(nn.Module):
    """Attention that chooses."""

    def __init__(self, way: Way, low: float) -> None:
        super().__init__()
        self.way, self.low, self.qkv = way, low, nn.Linear(C, 3 * C)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        return self.way((q @ k.mT).masked_fill(LATER, self.low), v, self.low)


def judged(way: Way, low: float, seed: int = 0) -> tuple[leadline.domains.Causality, Tensor, Tensor]:
    """Return the verdict, the map that is read and the one that a perturbation shows."""
    torch.manual_seed(seed)
    model, x = Hard(way, low).double().eval(), torch.randn(2, T, C, dtype=torch.float64)
    reading = leadline.read(model, x, layout="b t c -> b t v")
    seen = torch.stack([reading.context(t).map for t in range(T)])
    shown, before = torch.zeros(T, T, dtype=torch.bool), model(x)
    for place in range(T):
        for scale in (1.0, 1.0, 5.0, 5.0):
            changed = x.clone()
            changed[:, place] = scale * torch.randn(2, C, dtype=torch.float64)
            shown[:, place] |= (model(changed) - before).abs().amax((0, 2)) > 1e-9
    return reading.causality(), seen, shown


@settings(max_examples=4, suppress_health_check=[HealthCheck.too_slow], phases=[Phase.reuse, Phase.generate])
@given(st.sampled_from(sorted(WAYS)), st.sampled_from([-torch.inf, -1e9, LEAST]), st.integers(0, 99))
def test_hard_attention_under_a_mask_is_causal(way: str, low: float, seed: int) -> None:
    found, seen, shown = judged(WAYS[way], low, seed)
    assert not bool(shown.triu(1).any()), "the design is wrong"
    assert found.verdict.value == ("structural" if low == -torch.inf else "finite-mask")
    assert found.lag == 0
    assert not bool(seen.triu(1).any())
    assert bool((seen | ~shown).all())


@pytest.mark.parametrize("way", sorted(WAYS))
def test_each_way_of_choosing(way: str) -> None:
    torch.manual_seed(0)
    found = leadline.causality(Hard(WAYS[way], -torch.inf), torch.zeros(2, T, C), layout="b t c -> b t v")
    assert (found.verdict.value, found.lag) == ("structural", 0)


@pytest.mark.parametrize("way", sorted(LEFT))
def test_what_may_choose_what_is_masked_leaks(way: str) -> None:
    found, seen, shown = judged(LEFT[way], -torch.inf)
    assert found.verdict.value == "leak"
    assert bool((seen | ~shown).all())
    assert bool(shown.triu(1).any())


def test_repetitions_by_a_constant_tensor_are_looked_up() -> None:
    class Repeated(nn.Module):
        def __init__(self, times: list[int]) -> None:
            super().__init__()
            self.register_buffer("times", torch.tensor(times))

        def forward(self, x: Tensor) -> Tensor:
            return x.repeat_interleave(self.times, dim=1)[:, :T]

    later = leadline.causality(Repeated([2, 1, 1, 1, 1]), torch.zeros(2, T, C), layout="b t c -> b t v")
    assert (later.verdict.value, later.lag) == ("structural", 0)
    assert leadline.causality(Repeated([1, 0, 1, 1, 2]), torch.zeros(2, T, C), layout="b t c -> b t v").lag == -1
