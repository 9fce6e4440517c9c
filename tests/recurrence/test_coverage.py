"""What the lowering reads: each building block as a stream beside the forward pass, also past the traced length."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from leadline.errors import NotUniform
from leadline.recurrence import system
from leadline.sampling import stream
from leadline.zoo import build

CHANNELS, LENGTH, LONGER = 4, 9, 14


class Apply(nn.Module):
    """A function as a module, with the modules that it needs."""

    def __init__(self, function: Callable[..., Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.parts = nn.ModuleDict(parts)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, **self.parts)


def causal(x: Tensor, reach: int) -> Tensor:
    return functional.pad(x, (reach, 0))


def left(*args: Any, **how: Any) -> nn.Module:
    """A convolution with zeros before its input."""
    conv = nn.Conv1d(*args, **how)
    reach = conv.dilation[0] * (conv.kernel_size[0] - 1)
    return Apply(lambda x, conv: conv(causal(x, reach)), conv=conv)


def recurrent(kind: type[nn.RNNBase], **how: Any) -> nn.Module:
    first = how.get("batch_first", False)
    order = (0, 2, 1) if first else (2, 0, 1)
    back = (0, 2, 1) if first else (1, 2, 0)
    return Apply(lambda x, cells: cells(x.permute(order))[0].permute(back), cells=kind(CHANNELS, 5, **how))


def trained(norm: nn.modules.batchnorm._BatchNorm) -> nn.Module:
    norm.running_mean.normal_()  # type: ignore[union-attr,operator]
    norm.running_var.uniform_(0.5, 2)  # type: ignore[union-attr,operator]
    return norm


def over_rows(module: nn.Module) -> nn.Module:
    """A module that wants pictures with features on the last axis."""
    return Apply(lambda x, m: m(x.movedim(1, -1)).movedim(-1, 1), m=module)


def last(module: nn.Module) -> nn.Module:
    """A module that wants features on the last axis."""
    return Apply(lambda x, m: m(x.mT).mT, m=module)


def written_out(x: Tensor, qkv: nn.Module, heads: int = 2, window: int | None = None, bias: str = "fill") -> Tensor:
    """Attention in parts, masked in the ways in which people do."""
    b, _, t = x.shape
    q, k, v = (z.view(b, t, heads, -1).transpose(1, 2) for z in qkv(x.mT).chunk(3, -1))
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    seen = torch.ones(t, t, dtype=torch.bool).tril()
    if window is not None:
        seen = seen & ~torch.ones(t, t, dtype=torch.bool).tril(-window)
    if bias == "fill":
        scores = scores.masked_fill(~seen, float("-inf"))
    elif bias == "add":
        scores = scores + torch.zeros(t, t, dtype=x.dtype).masked_fill(~seen, -math.inf)
    else:
        scores = torch.where(seen, scores, torch.full([], torch.finfo(x.dtype).min, dtype=x.dtype))
    return (functional.softmax(scores, -1) @ v).transpose(1, 2).reshape(b, t, -1).mT


def einsum_attention(x: Tensor, qkv: nn.Module) -> Tensor:
    q, k, v = (z.unflatten(-1, (2, -1)) for z in qkv(x.mT).chunk(3, -1))
    scores = torch.einsum("bqhd,bkhd->bhqk", q * 0.5, k)
    scores = scores.masked_fill(torch.ones(x.shape[-1], x.shape[-1], dtype=torch.bool).triu(1), -math.inf)
    return torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), v).flatten(-2).mT


def torch_s_attention(x: Tensor, m: nn.MultiheadAttention) -> Tensor:
    mask = nn.Transformer.generate_square_subsequent_mask(x.shape[-1], dtype=x.dtype)
    return m(x.mT, x.mT, x.mT, attn_mask=mask, need_weights=False, is_causal=True)[0].mT


def torch_s_layer(x: Tensor, m: nn.TransformerEncoderLayer) -> Tensor:
    mask = nn.Transformer.generate_square_subsequent_mask(x.shape[-1], dtype=x.dtype)
    return m(x.mT, src_mask=mask, is_causal=True).mT


def rotary(x: Tensor, qkv: nn.Module) -> Tensor:
    q, k, v = (z.unflatten(-1, (2, -1)).transpose(1, 2) for z in qkv(x.mT).chunk(3, -1))
    angle = torch.arange(x.shape[-1], dtype=x.dtype)[:, None] * torch.tensor([1.0, 0.1], dtype=x.dtype)
    cos, sin = angle.cos().repeat(1, 2), angle.sin().repeat(1, 2)

    def turn(z: Tensor) -> Tensor:
        a, b = z.chunk(2, -1)
        return z * cos + torch.cat([-b, a], -1) * sin

    return functional.scaled_dot_product_attention(turn(q), turn(k), v, is_causal=True).transpose(1, 2).flatten(-2).mT


def grouped(x: Tensor, q: nn.Module, kv: nn.Module) -> Tensor:
    """Four heads of queries over two of keys and values, which are repeated."""
    b, _, t = x.shape
    queries = q(x.mT).view(b, t, 4, 2).transpose(1, 2)
    keys, values = (z.view(b, t, 2, 2).transpose(1, 2) for z in kv(x.mT).chunk(2, -1))
    keys, values = (z[:, :, None].expand(b, 2, 2, t, 2).reshape(b, 4, t, 2) for z in (keys, values))
    y = functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
    return y.transpose(1, 2).flatten(-2).mT


def conv(*args: Any, **how: Any) -> nn.Conv1d:
    return nn.Conv1d(CHANNELS, *args, **how)


QKV = {"qkv": lambda: nn.Linear(CHANNELS, 3 * 8)}
BLOCKS: dict[str, Callable[[], nn.Module]] = {
    "padded and cropped": lambda: Apply(lambda x, c: c(x)[..., :-4], c=conv(3, 3, padding=4, dilation=2)),
    "grouped and dilated": lambda: left(CHANNELS, 6, 3, dilation=3, groups=2),
    "depthwise": lambda: left(CHANNELS, CHANNELS, 4, groups=CHANNELS, bias=False),
    "shifted": lambda: Apply(lambda x, c: c(functional.pad(x, (2, -2))), c=conv(3, 1)),
    "not padded": lambda: Apply(lambda x, c: functional.pad(c(x), (2, 0), value=1.5), c=conv(3, 3)),
    "padded with a number": lambda: Apply(lambda x, c: c(functional.pad(x, (2, 0), value=-0.5)), c=conv(3, 3)),
    "weight norm": lambda: nn.utils.parametrizations.weight_norm(conv(3, 1)),
    "convolution in two dimensions": lambda: Apply(
        lambda x, c: c(functional.pad(x[:, :, None], (2, 0)))[:, :, 0], c=nn.Conv2d(CHANNELS, 3, (1, 3))
    ),
    "linear": lambda: last(nn.Linear(CHANNELS, 3)),
    "repeated": lambda: Apply(lambda x, c: c(x.repeat(1, 2, 1) - x.repeat_interleave(2, 1)), c=nn.Conv1d(8, 3, 1)),
    "einsum": lambda: Apply(lambda x, m: torch.einsum("oc,bct->bot", m.weight, x), m=nn.Linear(CHANNELS, 3)),
    "elementwise": lambda: Apply(
        lambda x: functional.gelu(x) + x.abs().sqrt() * x.clamp(-1, 1) - functional.elu(x).exp() / 3
    ),
    "softplus, silu, leaky": lambda: Apply(
        lambda x: functional.softplus(x) * functional.silu(x) + functional.leaky_relu(x, 0.2)
    ),
    "channel-wise slopes": lambda: nn.PReLU(CHANNELS),
    "gates": lambda: Apply(lambda x, c: torch.tanh(c(x)[:, :3]) * torch.sigmoid(c(x)[:, 3:]), c=conv(6, 1)),
    "gated linear unit": lambda: Apply(lambda x: functional.glu(x, 1)),
    "channels joined and split": lambda: Apply(
        lambda x: torch.cat([x.chunk(2, 1)[1], x.flip(1), torch.stack([x[:, 0], x[:, 3]], 1)], 1)
    ),
    "channels shuffled": lambda: Apply(lambda x: x.unflatten(1, (2, 2)).transpose(1, 2).flatten(1, 2)),
    "softmax over channels": lambda: Apply(lambda x: x.softmax(1) + x.mean(1, keepdim=True) - x.amax(1, keepdim=True)),
    "layer norm": lambda: last(nn.LayerNorm(CHANNELS)),
    "root mean square norm": lambda: last(nn.RMSNorm(CHANNELS)),
    "written-out norm": lambda: Apply(lambda x: x * torch.rsqrt(x.pow(2).mean(1, keepdim=True) + 1e-6)),
    "normalised channels": lambda: Apply(lambda x: functional.normalize(x, dim=1)),
    "batch norm in evaluation mode": lambda: trained(nn.BatchNorm1d(CHANNELS)),
    "rnn": lambda: recurrent(nn.RNN, nonlinearity="relu", num_layers=2, batch_first=True),
    "gru": lambda: recurrent(nn.GRU, bias=False),
    "lstm": lambda: recurrent(nn.LSTM, num_layers=2),
    "running mean": lambda: Apply(lambda x: x.cumsum(-1) / torch.arange(1, x.shape[-1] + 1)),
    "running product": lambda: Apply(lambda x: x.cumprod(-1) + (x / 9).cumprod(1)),
    "running extremes": lambda: Apply(lambda x: x.cummax(-1).values - x.cummin(-1).values + x.logcumsumexp(-1)),
    "chosen channels": lambda: Apply(lambda x: x.index_select(1, torch.tensor([2, 0, 2]))),
    "copies": lambda: Apply(lambda x: torch.positive(x.contiguous()).clone() * 1.0 + x.to(x.dtype)),
    "attention": lambda: Apply(torch_s_attention, m=nn.MultiheadAttention(CHANNELS, 2, batch_first=True)),
    "encoder layer": lambda: Apply(
        torch_s_layer, m=nn.TransformerEncoderLayer(CHANNELS, 2, 6, batch_first=True, norm_first=True)
    ),
    "attention written out": lambda: Apply(written_out, qkv=QKV["qkv"]()),
    "attention with an added mask": lambda: Apply(
        lambda x, qkv: written_out(x, qkv, bias="add", window=3), qkv=QKV["qkv"]()
    ),
    "attention with a chosen mask": lambda: Apply(lambda x, qkv: written_out(x, qkv, bias="where"), qkv=QKV["qkv"]()),
    "attention as einsum": lambda: Apply(einsum_attention, qkv=QKV["qkv"]()),
    "rotary attention": lambda: Apply(rotary, qkv=QKV["qkv"]()),
    "grouped queries": lambda: Apply(grouped, q=nn.Linear(CHANNELS, 8), kv=nn.Linear(CHANNELS, 8)),
}


QUICK = {
    "padded and cropped",
    "weight norm",
    "gated linear unit",
    "channels joined and split",
    "channel-wise slopes",
    "root mean square norm",
    "lstm",
    "running mean",
    "running product",
    "running extremes",
    "chosen channels",
    "copies",
    "attention",
    "attention written out",
    "attention as einsum",
    "grouped queries",
    "masked, dilated and grouped",
}


def quick_first(names: Iterable[str]) -> list[Any]:
    """The others are for `make test-all`."""
    return [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", quick_first(BLOCKS))
def test_a_block_streams(name: str) -> None:
    torch.manual_seed(0)
    model = BLOCKS[name]().double().eval()
    x, longer = (torch.randn(2, CHANNELS, n, dtype=torch.float64) for n in (LENGTH, LONGER))
    made = stream(model, x, layout="b c t -> b v t", backend="torch")
    with torch.no_grad():
        for given in (x, longer):
            assert torch.allclose(made.logits(given), model(given), rtol=0, atol=1e-10)


class Masked(nn.Conv2d):
    """A convolution of the past, by a mask on its weights."""

    def __init__(self, *args: Any, **how: Any) -> None:
        super().__init__(*args, **how)
        rows, columns = self.kernel_size
        mask = torch.ones(rows * columns)
        mask[rows * columns // 2 :] = 0
        self.register_buffer("mask", mask.view(1, 1, rows, columns))

    def forward(self, x: Tensor) -> Tensor:
        padding = tuple(d * (k // 2) for d, k in zip(self.dilation, self.kernel_size, strict=True))
        return functional.conv2d(x, self.weight * self.mask, self.bias, 1, padding, self.dilation, self.groups)


PICTURES: dict[str, Callable[[], nn.Module]] = {
    "masked": lambda: Masked(CHANNELS, 3, (3, 5)),
    "masked, dilated and grouped": lambda: Masked(CHANNELS, 6, 3, dilation=(2, 1), groups=2),
    "cropped": lambda: Apply(
        lambda x, c: c(functional.pad(x, (1, 1, 3, 0)))[:, :, : x.shape[2]], c=nn.Conv2d(CHANNELS, 3, (3, 3))
    ),
    "shifted down and right": lambda: Apply(lambda x: functional.pad(x, (0, 0, 1, -1)) + functional.pad(x, (1, -1))),
    "batch norm": lambda: trained(nn.BatchNorm2d(CHANNELS)),
    "channels last": lambda: over_rows(nn.LayerNorm(CHANNELS)),
    "grid recurrence": lambda: over_rows(build("grid-rnn", inputs=CHANNELS, hidden=3, layers=2).model),
    "grid of LSTM cells": lambda: over_rows(build("grid-rnn", inputs=CHANNELS, cell="lstm", hidden=3).model),
}


@pytest.mark.parametrize("name", quick_first(PICTURES))
def test_a_block_of_pictures_streams(name: str) -> None:
    torch.manual_seed(0)
    model = PICTURES[name]().double().eval()
    x = torch.randn(2, CHANNELS, 5, 7, dtype=torch.float64)
    made = stream(model, x, layout="b c h w -> b v h w", backend="torch")
    with torch.no_grad():
        assert torch.allclose(made.logits(x), model(x), rtol=0, atol=1e-10)


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "stride": (lambda: nn.Conv1d(CHANNELS, 3, 3, stride=2), "a stride changes the grid"),
    "reflection": (lambda: Apply(lambda x: functional.pad(x, (2, 0), mode="reflect")[..., :-2]), "padding by reflect"),
    "norm over time": (lambda: nn.GroupNorm(1, CHANNELS), "mixes positions"),
    "instance norm": (lambda: nn.InstanceNorm1d(CHANNELS), "statistics of the batch|mixes positions"),
    "both directions": (lambda: recurrent(nn.GRU, bidirectional=True), "bidirectional"),
    "reversed": (lambda: Apply(lambda x: x.flip(-1)), "another order"),
    "whole attention": (
        lambda: Apply(lambda x: functional.scaled_dot_product_attention(x.mT, x.mT, x.mT).mT),
        "attention without a mask reads the whole future",
    ),
    "scores alone": (lambda: Apply(lambda x: (x.mT @ x).tril().mT), "something else than the layout|scores"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_read_is_named(name: str) -> None:
    make, message = REFUSED[name]
    x = torch.randn(2, CHANNELS, LENGTH)
    with pytest.raises(NotUniform, match=rf"(?s)^aten\.\S+ at .*\(\S+:\d+\): .*({message})"):
        system(make().eval(), x, layout="b c t -> b v t")
