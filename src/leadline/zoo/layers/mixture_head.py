"""From features of a pixel to a mixture of logistics for each of its colours, given the colours before it.

One component of the mixture speaks for all colours of a pixel, and its mean of a colour moves with the colours before
it. By the chain rule that is a mixture for each colour: a component has the weight that it had, times the probability
that it gave to the colours which are known by then.

Source: Salimans, Karpathy, Chen, Kingma, "PixelCNN++", 2017.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from leadline.likelihoods import Logistics


class MixtureHead(nn.Module):
    """Parameters of `components` logistics for each colour; without components, logits of `classes` for one colour.

    Examples
    --------
    >>> head = MixtureHead(8, classes=16, colors=3, components=5)
    >>> head(torch.zeros(2, 8, 4, 4), torch.zeros(2, 4, 4, 3, dtype=torch.long)).shape
    torch.Size([2, 4, 4, 3, 15])
    """

    def __init__(self, channels: int, classes: int, colors: int, components: int) -> None:
        super().__init__()
        self.colors, self.components = colors, components
        self.logistics = Logistics(max(2, classes))
        before = colors * (colors - 1) // 2  # pairs of a colour and one before it
        each = components * (1 + 2 * colors + before) if components else classes
        self.out = nn.Conv2d(channels, each, 1)

    def forward(self, z: Float[Tensor, "b k h w"], x: Int[Tensor, "b h w *c"]) -> Float[Tensor, "b h w *c v"]:
        """Return the logits of each symbol of `x`, from features of the pixels before it and its earlier colours."""
        logits: Tensor = self.out(z).movedim(1, -1)
        if self.colors == 1:
            return logits
        each = logits.unflatten(-1, (-1, self.components)).unbind(-2)
        weights, rest = each[0], iter(each[1:])
        found = []
        for color in range(self.colors):
            mean, scale = next(rest), next(rest)
            for before in range(color):
                known = self.logistics.on_the_line(x[..., before], mean.dtype)
                mean = mean + torch.tanh(next(rest)) * known.unsqueeze(-1)
            found.append(torch.cat([weights, mean, scale], -1))
            weights = weights + self.logistics.of_each(mean, scale, x[..., color])
        return torch.stack(found, -2)
