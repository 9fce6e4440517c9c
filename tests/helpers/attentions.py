"""Self-attention in every way that a mask is written, ``[b, t, c] -> [b, t, c]``; causality is known by design."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from helpers.blocks import C
from helpers.parts import FINITE_VALUES, Part
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


@dataclass(frozen=True)
class Setting:
    """How an attention is masked: the way it is written, what is hidden, and the value that hides it."""

    style: str
    T: int
    ahead: int
    value: float
    window: int | None
    heads: int
    alibi: bool
    rotary: bool


class Attention(nn.Module):
    """Queries, keys and values of one or two heads, ALiBi and rotations if asked, and a mask by `setting.style`."""

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        T, heads = setting.T, setting.heads
        self.setting, self.qkv, self.relative = setting, nn.Linear(C, 3 * C), nn.Parameter(torch.randn(heads, T, T) / 3)
        gaps = torch.arange(T).view(-1, 1) - torch.arange(T)
        hidden = gaps < -setting.ahead
        if setting.window is not None:
            hidden = hidden | (gaps >= setting.window)
        self.register_buffer("hidden", hidden)
        self.register_buffer("added", torch.zeros(T, T).masked_fill(hidden, setting.value))
        self.register_buffer("slopes", 0.5 ** torch.arange(1, heads + 1).view(-1, 1, 1) * -gaps.abs())
        self.register_buffer("angles", torch.arange(T).view(-1, 1) / 10.0)
        if setting.style.startswith("module"):
            self.module = nn.MultiheadAttention(C, heads, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        style = self.setting.style
        if style.startswith("module"):
            mask = {"bool": self.hidden, "float": self.added}[style.split()[1].rstrip(",")]
            return self.module(x, x, x, attn_mask=mask, need_weights=style.endswith("weights"))[0]
        q, k, v = (t.unflatten(-1, (self.setting.heads, -1)).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
        if self.setting.rotary:
            q, k = (torch.cat([t * self.angles.cos(), t * self.angles.sin()], -1) for t in (q, k))
        if style.startswith("fused"):
            mask = {"causal": None, "bool": ~self.hidden, "float": self.added}[style.split()[1]]
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        else:
            scores = q @ k.mT / 2
            mixed = WAYS[style](self, scores + self.slopes if self.setting.alibi else scores) @ v
        return mixed.transpose(1, 2).flatten(-2)


def _renormalised(weights: Tensor) -> Tensor:
    return weights / (weights.sum(-1, keepdim=True) + 1e-6)


def _stable(logits: Tensor) -> Tensor:
    return _renormalised((logits - logits.amax(-1, keepdim=True)).exp())


def _places(m: Attention, s: Tensor) -> Tensor:
    at = torch.arange(s.shape[-1])
    hidden = at.unsqueeze(0) > at.unsqueeze(1) + m.setting.ahead
    if m.setting.window is not None:
        hidden = hidden | (at.unsqueeze(0) <= at.unsqueeze(1) - m.setting.window)
    return hidden


def _subtracted(m: Attention, s: Tensor) -> Tensor:
    keep = (~m.hidden).to(s.dtype)
    return (s * keep - (1 - keep) * 1e4).softmax(-1)


def _padded(m: Attention, s: Tensor) -> Tensor:
    """A padding mask beside the causal one, broadcast over queries; no row loses all of its keys."""
    padding = torch.zeros(1, s.shape[-1], dtype=torch.bool)
    padding[0, -1] = True
    return s.masked_fill(m.hidden | padding, m.setting.value)


Way = Callable[[Attention, Tensor], Tensor]

# Weights by the way of masking. These take the value that hides …
BY_VALUE: dict[str, Way] = {
    "masked_fill": lambda m, s: s.masked_fill(m.hidden, m.setting.value).softmax(-1),
    "where": lambda m, s: torch.where(m.hidden, m.setting.value, s).softmax(-1),
    "added": lambda m, s: (s + m.added).softmax(-1),
    "added twice": lambda m, s: (s + m.added + m.added).softmax(-1),
    "added and divided": lambda m, s: ((s + m.added) / 1.5).softmax(-1),
    "added to a learnt bias": lambda m, s: (s + (m.relative + m.added)).softmax(-1),
    "in double precision": lambda m, s: F.softmax(s + m.added, -1, dtype=torch.float64).to(s.dtype),
    "places": lambda m, s: s.masked_fill(_places(m, s), m.setting.value).softmax(-1),
    "soft cap, then mask": lambda m, s: (3 * (s / 3).tanh() + m.added).softmax(-1),
    "stable exponentials": lambda m, s: _stable(s + m.added),
    "by log-softmax": lambda m, s: (s + m.added).log_softmax(-1).exp(),
    "in place": lambda m, s: s.clone().masked_fill_(m.hidden, m.setting.value).softmax(-1),
    "dropout after": lambda m, s: F.dropout((s + m.added).softmax(-1), 0.3, True),
    "with a sink": lambda m, s: F.pad(s + m.added, (1, 0)).softmax(-1)[..., 1:],
    "clamped": lambda m, s: s.clamp(-5, 5).masked_fill(m.hidden, m.setting.value).softmax(-1),
    "with padding": lambda m, s: _padded(m, s).softmax(-1),
    "subtracted": _subtracted,
}
# … these hide by zeros or by minus infinity …
EXACT: dict[str, Way] = {
    "logarithm of zero": lambda m, s: (s + (~m.hidden).to(s.dtype).log()).softmax(-1),
    "linear": lambda m, s: s * ~m.hidden,
    "linear, filled": lambda m, s: s.masked_fill(m.hidden, 0.0),
    "exponentials times mask": lambda m, s: _renormalised(s.exp() * ~m.hidden),
    "sigmoid times mask": lambda m, s: s.sigmoid() * ~m.hidden / s.shape[-1],
    "soft-max, then again masked": lambda m, s: s.masked_fill(m.hidden, -torch.inf).softmax(-1) * ~m.hidden,
    "squared relu": lambda m, s: s.masked_fill(m.hidden, -torch.inf).relu().square(),
}
# … and these are meant as masks and are none.
LEAKING: dict[str, Way] = {
    "no mask": lambda _, s: s.softmax(-1),
    "ALiBi alone": lambda m, s: (s + m.slopes).softmax(-1),
    "zeros for logits": lambda m, s: (s * ~m.hidden).softmax(-1),
    "triangle after the softmax": lambda m, s: s.softmax(-1) * ~m.hidden,
    "triangle after the softmax, renormalised": lambda m, s: _renormalised(s.softmax(-1) * ~m.hidden),
    "soft cap after the mask": lambda m, s: (3 * ((s + m.added) / 3).tanh()).softmax(-1),
    "clamped after the mask": lambda m, s: (s + m.added).clamp(min=-50).softmax(-1),
    "wrong axis": lambda m, s: (s + m.added).softmax(-2),
    "transposed mask": lambda m, s: (s + m.added.mT).softmax(-1),
    "weak mask": lambda m, s: s.masked_fill(m.hidden, -50.0).softmax(-1),
    "learnt mask": lambda m, s: (s + m.relative).softmax(-1),
    "mask times a learnt scale": lambda m, s: (s + m.relative.clamp(min=0).mean() * m.added.clamp(min=-1e4)).softmax(
        -1
    ),
    "mask as truth values": lambda m, s: ((s + m.added) != 0).to(s.dtype).softmax(-1),
    "not a number": lambda m, s: torch.nan_to_num(s + m.added, neginf=0.0).clamp(min=-9).softmax(-1),
    "first head unmasked": lambda m, s: torch.cat([s[:, :1], (s + m.added)[:, 1:]], 1).softmax(-1),
    "one less weights": lambda m, s: 1 - (s + m.added).softmax(-1),
    "fully masked row": lambda m, s: s.masked_fill(m.hidden.index_fill(0, torch.tensor([1]), True), -1e4).softmax(-1),
}
WAYS = BY_VALUE | EXACT | LEAKING


@st.composite
def attentions(draw: st.DrawFn, T: int, ahead: int, *, meant: bool = True) -> Part:
    """Masked attention that looks `ahead`; with ``meant=False`` (and some `ahead`) one whose mask is none."""
    value = draw(st.sampled_from([-torch.inf, -torch.inf, *FINITE_VALUES]))
    window, heads = draw(st.sampled_from([None, None, 2, 3, T])), draw(st.integers(1, 2))
    fused = [
        "fused bool",
        "fused float",
        "module bool",
        "module float",
        "module bool, weights",
        "module float, weights",
    ]
    if ahead == 0 and window is None:
        fused.append("fused causal")
    style = draw(st.sampled_from([*fused, *BY_VALUE, *EXACT] if meant else list(LEAKING)))
    setting = Setting(style, T, ahead if meant else 0, value, window, heads, draw(st.booleans()), draw(st.booleans()))
    finite = value > -torch.inf and (style in BY_VALUE or "float" in style)
    family = "finite-mask" if finite or style == "subtracted" else "structural"
    return Part(f"attention, {setting}", lambda: Attention(setting), ahead, family)
