"""Causal models of many forms, built from drawn settings: what lowering and streaming are tried on."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional


def convolutions(dilation: int) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Settings of one to three layers of a `Conv1dNet`, dilated by at most so much."""
    layer = {
        "kernel": st.integers(1, 3),
        "dilation": st.integers(1, dilation),
        "groups": st.sampled_from([1, 2, 4]),
        "pad": st.sampled_from(["crop", "cat", "pad"]),
        "normed": st.booleans(),
        "shift": st.booleans(),
    }
    return st.lists(st.fixed_dictionaries(layer), min_size=1, max_size=3)


class Conv1dNet(nn.Module):
    """Dilated, grouped, weight-normalised, padded by hand or by the convolution and then cropped."""

    def __init__(self, layers: list[dict[str, Any]], k: int) -> None:
        super().__init__()
        self.layers, self.convs = layers, nn.ModuleList()
        for layer in layers:
            reach = (layer["kernel"] - 1) * layer["dilation"]
            conv = nn.Conv1d(
                k, k, layer["kernel"], dilation=layer["dilation"], groups=layer["groups"],
                padding=reach if layer["pad"] == "crop" else 0,
            )  # fmt: skip
            self.convs.append(nn.utils.parametrizations.weight_norm(conv) if layer["normed"] else conv)
        self.norm = nn.BatchNorm1d(k)

    def forward(self, x: Tensor) -> Tensor:
        for layer, conv in zip(self.layers, self.convs, strict=True):
            reach = (layer["kernel"] - 1) * layer["dilation"]
            if layer["pad"] == "crop":
                y = conv(x)[..., : x.shape[-1]]
            elif layer["pad"] == "cat":
                y = conv(torch.cat([x.new_zeros(*x.shape[:2], reach), x], -1))
            else:
                y = conv(functional.pad(x, (reach, 0)))
            value, gate = y.chunk(2, 1)
            y = torch.cat([torch.tanh(value) * torch.sigmoid(gate), functional.gelu(gate)], 1)
            x = self.norm(x + y) if layer["shift"] else x + functional.pad(y, (1, -1))
        return x


class MaskedConv2dNet(nn.Module):
    """Masked convolutions of drawn kernels on a grid; the first sees the past only."""

    def __init__(self, kernels: list[tuple[int, int]], k: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(4, k)
        self.weights, self.kernels = nn.ParameterList(), kernels
        for place, (rows, columns) in enumerate(kernels):
            self.weights.append(nn.Parameter(0.3 * torch.randn(k, k, rows, columns)))
            mask = torch.ones(rows, columns)
            mask[rows // 2, columns // 2 + (place > 0) :] = 0
            mask[rows // 2 + 1 :] = 0
            self.register_buffer(f"mask{place}", mask)
        self.head = nn.Linear(k, 4)

    def forward(self, x: Tensor) -> Tensor:
        z = self.embed(x).permute(0, 3, 1, 2)
        for place, (weight, (rows, columns)) in enumerate(zip(self.weights, self.kernels, strict=True)):
            masked = weight * getattr(self, f"mask{place}")
            z = torch.relu(functional.conv2d(z, masked, padding=(rows // 2, columns // 2)))
        out: Tensor = self.head(z.permute(0, 2, 3, 1))
        return out


class AttentionNet(nn.Module):
    """Causal attention under a band, with positions from a table, layer normalisation and a GRU on top."""

    def __init__(self, window: int | None, k: int, longest: int) -> None:
        super().__init__()
        self.window, self.k = window, k
        self.embed, self.place = nn.Embedding(5, 2 * k), nn.Embedding(longest, 2 * k)
        self.qkv, self.norm = nn.Linear(2 * k, 6 * k), nn.LayerNorm(2 * k)
        self.rnn = nn.GRU(2 * k, k, batch_first=True)
        self.head = nn.Linear(k, 5)

    def forward(self, x: Tensor) -> Tensor:
        z = self.embed(x) + self.place(torch.arange(x.shape[1]))
        q, k, v = (t.view(*x.shape, 2, self.k).transpose(1, 2) for t in self.qkv(self.norm(z)).split(2 * self.k, -1))
        rows = torch.arange(x.shape[1])
        ahead = rows[None, :] - rows[:, None]
        seen = (ahead <= 0) & (ahead > -(self.window or x.shape[1] + 1))
        z = z + functional.scaled_dot_product_attention(q, k, v, seen).transpose(1, 2).flatten(-2)
        out: Tensor = self.head(self.rnn(z)[0])
        return out
