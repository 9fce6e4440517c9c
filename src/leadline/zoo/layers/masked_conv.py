"""Convolutions that see only part of their window, over the rows that they see.

In raster order a pixel may depend on the rows above it and on what stands left of it in its own row. The lower rows of
a masked k × k kernel are all zero, so they are not there: the kernel keeps its upper (k+1)/2 rows, and only the last of
them is masked. The convolution pads all sides (which is faster than padding a copy of the input) and drops the rows and
columns that hang over.

Where pixels have several colours, these follow one another (`leadline.zoo.layers.colors`): at the pixel itself mask A
shows a colour those before it, mask B itself too.

Source: van den Oord, Kalchbrenner, Kavukcuoglu, "Pixel Recurrent Neural Networks", 2016.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from leadline.zoo.layers.colors import Mask, seen_colors


def cropped(y: Float[Tensor, "b m i j"], x: Float[Tensor, "b k h w"]) -> Float[Tensor, "b m h w"]:
    """Keep as many rows and columns of `y` as `x` has, from the top left corner.

    The axis of channels is moved to the end for that, so that gradients are laid out as the channels are, last.
    """
    return y.movedim(1, -1)[:, : x.shape[2], : x.shape[3]].movedim(-1, 1)


class CroppedConv2d(nn.Conv2d):
    """A convolution whose output is cut to the size of its input, from the top left corner.

    With a kernel of ``p + 1`` rows and a padding of p rows, output row i sees the rows i-p … i; with p kernel rows and
    the same padding, the rows i-p … i-1, without its own; columns likewise.

    Examples
    --------
    >>> left = CroppedConv2d(1, 1, kernel_size=(1, 2), padding=(0, 2), bias=False)
    >>> nn.init.ones_(left.weight).shape
    torch.Size([1, 1, 1, 2])
    >>> left(torch.tensor([[[[1.0, 10.0, 100.0]]]])).tolist()
    [[[[0.0, 1.0, 11.0]]]]
    """

    def forward(self, x: Float[Tensor, "b k h w"]) -> Float[Tensor, "b m h w"]:
        """Convolve, and keep as many rows and columns as came in."""
        return cropped(super().forward(x), x)


class MaskedRow(CroppedConv2d):
    """A convolution over what stands to the left in the own row, `radius` pixels far, and over the pixel's own colours.

    Examples
    --------
    >>> MaskedRow(6, 3, radius=2, colors=3, mask="A")(torch.zeros(1, 6, 4, 5)).shape
    torch.Size([1, 3, 4, 5])
    """

    mask: Tensor

    def __init__(self, inputs: int, outputs: int, radius: int, colors: int, mask: Mask) -> None:
        super().__init__(inputs, outputs, (1, radius + 1), padding=(0, radius))
        seen = torch.ones(outputs, inputs, 1, radius + 1)
        seen[..., 0, radius] = seen_colors(inputs, outputs, colors, mask)
        self.register_buffer("mask", seen, persistent=False)

    def forward(self, x: Float[Tensor, "b k h w"]) -> Float[Tensor, "b m h w"]:
        """Convolve over what is seen."""
        row = torch.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)
        return cropped(row, x)


class MaskedConv2d(nn.Module):
    """A k × k convolution that sees the rows above and the pixels to the left; mask B sees the pixel itself, too.

    Of pixels of several `colors` a colour sees those before it as well. The width k of the square kernel is odd, and
    for mask A of one colour at least 3; else a `ValueError` is raised.

    Examples
    --------
    >>> conv = MaskedConv2d(1, 1, kernel=3, mask="A")
    >>> conv.mask.tolist()
    [[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]]
    """

    mask: Tensor

    def __init__(self, inputs: int, outputs: int, kernel: int, mask: Mask, bias: bool = True, colors: int = 1) -> None:
        super().__init__()
        blind = mask == "A" and colors == 1
        if kernel % 2 == 0 or (blind and kernel == 1):
            raise ValueError(f"mask {mask} needs an odd kernel of at least {3 if blind else 1}, got {kernel}")
        self.radius = kernel // 2
        seen = torch.ones(self.radius + 1, kernel)
        seen[-1, self.radius + (mask == "B") :] = 0
        if colors > 1:
            seen = seen.repeat(outputs, inputs, 1, 1)
            seen[:, :, -1, self.radius] = seen_colors(inputs, outputs, colors, mask)
        self.register_buffer("mask", seen, persistent=False)
        self.weight = nn.Parameter(torch.empty(outputs, inputs, self.radius + 1, kernel))
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None
        self.taps = self.radius * (kernel + 1) + (mask == "B" or colors > 1)
        bound = 1 / math.sqrt(inputs * self.taps)  # as `nn.Conv2d` draws, with the taps that exist as fan-in
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, x: Float[Tensor, "b k h w"]) -> Float[Tensor, "b m h w"]:
        """Convolve over the rows that are seen."""
        padded = torch.conv2d(x, self.weight * self.mask, self.bias, padding=self.radius)
        return cropped(padded, x)

    def extra_repr(self) -> str:
        """Show channels, kernel width and the number of taps."""
        outputs, inputs, _, kernel = self.weight.shape
        return f"{inputs}, {outputs}, kernel={kernel}, taps={self.taps}"


class Pointwise(nn.Conv2d):
    """A 1 × 1 convolution as a product of matrices, which is faster where channels are last in memory.

    Examples
    --------
    >>> Pointwise(2, 3)(torch.zeros(1, 2, 4, 5)).shape
    torch.Size([1, 3, 4, 5])
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 1)

    def forward(self, x: Float[Tensor, "b k h w"]) -> Float[Tensor, "b m h w"]:
        """Multiply at every pixel."""
        return nn.functional.linear(x.movedim(1, -1), self.weight.flatten(1), self.bias).movedim(-1, 1)


def pointwise(inputs: int, outputs: int, colors: int = 1) -> nn.Module:
    """Return a 1 × 1 convolution in which a colour sees itself and those before it."""
    return Pointwise(inputs, outputs) if colors == 1 else MaskedConv2d(inputs, outputs, 1, "B", colors=colors)
