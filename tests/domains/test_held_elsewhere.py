"""What a graph alone keeps counts as saved; what the model keeps in variables of its own does not.

Where variables hold both, they are told apart once the model has been taken back to what it was.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import leadline
from leadline.results import Status

B, C, FLOAT = 4, 8, 4
ROWS = B * C * FLOAT
KEPT: list[Tensor] = []


class Keeping(torch.autograd.Function):
    """Keeps three tensors on its context, one of them in a list and one in a dict."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.one, ctx.others = torch.exp(x), [x * 2, {"third": x * 3}]
        return x + 1

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * ctx.one


class Model(nn.Module):
    def __init__(self, between: Callable[[Model, Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.between, self.last = nn.Linear(C, C), between, nn.Linear(C, C)
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.between(self, self.first(x)))


def _and(held: Callable[[Model, Tensor], Any], then: Callable[[Tensor], Tensor]) -> Callable[[Model, Tensor], Tensor]:
    def between(model: Model, h: Tensor) -> Tensor:
        held(model, h)
        return then(h)

    return between


def _checkpointed(x: Tensor) -> Tensor:
    return checkpoint(torch.tanh, x, use_reentrant=False)


HOLDING: dict[str, Callable[[Model, Tensor], Any]] = {
    "nothing": lambda *_: None,
    "an attribute": lambda m, h: setattr(m, "last_seen", h.detach().exp()),
    "a list of the model": lambda m, h: m.seen.append(h.detach().exp()),
    "a global": lambda _, h: KEPT.append(h.detach().exp()),
    "an attribute, with the graph": lambda m, h: setattr(m, "last_seen", h.exp()),
    "a global, with the graph": lambda _, h: KEPT.append(h.exp()),
}
THEN: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "as it is": (lambda h: h, 0),
    "a function that keeps": (Keeping.apply, 3 * ROWS),
    "a checkpoint": (_checkpointed, ROWS),
}


@pytest.mark.parametrize("then", THEN)
@pytest.mark.parametrize("held", HOLDING)
def test_what_is_held_elsewhere_is_not_saved(held: str, then: str) -> None:
    function, kept = THEN[then]
    found = leadline.memory(Model(_and(HOLDING[held], function)), torch.randn(B, C))
    with_graph = "graph" in held  # an exponential saves its result, which is held then, too
    assert found.saved == 2 * ROWS + kept + with_graph * ROWS
    assert found.status is Status.PROVED
    assert not KEPT


@pytest.mark.parametrize(("device", "mask"), [("cpu", ROWS), ("cuda", B * C)])
def test_dropout_keeps_its_mask_as_the_device_does(device: Any, mask: int) -> None:
    """The CPU keeps what it multiplies by, CUDA one byte for each number."""
    x = torch.randn(B, C, device="meta")
    model = nn.Sequential(nn.Linear(C, C), nn.Dropout(0.5), nn.Tanh()).to("meta")
    assert leadline.memory(model, x, device=device).saved == 2 * ROWS + mask
    assert leadline.memory(model.eval(), x, device=device).saved == 2 * ROWS


class Deep(nn.Module):
    """A chain of many operations behind one that keeps tensors on its context."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.weight, self.steps = nn.Parameter(torch.ones(C)), steps

    def forward(self, x: Tensor) -> Tensor:
        h = Keeping.apply(x * self.weight)
        for _ in range(self.steps):
            h = h + 1
        return h


@pytest.mark.parametrize("steps", [10, 3_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_the_graph_may_have_any_length(steps: int) -> None:
    found = leadline.memory(Deep(steps), torch.randn(B, C))  # a factor, and three tensors on the context
    assert (found.saved, found.status) == (4 * ROWS, Status.PROVED)
