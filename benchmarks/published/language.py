"""Language models of `transformers`: its causal architectures as small as their settings let them be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import transformers as hf
from torch import nn

from published.entry import Published, in_double, tokens

# What the architectures call their sizes; each takes those that its config has.
_SMALL: Mapping[str, Any] = {
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "word_embed_proj_dim", "attention_hidden_size"), 32),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "decoder_ffn_dim"), 48),
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "sliding_window": 8,
    "vocab_size": 99,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "use_cache": False,
    "is_decoder": True,
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "top_k_experts", "moe_topk"), 2),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size", "expert_ffn_hidden_size"), 16),
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "kv_lora_rank": 8,
    "q_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4,
    "v_head_dim": 8,
    "state_size": 4,
    "mamba_n_heads": 8,
    "mamba_d_head": 8,
    "mamba_d_state": 4,
    "mamba_n_groups": 1,
}

_FULL_HEADS = {"num_key_value_heads": 4, "head_dim": None}  # latent attention names its heads' sizes itself
_OWN: Mapping[str, Mapping[str, Any]] = {
    "bailing_hybrid": {"linear_head_dim": 8, "linear_num_heads": 4},
    "codegen": {"rotary_dim": 4},
    "deepseek_v2": _FULL_HEADS,
    "deepseek_v3": _FULL_HEADS,
    "deepseek_v32": _FULL_HEADS,
    "falcon_h1": {"mamba_d_ssm": 64, "mamba_expand": 2},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": 4},
    "gptj": {"rotary_dim": 4},
    "mamba2": {"num_heads": 8, "n_groups": 1},
    "minicpm3": {"num_key_value_heads": 4},
}

_NAMES = """
afmoe apertus arcee bailing_hybrid bamba bart bert big_bird biogpt bitnet blenderbot bloom codegen cohere2 ctrl
deepseek_v2 deepseek_v3 deepseek_v32 deepseek_v4 diffllama doge ernie4_5_moe exaone4 falcon falcon_h1 falcon_mamba
flex_olmo gemma gemma2 gemma3_text glm4 glm4_moe gpt2 gpt_bigcode gpt_neo gpt_neox gpt_oss gptj granitemoe
granitemoehybrid helium hunyuan_v1_moe hy_v4 jamba jetmoe lfm2 llama llama4_text mamba mamba2 minicpm3 minimax
ministral mistral mixtral modernbert-decoder moshi mpt nanochat nemotron nemotron_h olmo2 olmo_hybrid olmoe openai-gpt
opt persimmon phi phi3 phimoe prophetnet qwen2 qwen2_moe qwen3 qwen3_moe recurrent_gemma rwkv xlstm
"""


def _small(kind: str) -> nn.Module:
    known = hf.CONFIG_MAPPING[kind]
    names = {*known().to_dict(), *getattr(known, "attribute_map", {})}
    own = {**_SMALL, **_OWN.get(kind, {})}
    settings = {name: value for name, value in own.items() if name in names and value is not None}
    made: nn.Module = hf.AutoModelForCausalLM.from_config(known(**settings))
    return made.eval()


def _experts_in_double(model: nn.Module) -> nn.Module:
    """Experts, too, in an implementation that takes float64."""
    if hasattr(model, "set_experts_implementation"):
        model.set_experts_implementation("eager")
    return in_double(model)


def _model(kind: str) -> Published:
    layout = {"input_ids": "b t", "logits": "b t v"}
    return Published(
        "transformers", kind, lambda _: _small(kind), tokens("input_ids"), layout, in_double=_experts_in_double
    )


MODELS: tuple[Published, ...] = tuple(map(_model, _NAMES.split()))
