"""What image models may know besides earlier pixels: the image's label, and where a pixel stands."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from leadline.errors import UsageError


class Condition(nn.Module):
    """Add a learned vector per label, and one per pixel, to a feature map.

    There is no table of `labels` where they are 0, and none of pixels without the `size` (height, width) that ties the
    model to one size of image. `forward` raises `UsageError` if a label is missing or superfluous, or the image has
    another size.

    Examples
    --------
    >>> Condition(8, labels=3)(torch.zeros(2, 8, 5, 5), torch.tensor([0, 2])).shape
    torch.Size([2, 8, 5, 5])
    """

    def __init__(self, channels: int, labels: int = 0, size: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.label = nn.Embedding(labels, channels) if labels else None
        self.position = nn.Parameter(torch.randn(channels, *size) / channels**0.5) if size else None

    def forward(self, z: Float[Tensor, "b k h w"], label: Int[Tensor, " b"] | None = None) -> Float[Tensor, "b k h w"]:
        """Return `z` with what is known added."""
        if (self.label is None) != (label is None):
            wants = "no label" if self.label is None else "a label per image"
            raise UsageError(f"this model takes {wants}; build it with labels=N to condition on N labels")
        if self.label is not None:
            z = z + self.label(label)[:, :, None, None]
        if self.position is not None:
            if self.position.shape[1:] != z.shape[2:]:
                made, got = tuple(self.position.shape[1:]), tuple(z.shape[2:])
                raise UsageError(f"a model with positions=True takes images of {made} pixels, got {got}")
            z = z + self.position
        return z
