"""Causal networks that others wrote, small and with random weights: what `streamable.py` and its tests stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from architectures import ARCHITECTURES, Architecture
from torch import Tensor, nn

LENGTH, LONGER = 16, 21


@dataclass(frozen=True)
class CausalNet:
    """A model, inputs of a chosen length, and its axes.

    Attributes
    ----------
    package
        Who distributes it.
    model
        Builds it, in evaluation mode.
    inputs
        From a length to the inputs by name.
    layout
        The axes of inputs and output; None for inputs that are conditioning.
    """

    name: str
    package: str
    model: Callable[[], nn.Module]
    inputs: Callable[[int], Mapping[str, Tensor]]
    layout: Mapping[str, str | None]


def tokens(length: int) -> Mapping[str, Tensor]:
    return {"input_ids": torch.randint(3, 90, (2, length))}


def signal(channels: int) -> Callable[[int], Mapping[str, Tensor]]:
    return lambda length: {"input": torch.randn(2, channels, length)}


def _decoder(architecture: Architecture, attention: str | None = None) -> CausalNet:
    def model() -> nn.Module:
        made = architecture.model()
        if attention is not None:
            made.set_attn_implementation(attention)
        return made

    name = f"{architecture.name}, {attention} attention" if attention else architecture.name
    return CausalNet(name, "transformers", model, tokens, architecture.layout)


def _language(name: str, model: str, config: str, **settings: Any) -> CausalNet:
    import transformers as hf

    def build() -> nn.Module:
        common = {"vocab_size": 99, "use_cache": False, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
        made: nn.Module = getattr(hf, model)(getattr(hf, config)(**common | settings))
        return made.eval()

    return CausalNet(name, "transformers", build, tokens, {"input_ids": "b t", "logits": "b t v"})


def _temporal(name: str, **settings: Any) -> CausalNet:
    def build() -> nn.Module:
        from pytorch_tcn import TCN

        made: nn.Module = TCN(3, [8, 8, 8], kernel_size=3, **settings).eval()
        return made

    inputs = {"x": "b c t", "[0]": "b v t"}
    return CausalNet(name, "pytorch-tcn", build, lambda length: {"x": torch.randn(2, 3, length)}, inputs)


class Clip(nn.Module):
    """A continual network over a whole clip that starts after silence: as many zeros as its receptive field reads."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.before = nn.ConstantPad1d((net.receptive_field - 1, 0), 0.0)
        self.net = net

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Run the clip with zeros before it."""
        return self.net(self.before(input))


def _continual_convolutions() -> nn.Module:
    import continual

    return Clip(
        continual.Sequential(
            continual.Conv1d(3, 8, kernel_size=3),
            nn.BatchNorm1d(8),
            nn.ReLU(),
            continual.Conv1d(8, 8, kernel_size=3, dilation=2, groups=2),
            nn.ReLU(),
            continual.Conv1d(8, 4, kernel_size=1),
        )
    ).eval()


def _continual_recurrence() -> nn.Module:
    import continual

    return continual.Sequential(
        continual.GRU(3, 8, num_layers=2), nn.ReLU(), continual.Linear(8, 4, channel_dim=1)
    ).eval()


_STATE = {"hidden_size": 32, "num_hidden_layers": 2}
_SIGNAL = {"input": "b c t", "[0]": "b v t"}

NETS: tuple[CausalNet, ...] = (
    *(_decoder(a) for a in ARCHITECTURES if a.area == "language" and "logits" in a.layout),
    *(_decoder(a, "eager") for a in ARCHITECTURES if a.name in ("GPT-2", "Llama", "Qwen2")),
    _language("Mamba", "MambaForCausalLM", "MambaConfig", state_size=4, **_STATE),
    _language(
        "Mamba 2", "Mamba2ForCausalLM", "Mamba2Config", num_heads=4, head_dim=16, n_groups=1, state_size=4, **_STATE
    ),
    _language("RWKV", "RwkvForCausalLM", "RwkvConfig", attention_hidden_size=32, **_STATE),
    _temporal("TCN, weight norm"),
    _temporal("TCN, batch norm, skips, gates", use_norm="batch_norm", use_skip_connections=True, use_gate=True),
    CausalNet("Conv1d net behind zeros", "continual-inference", _continual_convolutions, signal(3), _SIGNAL),
    CausalNet("GRU net", "continual-inference", _continual_recurrence, signal(3), _SIGNAL),
)
