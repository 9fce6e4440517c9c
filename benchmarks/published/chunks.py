"""Recurrences that are computed in chunks, as their authors write them for one device's products of matrices."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

CHUNK = 4


def _cut(x: Tensor) -> Tensor:
    """Return chunks of positions (b, t, h, …) as (b, h, chunks, positions, …), the last one filled up with zeros."""
    more = -x.shape[1] % CHUNK
    return functional.pad(x, (0, 0) * (x.ndim - 2) + (0, more)).unflatten(1, (-1, CHUNK)).movedim(3, 1)


def _whole(x: Tensor, length: int) -> Tensor:
    """Return what `_cut` was given, its heads side by side."""
    return x.movedim(1, 3).flatten(1, 2)[:, :length].flatten(2)


class GatedLinearAttention(nn.Module):
    """A matrix for a state that decays by gates, each of its rows by its own (Yang et al. 2024, section 4)."""

    def __init__(self, width: int, heads: int = 2) -> None:
        super().__init__()
        self.qkvg, self.heads = nn.Linear(width, 4 * width), heads

    def forward(self, x: Tensor) -> Tensor:
        q, k, v, g = (_cut(y) for y in self.qkvg(x).unflatten(-1, (4, self.heads, -1)).unbind(2))
        grown = functional.logsigmoid(g).cumsum(3)
        q, back = q * grown.exp(), k * (-grown).exp()
        inner = (q @ back.mT).tril() @ v
        state, out = x.new_zeros(len(x), self.heads, k.shape[-1], v.shape[-1]), []
        for i in range(q.shape[2]):
            out.append(inner[:, :, i] + q[:, :, i] @ state)
            last = grown[:, :, i, -1:]
            state = last.exp().mT * state + (k[:, :, i] * (last - grown[:, :, i]).exp()).mT @ v[:, :, i]
        return _whole(torch.stack(out, 2), x.shape[1])


class DeltaRule(nn.Module):
    """A matrix for a state, written by the delta rule, its chunks by inverses (Yang et al. 2024)."""

    def __init__(self, width: int, heads: int = 2) -> None:
        super().__init__()
        self.qkv, self.rate, self.heads = nn.Linear(width, 3 * width), nn.Linear(width, heads), heads

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (_cut(y) for y in self.qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(2))
        k = functional.normalize(k, dim=-1)
        rate = _cut(self.rate(x).sigmoid())[..., None]
        inverse = -(k * rate @ k.mT).tril(-1)
        for i in range(1, CHUNK):
            row = inverse[..., i, :i].clone()
            inverse[..., i, :i] = row + (inverse[..., i, :, None].clone() * inverse[..., :, :i].clone()).sum(-2)
        inverse = inverse + torch.eye(CHUNK, dtype=x.dtype)
        new, kept = inverse @ (v * rate), inverse @ (k * rate)
        state, out = x.new_zeros(len(x), self.heads, k.shape[-1], v.shape[-1]), torch.zeros_like(v)
        for i in range(q.shape[2]):
            written = new[:, :, i] - kept[:, :, i] @ state
            out[:, :, i] = q[:, :, i] @ state + (q[:, :, i] @ k[:, :, i].mT).tril() @ written
            state = state + k[:, :, i].mT @ written
        return _whole(out, x.shape[1])


class StateSpaceDuality(nn.Module):
    """The recurrence of Mamba 2 as products of matrices (Dao & Gu 2024, listing 1)."""

    def __init__(self, width: int, heads: int = 2) -> None:
        super().__init__()
        self.xbc, self.step, self.heads = nn.Linear(width, 3 * width), nn.Linear(width, heads), heads

    def forward(self, x: Tensor) -> Tensor:
        values, b, c = (_cut(y) for y in self.xbc(x).unflatten(-1, (3, self.heads, -1)).unbind(2))
        decay = _cut(-functional.softplus(self.step(x)))
        total = decay.cumsum(-1)
        inner = torch.einsum("bhcln,bhcsn,bhcls,bhcsp->bhclp", c, b, _between(decay).exp(), values)
        states = torch.einsum("bhcln,bhcl,bhclp->bhcpn", b, (total[..., -1:] - total).exp(), values)
        states = torch.cat([torch.zeros_like(states[:, :, :1]), states], 2)
        passed = _between(functional.pad(total[..., -1], (1, 0))).exp()
        states = torch.einsum("bhzc,bhcpn->bhzpn", passed, states)[:, :, :-1]
        outer = torch.einsum("bhcln,bhcpn,bhcl->bhclp", c, states, total.exp())
        return _whole(inner + outer, x.shape[1])


def _between(x: Tensor) -> Tensor:
    """Sum up what lies between any two places of the last dimension."""
    n = x.shape[-1]
    below = torch.ones(n, n, dtype=torch.bool).tril(-1)
    sums = x[..., None].expand(*x.shape, n).masked_fill(~below, 0).cumsum(-2)
    return sums.masked_fill(~torch.ones(n, n, dtype=torch.bool).tril(), -torch.inf)
