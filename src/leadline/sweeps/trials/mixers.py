"""Layers that mix positions, each in a block after two taps of a convolution: attention and what replaces it.

The convolution lets a position know the one before it: so a single layer can look a value up, and attention knows of an
order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv1d, elu, gelu, pad, scaled_dot_product_attention

from leadline.zoo.layers.causal_conv import CausalConv1d
from leadline.zoo.recurrent import Recurrent, RecurrentConfig, remember

Mixer = Literal["attention", "linear", "state-space", "gated", "lstm"]


@dataclass(frozen=True)
class MixerConfig:
    """`layers` blocks of `width` features; `states` is the size of a state space's memory for each feature.

    Without `skip` no residual connection leads past what a block does. `forget_bias` is added to the gate by which
    ``"gated"`` and ``"lstm"`` keep their state; the others have none.
    """

    mixer: Mixer = "attention"
    layers: int = 1
    width: int = 32
    states: int = 16
    skip: bool = True
    forget_bias: float = 0.0


class Attention(nn.Module):
    """Causal softmax attention with one head; with `linear` its scores are products of positive features instead.

    Source: Katharopoulos et al., Transformers are RNNs: fast autoregressive transformers with linear attention (2020).
    """

    def __init__(self, config: MixerConfig) -> None:
        super().__init__()
        self.linear = config.mixer == "linear"
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)

    def forward(self, x: Float[Tensor, "b t k"]) -> Float[Tensor, "b t k"]:
        """Return for each position a mean of values up to its own."""
        q, k, v = self.qkv(x).chunk(3, -1)
        if not self.linear:
            y: Tensor = scaled_dot_product_attention(q, k, v, is_causal=True)
            return y
        scores = ((elu(q) + 1) @ (elu(k) + 1).mT).tril()
        weighed: Tensor = scores @ v / scores.sum(-1, keepdim=True)
        return weighed


class StateSpace(nn.Module):
    """For each feature a linear recurrence with a diagonal matrix, as the convolution that it amounts to.

    ``h' = a ⊙ h + x``, ``y = c · h + d x`` with decays a = exp(-Δ n) for n = 1, 2, …, and Δ from 0.001 to 0.1; what it
    does is the same at every position and for every input.

    Source: Gupta, Gu and Berant, Diagonal state spaces are as effective as structured state spaces (2022), here with
    real numbers, as S4D-Real in Gu et al., On the parameterization and initialization of diagonal state space models
    (2022).
    """

    def __init__(self, config: MixerConfig) -> None:
        super().__init__()
        step = torch.rand(config.width, 1) * math.log(100) + math.log(0.001)
        self.log_rates = nn.Parameter(step + torch.arange(1, config.states + 1).log())
        self.c = nn.Parameter(torch.randn(config.width, config.states) / config.states)
        self.d = nn.Parameter(torch.ones(config.width))

    def forward(self, x: Float[Tensor, "b t k"]) -> Float[Tensor, "b t k"]:
        """Convolve each feature with its own kernel over the past."""
        length = x.shape[1]
        powers = torch.exp(-self.log_rates.exp()[..., None] * torch.arange(length))
        kernel = torch.einsum("k n, k n t -> k t", self.c, powers)
        y = conv1d(pad(x.mT, (length - 1, 0)), kernel.flip(-1)[:, None], groups=x.shape[-1]).mT
        return gelu(y + self.d * x)


class Gated(nn.Module):
    """For each feature a linear recurrence whose decay the input chooses: the least of the selective state spaces.

    ``h' = a ⊙ h + (1 - a) ⊙ v``, where a = σ(W x) and v = V x know the input at hand alone, so that all positions are
    worked out at once.

    Source: Martin and Cundy, Parallelizing linear recurrent neural nets over sequence length (2018); as minGRU in Feng
    et al., Were RNNs all we needed? (2024).
    """

    def __init__(self, config: MixerConfig) -> None:
        super().__init__()
        self.gates = nn.Linear(config.width, 2 * config.width)
        with torch.no_grad():
            self.gates.bias[: config.width] += config.forget_bias

    def forward(self, x: Float[Tensor, "b t k"]) -> Float[Tensor, "b t k"]:
        """Return the states, each made of twice as many steps as before until all are."""
        keep, new = self.gates(x).chunk(2, -1)
        keep = torch.sigmoid(keep)
        state: Tensor = (1 - keep) * new
        step = 1
        while step < x.shape[1]:
            earlier = (0, 0, step, -step)
            state, keep, step = state + keep * pad(state, earlier), keep * pad(keep, earlier), 2 * step
        return state


def lstm(config: MixerConfig) -> Recurrent:
    """Build a layer of LSTM cells."""
    body = Recurrent("lstm", RecurrentConfig(config.width, config.width))
    remember(body, config.forget_bias)
    return body


MIXERS: Mapping[Mixer, Callable[[MixerConfig], nn.Module]] = MappingProxyType(
    {"attention": Attention, "linear": Attention, "state-space": StateSpace, "gated": Gated, "lstm": lstm}
)

AT_ONCE = tuple(name for name in MIXERS if name != "lstm")
"""Those that work all positions out at once, without steps through time: their gradient grows through layers alone."""


class Block(nn.Module):
    """A mixer and a feed-forward net, each on normalised features, beside a residual connection if there is one."""

    def __init__(self, config: MixerConfig) -> None:
        super().__init__()
        k, self.skip = config.width, config.skip
        self.before = CausalConv1d(k, k, kernel=2, dilation=1)
        self.mixer, self.out = MIXERS[config.mixer](config), nn.Linear(k, k)
        self.up, self.down = nn.Linear(k, 2 * k), nn.Linear(2 * k, k)
        self.norm_1, self.norm_2 = nn.LayerNorm(k), nn.LayerNorm(k)

    def forward(self, x: Float[Tensor, "b t k"]) -> Float[Tensor, "b t k"]:
        """Mix positions, then features."""
        mixed = self.out(self.mixer(self.before(self.norm_1(x).mT).mT))
        x = x + mixed if self.skip else mixed
        y: Tensor = self.down(gelu(self.up(self.norm_2(x))))
        return x + y if self.skip else y


class MixerNet(nn.Module):
    """Blocks, one after another.

    Examples
    --------
    >>> MixerNet(MixerConfig("state-space", layers=2, width=4))(torch.zeros(1, 7, 4)).shape
    torch.Size([1, 7, 4])
    """

    def __init__(self, config: MixerConfig) -> None:
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))

    def forward(self, x: Float[Tensor, "b t k"]) -> Float[Tensor, "b t k"]:
        """Run the blocks in turn."""
        for block in self.blocks:
            x = block(x)
        return x
