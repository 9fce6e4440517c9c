"""Mixtures of experts as they are written: by weights, by places, in loops over experts."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def _perceptron(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))


class SoftExperts(nn.Module):
    """All experts, weighted (Jacobs et al. 1991)."""

    def __init__(self, width: int = 8, count: int = 3) -> None:
        super().__init__()
        self.experts, self.gate = nn.ModuleList(_perceptron(width) for _ in range(count)), nn.Linear(width, count)

    def forward(self, x: Tensor) -> Tensor:
        out = torch.stack([expert(x) for expert in self.experts], -1)
        return x + (out * self.gate(x).softmax(-1).unsqueeze(-2)).sum(-1)


class SparseExperts(SoftExperts):
    """The two best experts, gathered (Shazeer et al. 2017)."""

    def forward(self, x: Tensor) -> Tensor:
        best, which = self.gate(x).topk(2, -1)
        out = torch.stack([expert(x) for expert in self.experts], -2)
        chosen = out.gather(-2, which.unsqueeze(-1).expand(*which.shape, x.shape[-1]))
        return x + (chosen * best.softmax(-1).unsqueeze(-1)).sum(-2)


class ScatteredExperts(SoftExperts):
    """The weights of the best put into zeros."""

    def forward(self, x: Tensor) -> Tensor:
        scores = self.gate(x)
        best, which = scores.topk(2, -1)
        weights = torch.zeros_like(scores).scatter(-1, which, best.softmax(-1))
        out = torch.stack([expert(x) for expert in self.experts], -1)
        return x + (out * weights.unsqueeze(-2)).sum(-1)


class Switch(SoftExperts):
    """One expert, chosen by a mask in a loop over all (Fedus et al. 2022)."""

    def forward(self, x: Tensor) -> Tensor:
        weights, which = self.gate(x).softmax(-1).max(-1)
        out = torch.zeros_like(x)
        for n, expert in enumerate(self.experts):
            out = torch.where((which == n).unsqueeze(-1), expert(x), out)
        return x + out * weights.unsqueeze(-1)


class Stacked(nn.Module):
    """Experts whose weights are one tensor, all computed, weighted by the best as one-hot vectors."""

    def __init__(self, width: int = 8, count: int = 4) -> None:
        super().__init__()
        self.up, self.down = (nn.Parameter(torch.randn(count, width, width)) for _ in range(2))
        self.gate, self.count = nn.Linear(width, count), count

    def forward(self, x: Tensor) -> Tensor:
        best, which = self.gate(x).softmax(-1).topk(2, -1)
        best = best / best.sum(-1, keepdim=True)
        weights = (functional.one_hot(which, self.count).to(x.dtype) * best.unsqueeze(-1)).sum(-2)
        hidden = functional.silu(torch.einsum("btc,ecf->btef", x, self.up))
        return x + torch.einsum("btef,efc,bte->btc", hidden, self.down, weights)
