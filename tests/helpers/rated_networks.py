"""Generated networks whose positions change their rate: U-Nets of strides, transposes, enlargements and patches."""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as fn

C = 3
Made = tuple[nn.Module, int]  # a network from C channels to C, at the same positions, and its frame


class Apply(nn.Module):
    """A function of the input, and modules that it uses."""

    def __init__(self, function: Callable[..., Tensor], *modules: nn.Module) -> None:
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(modules)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.parts)


def padded(rng: random.Random, total: int, ahead: bool) -> Callable[[Tensor], Tensor]:
    """Return a padding by `total` positions, some of them after the end if the network may look ahead."""
    right = rng.randint(0, min(2, total)) if ahead else 0
    mode = rng.choice(["constant", "constant", "constant", "replicate", "reflect"])
    return lambda x: fn.pad(x, (total - right, right), mode) if total else x


def conv(rng: random.Random, ahead: bool) -> nn.Module:
    k, d = rng.randint(1, 3), rng.randint(1, 2)
    pad = padded(rng, d * (k - 1), ahead)
    act = rng.choice([torch.tanh, torch.sigmoid])
    return Apply(lambda x, c: act(c(pad(x))), nn.Conv1d(C, C, k, dilation=d))


def down(rng: random.Random, s: int, ahead: bool, smooth: bool) -> nn.Module:
    kind = rng.choice(["conv", "conv", "mean", "every", "patch", "unfold"] + ["largest"] * (not smooth))
    if kind == "conv":
        k = rng.randint(s, 2 * s + 1)
        pad = padded(rng, k - s, ahead)
        return Apply(lambda x, c: c(pad(x)), nn.Conv1d(C, C, k, stride=s, groups=rng.choice([1, C])))
    if kind == "mean":
        return nn.AvgPool1d(s)
    if kind == "largest":
        return nn.MaxPool1d(s)
    if kind == "every":
        first = rng.randrange(s)
        return Apply(lambda x: x[..., first::s])
    mixed = nn.Linear(s * C, C)
    if kind == "unfold":
        return Apply(lambda x, m: m(x.unfold(-1, s, s).permute(0, 2, 1, 3).flatten(2)).mT, mixed)
    return Apply(lambda x, m: m(x.mT.reshape(len(x), x.shape[-1] // s, s * C)).mT, mixed)


def up(rng: random.Random, s: int, ahead: bool) -> nn.Module:
    kind = rng.choice(["transposed", "transposed", "nearest", "interleave", "patch", "expand"])
    if kind == "transposed":
        k = rng.randint(s, 2 * s + 1)
        left = rng.randint(0, k - s) if ahead else 0
        inner = rng.randint(0, left)
        layer = nn.ConvTranspose1d(C, C, k, stride=s, padding=inner, groups=rng.choice([1, C]))
        return Apply(lambda x, c: _cut(c(x), left - inner, s * x.shape[-1]), layer)
    if kind == "nearest":
        return nn.Upsample(scale_factor=s)
    if kind == "interleave":
        return Apply(lambda x: x.repeat_interleave(s, dim=-1))
    if kind == "expand":
        return Apply(lambda x: x[..., None].expand(*x.shape, s).reshape(*x.shape[:2], -1))
    mixed = nn.Linear(C, s * C)
    return Apply(lambda x, m: m(x.mT).reshape(len(x), s * x.shape[-1], C).mT, mixed)


def _cut(x: Tensor, left: int, length: int) -> Tensor:
    x = fn.pad(x, (0, max(0, left + length - x.shape[-1])))
    return x[..., left : left + length]


def centre(rng: random.Random) -> nn.Module:
    """Return something that remembers: a recurrence, sums so far, or nothing."""
    kind = rng.choice(["gru", "lstm", "sum", "none", "none"])
    if kind in ("gru", "lstm"):
        layer = nn.GRU(C, C, batch_first=True) if kind == "gru" else nn.LSTM(C, C, batch_first=True)
        return Apply(lambda x, r: r(x.mT)[0].mT, layer)
    return Apply(lambda x: 0.1 * x.cumsum(-1)) if kind == "sum" else nn.Identity()


def network(rng: random.Random, depth: int, ahead: bool = True, smooth: bool = True) -> Made:
    """Return a U-Net with skips, some of whose layers look ahead if they may."""
    if depth == 0:
        return nn.Sequential(conv(rng, ahead), centre(rng)), 1
    s = rng.randint(1, 5)
    inner, frame = network(rng, depth - 1, ahead, smooth)
    parts = conv(rng, ahead), down(rng, s, ahead, smooth), inner, up(rng, s, ahead), conv(rng, ahead)
    skip = rng.choice([True, False])

    def run(
        x: Tensor, before: nn.Module, thin: nn.Module, deep: nn.Module, wide: nn.Module, after: nn.Module
    ) -> Tensor:
        first = before(x)
        deeper = wide(deep(thin(first)))
        made: Tensor = after(deeper + first if skip else deeper)
        return made

    return Apply(run, *parts), s * frame
