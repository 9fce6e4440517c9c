"""What is made of a finite mask may be as large as the mask: sums, squares and the like undo it, and are seen to."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from helpers.examples import examples
from helpers.perturbation import dependence
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import leadline

T, LAYOUT = 5, "b t c -> b t v"
LATER = torch.ones(T, T, dtype=torch.bool).triu(1)


class Attention(nn.Module):
    """Scores masked by a finite number, what is made of them, and a mean of values by that."""

    def __init__(self, made: Callable[[Tensor], Tensor], low: float) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(3, 3) for _ in range(3))
        self.made, self.low = made, low
        self.register_buffer("later", LATER)

    def forward(self, x: Tensor) -> Tensor:
        scores = (self.query(x) @ self.key(x).transpose(-1, -2)).masked_fill(self.later, self.low)
        return self.made(scores) @ self.value(x)


UNDONE: dict[str, Callable[[Tensor], Tensor]] = {
    "less the sum": lambda z: torch.sigmoid(z - z.sum(-1, keepdim=True)),
    "less the sum of all": lambda z: torch.sigmoid(z - z.sum()),
    "less the running sum": lambda z: torch.sigmoid(z - z.cumsum(-1)),
    "and its square": lambda z: torch.sigmoid(z + z * z),
    "and its size": lambda z: torch.sigmoid(z + z.abs()),
    "and its norm": lambda z: torch.sigmoid(z + z.norm(dim=-1, keepdim=True)),
    "less what is sorted": lambda z: torch.sigmoid(z - z.sort(-1).values),
    "less a product": lambda z: torch.sigmoid(z - z @ torch.ones(T, T).to(z)),
    "standardised": lambda z: ((z - z.mean(-1, keepdim=True)) / z.std(-1, keepdim=True)).softmax(-1),
    "capped": lambda z: (20 * torch.tanh(z / 20)).softmax(-1),
    "twice negative": lambda z: torch.sigmoid(-2 * (z + 1)),
}
KEPT: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda z: z.softmax(-1),
    "scaled": lambda z: (z / 2 + 1).softmax(-1),
    "less the largest": lambda z: (z - z.amax(-1, keepdim=True)).softmax(-1),
    "less the logarithm of a sum": lambda z: (z - z.logsumexp(-1, keepdim=True)).exp(),
    "less the mean": lambda z: torch.sigmoid(z - z.mean(-1, keepdim=True)),
    "masked twice": lambda z: (z + torch.zeros(T, T).to(z).masked_fill(LATER, -1e4)).softmax(-1),
    "with what grows along": lambda z: (z + 0.1 * torch.arange(T).to(z)).softmax(-1),
}


def _leaks(model: nn.Module, x: Tensor) -> bool:
    return bool(torch.from_numpy(dependence(model.double(), (x.double(),), LAYOUT)).triu(1).any())


@pytest.mark.parametrize("low", [-1e4, -1e9])
@pytest.mark.parametrize("name", UNDONE)
def test_a_mask_that_is_undone_is_not_certified(name: str, low: float) -> None:
    torch.manual_seed(0)
    model, x = Attention(UNDONE[name], low), torch.randn(1, T, 3)
    found = leadline.causality(model, x, layout=LAYOUT)
    assert _leaks(model, x)
    assert not found.causal


@pytest.mark.parametrize("low", [-1e4, torch.finfo(torch.float32).min])
@pytest.mark.parametrize("name", KEPT)
def test_a_mask_that_stays_is_certified(name: str, low: float) -> None:
    torch.manual_seed(0)
    model, x = Attention(KEPT[name], low), torch.randn(1, T, 3)
    found = leadline.causality(model, x, layout=LAYOUT)
    assert not _leaks(model, x)
    assert (found.verdict, found.lag) == ("finite-mask", 0)


STEPS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "sum": lambda a, b, c: a + c * b,
    "product": lambda a, b, c: a * b,  # noqa: ARG005
    "scale": lambda a, b, c: c * a,  # noqa: ARG005
    "less the sum": lambda a, b, c: a + c * b.sum(-1, keepdim=True),
    "running sum": lambda a, b, c: a.cumsum(-1),  # noqa: ARG005
    "less the largest": lambda a, b, c: a - b.amax(-1, keepdim=True),  # noqa: ARG005
    "less the mean": lambda a, b, c: a + c * b.mean(-1, keepdim=True),
    "clamp": lambda a, b, c: a.clamp(min=c),  # noqa: ARG005
    "sort": lambda a, b, c: a.sort(-1).values,  # noqa: ARG005
    "softplus": lambda a, b, c: nn.functional.softplus(a),  # noqa: ARG005
    "weights": lambda a, b, c: a.softmax(-1),  # noqa: ARG005
    "logarithms": lambda a, b, c: a.log_softmax(-1),  # noqa: ARG005
    "turned": lambda a, b, c: a.flip(-1),  # noqa: ARG005
    "mixed": lambda a, b, c: a @ torch.full((T, T), c).to(a),  # noqa: ARG005
}
ENDS = {"softmax": lambda z: z.softmax(-1), "sigmoid": torch.sigmoid, "relu": torch.relu}
PROGRAMS = st.lists(
    st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 4), st.sampled_from([-2.0, -1.0, 0.5, 3.0])),
    min_size=1, max_size=5,
)  # fmt: skip


@given(PROGRAMS, st.sampled_from(sorted(ENDS)), st.sampled_from([-1e4, -1e9]), st.integers(0, 99))
@settings(max_examples=examples(15, 400))
def test_no_program_over_masked_scores_is_certified_wrongly(
    program: list[tuple[str, int, float]], end: str, low: float, seed: int
) -> None:
    def made(z: Tensor) -> Tensor:
        values = [z]
        for step, pick, c in program:
            values.append(STEPS[step](values[pick % len(values)], values[-1], c))
        return ENDS[end](values[-1])

    torch.manual_seed(seed)
    model, x = Attention(made, low), torch.randn(1, T, 3)
    found = leadline.causality(model, x, layout=LAYOUT)
    assert not (found.causal and _leaks(model, x)), found


def test_what_is_the_same_everywhere_is_added_up_without_being_laid_out() -> None:
    with torch.device("meta"):
        model, x = nn.Linear(8, 1 << 14), torch.zeros(64, 4096, 8)

    class Mean(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = model

        def forward(self, x: Tensor) -> Tensor:
            y = self.layer(x) - 5.0
            return y - y.mean() - y.sum((1, 2), keepdim=True)

    assert leadline.causality(Mean(), x, layout="b t c -> b t v").lag == -4095
