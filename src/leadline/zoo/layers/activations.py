"""The pointwise nonlinearities that zoo configs name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from torch import nn

ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = MappingProxyType(
    {"identity": nn.Identity, "relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}
)
