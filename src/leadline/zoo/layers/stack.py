"""Layers, one after another."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn


class Stack(nn.Module):
    """Layers that run in turn, each on what the one before made, with the config that they were built from."""

    def __init__(self, config: Any, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        """Run the layers in turn."""
        for layer in self.layers:
            x = layer(x)
        return x
