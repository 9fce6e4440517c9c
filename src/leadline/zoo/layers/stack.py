"""Layers, one after another, and the nonlinearities that configs name."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor, nn

ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = MappingProxyType(
    {"identity": nn.Identity, "relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}
)


class Stack(nn.Module):
    """As many of the class `layer` as the config says, each built from the config and run on what the last one made."""

    layer: ClassVar[type[nn.Module]]

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(self.layer(config) for _ in range(config.layers))

    def forward(self, x: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        """Run the layers in turn."""
        for layer in self.layers:
            x = layer(x)
        return x
