"""Symbols of sound as what they are: numbers on [-1, 1]; and the mixtures that describe them."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from leadline.likelihoods import Logistics


class Amplitude(nn.Linear):
    """Classes that lie evenly on [-1, 1], as numbers: so many times a learned vector, and another one.

    A table for the 65,536 levels of 16 bits would have more rows than most sounds have samples.

    Examples
    --------
    >>> import torch
    >>> Amplitude(65536, 8)(torch.tensor([[0, 32768, 65535]])).shape
    torch.Size([1, 3, 8])
    """

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__(1, channels)
        self.levels = Logistics(max(2, classes))

    def forward(self, x: Int[Tensor, "*p"]) -> Float[Tensor, "*p k"]:
        """Return as many channels of each symbol."""
        return super().forward(self.levels.on_the_line(x, self.weight.dtype).unsqueeze(-1))


def spread_scales(layer: nn.Linear | nn.Conv1d) -> None:
    """Let a mixture begin with components of all scales, from the whole of [-1, 1] to a five-hundredth of it.

    Sound is near nothing most of the time. By steps of an optimiser alone the scales would take long to get there.

    Examples
    --------
    >>> layer = nn.Linear(4, 6)
    >>> spread_scales(layer)
    >>> layer.bias[4:].tolist()
    [0.0, -6.0]
    """
    bias = layer.bias
    assert bias is not None, "the layer that makes a mixture has a bias"
    with torch.no_grad():
        bias.unflatten(0, (3, -1))[2] = torch.linspace(0, -6, len(bias) // 3)
