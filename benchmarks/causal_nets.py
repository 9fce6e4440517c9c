"""Causal networks that others wrote, small and with random weights: what `streamable.py` and its tests stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from architectures import ARCHITECTURES, Architecture
from published import chunks, experts, recurrences
from published import convolutions as conv
from published.recurrences import Layers
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


def _known(name: str, kind: str, experts: str | None = None, **settings: Any) -> CausalNet:
    """Describe an architecture of transformers by its name; experts in an implementation that takes float64."""
    import transformers as hf

    from leadline.audit.small_settings import small_settings

    def build() -> nn.Module:
        known = hf.CONFIG_MAPPING[kind]
        made: nn.Module = hf.AutoModelForCausalLM.from_config(known(**small_settings(known()) | settings))
        if experts:
            made.set_experts_implementation(experts)
        return made.eval()

    return CausalNet(name, "transformers", build, tokens, {"input_ids": "b t", "logits": "b t v"})


def _written(name: str, build: Callable[[], nn.Module], layout: str, *sizes: int) -> CausalNet:
    """Describe a network that is written here as its paper has it; `sizes` are those besides batch and time."""
    axes, out = layout.split(" -> ")
    long = axes.split().index("t")

    def inputs(length: int) -> Mapping[str, Tensor]:
        if axes == "b t" and sizes:
            return {"x": torch.randint(sizes[0], (2, length))}
        shape = [2, *sizes]
        shape.insert(long, length)
        return {"x": torch.randn(shape)}

    return CausalNet(name, "torch", lambda: build().eval(), inputs, {"x": axes, "output": out})


_FEATURES, _SIGNAL, _MAPS = "b t c -> b t v", "b c t -> b v t", "b t c h w -> b t d i j"
_WORDS = "b t -> b t v"

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
        "Mamba 2",
        "Mamba2ForCausalLM",
        "Mamba2Config",
        num_heads=4,
        head_dim=16,
        n_groups=1,
        state_size=4,
        chunk_size=8,
        **_STATE,
    ),
    _language("RWKV", "RwkvForCausalLM", "RwkvConfig", attention_hidden_size=32, **_STATE),
    _temporal("TCN, weight norm"),
    _temporal("TCN, batch norm, skips, gates", use_norm="batch_norm", use_skip_connections=True, use_gate=True),
    _known("Mixtral", "mixtral", "batched_mm"),
    _known("Qwen2-MoE", "qwen2_moe", "batched_mm"),
    _known("OLMoE", "olmoe", "batched_mm"),
    _known("Falcon-Mamba", "falcon_mamba"),
    _known("RecurrentGemma", "recurrent_gemma"),
    _known("xLSTM", "xlstm"),
    _known("Jamba", "jamba", "batched_mm"),
    _known("LFM2", "lfm2"),
    _written("RNN, two layers", lambda: Layers(nn.RNN(16, 16, 2, batch_first=True)), _WORDS, 40),
    _written("GRU, two layers", lambda: Layers(nn.GRU(16, 16, 2, batch_first=True)), _WORDS, 40),
    _written("LSTM, tied weights", lambda: Layers(nn.LSTM(16, 16, batch_first=True), nn.LayerNorm(16)), _WORDS, 40),
    _written("LSTM, learned start", lambda: recurrences.LearnedStart(8), _FEATURES, 8),
    _written("LSTMCell, normalised", lambda: recurrences.Cells(nn.LSTMCell(8, 8), 8, pair=True), _FEATURES, 8),
    _written("GRUCell, normalised", lambda: recurrences.Cells(nn.GRUCell(8, 8), 8, pair=False), _FEATURES, 8),
    _written("LSTM, peepholes", lambda: recurrences.Peephole(8), _FEATURES, 8),
    _written("IndRNN", lambda: recurrences.IndRNN(8), _FEATURES, 8),
    _written("QRNN", lambda: recurrences.QRNN(8), _FEATURES, 8),
    _written("SRU", lambda: recurrences.SRU(8), _FEATURES, 8),
    _written("minGRU", lambda: recurrences.MinGRU(8), _FEATURES, 8),
    _written("minLSTM", lambda: recurrences.MinLSTM(8), _FEATURES, 8),
    _written("LRU", lambda: recurrences.LRU(8), _FEATURES, 8),
    _written("S5", lambda: recurrences.S5(8), _FEATURES, 8),
    _written("Griffin", lambda: recurrences.Griffin(8), _FEATURES, 8),
    _written("HGRN", lambda: recurrences.HGRN(8), _FEATURES, 8),
    _written("LMU", lambda: recurrences.LMU(8), _FEATURES, 8),
    _written("Delta rule", lambda: recurrences.DeltaRule(8), _FEATURES, 8),
    _written("Gated linear attention", lambda: recurrences.GatedLinearAttention(8), _FEATURES, 8),
    _written("Gated linear attention, in chunks", lambda: chunks.GatedLinearAttention(8), _FEATURES, 8),
    _written("Delta rule, in chunks", lambda: chunks.DeltaRule(8), _FEATURES, 8),
    _written("State space duality, in chunks", lambda: chunks.StateSpaceDuality(8), _FEATURES, 8),
    _written("Mamba, as a loop", lambda: recurrences.SelectiveScan(8), _FEATURES, 8),
    _written("RWKV, time mixing", lambda: recurrences.WeightedKeyValues(8), _FEATURES, 8),
    _written("sLSTM", lambda: recurrences.StabilisedLSTM(8), _FEATURES, 8),
    _written("LSTM of an amplifier", lambda: recurrences.Amplifier(), _FEATURES, 1),
    _written("Gated convolutions", lambda: conv.GatedConvolutions(), _WORDS, 40),
    _written("ByteNet", lambda: conv.ByteNet(), _WORDS, 40),
    _written("Conv-TasNet's separator", lambda: conv.Separator(), _SIGNAL, 6),
    _written("Deep Speech 2, causal", lambda: conv.Spectrogram(), "b f t -> b t v", 8),
    _written("ConvLSTM", lambda: conv.ConvLSTM(), _MAPS, 2, 4, 4),
    _written("ConvGRU", lambda: conv.ConvGRU(), _MAPS, 2, 4, 4),
    _written("Frames and LSTM", lambda: conv.FrameNet(), "b t c h w -> b t v", 2, 4, 4),
    _written("FSMN", lambda: conv.Memories(), _FEATURES, 8),
    _written("Light convolution", lambda: conv.LightConvolution(), _FEATURES, 8),
    _written("Mixer of the last tokens", lambda: conv.Mixer(), _FEATURES, 8),
    _written("SampleRNN, one tier", lambda: conv.Samples(), _WORDS, 16),
    _written("Soft experts", lambda: experts.SoftExperts(), _FEATURES, 8),
    _written("Best experts, gathered", lambda: experts.SparseExperts(), _FEATURES, 8),
    _written("Best experts, scattered", lambda: experts.ScatteredExperts(), _FEATURES, 8),
    _written("Switch", lambda: experts.Switch(), _FEATURES, 8),
    _written("Stacked experts", lambda: experts.Stacked(), _FEATURES, 8),
)
