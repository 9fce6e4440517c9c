"""Recurrences that are computed in chunks, as published code has them, and what they are step by step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

Parts = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]  # queries, keys, values (b, t, d), log decays, rates (b, t)


@dataclass(frozen=True)
class Form:
    """One way to compute in chunks of a length, and the same position after position."""

    name: str
    chunked: Callable[[Parts, int], Tensor]
    stepwise: Callable[[Parts, int], Tensor]


class Mixer(nn.Module):
    """A layer around one of the forms, which fills the last chunk up with zeros where it is `padded`."""

    def __init__(self, form: Form, width: int, chunk: int, padded: bool = False) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        self.gates, self.out = nn.Linear(width, 2), nn.Linear(width, width)
        self.form, self.chunk, self.padded, self.stepwise = form, chunk, padded, False

    def forward(self, x: Tensor) -> Tensor:
        decay, rate = self.gates(x).unbind(-1)
        key = functional.normalize(self.k(x), dim=-1)
        parts: Parts = (self.q(x), key, self.v(x), functional.logsigmoid(decay), rate.sigmoid())
        if self.stepwise:
            return self.out(self.form.stepwise(parts, self.chunk))
        more = -x.shape[1] % self.chunk if self.padded else 0
        made = self.form.chunked(tuple(_filled(part, more) for part in parts), self.chunk)  # type: ignore[arg-type]
        return self.out(made[:, : x.shape[1]])


def _filled(x: Tensor, more: int) -> Tensor:
    return functional.pad(x, (0, 0) * (x.ndim - 2) + (0, more)) if more else x


def decaying(parts: Parts, _: int) -> Tensor:
    """``S = exp(a) S + v kᵀ``, ``y = S q``."""
    q, k, v, a, _ = parts
    state, out = q.new_zeros(len(q), v.shape[-1], k.shape[-1]), []
    for t in range(q.shape[1]):
        state = state * a[:, t].exp()[:, None, None] + v[:, t, :, None] * k[:, t, None]
        out.append((state * q[:, t, None]).sum(-1))
    return torch.stack(out, 1)


def forgetless(parts: Parts, chunk: int) -> Tensor:
    """The same without decay."""
    q, k, v, a, rate = parts
    return decaying((q, k, v, torch.zeros_like(a), rate), chunk)


def correcting(parts: Parts, _: int) -> Tensor:
    """The delta rule: ``S = S + β (v - S k) kᵀ``."""
    q, k, v, _, rate = parts
    state, out = q.new_zeros(len(q), v.shape[-1], k.shape[-1]), []
    for t in range(q.shape[1]):
        error = v[:, t] - (state * k[:, t, None]).sum(-1)
        state = state + (rate[:, t, None] * error)[..., None] * k[:, t, None]
        out.append((state * q[:, t, None]).sum(-1))
    return torch.stack(out, 1)


def local(parts: Parts, chunk: int) -> Tensor:
    """Attention to the positions of the own chunk, up to the own one."""
    q, k, v, _, _ = parts
    out = []
    for t in range(q.shape[1]):
        seen = slice(t // chunk * chunk, t + 1)
        weights = ((k[:, seen] * q[:, t, None]).sum(-1) / q.shape[-1] ** 0.5).softmax(-1)
        out.append((weights[..., None] * v[:, seen]).sum(1))
    return torch.stack(out, 1)


def _cut(parts: Parts, chunk: int) -> list[Tensor]:
    return [x.unflatten(1, (-1, chunk)) for x in parts]


def _sums_between(a: Tensor) -> Tensor:
    """Sums of what lies between two positions, as Mamba 2's own code forms them."""
    n = a.shape[-1]
    spread = a[..., None].expand(*a.shape, n)
    below = torch.ones(n, n, dtype=torch.bool).tril(-1)
    summed = spread.masked_fill(~below, 0).cumsum(-2)
    return summed.masked_fill(~torch.ones(n, n, dtype=torch.bool).tril(), -torch.inf)


def _differences(a: Tensor) -> Tensor:
    """The same as differences of running sums."""
    c, n = a.cumsum(-1), a.shape[-1]
    return (c[..., :, None] - c[..., None, :]).masked_fill(~torch.ones(n, n, dtype=torch.bool).tril(), -torch.inf)


def _by_matrix(between: Callable[[Tensor], Tensor]) -> Callable[[Parts, int], Tensor]:
    def chunked(parts: Parts, chunk: int) -> Tensor:
        q, k, v, a, _ = _cut(parts, chunk)
        total = a.cumsum(-1)
        inner = torch.einsum("bcld,bcsd,bcls,bcsv->bclv", q, k, between(a).exp(), v)
        states = torch.einsum("bcld,bcl,bclv->bcdv", k, (total[..., -1:] - total).exp(), v)
        states = torch.cat([torch.zeros_like(states[:, :1]), states], 1)
        passed = between(functional.pad(total[..., -1], (1, 0))).exp()
        states = torch.einsum("bzc,bcdv->bzdv", passed, states)[:, :-1]
        outer = torch.einsum("bcld,bcdv,bcl->bclv", q, states, total.exp())
        return (inner + outer).flatten(1, 2)

    return chunked


def _by_loop(parts: Parts, chunk: int) -> Tensor:
    q, k, v, a, _ = _cut(parts, chunk)
    total = a.cumsum(-1)
    weights = _differences(a).exp()
    state, out = q.new_zeros(len(q), q.shape[-1], v.shape[-1]), []
    for i in range(q.shape[1]):
        inner = (q[:, i] @ k[:, i].mT * weights[:, i]) @ v[:, i]
        out.append(inner + (q[:, i] * total[:, i, :, None].exp()) @ state)
        grown = (k[:, i] * (total[:, i, -1:] - total[:, i]).exp()[..., None]).mT @ v[:, i]
        state = state * total[:, i, -1, None, None].exp() + grown
    return torch.stack(out, 1).flatten(1, 2)


def _by_running_sum(parts: Parts, chunk: int) -> Tensor:
    q, k, v, _, _ = _cut(parts, chunk)
    before = functional.pad((k.mT @ v).cumsum(1), (0, 0, 0, 0, 1, -1))
    hidden = torch.ones(chunk, chunk, dtype=torch.bool).triu(1)
    return (q @ before + (q @ k.mT).masked_fill(hidden, 0) @ v).flatten(1, 2)


def _substituted(matrix: Tensor) -> Tensor:
    """Return ``(1 + L)⁻¹`` row by row, as code for the delta rule does."""
    inverse, n = -matrix, matrix.shape[-1]
    for i in range(1, n):
        inverse[..., i, :i] = inverse[..., i, :i] + (inverse[..., i, :, None].clone() * inverse[..., :, :i]).sum(-2)
    return inverse + torch.eye(n, dtype=matrix.dtype)


def _solved(matrix: Tensor) -> Tensor:
    one = torch.eye(matrix.shape[-1], dtype=matrix.dtype)
    return torch.linalg.solve_triangular(one + matrix, one.expand_as(matrix), upper=False, unitriangular=True)


def _by_inverse(inverse: Callable[[Tensor], Tensor]) -> Callable[[Parts, int], Tensor]:
    def chunked(parts: Parts, chunk: int) -> Tensor:
        q, k, v, _, rate = _cut(parts, chunk)
        wide = k * rate[..., None]
        made = inverse((wide @ k.mT).tril(-1))
        new, kept = made @ (v * rate[..., None]), made @ wide
        state, out = q.new_zeros(len(q), q.shape[-1], v.shape[-1]), []
        for i in range(q.shape[1]):
            written = new[:, i] - kept[:, i] @ state
            out.append(q[:, i] @ state + (q[:, i] @ k[:, i].mT).tril() @ written)
            state = state + k[:, i].mT @ written
        return torch.stack(out, 1).flatten(1, 2)

    return chunked


def _attending(parts: Parts, chunk: int) -> Tensor:
    q, k, v, _, _ = _cut(parts, chunk)
    return functional.scaled_dot_product_attention(q, k, v, is_causal=True).flatten(1, 2)


FORMS = (
    Form("sums between positions", _by_matrix(_sums_between), decaying),
    Form("differences of sums", _by_matrix(_differences), decaying),
    Form("a loop over chunks", _by_loop, decaying),
    Form("a running sum of chunks", _by_running_sum, forgetless),
    Form("the delta rule by substitution", _by_inverse(_substituted), correcting),
    Form("the delta rule by a solution", _by_inverse(_solved), correcting),
    Form("attention within chunks", _attending, local),
)
