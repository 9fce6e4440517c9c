"""The last layer of a density of many classes, whose logits need not all stand in memory at once."""

from collections.abc import Iterator
from contextlib import contextmanager

from jaxtyping import Float
from torch import Tensor, nn


class Logits(nn.Linear):
    """A linear layer whose outputs are a model's logits: the model changes nothing of them after it.

    Logits are by far the largest table of a training step. A loss that makes them a few rows at a time asks for what
    they are made of: while `held_back`, the layer, and so the model, returns what the layer reads.

    Examples
    --------
    >>> import torch
    >>> model, x = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), Logits(3, 256)), torch.ones(5, 2)
    >>> with model[-1].held_back():
    ...     features = model(x)
    >>> features.shape, torch.equal(model[-1](features), model(x))
    (torch.Size([5, 3]), True)
    """

    _held_back = False

    def forward(self, x: Float[Tensor, "*p k"]) -> Float[Tensor, "*p m"]:
        """Multiply, unless the logits are held back."""
        return x if self._held_back else super().forward(x)

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """Return what is read, while the context is open."""
        self._held_back = True
        try:
            yield
        finally:
            self._held_back = False
