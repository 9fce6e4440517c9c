"""Convolutions over time as products of matrices, which is faster than convolving where channels are few.

Sequences are `[b, k, t]`; in memory what these layers return has its channels last, as the products want it.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear, pad


def shift(z: Float[Tensor, "b k t"], steps: int) -> Float[Tensor, "b k t"]:
    """Delay a sequence by `steps`, filling with zeros.

    Examples
    --------
    >>> import torch
    >>> shift(torch.tensor([[[1.0, 2.0, 3.0]]]), 1).tolist()
    [[[0.0, 1.0, 2.0]]]
    """
    return pad(z, (steps, -steps)) if steps else z


class CausalConv1d(nn.Conv1d):
    """A dilated convolution whose output at t sees the inputs t, t - d, …, t - (kernel - 1)·d.

    Examples
    --------
    >>> import torch
    >>> conv = CausalConv1d(1, 1, kernel=2, dilation=2, bias=False)
    >>> nn.init.ones_(conv.weight).shape
    torch.Size([1, 1, 2])
    >>> conv(torch.tensor([[[1.0, 10.0, 100.0]]])).tolist()
    [[[1.0, 10.0, 101.0]]]
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int, bias: bool = True) -> None:
        super().__init__(inputs, outputs, kernel, dilation=dilation, bias=bias)
        self.history = (kernel - 1) * dilation

    def forward(self, x: Float[Tensor, "b k t"]) -> Float[Tensor, "b m t"]:
        """Pad on the left only, lay all taps beside each other, and multiply."""
        padded, steps = pad(x.mT, (0, 0, self.history, 0)), x.shape[-1]
        starts = range(0, self.history + 1, self.dilation[0])
        taps = torch.cat([padded[:, start : start + steps] for start in starts], -1)
        return linear(taps, self.weight.mT.flatten(1), self.bias).mT


class Pointwise1d(nn.Conv1d):
    """A convolution of one tap.

    Examples
    --------
    >>> import torch
    >>> Pointwise1d(2, 3)(torch.zeros(1, 2, 5)).shape
    torch.Size([1, 3, 5])
    """

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__(inputs, outputs, 1, bias=bias)

    def forward(self, x: Float[Tensor, "b k t"]) -> Float[Tensor, "b m t"]:
        """Multiply at every position."""
        return linear(x.mT, self.weight.flatten(1), self.bias).mT
