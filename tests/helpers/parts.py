"""Parts of sequence models, ``[b, t, c] -> [b, t, c]``, drawn with all their settings; causality is known by design.

Each strategy takes the length T and how far its part looks ahead (0: it is causal), and says which family of verdicts
the part belongs to. What a part sees of the past is drawn freely.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from helpers.blocks import C, Conv, Function, Norm, Recurrent
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

FINITE_VALUES = (-1e4, -3e4, torch.finfo(torch.float32).min)


@dataclass(frozen=True)
class Part:
    """A name with all settings, a factory, and the verdict on the part when it looks `ahead` = 0."""

    name: str
    make: Callable[[], nn.Module]
    ahead: int = 0
    family: str = "structural"

    def __repr__(self) -> str:
        return f"<{self.name}; {self.ahead} ahead>"


def function(name: str, f: Callable[[Tensor], Tensor], ahead: int = 0) -> Part:
    """Wrap a function."""
    return Part(name, lambda: Function(name, f), ahead)


@st.composite
def convolutions(draw: st.DrawFn, T: int, ahead: int) -> Part:  # noqa: ARG001
    """Padded on the left, or by the convolution and then cropped; dilated, grouped, weight-normalised."""
    kernel, dilation, groups = (
        draw(st.integers(1 + (ahead > 0), 4)),
        draw(st.integers(1, 3)),
        draw(st.sampled_from([1, 2, 4])),
    )
    reach = (kernel - 1) * dilation
    normed, cropped = draw(st.booleans()), draw(st.booleans())

    def make() -> nn.Module:
        block = Conv(kernel, dilation, reach - ahead, ahead, groups)
        if cropped:
            block = Cropped(kernel, dilation, ahead, groups)
        if normed:
            nn.utils.parametrizations.weight_norm(block.conv)
        return block

    return Part(f"conv k={kernel} d={dilation} g={groups} cropped={cropped} normed={normed}", make, ahead)


class Cropped(nn.Module):
    """A convolution that pads both sides; the end is cropped away."""

    def __init__(self, kernel: int, dilation: int, ahead: int, groups: int) -> None:
        super().__init__()
        reach, self.start = (kernel - 1) * dilation, 2 * ahead
        self.conv = nn.Conv1d(C, C, kernel, dilation=dilation, groups=groups, padding=reach + ahead)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x.mT)[..., self.start : self.start + x.shape[1]].mT


class MaskedConv(nn.Conv1d):
    """A centred convolution under a mask, written as a product, a `where`, or in place."""

    def __init__(self, kernel: int, ahead: int, style: str) -> None:
        super().__init__(C, C, kernel, padding=kernel // 2)
        mask = torch.ones(C, C, kernel)
        mask[..., kernel // 2 + 1 + ahead :] = 0
        self.register_buffer("mask", mask)
        self.style = style
        if style == "in place":
            self.weight.data *= mask

    def forward(self, x: Tensor) -> Tensor:
        weight = {
            "product": lambda: self.weight * self.mask,
            "where": lambda: torch.where(self.mask.bool(), self.weight, 0.0),
            "fill": lambda: self.weight.masked_fill(self.mask == 0, 0.0),
            "in place": lambda: self.weight,
        }[self.style]()
        return F.conv1d(x.mT, weight, self.bias, padding=self.padding).mT


@st.composite
def masked_convolutions(draw: st.DrawFn, T: int, ahead: int) -> Part:  # noqa: ARG001
    """Masks on weights; in place they stand in the parameters alone."""
    kernel = draw(st.sampled_from([k for k in (3, 5, 7) if k > 2 * ahead + 1]))
    style = draw(st.sampled_from(["product", "where", "fill", "in place"]))
    family = "present-weights" if style == "in place" else "structural"
    return Part(f"masked conv k={kernel} {style}", lambda: MaskedConv(kernel, ahead, style), ahead, family)


@st.composite
def recurrences(draw: st.DrawFn, T: int, ahead: int) -> Part:  # noqa: ARG001
    """RNN, GRU, LSTM; ahead: bidirectional, or over reversed time."""
    cell, layers = draw(st.sampled_from([nn.RNN, nn.GRU, nn.LSTM])), draw(st.integers(1, 2))
    both = ahead > 0 and draw(st.booleans())
    name = f"{cell.__name__} layers={layers}" + (" bidirectional" if both else " reversed" if ahead else "")
    return Part(name, lambda: Recurrent(cell, bidirectional=both, flip=ahead > 0 and not both, layers=layers), ahead)


class Loop(nn.Module):
    """A Python loop over cells, forwards or backwards."""

    def __init__(self, cell: type[nn.RNNCellBase], backwards: bool) -> None:
        super().__init__()
        self.cell, self.backwards = cell(C, C), backwards

    def forward(self, x: Tensor) -> Tensor:
        state, states = None, []
        steps = x.unbind(1)
        for step in reversed(steps) if self.backwards else steps:
            state = self.cell(step, state)
            states.append(state[0] if isinstance(state, tuple) else state)
        return torch.stack(states[::-1] if self.backwards else states, 1)


@st.composite
def loops(draw: st.DrawFn, T: int, ahead: int) -> Part:  # noqa: ARG001
    """Loops over cells."""
    cell = draw(st.sampled_from([nn.RNNCell, nn.GRUCell, nn.LSTMCell]))
    return Part(f"loop over {cell.__name__}", lambda: Loop(cell, ahead > 0), ahead)


@st.composite
def norms(draw: st.DrawFn, T: int, ahead: int) -> Part:
    """Statistics over channels, over the past, or (ahead) over time."""
    clean = {
        "layer norm": lambda: nn.LayerNorm(C),
        "rms norm": lambda: nn.RMSNorm(C),
        "eval batch norm": lambda: Norm(nn.BatchNorm1d(C).eval()),
        "unit vectors": lambda: Function("unit vectors", lambda x: F.normalize(x, dim=-1)),
        "softmax over channels": lambda: Function("softmax", lambda x: x.softmax(-1)),
        "cumulative norm": lambda: Function("cumulative norm", _cumulative_norm),
    }
    leaking = {
        "layer norm over time": lambda: nn.LayerNorm([T, C]),
        "group norm": lambda: Norm(nn.GroupNorm(2, C)),
        "instance norm": lambda: Norm(nn.InstanceNorm1d(C)),
        "batch norm in training": lambda: Norm(nn.BatchNorm1d(C)),
        "unit vectors over time": lambda: Function("unit", lambda x: F.normalize(x, dim=1)),
        "softmax over time": lambda: Function("softmax", lambda x: x.softmax(1)),
        "standardised": lambda: Function(
            "standardised", lambda x: (x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True) + 1)
        ),
    }
    name, make = draw(st.sampled_from(list((leaking if ahead else clean).items())))
    return Part(name, make, ahead)


def _cumulative_norm(x: Tensor) -> Tensor:
    n = torch.arange(1, x.shape[1] + 1).view(-1, 1)
    mean, square = x.cumsum(1) / n, x.square().cumsum(1) / n
    return (x - mean) * (square - mean.square() + 0.1).rsqrt()


@st.composite
def poolings(draw: st.DrawFn, T: int, ahead: int) -> Part:
    """Windows that end at the position (or `ahead` of it); blocks that are pooled and shifted until they are past."""
    size = draw(st.integers(2 + ahead, min(4 + ahead, T)))  # a block that goes beyond the end looks less far ahead
    pool = draw(st.sampled_from([F.avg_pool1d, F.max_pool1d, F.lp_pool1d]))
    kind = draw(st.sampled_from(["pool", "unfold", "blocks"]))
    pads = (size - 1 - ahead, ahead)

    def pooled(x: Tensor) -> Tensor:
        x = F.pad(x.mT, pads)
        return (pool(x, 2.0, size, 1) if pool is F.lp_pool1d else pool(x, size, 1)).mT

    def unfolded(x: Tensor) -> Tensor:
        return F.pad(x, (0, 0, *pads)).unfold(1, size, 1).amax(-1)

    def blocks(x: Tensor) -> Tensor:
        """Means of blocks of `size`, repeated, shifted so that a block's last element stands `ahead` of its reader."""
        whole = F.pad(x, (0, 0, 0, -T % size)).unflatten(1, (-1, size)).mean(2).repeat_interleave(size, 1)
        return F.pad(whole, (0, 0, size - 1 - ahead, 0))[:, :T]

    return function(
        f"{kind} of {size} {pool.__name__}", {"pool": pooled, "unfold": unfolded, "blocks": blocks}[kind], ahead
    )


@st.composite
def gathers(draw: st.DrawFn, T: int, ahead: int) -> Part:
    """Constant places up to one's own (one of them `ahead` of it), in several ways to read or write them."""
    places = [draw(st.integers(0, t)) for t in range(T)]
    if ahead:
        at = draw(st.integers(0, T - 1 - ahead))
        places[at] = at + ahead
    index = torch.tensor(places)
    way = draw(st.sampled_from(["index", "index_select", "gather", "take_along_dim", "matrix", "assignment"]))

    def read(x: Tensor) -> Tensor:
        wide = index.view(1, T, 1).expand(x.shape)
        if way == "assignment":
            y = torch.zeros_like(x)
            for t, place in enumerate(places):
                y[:, t] = x[:, place]
            return y
        return {
            "index": lambda: x[:, index],
            "index_select": lambda: x.index_select(1, index),
            "gather": lambda: x.gather(1, wide),
            "take_along_dim": lambda: x.take_along_dim(index.view(1, T, 1), 1),
            "matrix": lambda: F.one_hot(index, T).to(x.dtype) @ x,
            "data": lambda: x.gather(1, (3 * x).round().long().remainder(T)),
        }[way]()

    return function(f"{way} at {places}", read, ahead)


@st.composite
def cumulations(draw: st.DrawFn, T: int, ahead: int) -> Part:  # noqa: ARG001
    """Sums, products and maxima so far; ahead: over reversed time."""
    run = {
        "cumsum": lambda x: x.cumsum(1),
        "cumprod": lambda x: x.cumprod(1),
        "cummax": lambda x: x.cummax(1).values,
        "cummin": lambda x: x.cummin(1).values,
        "logcumsumexp": lambda x: x.logcumsumexp(1),
        "doubling": _doubling,
        "linear attention": lambda x: torch.einsum("btc,btcd->btd", x, (x.unsqueeze(-1) * x.unsqueeze(-2)).cumsum(1)),
        "decay": lambda x: (x * torch.arange(x.shape[1]).view(-1, 1).exp()).cumsum(1) / 9,
    }
    name = draw(st.sampled_from(list(run)))
    if not ahead:
        return function(name, run[name])
    return function(f"reversed {name}", lambda x: run[name](x.flip(1)).flip(1), ahead)


def _doubling(x: Tensor) -> Tensor:
    """Prefix sums by doubling."""
    step = 1
    while step < x.shape[1]:
        x = x + F.pad(x, (0, 0, step, 0))[:, : x.shape[1]]
        step *= 2
    return x


@st.composite
def spectra(draw: st.DrawFn, T: int, ahead: int) -> Part:
    """Fourier transforms along channels, or (ahead) along time."""
    dim, n = (1, T) if ahead else (2, C)
    cut = draw(st.floats(0.1, 0.9))
    kind = draw(st.sampled_from(["real", "complex", "two-dimensional"]))

    def filtered(x: Tensor) -> Tensor:
        if kind == "real":
            spectrum = torch.fft.rfft(x, dim=dim)
            keep = torch.linspace(1, cut, n // 2 + 1)
            return torch.fft.irfft(spectrum * (keep.view(-1, 1) if dim == 1 else keep), n=n, dim=dim)
        turn = torch.exp(1j * cut * torch.arange(n))
        turn = turn.view(-1, 1) if dim == 1 else turn
        if kind == "complex" or not ahead:
            return torch.fft.ifft(torch.fft.fft(x, dim=dim) * turn, dim=dim).real
        return torch.fft.ifft2(torch.fft.fft2(x) * turn).real

    return function(f"{kind} spectral filter along {dim}", filtered, ahead)


@st.composite
def moves(draw: st.DrawFn, T: int, ahead: int) -> Part:
    """Rolls, flips and shifts: those that come back are clean."""
    by = draw(st.integers(1, T - 1))
    mask = (torch.arange(T) >= by).float().view(-1, 1)
    clean = {
        "roll there and back": lambda x: x.roll(by, 1).tanh().roll(-by, 1),
        "roll, first ones zeroed": lambda x: x.roll(by, 1) * mask,
        "flip of flip": lambda x: x.flip(1).tanh().flip(1),
        "shift by cat": lambda x: torch.cat([torch.zeros_like(x[:, :by]), x[:, :-by]], 1),
        "pad and crop": lambda x: F.pad(x, (0, 0, by, 2))[:, :T],
        "heads and back": lambda x: x.unflatten(-1, (2, 2)).transpose(1, 2).tanh().transpose(1, 2).flatten(-2),
        "reversed time, reversed sum": lambda x: x.flip(1).flip(1).cumsum(1).flip(1).flip(1),
    }
    leaking = {
        "roll on": lambda x: x.roll(by, 1),
        "roll back": lambda x: x.roll(-ahead, 1),
        "flip": lambda x: x.flip(1),
        "shift back": lambda x: F.pad(x, (0, 0, 0, ahead))[:, ahead:],
        "flip twice around a past sum": lambda x: x.flip(1).cumsum(1).flip(1),
        "both axes flipped": lambda x: x.flip(1, 2),
        "transposed reshape": lambda x: x.mT.reshape(x.shape),
    }
    name, f = draw(st.sampled_from(list((leaking if ahead else clean).items())))
    return function(f"{name} {by}", f, ahead)


@st.composite
def routings(draw: st.DrawFn, T: int, ahead: int) -> Part:  # noqa: ARG001
    """Choices by the data: among channels, or (ahead) among positions."""
    dim, k = (1 if ahead else 2), draw(st.integers(1, 2))
    run: dict[str, Callable[[Tensor], Tensor]] = {
        "gather": lambda x: x.gather(dim, (3 * x).round().long().remainder(C)),
        "scatter": lambda x: torch.zeros_like(x).scatter(dim, x.argsort(dim), x),
        "top-k mask": lambda x: torch.zeros_like(x).scatter(dim, x.topk(k, dim).indices, 1.0) * x,
        "argmax one-hot": lambda x: (
            (F.one_hot(x.argmax(1), x.shape[1]).to(x.dtype).sum(1, keepdim=True) @ x).expand(x.shape)
            if dim == 1
            else F.one_hot(x.argmax(2), C).to(x.dtype)
        ),
        "sort": lambda x: x.sort(dim).values,
        "ranks": lambda x: x.argsort(dim).argsort(dim).to(x.dtype),
        "above the median": lambda x: (x > x.median(dim, keepdim=True).values).to(x.dtype),
        "k-th value": lambda x: x - x.kthvalue(k, dim, keepdim=True).values,
    }
    name = draw(st.sampled_from(list(run)))
    return function(f"{name} along {dim}, k={k}", run[name], ahead)


@st.composite
def chunks(draw: st.DrawFn, T: int, ahead: int) -> Part:
    """States of whole chunks: of those before one's own, or (ahead) of one's own too."""
    size = draw(st.integers(2, 3))

    def states(x: Tensor) -> Tensor:
        sums = F.pad(x, (0, 0, 0, -T % size)).unflatten(1, (-1, size)).sum(2).cumsum(1)
        sums = sums if ahead else F.pad(sums[:, :-1], (0, 0, 1, 0))
        return sums.repeat_interleave(size, 1)[:, :T]

    return function(f"states of chunks of {size}", states, ahead)


class TimeMixer(nn.Module):
    """A matrix over time: a product with a mask, a triangle, or the exponential of a masked one."""

    def __init__(self, T: int, ahead: int, style: str) -> None:
        super().__init__()
        self.weight, self.style, self.ahead = nn.Parameter(torch.randn(T, T) / 3), style, ahead
        self.register_buffer("mask", torch.ones(T, T).tril(ahead))

    def forward(self, x: Tensor) -> Tensor:
        weight = {
            "product": lambda: self.weight * self.mask,
            "tril": lambda: self.weight.tril(self.ahead),
            "softmax": lambda: self.weight.masked_fill(self.mask == 0, -torch.inf).softmax(-1),
            "renormalised": lambda: (w := self.weight.exp() * self.mask) / w.sum(-1, keepdim=True),
        }[self.style]()
        return torch.einsum("ts,bsc->btc", weight, x)


@st.composite
def mixers(draw: st.DrawFn, T: int, ahead: int) -> Part:
    """Matrices over time."""
    style = draw(st.sampled_from(["product", "tril", "softmax", "renormalised"]))
    return Part(f"time mixer, {style}", lambda: TimeMixer(T, ahead, style), ahead)


@st.composite
def reductions(draw: st.DrawFn, T: int, ahead: int) -> Part:
    """What gradients do not see: rounded, detached, compared, tiny or dead functions of the past or (ahead) of all."""
    seen = (lambda x: x.sum(1, keepdim=True).expand(-1, T, -1)) if ahead else (lambda x: x.cumsum(1))
    run: dict[str, Callable[[Tensor], Tensor]] = {
        "round": lambda x: (2 * seen(x)).round(),
        "sign": lambda x: seen(x).sign(),
        "detach": lambda x: seen(x).detach(),
        "comparison": lambda x: (seen(x) > 0).to(x.dtype) * 1e-30,
        "dead": lambda x: F.relu(seen(x) - 1e6),
        "argmax": lambda x: F.one_hot(seen(x).argmax(-1), C).to(x.dtype),
        "where": lambda x: torch.where(seen(x) > 0, x, -x),
        "integers": lambda x: (10 * seen(x)).long().remainder(3).to(x.dtype),
        "half": lambda x: seen(x).to(torch.float16).to(x.dtype),
    }
    name = draw(st.sampled_from(list(run)))
    return function(f"{name} of {'all' if ahead else 'the past'}", run[name], ahead)


def delayed(part: Part, by: int) -> Part:
    """Shift a part that looks ahead to later positions."""

    def make() -> nn.Module:
        return nn.Sequential(part.make(), Function("delay", lambda x: F.pad(x, (0, 0, by, 0))[:, : x.shape[1]]))

    return replace(part, name=f"{part.name}, delayed by {by}", make=make, ahead=max(0, part.ahead - by))
