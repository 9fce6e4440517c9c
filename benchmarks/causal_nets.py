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

    inputs = {"x": "b c t", "output": "b v t"}
    return CausalNet(name, "pytorch-tcn", build, lambda length: {"x": torch.randn(2, 3, length)}, inputs)


_STATE = {"hidden_size": 32, "num_hidden_layers": 2}

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
)
