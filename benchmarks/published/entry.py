"""What the census knows of a model that others wrote: how to build it small, what goes in, and its axes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Inputs = Mapping[str, Tensor]


def wide(x: Tensor) -> Tensor:
    """Floats and complex numbers in double precision; classes as they are."""
    return x.to({torch.float32: torch.float64, torch.complex64: torch.complex128}.get(x.dtype, x.dtype))


def in_double(model: nn.Module) -> nn.Module:
    """Put all parameters and buffers of a model in double precision."""
    return model._apply(wide)


@dataclass(frozen=True)
class Published:
    """A model with random weights.

    Attributes
    ----------
    package
        Who distributes it, by the name it is installed under.
    build
        Makes it, in evaluation mode, for inputs of a length.
    inputs
        From a length to inputs by name; the first one is what the oracle changes.
    layout
        The axes of inputs and output; None for inputs that are conditioning.
    lengths
        Two lengths, one of them odd: positions or, of a model that divides its input, pieces.
    in_double
        Makes the model compute in float64 where wider tensors do not suffice.
    """

    package: str
    name: str
    build: Callable[[int], nn.Module]
    inputs: Callable[[int], Inputs]
    layout: Mapping[str, str | None]
    lengths: tuple[int, int] = (12, 15)
    in_double: Callable[[nn.Module], nn.Module] = in_double

    @property
    def key(self) -> str:
        """What no other model of the census is called."""
        return f"{self.package}: {self.name}"


class Through(nn.Module):
    """A model by another way than its `forward`, or with some of its arguments fixed."""

    def __init__(self, model: nn.Module, way: Callable[..., Any], **fixed: Tensor) -> None:
        super().__init__()
        self.model, self.way, self.fixed = model, way, tuple(fixed)
        for name, tensor in fixed.items():
            self.register_buffer(name, tensor)

    def forward(self, x: Tensor) -> Any:
        return self.way(self.model, x, *(getattr(self, name) for name in self.fixed))


def sequence(channels: int, name: str = "x") -> Callable[[int], Inputs]:
    """Sequences of two samples, channels last."""
    return lambda length: {name: torch.randn(2, length, channels)}


def signal(channels: int, name: str = "x") -> Callable[[int], Inputs]:
    """Sequences of two samples, channels before time."""
    return lambda length: {name: torch.randn(2, channels, length)}


def tokens(name: str = "x", classes: int = 90) -> Callable[[int], Inputs]:
    """Classes of two samples; the first few, which stand for paddings and ends, are left out."""
    return lambda length: {name: torch.randint(3, classes, (2, length))}


def image(channels: int = 3, name: str = "x") -> Callable[[int], Inputs]:
    """Square images of two samples."""
    return lambda length: {name: torch.randn(2, channels, length, length)}
