"""Convolutions whose windows end at the own row, at the own pixel, or before it.

Source: Salimans, Karpathy, Chen, Kingma, "PixelCNN++", 2017.
"""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad


class Above(nn.Conv2d):
    """A convolution of 2 × 3 that ends at the own row: of its window, the own row and the one above, three columns."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, (2, 3), stride)

    def forward(self, x: Float[Tensor, "b k h w"]) -> Float[Tensor, "b m i j"]:
        """Convolve with a row of zeros above, and a column to either side."""
        return super().forward(pad(x, (1, 1, 1, 0)))


class Left(nn.Conv2d):
    """A convolution of 2 × 2 that ends at the own pixel."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, (2, 2), stride)

    def forward(self, x: Float[Tensor, "b k h w"]) -> Float[Tensor, "b m i j"]:
        """Convolve with a row of zeros above, and a column to the left."""
        return super().forward(pad(x, (1, 0, 1, 0)))


class Before(nn.Module):
    """What stands in the row above, on either side, and to the left in both rows: all without the own pixel.

    Examples
    --------
    >>> import torch
    >>> x = torch.zeros(1, 1, 3, 4)
    >>> x[0, 0, 1, 2] = 1
    >>> before = Before(1, 1)
    >>> (before(x) != before(torch.zeros_like(x)))[0, 0].int().tolist()
    [[0, 0, 0, 0], [0, 0, 0, 1], [0, 1, 1, 1]]
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.row = nn.Conv2d(inputs, outputs, (1, 3))
        self.column = nn.Conv2d(inputs, outputs, (2, 1))

    def forward(self, x: Float[Tensor, "b k h w"]) -> Float[Tensor, "b m h w"]:
        """Add a row of three from above, and a column of two from the left."""
        above: Tensor = self.row(pad(moved_down(x), (1, 1)))
        left: Tensor = self.column(pad(x[..., :-1], (1, 0, 1, 0)))
        return above + left


def moved_down(x: Float[Tensor, "b k h w"]) -> Float[Tensor, "b k h w"]:
    """Give every row the one above."""
    return pad(x[:, :, :-1], (0, 0, 1, 0))
