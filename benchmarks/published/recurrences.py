"""Recurrent networks as their papers write them, small: cells in loops, and scans in parallel."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class Layers(nn.Module):
    """Layers of torch, (b, t, c) to (b, t, c), between an embedding and logits whose weights may be the same."""

    def __init__(self, *layers: nn.Module, classes: int = 40, width: int = 16) -> None:
        super().__init__()
        self.embedding, self.layers = nn.Embedding(classes, width), nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embedding(x)
        for layer in self.layers:
            out = layer(x)
            x = out[0] if isinstance(out, tuple) else out
        return functional.linear(x, self.embedding.weight)


class LearnedStart(nn.Module):
    """An LSTM whose first states are parameters."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, width, 2, batch_first=True)
        self.h, self.c = (nn.Parameter(torch.randn(2, 1, width)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        size = 2, len(x), self.h.shape[-1]
        out: Tensor = self.lstm(x, (self.h.expand(size).contiguous(), self.c.expand(size).contiguous()))[0]
        return out


class Cells(nn.Module):
    """A loop over one of torch's cells, normalised (Ba et al. 2016)."""

    def __init__(self, cell: nn.Module, width: int, pair: bool) -> None:
        super().__init__()
        self.cell, self.norm, self.pair = cell, nn.LayerNorm(width), pair

    def forward(self, x: Tensor) -> Tensor:
        h = c = x.new_zeros(len(x), x.shape[-1])
        out = []
        for step in x.unbind(1):
            if self.pair:
                h, c = self.cell(step, (h, c))
            else:
                h = self.cell(step, h)
            out.append(self.norm(h))
        return torch.stack(out, 1)


class Peephole(nn.Module):
    """LSTM whose gates see the cell (Gers & Schmidhuber 2000)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gates, self.peep = nn.Linear(2 * width, 4 * width), nn.Parameter(torch.randn(3, width))

    def forward(self, x: Tensor) -> Tensor:
        h = c = x.new_zeros(len(x), x.shape[-1])
        out = []
        for t in range(x.shape[1]):
            i, f, g, o = self.gates(torch.cat((x[:, t], h), -1)).chunk(4, -1)
            c = torch.sigmoid(f + self.peep[1] * c) * c + torch.sigmoid(i + self.peep[0] * c) * torch.tanh(g)
            h = torch.sigmoid(o + self.peep[2] * c) * torch.tanh(c)
            out.append(h)
        return torch.stack(out, 1)


class IndRNN(nn.Module):
    """Each neuron has its own recurrent weight (Li et al. 2018)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.into, self.own = nn.Linear(width, width), nn.Parameter(torch.rand(width))

    def forward(self, x: Tensor) -> Tensor:
        z, h = self.into(x), torch.zeros_like(x[:, 0])
        out = []
        for t in range(x.shape[1]):
            h = torch.relu(z[:, t] + self.own * h)
            out.append(h)
        return torch.stack(out, 1)


class QRNN(nn.Module):
    """Gates by a convolution, then pooling with forget and output gates (Bradbury et al. 2017)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gates = nn.Conv1d(width, 3 * width, 2)

    def forward(self, x: Tensor) -> Tensor:
        z, f, o = self.gates(functional.pad(x.mT, (1, 0))).mT.chunk(3, -1)
        z, f, o = torch.tanh(z), torch.sigmoid(f), torch.sigmoid(o)
        c = torch.zeros_like(z[:, 0])
        out = []
        for t in range(x.shape[1]):
            c = f[:, t] * c + (1 - f[:, t]) * z[:, t]
            out.append(o[:, t] * c)
        return torch.stack(out, 1)


class SRU(nn.Module):
    """Simple recurrent units: a light recurrence and a highway (Lei et al. 2018)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.into, self.own = nn.Linear(width, 3 * width), nn.Parameter(torch.randn(2, width))

    def forward(self, x: Tensor) -> Tensor:
        z, f, r = self.into(x).chunk(3, -1)
        c = torch.zeros_like(x[:, 0])
        out = []
        for t in range(x.shape[1]):
            forget = torch.sigmoid(f[:, t] + self.own[0] * c)
            reset = torch.sigmoid(r[:, t] + self.own[1] * c)
            c = forget * c + (1 - forget) * z[:, t]
            out.append(reset * c + (1 - reset) * x[:, t])
        return torch.stack(out, 1)


class MinGRU(nn.Module):
    """``h = (1 - z) h + z ĥ`` by a scan in logarithms (Feng et al. 2024, after Heinsen 2023)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate, self.new = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        k = self.gate(x)
        log_z, log_keep = -functional.softplus(-k), -functional.softplus(k)
        new = self.new(x)
        log_new = torch.where(new >= 0, (functional.relu(new) + 0.5).log(), -functional.softplus(-new))
        start = torch.full_like(log_new[:, :1], math.log(0.5))
        return _scan_in_logarithms(log_keep, torch.cat((start, log_z + log_new), 1))


class MinLSTM(nn.Module):
    """The same with two gates that add up to one."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.forget, self.enter, self.new = (nn.Linear(width, width) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        apart = functional.softplus(-self.forget(x)) - functional.softplus(-self.enter(x))
        log_f, log_i = -functional.softplus(apart), -functional.softplus(-apart)
        log_new = (functional.softplus(self.new(x)) + 0.1).log()
        start = torch.full_like(log_new[:, :1], math.log(0.5))
        return _scan_in_logarithms(log_f, torch.cat((start, log_i + log_new), 1))


def _scan_in_logarithms(log_keep: Tensor, log_values: Tensor) -> Tensor:
    so_far = functional.pad(log_keep.cumsum(1), (0, 0, 1, 0))
    log_h = so_far + (log_values - so_far).logcumsumexp(1)
    return log_h.exp()[:, 1:]


class LRU(nn.Module):
    """Linear recurrent unit, complex and diagonal (Orvieto et al. 2023), with its numbers as pairs."""

    def __init__(self, width: int, state: int = 8) -> None:
        super().__init__()
        self.radius, self.angle = nn.Parameter(torch.rand(state)), nn.Parameter(torch.rand(state) * math.pi)
        self.into, self.out = nn.Linear(width, 2 * state, bias=False), nn.Linear(2 * state, width)
        self.through = nn.Parameter(torch.randn(width))

    def forward(self, x: Tensor) -> Tensor:
        size = torch.exp(-torch.exp(-self.radius))
        re, im = size * self.angle.cos(), size * self.angle.sin()
        real, imaginary = (self.into(x) * (1 - size**2).sqrt().repeat(2)).chunk(2, -1)
        a = b = torch.zeros_like(real[:, 0])
        out = []
        for t in range(x.shape[1]):
            a, b = re * a - im * b + real[:, t], re * b + im * a + imaginary[:, t]
            out.append(torch.cat((a, b), -1))
        return self.out(torch.stack(out, 1)) + self.through * x


class S5(nn.Module):
    """A state space of many inputs and outputs, zero-order hold, real (Smith et al. 2023)."""

    def __init__(self, width: int, state: int = 8) -> None:
        super().__init__()
        self.rate, self.step = nn.Parameter(-torch.rand(state) - 0.1), nn.Parameter(torch.zeros(state))
        self.into, self.out = nn.Parameter(torch.randn(state, width)), nn.Parameter(torch.randn(width, state))
        self.through = nn.Parameter(torch.randn(width))

    def forward(self, x: Tensor) -> Tensor:
        keep = torch.exp(self.rate * self.step.exp())
        given = x @ (self.into * ((keep - 1) / self.rate)[:, None]).mT
        h = given.new_zeros(len(x), len(keep))
        states = []
        for u in given.unbind(1):
            h = keep * h + u
            states.append(h)
        return functional.gelu(torch.stack(states, 1) @ self.out.mT + self.through * x)


class Griffin(nn.Module):
    """A recurrent block: a convolution, a real-gated linear recurrent unit, a gate beside them (De et al. 2024)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate, self.into, self.out = (nn.Linear(width, width) for _ in range(3))
        self.conv = nn.Conv1d(width, width, 4, groups=width, padding=3)
        self.blocks = nn.Parameter(torch.randn(2, 4, width // 4, width // 4))
        self.bias = nn.Parameter(torch.randn(2, 4, width // 4))
        self.decay = nn.Parameter(torch.rand(width))

    def _by_blocks(self, x: Tensor, n: int) -> Tensor:
        blocks = x.reshape(-1, 4, x.shape[-1] // 4).transpose(0, 1)
        y = torch.baddbmm(self.bias[n][:, None], blocks, self.blocks[n])
        return torch.sigmoid(y.transpose(0, 1).reshape(x.shape))

    def forward(self, x: Tensor) -> Tensor:
        z = self.conv(self.into(x).mT)[..., : x.shape[1]].mT
        r, i = self._by_blocks(z, 0), self._by_blocks(z, 1)
        log_a = -8.0 * r * functional.softplus(self.decay)
        a, h = log_a.exp(), torch.zeros_like(z[:, 0])
        given = z * i * torch.sqrt(1 - (2 * log_a).exp())
        states = []
        for t in range(x.shape[1]):
            h = a[:, t] * h + given[:, t]
            states.append(h)
        return self.out(torch.stack(states, 1) * functional.gelu(self.gate(x)))


class HGRN(nn.Module):
    """Gates with a lower bound, scanned by cumulative products (Qin et al. 2023)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.forget, self.new, self.out = (nn.Linear(width, width) for _ in range(3))
        self.bound = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        bound = torch.sigmoid(self.bound)
        forget = bound + (1 - bound) * torch.sigmoid(self.forget(x))
        so_far = forget.cumprod(1)
        h = so_far * ((1 - forget) * functional.silu(self.new(x)) / so_far).cumsum(1)
        return h * torch.sigmoid(self.out(x))


class LMU(nn.Module):
    """Legendre memory units: a fixed linear memory beside a state (Voelker et al. 2019)."""

    def __init__(self, width: int, order: int = 6, length: float = 12.0) -> None:
        super().__init__()
        n = torch.arange(order, dtype=torch.float64)
        i, j = n[:, None], n[None]
        a = torch.where(i < j, -torch.ones(order, order, dtype=torch.float64), (-1.0) ** (i - j + 1)) * (2 * i + 1)
        keep = torch.matrix_exp(a / length)
        self.register_buffer("keep", keep.float())
        self.register_buffer("take", ((2 * n + 1) * (-1.0) ** n / length).float())
        self.read, self.memory = nn.Linear(2 * width, 1), nn.Linear(order, width, bias=False)
        self.into, self.own = nn.Linear(width, width), nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h, m = torch.zeros_like(x[:, 0]), x.new_zeros(len(x), len(self.take))
        out = []
        for t in range(x.shape[1]):
            u = self.read(torch.cat((x[:, t], h), -1))
            m = m @ self.keep.mT + u * self.take
            h = torch.tanh(self.into(x[:, t]) + self.own(h) + self.memory(m))
            out.append(h)
        return torch.stack(out, 1)


class DeltaRule(nn.Module):
    """A matrix for a state, written by the delta rule (Schlag et al. 2021)."""

    def __init__(self, width: int, heads: int = 2) -> None:
        super().__init__()
        self.qkv, self.rate, self.heads = nn.Linear(width, 3 * width), nn.Linear(width, heads), heads

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(2)
        k, rate = k.softmax(-1), self.rate(x).sigmoid()
        state = x.new_zeros(len(x), self.heads, k.shape[-1], v.shape[-1])
        out = []
        for t in range(x.shape[1]):
            key = k[:, t, :, :, None]
            change = rate[:, t, :, None] * (v[:, t] - (state * key).sum(2))
            state = state + key * change[:, :, None]
            out.append((state * q[:, t, :, :, None]).sum(2))
        return torch.stack(out, 1).flatten(2)


class GatedLinearAttention(nn.Module):
    """A matrix for a state that decays by gates (Yang et al. 2024)."""

    def __init__(self, width: int, heads: int = 2) -> None:
        super().__init__()
        self.qkvg, self.heads = nn.Linear(width, 4 * width), heads

    def forward(self, x: Tensor) -> Tensor:
        q, k, v, g = self.qkvg(x).unflatten(-1, (4, self.heads, -1)).unbind(2)
        state = x.new_zeros(len(x), self.heads, k.shape[-1], v.shape[-1])
        out = []
        for t in range(x.shape[1]):
            state = torch.sigmoid(g[:, t])[..., None] * state + k[:, t][..., None] * v[:, t][..., None, :]
            out.append((q[:, t][..., None, :] @ state).squeeze(-2))
        return torch.stack(out, 1).flatten(2)


class SelectiveScan(nn.Module):
    """Mamba's block, with its scan as a loop (Gu & Dao 2023)."""

    def __init__(self, width: int, state: int = 4) -> None:
        super().__init__()
        self.into, self.out = nn.Linear(width, 4 * width, bias=False), nn.Linear(2 * width, width, bias=False)
        self.conv = nn.Conv1d(2 * width, 2 * width, 4, groups=2 * width, padding=3)
        self.select, self.step = nn.Linear(2 * width, 1 + 2 * state, bias=False), nn.Linear(1, 2 * width)
        self.log_a = nn.Parameter(torch.arange(1, state + 1).float().log().repeat(2 * width, 1))
        self.through, self.state = nn.Parameter(torch.ones(2 * width)), state

    def forward(self, x: Tensor) -> Tensor:
        u, gate = self.into(x).chunk(2, -1)
        u = functional.silu(self.conv(u.mT)[..., : x.shape[1]].mT)
        step, b, c = self.select(u).split((1, self.state, self.state), -1)
        step = functional.softplus(self.step(step))
        keep = torch.exp(step[..., None] * -torch.exp(self.log_a))
        given = step[..., None] * b[:, :, None] * u[..., None]
        h = torch.zeros_like(given[:, 0])
        states = []
        for t in range(x.shape[1]):
            h = keep[:, t] * h + given[:, t]
            states.append((h * c[:, t, None]).sum(-1))
        y = torch.stack(states, 1) + self.through * u
        return self.out(y * functional.silu(gate))


class WeightedKeyValues(nn.Module):
    """RWKV's time mixing: keys and values weighted by how long ago, shifted by one (Peng et al. 2023)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.rand(3, width))
        self.key, self.value, self.receive, self.out = (nn.Linear(width, width) for _ in range(4))
        self.decay, self.first = (nn.Parameter(torch.randn(width)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        late = torch.cat((torch.zeros_like(x[:, :1]), x[:, :-1]), 1)
        k, v, r = (
            m(torch.lerp(late, x, w)) for m, w in zip((self.key, self.value, self.receive), self.mix, strict=True)
        )
        above = below = torch.zeros_like(k[:, 0])
        out = []
        for t in range(x.shape[1]):
            now = torch.exp(self.first + k[:, t])
            out.append((above + now * v[:, t]) / (below + now))
            above = torch.exp(-self.decay.exp()) * above + k[:, t].exp() * v[:, t]
            below = torch.exp(-self.decay.exp()) * below + k[:, t].exp()
        return self.out(torch.sigmoid(r) * torch.stack(out, 1))


class StabilisedLSTM(nn.Module):
    """The sLSTM of xLSTM: exponential gates, kept in range by their largest logarithm so far (Beck et al. 2024)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.into, self.own = nn.Linear(width, 4 * width), nn.Linear(width, 4 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        z = self.into(x)
        h = c = n = m = torch.zeros_like(x[:, 0])
        out = []
        for t in range(x.shape[1]):
            i, f, g, o = (z[:, t] + self.own(h)).chunk(4, -1)
            log_f = functional.logsigmoid(f)
            top = torch.maximum(log_f + m, i)
            enter, keep = torch.exp(i - top), torch.exp(log_f + m - top)
            c, n, m = keep * c + enter * torch.tanh(g), keep * n + enter, top
            h = torch.sigmoid(o) * c / n.clamp(min=1e-6)
            out.append(h)
        return torch.stack(out, 1)


class Amplifier(nn.Module):
    """A guitar amplifier: an LSTM and a line beside it (Wright et al. 2020)."""

    def __init__(self, hidden: int = 12) -> None:
        super().__init__()
        self.lstm, self.line = nn.LSTM(1, hidden, batch_first=True), nn.Linear(hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.line(self.lstm(x)[0]) + x
        return out
