"""Causal convolution over time."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad


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
        """Pad on the left only, and convolve."""
        return super().forward(pad(x, (self.history, 0)))
