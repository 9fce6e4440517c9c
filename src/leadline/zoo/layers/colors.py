"""Colours of a pixel that follow one another: which channels belong to which, and which of them a colour may see.

An image of several colours has one more axis of positions, and the order of its symbols is row, column, colour. A
layer's channels belong to the colours in turn, channel j to colour ``j mod colors``, so that halves of gated layers
keep their colours.

Source: van den Oord, Kalchbrenner, Kavukcuoglu, "Pixel Recurrent Neural Networks", 2016.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

Mask = Literal["A", "B"]


def seen_colors(inputs: int, outputs: int, colors: int, mask: Mask) -> Float[Tensor, "m k"]:
    """Return which of `inputs` channels of its own pixel each of `outputs` sees: 1 for earlier colours, B: for its own.

    Examples
    --------
    >>> seen_colors(3, 3, colors=3, mask="A").tolist()
    [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0]]
    """
    theirs, own = torch.arange(inputs) % colors, torch.arange(outputs)[:, None] % colors
    return (theirs < own if mask == "A" else theirs <= own).float()


class ColoredLinear(nn.Linear):
    """A linear layer in which every channel sees those of its own pixel that `seen_colors` says.

    Examples
    --------
    >>> layer = ColoredLinear(6, 3, colors=3, mask="A")
    >>> bool((layer(torch.zeros(6)) == layer(torch.tensor([0.0, 0, 1, 0, 0, 1])))[:2].all())
    True
    """

    mask: Tensor

    def __init__(self, inputs: int, outputs: int, colors: int, mask: Mask, bias: bool = True) -> None:
        super().__init__(inputs, outputs, bias)
        self.register_buffer("mask", seen_colors(inputs, outputs, colors, mask), persistent=False)

    def forward(self, x: Float[Tensor, "*p k"]) -> Float[Tensor, "*p m"]:
        """Multiply by the weights that are seen."""
        return nn.functional.linear(x, self.weight * self.mask, self.bias)


def as_channels(z: Float[Tensor, "b h w *c e"]) -> Float[Tensor, "b k h w"]:
    """Turn what is embedded of each symbol into channels of its pixel.

    Examples
    --------
    >>> as_channels(torch.zeros(2, 5, 6, 3, 4)).shape, as_channels(torch.zeros(2, 5, 6, 4)).shape
    (torch.Size([2, 12, 5, 6]), torch.Size([2, 4, 5, 6]))
    """
    return torch.flatten(z.movedim(-1, 1).movedim((2, 3), (-2, -1)), 1, -3)


def as_symbols(z: Float[Tensor, "b k h w"], colors: int) -> Float[Tensor, "b h w *c v"]:
    """Turn channels of a pixel into channels of each symbol: the inverse of `as_channels`.

    Examples
    --------
    >>> z = torch.randn(2, 12, 5, 6)
    >>> torch.equal(as_channels(as_symbols(z, 3)), z)
    True
    """
    if colors == 1:
        return z.movedim(1, -1)
    symbols: Tensor = z.unflatten(1, (-1, colors))
    return symbols.permute(0, 3, 4, 2, 1)
