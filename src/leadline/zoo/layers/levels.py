"""Embedding of ordered classes, such as grey levels."""

from __future__ import annotations

import math

import torch
from torch import nn


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
