"""Models of many kinds whose training is watched, each with an input, and a few steps of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Block(nn.Module):
    def __init__(self, width: int, residual: bool) -> None:
        super().__init__()
        self.inner, self.norm, self.residual = nn.Linear(width, width), nn.LayerNorm(width), residual

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.inner(self.norm(x)))
        return x + y if self.residual else y


class Sums(nn.Module):
    """Layers between sums that no module makes."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(5))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + torch.tanh(layer(x))
        return x


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.blocks = nn.ModuleList(Block(8, True) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        return x


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase], **how: Any) -> None:
        super().__init__()
        self.core, self.head = kind(4, 6, batch_first=True, **how), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.core(x)[0])


class Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(8, False) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False)
        return x


def layers(*activation: type[nn.Module], width: int = 8, depth: int = 5) -> nn.Sequential:
    return nn.Sequential(
        *[layer for _ in range(depth) for layer in (nn.Linear(width, width), *(a() for a in activation))]
    )


VECTORS, TOKENS = (6, 8), (2, 7)
KINDS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "layers": (lambda: layers(nn.Tanh), lambda: torch.randn(VECTORS)),
    "two layers": (lambda: layers(nn.Sigmoid, depth=2), lambda: torch.randn(VECTORS)),
    "one layer": (lambda: nn.Linear(8, 8), lambda: torch.randn(VECTORS)),
    "blocks": (lambda: nn.Sequential(*(Block(8, False) for _ in range(4))), lambda: torch.randn(VECTORS)),
    "residual": (lambda: nn.Sequential(*(Block(8, True) for _ in range(4))), lambda: torch.randn(VECTORS)),
    "sums": (Sums, lambda: torch.randn(VECTORS)),
    "tokens": (Tokens, lambda: torch.randint(11, TOKENS)),
    "checkpointed": (Checkpointed, lambda: torch.randn(VECTORS)),
    "batch norm": (lambda: layers(nn.ReLU, lambda: nn.BatchNorm1d(8)), lambda: torch.randn(VECTORS)),  # type: ignore[arg-type]
    "dropout": (lambda: layers(nn.Dropout, nn.Tanh), lambda: torch.randn(VECTORS)),
    "convolutions": (
        lambda: nn.Sequential(*[layer for _ in range(4) for layer in (nn.Conv1d(3, 3, 3, padding=1), nn.ReLU())]),
        lambda: torch.randn(2, 3, 9),
    ),
    "lstm": (lambda: Recurrent(nn.LSTM), lambda: torch.randn(5, 7, 4)),
    "gru of two layers": (lambda: Recurrent(nn.GRU, num_layers=2), lambda: torch.randn(5, 7, 4)),
}
EXACT = tuple(name for name in KINDS if name not in ("lstm", "gru of two layers", "dropout"))


def loss_of(output: Tensor) -> Tensor:
    return (output.double() ** 2).sum() + output.double().sum()


def steps(model: nn.Module, x: Tensor, number: int = 4, lr: float = 0.01) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    for _ in range(number):
        loss_of(model(x)).backward()
        optimizer.step()
        optimizer.zero_grad()


def made(name: str, seed: int = 0) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(seed)
    build, draw = KINDS[name]
    return build(), draw()
