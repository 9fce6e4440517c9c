"""Building blocks of sequence models, ``[b, t, c] -> [b, t, c]``, whose causality is known by construction."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

B, T, C = 2, 6, 4


class Function(nn.Module):
    """A block without parameters."""

    def __init__(self, name: str, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.name, self.function = name, function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Conv(nn.Module):
    """A convolution over time; `left` and `right` are its zero padding."""

    def __init__(self, kernel: int, dilation: int, left: int, right: int, groups: int = 1, zero: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv1d(C, C, kernel, dilation=dilation, groups=groups)
        self.padding = (left, right)
        if zero:
            nn.init.zeros_(self.conv.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x.mT, self.padding)).mT


class MaskedConv(nn.Conv1d):
    """A centred convolution whose weight is multiplied by a mask, or whose zeros merely stand in the parameter."""

    def __init__(self, in_place: bool = False, ahead: int = 0) -> None:
        super().__init__(C, C, 5, padding=2)
        mask = torch.ones(C, C, 5)
        mask[..., 3 + ahead :] = 0
        self.register_buffer("mask", mask)
        if in_place:
            self.weight.data *= mask
        self.in_place = in_place

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight if self.in_place else self.weight * self.mask
        return F.conv1d(x.mT, weight, self.bias, padding=2).mT


class Recurrent(nn.Module):
    """A recurrent layer, possibly bidirectional or over reversed time."""

    def __init__(
        self, cell: type[nn.RNNBase], bidirectional: bool = False, flip: bool = False, layers: int = 1
    ) -> None:
        super().__init__()
        width = C // 2 if bidirectional else C
        self.layer = cell(C, width, num_layers=layers, batch_first=True, bidirectional=bidirectional)
        self.flip = flip

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.layer(x.flip(1) if self.flip else x)
        return y.flip(1) if self.flip else y


class CellLoop(nn.Module):
    """A Python loop over a recurrent cell."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(C, C)

    def forward(self, x: Tensor) -> Tensor:
        state, states = x.new_zeros(x.shape[0], C), []
        for step in x.unbind(1):
            state = self.cell(step, state)
            states.append(state)
        return torch.stack(states, 1)


class Attention(nn.Module):
    """Self-attention; `style` says how the mask is written, `ahead` how many future keys it lets through."""

    def __init__(self, style: str, ahead: int = 0, value: float = -torch.inf) -> None:
        super().__init__()
        self.qkv = nn.Linear(C, 3 * C)
        self.style, self.value, self.ahead = style, value, ahead
        later = torch.ones(T, T, dtype=torch.bool).triu(1 + ahead)
        self.register_buffer("later", later)
        self.register_buffer("added", torch.zeros(T, T).masked_fill(later, value))
        self.register_buffer("alibi", -0.5 * (torch.arange(T).view(-1, 1) - torch.arange(T)).abs())

    def forward(self, x: Tensor) -> Tensor:  # noqa: C901 (one branch per style)
        q, k, v = self.qkv(x).chunk(3, -1)
        if self.style.startswith("sdpa"):
            mask = {"sdpa": None, "sdpa bool": ~self.later, "sdpa float": self.added}[self.style]
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        scores = q @ k.mT / 2
        if self.style == "linear":
            return (scores * ~self.later) @ v
        if self.style == "alibi":
            scores = scores + self.alibi + self.added
        elif self.style == "alibi alone":
            scores = scores + self.alibi
        elif self.style == "masked_fill":
            scores = scores.masked_fill(self.later, self.value)
        elif self.style == "where":
            scores = torch.where(self.later, self.value, scores)
        elif self.style == "added":
            scores = scores + self.added
        elif self.style == "arange":
            places = torch.arange(x.shape[1], device=x.device)
            scores = scores.masked_fill(places.unsqueeze(0) > places.unsqueeze(1) + self.ahead, self.value)
        elif self.style == "tril":
            keep = torch.ones_like(scores).tril(self.ahead)
            scores = scores * keep - (1 - keep) * -self.value
        elif self.style == "exp":
            raw = (scores + self.added).exp()
            return raw / raw.sum(-1, keepdim=True) @ v
        elif self.style == "stable exp":
            raw = scores + self.added
            raw = (raw - raw.amax(-1, keepdim=True)).exp()
            return raw / raw.sum(-1, keepdim=True) @ v
        elif self.style == "wrong axis":
            return (scores + self.added).softmax(-2) @ v
        elif self.style == "empty row":
            blind = self.later.clone()
            blind[1] = True
            scores = scores.masked_fill(blind, self.value)
        return F.dropout(scores.softmax(-1), 0.1, self.training) @ v


class MultiHead(nn.Module):
    """torch's own attention module with a mask."""

    def __init__(self, floating: bool, ahead: int = 0) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(C, 2, batch_first=True)
        later = torch.ones(T, T, dtype=torch.bool).triu(1 + ahead)
        self.register_buffer("mask", torch.zeros(T, T).masked_fill(later, -torch.inf) if floating else later)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x, attn_mask=self.mask, need_weights=False)[0]


class TimeMixer(nn.Module):
    """A matrix over time times a mask, or cut to a triangle."""

    def __init__(self, diagonal: int = 0, cut: bool = False) -> None:
        super().__init__()
        self.cut = cut
        self.weight = nn.Parameter(torch.randn(T, T) / 3)
        self.register_buffer("mask", torch.ones(T, T).tril(diagonal))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("ts,bsc->btc", self.weight.tril() if self.cut else self.weight * self.mask, x)


class Routed(nn.Module):
    """Each token takes the better of two experts, chosen among channels (causal) or among positions (not)."""

    def __init__(self, over_time: bool) -> None:
        super().__init__()
        self.gate, self.experts = nn.Linear(C, 2), nn.ModuleList(nn.Linear(C, C) for _ in range(2))
        self.over_time = over_time

    def forward(self, x: Tensor) -> Tensor:
        gate = self.gate(x)
        if self.over_time:  # expert choice: each expert takes its best tokens
            chosen = torch.zeros_like(gate).scatter(1, gate.topk(2, dim=1).indices, 1.0)
        else:
            chosen = torch.zeros_like(gate).scatter(2, gate.topk(1, dim=2).indices, 1.0)
        return sum(expert(x) * chosen[..., i : i + 1] for i, expert in enumerate(self.experts))


class Norm(nn.Module):
    """A normalisation of ``[b, c, t]``."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.mT).mT


def _assigned(x: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    y[:, 1:] = x[:, :-1]
    return y


def _chunk_states(inclusive: bool) -> Callable[[Tensor], Tensor]:
    def states(x: Tensor) -> Tensor:
        chunks = x.unflatten(1, (T // 2, 2)).sum(2)
        chunks = chunks if inclusive else F.pad(chunks[:, :-1], (0, 0, 1, 0))
        state = chunks.cumsum(1)
        return x + state.repeat_interleave(2, 1)

    return states


def _filtered(x: Tensor) -> Tensor:
    return torch.fft.irfft(torch.fft.rfft(x, dim=1) * torch.linspace(1, 0, T // 2 + 1).view(-1, 1), n=T, dim=1)


def _pooled(x: Tensor) -> Tensor:
    return F.avg_pool1d(F.pad(x.mT, (2, 0)), 3, stride=1).mT


def _unfolded(x: Tensor) -> Tensor:
    return F.pad(x, (0, 0, 2, 0)).unfold(1, 3, 1).mean(-1)


def _hard_one_hot(x: Tensor) -> Tensor:
    return F.one_hot(x.argmax(-1), C).to(x.dtype)


def _picked(x: Tensor) -> Tensor:
    places = x[..., 0].mul(3).round().long().remainder(T)
    return x.gather(1, places.unsqueeze(-1).expand(-1, -1, C))


PAST = torch.tensor([0, 0, 1, 2, 1, 4])  # each at most its own place

STRUCTURAL: dict[str, Callable[[], nn.Module]] = {
    "causal conv": lambda: Conv(3, 1, 2, 0),
    "dilated conv": lambda: Conv(2, 3, 3, 0),
    "grouped conv": lambda: Conv(3, 2, 4, 0, groups=2),
    "strictly causal conv": lambda: Conv(2, 1, 2, -1),
    "masked conv": lambda: MaskedConv(),
    "rnn": lambda: Recurrent(nn.RNN),
    "gru": lambda: Recurrent(nn.GRU, layers=2),
    "lstm": lambda: Recurrent(nn.LSTM),
    "cell loop": CellLoop,
    **{f"attention, {style}": (lambda style=style: Attention(style)) for style in (
        "sdpa", "sdpa bool", "sdpa float", "linear", "alibi", "masked_fill", "where", "added", "arange", "exp",
        "stable exp",
    )},
    "multi-head, bool": lambda: MultiHead(False),
    "multi-head, float": lambda: MultiHead(True),
    "time mixer": TimeMixer,
    "lower triangular mixer": lambda: TimeMixer(cut=True),
    "routing of channels": lambda: Routed(False),
    "layer norm": lambda: nn.LayerNorm(C),
    "rms norm": lambda: nn.RMSNorm(C),
    "eval batch norm": lambda: Norm(nn.BatchNorm1d(C).eval()),
    "mlp": lambda: nn.Sequential(nn.Linear(C, C), nn.GELU(), nn.Linear(C, C)),
    **{name: (lambda name=name, f=f: Function(name, f)) for name, f in {
        "cumsum": lambda x: x.cumsum(1),
        "running mean": lambda x: x.cumsum(1) / torch.arange(1, T + 1).view(-1, 1),
        "cummax": lambda x: x.cummax(1).values,
        "round": lambda x: (2 * x).round(),
        "sign of the past": lambda x: x.cumsum(1).sign(),
        "detach": lambda x: x.detach(),
        "argmax of channels": _hard_one_hot,
        "softmax over channels": lambda x: x.softmax(-1),
        "shift by cat": lambda x: torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1),
        "shift by assignment": _assigned,
        "pooling of the past": _pooled,
        "unfolded past": _unfolded,
        "constant gather": lambda x: x[:, PAST],
        "constant scatter": lambda x: torch.zeros_like(x).index_add(1, torch.tensor([2, 2, 3, 5, 5, 5]), x),
        "lower triangle of scores": lambda x: (x @ x.mT).tril() @ x,
        "lower triangle, assembled": lambda x: torch.where(torch.ones(T, T).tril() == 1, x @ x.mT, 0.0) @ x,
        "scale read from the first": lambda x: x * x[0, 0, 0].item(),
        "flip twice": lambda x: x.flip(1).tanh().flip(1),
        "reversed cumsum of reversed time": lambda x: x.flip(1).flip(1).cumsum(1),
        "exclusive chunk states": _chunk_states(False),
        "first": lambda x: x[:, :1].expand(-1, T, -1),
    }.items()},
}  # fmt: skip

FINITE: dict[str, Callable[[], nn.Module]] = {
    f"attention, {style}, {value:g}": (lambda style=style, value=value: Attention(style, value=value))
    for style in ("sdpa float", "masked_fill", "where", "added", "arange", "tril", "stable exp")
    for value in (-1e4, torch.finfo(torch.float32).min)
    if not (style == "tril" and value < -1e4)
}

PRESENT: dict[str, Callable[[], nn.Module]] = {"in-place masked conv": lambda: MaskedConv(in_place=True)}

LEAKS: dict[str, Callable[[], nn.Module]] = {
    "centred conv": lambda: Conv(3, 1, 1, 1),
    "zero-initialised centred conv": lambda: Conv(3, 1, 1, 1, zero=True),
    "conv, dilation beyond the mask": lambda: Conv(2, 2, 1, 1),
    "masked conv, one ahead": lambda: MaskedConv(ahead=1),
    "bidirectional lstm": lambda: Recurrent(nn.LSTM, bidirectional=True),
    "bidirectional gru": lambda: Recurrent(nn.GRU, bidirectional=True),
    "reversed rnn": lambda: Recurrent(nn.RNN, flip=True),
    **{f"attention, {style}, one ahead": (lambda style=style: Attention(style, ahead=1)) for style in (
        "sdpa bool", "sdpa float", "linear", "masked_fill", "added", "arange", "exp"
    )},
    **{f"attention, {style}": (lambda style=style: Attention(style)) for style in (
        "none", "alibi alone", "wrong axis"
    )},
    "attention, a weak mask": lambda: Attention("added", value=-50.0),
    "attention, a fully masked row": lambda: Attention("empty row", value=-1e4),
    "multi-head, one ahead": lambda: MultiHead(False, ahead=1),
    "time mixer, one ahead": lambda: TimeMixer(1),
    "routing of positions": lambda: Routed(True),
    "group norm over time": lambda: Norm(nn.GroupNorm(2, C)),
    "instance norm": lambda: Norm(nn.InstanceNorm1d(C)),
    "batch norm in training": lambda: Norm(nn.BatchNorm1d(C)),
    "layer norm over time": lambda: nn.LayerNorm([T, C]),
    **{name: (lambda name=name, f=f: Function(name, f)) for name, f in {
        "mean over time": lambda x: x + x.mean(1, keepdim=True),
        "rounded mean over time": lambda x: x + (4 * x.mean(1, keepdim=True)).round(),
        "detached maximum over time": lambda x: x + x.amax(1, keepdim=True).detach(),
        "sign of the sum": lambda x: x.sum(1, keepdim=True).sign().expand(-1, T, -1),
        "argmax over time": lambda x: x + x.argmax(1, keepdim=True),
        "standard deviation over time": lambda x: x / x.std(1, keepdim=True),
        "softmax over time": lambda x: x.softmax(1),
        "roll back": lambda x: x.roll(-1, 1),
        "roll on": lambda x: x.roll(1, 1),
        "flip": lambda x: x + x.flip(1),
        "reversed cumsum": lambda x: x.flip(1).cumsum(1).flip(1),
        "spectral filter": _filtered,
        "sort": lambda x: x.sort(1).values,
        "centred pooling": lambda x: F.avg_pool1d(x.mT, 3, stride=1, padding=1).mT,
        "max pooling": lambda x: F.max_pool1d(x.mT, 3, stride=1, padding=1).mT,
        "interpolation": lambda x: F.interpolate(x.mT[..., ::2], size=T, mode="linear").mT,
        "inclusive chunk states": _chunk_states(True),
        "gather where the data says": _picked,
        "scatter where the data says": lambda x: torch.zeros_like(x).scatter(1, x.argsort(1), x),
        "constant scatter": lambda x: x.index_add(1, torch.tensor([0, 0, 2, 3, 4, 5]), x),
        "upper triangle of scores": lambda x: (x @ x.mT).triu() @ x,
        "scale read from the last": lambda x: x * x[0, -1, 0].item(),
        "constant gather": lambda x: x[:, [0, 2, 1, 3, 4, 5]],
        "last": lambda x: x + x[:, -1:],
    }.items()},
}  # fmt: skip
