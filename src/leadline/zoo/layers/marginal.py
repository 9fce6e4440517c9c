"""Densities of images of any class, out of those of each: the classes of examples teach, but need not be known later.

Source: Ng, Jordan, "On discriminative vs. generative classifiers", 2002, for classes as part of what is generated.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import pad


class Marginal(nn.Module):
    """Logits of the mean over `labels` classes of the densities that a conditional model gives; with a label its own.

    At each symbol the classes weigh as they are likely by those before it, in the order of the axes: ``p(xᵢ | x<ᵢ) = Σ
    p(c | x<ᵢ) p(xᵢ | x<ᵢ, c)``, where all classes are alike at the beginning. The product of these is the mean of the
    probabilities of the whole image under each class.

    Examples
    --------
    >>> from leadline.zoo.pixelcnn import PixelCNN, PixelCNNConfig
    >>> model = Marginal(PixelCNN(PixelCNNConfig(classes=4, layers=1, labels=3)), 3)
    >>> model(torch.zeros(2, 8, 8, dtype=torch.long)).shape
    torch.Size([2, 8, 8, 4])
    """

    def __init__(self, model: nn.Module, labels: int) -> None:
        super().__init__()
        self.model, self.labels = model, labels
        self.config = getattr(model, "config", None)

    def forward(self, x: Int[Tensor, "b *p"], label: Int[Tensor, " b"] | None = None) -> Float[Tensor, "b *p v"]:
        """Return logits over the levels, which stand on the last axis; of the classes `label`, where it is given."""
        if label is not None:
            logits: Tensor = self.model(x, label)
            return logits
        classes = range(self.labels)
        each = torch.stack([self.model(x, torch.full_like(x.flatten(1)[:, 0], c)).log_softmax(-1) for c in classes])
        own = each.gather(-1, x.expand(self.labels, *x.shape)[..., None])[..., 0].flatten(2)
        before = pad(own[..., :-1], (1, 0)).cumsum(-1)
        likely = before.log_softmax(0).unflatten(2, x.shape[1:])[..., None]
        return torch.logsumexp(likely + each, 0)
