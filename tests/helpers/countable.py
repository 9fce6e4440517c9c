"""Models whose counts are known by hand: d = 16 channels, T = 64 positions, batch 1."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

D, T = 16, 64


@dataclass(frozen=True)
class Case:
    """One row of the truth table: what the code multiplies (`macs`) and which edges exist (`connections`)."""

    name: str
    model: nn.Module
    inputs: tuple[Tensor, ...]
    macs: int
    connections: int


class SelfAttention(nn.Module):
    """Multi-head attention of a sequence over itself, causal or not."""

    def __init__(self, causal: bool = False, width: int = D, heads: int = 4) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.causal = causal

    def forward(self, x: Tensor) -> Tensor:
        later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
        return self.attention(x, x, x, attn_mask=later if self.causal else None, need_weights=False)[0]


class MaskedConv2d(nn.Conv2d):
    """A convolution whose weight is multiplied by a fixed mask: raster order, mask type A or B."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, kind: str = "A") -> None:
        super().__init__(channels_in, channels_out, kernel, padding=kernel // 2)
        mask = torch.ones(kernel, kernel)
        mask[kernel // 2, kernel // 2 + (kind == "B") :] = 0
        mask[kernel // 2 + 1 :] = 0
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)


class Einsum(nn.Module):
    """A linear map written as an einsum."""

    def __init__(self, width: int = D) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("btd,de->bte", x, self.weight)


class Twice(nn.Module):
    """One layer used twice."""

    def __init__(self, width: int = D) -> None:
        super().__init__()
        self.layer = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.layer(x))


def masked_taps(kernel: int, size: int, kind: str = "A") -> int:
    """Pairs of a pixel and an unmasked neighbour inside a square image: the sum over taps of (H-|δi|)(W-|δj|)."""
    r = kernel // 2
    taps = [(i, j) for i in range(-r, 1) for j in range(-r, r + 1) if i < 0 or j < (kind == "B")]
    return sum(max(0, size - abs(i)) * max(0, size - abs(j)) for i, j in taps)


def truth_table() -> list[Case]:
    """Return the rows, each with its closed form."""
    x = torch.randn(1, T, D)
    attention = 4 * D * D * T
    pairs = T * T * D
    return [
        Case("lstm", nn.LSTM(D, D, batch_first=True), (x,), 4 * D * (D + D) * T, 4 * D * (D + D) * T),
        Case("gru", nn.GRU(D, D, batch_first=True), (x,), 3 * D * (D + D) * T, 3 * D * (D + D) * T),
        Case("rnn", nn.RNN(D, D, batch_first=True), (x,), D * (D + D) * T, D * (D + D) * T),
        Case("attention", SelfAttention(), (x,), attention + 2 * pairs, attention + 2 * pairs),
        Case(
            "causal attention",
            SelfAttention(causal=True),
            (x,),
            attention + 2 * pairs,
            attention + 2 * (T * (T + 1) // 2) * D,
        ),
        Case(
            "transformer layer",
            nn.TransformerEncoderLayer(D, 4, 2 * D, batch_first=True).eval(),
            (x,),
            attention + 2 * pairs + 2 * D * 2 * D * T,
            attention + 2 * pairs + 2 * D * 2 * D * T,
        ),
        # 3 -> 32 channels, 5 × 5, on 8 × 8 pixels
        Case(
            "conv with weight * mask",
            MaskedConv2d(3, 32, 5),
            (torch.randn(1, 3, 8, 8),),
            3 * 32 * 25 * 64,
            3 * 32 * masked_taps(5, 8),
        ),
        Case("einsum", Einsum(), (x,), D * D * T, D * D * T),
        Case("one linear twice", Twice(), (x,), 2 * D * D * T, 2 * D * D * T),
    ]
