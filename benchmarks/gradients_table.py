"""Architectures through `gradient`, none with a case of its own: the zoo, layers of torch, models of `transformers`.

Every model is small and freshly initialised; the table shows the stages that were found and the verdict. Run as
``python benchmarks/gradients_table.py``; it goes to ``benchmarks/results/gradients.md`` and ``.json``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from architectures import ARCHITECTURES
from tables import record
from torch import Tensor, nn

from leadline import gradient
from leadline.zoo import build

COLUMNS = ("name", "area", "stages", "first", "rate", "law", "verdict", "method", "seconds")
Example = tuple[nn.Module, tuple[Any, ...], Mapping[str, Tensor]]


class Residual(nn.Module):
    """A residual block of two convolutions with batch normalisation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        layers = [[nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1)] for _ in range(2)]
        self.branch = nn.Sequential(*layers[0], *layers[1])

    def forward(self, x: Tensor) -> Tensor:
        """Add the branch."""
        y: Tensor = x + self.branch(x)
        return y


def _from_zoo(name: str, **settings: Any) -> Callable[[], Example]:
    def make() -> Example:
        specimen = build(name, **settings)
        return specimen.model, specimen.inputs, {}

    return make


def _from_torch(model: Callable[[], nn.Module], *shape: int) -> Callable[[], Example]:
    return lambda: (model(), (torch.randn(shape),), {})


def _cnn() -> nn.Module:
    layers = [layer for _ in range(8) for layer in (nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())]
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), *layers, nn.Flatten(), nn.Linear(512, 10))


def _resnet() -> nn.Module:
    blocks = [Residual(8) for _ in range(8)]
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), *blocks, nn.Flatten(), nn.Linear(512, 10))


def _transformer(*, norm_first: bool) -> nn.Module:
    blocks = [nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=norm_first) for _ in range(8)]
    return nn.Sequential(*blocks).eval()


EXAMPLES: Mapping[str, tuple[str, Callable[[], Example]]] = {
    "MLP": ("zoo", _from_zoo("mlp")),
    "WaveNet": ("zoo", _from_zoo("wavenet")),
    "PixelCNN": ("zoo", _from_zoo("pixelcnn")),
    "Gated PixelCNN": ("zoo", _from_zoo("gated-pixelcnn")),
    "MDRNN": ("zoo", _from_zoo("mdrnn", layers=4)),
    "CNN": ("torch", _from_torch(_cnn, 4, 3, 8, 8)),
    "ResNet, BN in train mode": ("torch", _from_torch(_resnet, 4, 3, 8, 8)),
    "Transformer, pre-norm": ("torch", _from_torch(lambda: _transformer(norm_first=True), 2, 16, 32)),
    "Transformer, post-norm": ("torch", _from_torch(lambda: _transformer(norm_first=False), 2, 16, 32)),
    "nn.RNN": ("torch", _from_torch(lambda: nn.RNN(8, 32, batch_first=True), 2, 40, 8)),
    "nn.GRU": ("torch", _from_torch(lambda: nn.GRU(8, 32, batch_first=True), 2, 40, 8)),
    "nn.LSTM": ("torch", _from_torch(lambda: nn.LSTM(8, 32, batch_first=True), 2, 40, 8)),
    **{a.name: (a.area, lambda a=a: (a.model(), (), a.inputs())) for a in ARCHITECTURES},
}


def row(name: str) -> dict[str, Any]:
    """Measure one model."""
    area, make = EXAMPLES[name]
    torch.manual_seed(0)
    model, inputs, named = make()
    start = time.perf_counter()
    found = gradient(model, *inputs, **named)
    return {
        "name": name,
        "area": area,
        "stages": len(found.stages),
        "first": found.stages[0].name,
        "rate": str(found.rate),
        "law": found.law.kind,
        "verdict": found.kind,
        "method": found.method,
        "seconds": round(time.perf_counter() - start, 2),
    }


def main() -> None:
    """Measure all of them, print a line for each, write the table."""
    record("gradients", COLUMNS, map(row, EXAMPLES))


if __name__ == "__main__":
    main()
