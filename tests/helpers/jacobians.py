"""One list of small models with dense Jacobians by an independent way: column by column, by central differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class First(nn.Module):
    """The first of a module's outputs."""

    def __init__(self, of: nn.Module) -> None:
        super().__init__()
        self.of = of

    def forward(self, *inputs: Tensor) -> Tensor:
        """Run, and keep the first output."""
        first: Tensor = self.of(*inputs)[0]
        return first


def _case(build: Callable[[], nn.Module], *shape: int, train: bool = False) -> Callable[[], tuple[nn.Module, Tensor]]:
    def make() -> tuple[nn.Module, Tensor]:
        torch.manual_seed(0)
        return build().double().train(train), torch.randn(*shape, dtype=torch.float64)

    return make


CASES: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {
    "dense": _case(lambda: nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 4)), 2, 5),
    "conv": _case(lambda: nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.GELU(), nn.Conv2d(3, 2, 3)), 1, 1, 5, 5),
    "batch norm, training": _case(lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), 5, 3, train=True),
    "rnn": _case(lambda: First(nn.RNN(2, 4, batch_first=True)), 1, 5, 2),
    "gru": _case(lambda: First(nn.GRU(2, 4, batch_first=True)), 1, 5, 2),
    "lstm": _case(lambda: First(nn.LSTM(2, 4, batch_first=True)), 1, 5, 2),
    "attention": _case(lambda: nn.TransformerEncoderLayer(6, 2, 8, batch_first=True), 1, 4, 6),
    "dropout, training": _case(
        lambda: nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.5), nn.Linear(6, 3)), 2, 4, train=True
    ),
}


def by_differences(f: Callable[..., Any], x: Tensor, step: float = 1e-5) -> Tensor:
    """Return the dense Jacobian by central differences."""
    columns = []
    with torch.no_grad():
        for i in range(x.numel()):
            nudge = torch.zeros_like(x).flatten()
            nudge[i] = step
            nudge = nudge.reshape(x.shape)
            columns.append(((f(x + nudge) - f(x - nudge)) / (2 * step)).flatten())
    return torch.stack(columns, dim=1)
