"""Tiny causal density models for tests of training and sampling, and a builder for them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from leadline.zoo import Specimen


class TinyDensity(nn.Module):
    """Logits of each symbol from the symbol before it, dropout between: lag 1, or lag 0 without the shift."""

    def __init__(self, classes: int, width: int, dropout: float, lag: int, bernoulli: bool = False) -> None:
        super().__init__()
        self.embed = nn.Embedding(classes, width)
        self.norm = nn.BatchNorm1d(width)  # has buffers
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width, 1 if bernoulli else classes)
        self.lag, self.bernoulli = lag, bernoulli

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        z = self.embed(flat)
        if self.lag:
            z = torch.cat([torch.zeros_like(z[:, :1]), z[:, :-1]], dim=1)
        z = self.norm(z.mT).mT
        logits = self.out(self.dropout(torch.tanh(z))).unflatten(1, x.shape[1:])
        return logits[..., 0] if self.bernoulli else logits


def build_tiny(
    name: str,
    *,
    classes: int = 17,
    width: int = 8,
    dropout: float = 0.2,
    lag: int = 1,
    shape: tuple[int, ...] | list[int] = (8, 8),
) -> Specimen:
    """Build ``"tiny"`` or, with one logit per position, ``"tiny-bernoulli"``."""
    bernoulli = name == "tiny-bernoulli"
    axes = " ".join("hwt"[i] for i in range(len(shape))) if len(shape) == 2 else "t"
    layout = f"b {axes} -> b {axes}" + ("" if bernoulli else " v")
    inputs = (torch.randint(classes, (2, *shape)),)
    likelihood = "bernoulli" if bernoulli else "categorical"
    return Specimen(TinyDensity(classes, width, dropout, lag, bernoulli), inputs, layout, likelihood=likelihood)
