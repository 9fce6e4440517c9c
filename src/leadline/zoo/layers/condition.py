"""What image models learn of a pixel besides its surroundings: its level, the image's label, and where it stands."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from leadline.errors import UsageError


class LevelEmbedding(nn.Embedding):
    """An embedding in which neighbouring classes start close to each other: channel f is ``√2 cos(π f (v + ½) / n)``.

    These are the slowest functions of the discrete cosine basis over n classes, of mean 0 and variance 1; they are
    learned from there. A few of them carry an intensity with far fewer weights behind it than one-hot classes.

    Examples
    --------
    >>> LevelEmbedding(17, 2).weight[:, 0].diff().max() < 0
    tensor(True)
    """

    def reset_parameters(self) -> None:
        """Start from the slowest cosines; more channels than classes begin again at the slowest."""
        n = self.num_embeddings
        frequency = 1 + torch.arange(self.embedding_dim) % max(1, n - 1)
        level = (torch.arange(n) + 0.5) / n
        with torch.no_grad():
            self.weight.copy_(math.sqrt(2) * torch.cos(math.pi * level[:, None] * frequency))


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
