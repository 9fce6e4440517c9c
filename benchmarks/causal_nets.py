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
_DECODER = _STATE | {"num_attention_heads": 4, "intermediate_size": 48}
_GROUPED = _DECODER | {"num_key_value_heads": 2}
_GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4}
# forms of attention: biases by distance, caps, sinks, windows between whole layers, differences of two, shared heads
_ATTENTIONS = (
    _language("MPT", "MptForCausalLM", "MptConfig", d_model=32, n_layers=2, n_heads=4, max_seq_len=40),
    _language("Falcon, ALiBi", "FalconForCausalLM", "FalconConfig", alibi=True, **_DECODER),
    _language("Gemma 2", "Gemma2ForCausalLM", "Gemma2Config", head_dim=8, sliding_window=6, **_GROUPED),
    _language("Gemma 3", "Gemma3ForCausalLM", "Gemma3TextConfig", head_dim=8, sliding_window=6, **_GROUPED),
    _language("DiffLlama", "DiffLlamaForCausalLM", "DiffLlamaConfig", **_GROUPED),
    _language("GPT BigCode", "GPTBigCodeForCausalLM", "GPTBigCodeConfig", **_GPT),
    _language("CodeGen", "CodeGenForCausalLM", "CodeGenConfig", rotary_dim=4, **_GPT),
    _language("CTRL", "CTRLLMHeadModel", "CTRLConfig", dff=48, **_GPT),
    _language("OpenAI GPT", "OpenAIGPTLMHeadModel", "OpenAIGPTConfig", **_GPT),
    _language("BioGPT", "BioGptForCausalLM", "BioGptConfig", **_DECODER),
    _language("Cohere", "CohereForCausalLM", "CohereConfig", **_GROUPED),
    _language("GLM", "GlmForCausalLM", "GlmConfig", head_dim=8, **_GROUPED),
    _language("Granite", "GraniteForCausalLM", "GraniteConfig", **_GROUPED),
    _language("Helium", "HeliumForCausalLM", "HeliumConfig", head_dim=8, **_GROUPED),
    _language("Nemotron", "NemotronForCausalLM", "NemotronConfig", **_GROUPED),
    _language("OLMo", "OlmoForCausalLM", "OlmoConfig", **_GROUPED),
    _language("OLMo 2", "Olmo2ForCausalLM", "Olmo2Config", **_GROUPED),
    _language("Persimmon", "PersimmonForCausalLM", "PersimmonConfig", **_DECODER),
    _language("Phi-3", "Phi3ForCausalLM", "Phi3Config", **_GROUPED),
    _language("Qwen3", "Qwen3ForCausalLM", "Qwen3Config", head_dim=8, **_GROUPED),
    _language("SmolLM3", "SmolLM3ForCausalLM", "SmolLM3Config", **_GROUPED),
    _language("StarCoder2", "Starcoder2ForCausalLM", "Starcoder2Config", **_GROUPED),
)

NETS: tuple[CausalNet, ...] = (
    *(_decoder(a) for a in ARCHITECTURES if a.area == "language" and "logits" in a.layout),
    *(_decoder(a, "eager") for a in ARCHITECTURES if a.name in ("GPT-2", "Llama", "Qwen2")),
    *_ATTENTIONS,
    _language("Mamba", "MambaForCausalLM", "MambaConfig", state_size=4, **_STATE),
    _language(
        "Mamba 2", "Mamba2ForCausalLM", "Mamba2Config", num_heads=4, head_dim=16, n_groups=1, state_size=4, **_STATE
    ),
    _language("RWKV", "RwkvForCausalLM", "RwkvConfig", attention_hidden_size=32, **_STATE),
    _temporal("TCN, weight norm"),
    _temporal("TCN, batch norm, skips, gates", use_norm="batch_norm", use_skip_connections=True, use_gate=True),
)
