"""Local conditioning: frames that lie further apart than symbols, brought to their rate."""

from jaxtyping import Float
from torch import Tensor, nn

from leadline.errors import UsageError


class Frames(nn.ConvTranspose1d):
    """Give each of `hop` symbols the frame that it lies in, each channel times what the place within the frame learned.

    A transposed convolution with a kernel for each channel, which begins as repetition.

    Source: van den Oord et al., "WaveNet", 2016, section 2.5.

    Examples
    --------
    >>> import torch
    >>> Frames(1, hop=2)(torch.tensor([[[3.0], [5.0]]]), 3).tolist()
    [[[3.0, 3.0, 5.0]]]
    """

    def __init__(self, channels: int, hop: int) -> None:
        super().__init__(channels, channels, hop, stride=hop, groups=channels, bias=False)
        nn.init.ones_(self.weight)
        self.hop = hop

    def forward(self, frames: Float[Tensor, "b f c"], length: int) -> Float[Tensor, "b c t"]:  # type: ignore[override]
        """Return as many positions as there are symbols; raises `UsageError` for another number of frames."""
        wanted = -(-length // self.hop)
        if frames.shape[1] != wanted:
            raise UsageError(f"{length} symbols have {wanted} frames, one for each {self.hop}; got {frames.shape[1]}")
        return super().forward(frames.mT)[..., :length]
