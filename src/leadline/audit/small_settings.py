"""Settings that make the architectures of `transformers` small, by the names that their configs have."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

SMALL: Mapping[str, Any] = MappingProxyType(
    {
        **dict.fromkeys(("hidden_size", "n_embd", "d_model", "word_embed_proj_dim", "attention_hidden_size"), 32),
        **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers"), 2),
        **dict.fromkeys(("encoder_layers", "decoder_layers", "num_decoder_layers"), 2),
        **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), 4),
        **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4),
        **dict.fromkeys(("intermediate_size", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim", "d_ff"), 48),
        "num_key_value_heads": 2,
        "head_dim": 8,
        "d_kv": 8,
        "embedding_size": 32,
        "max_position_embeddings": 64,
        **dict.fromkeys(("max_source_positions", "max_target_positions"), 24),
        "num_mel_bins": 8,
        "sliding_window": 8,
        "vocab_size": 99,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "decoder_start_token_id": 1,
        "use_cache": False,
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
        "image_size": 32,
        "patch_size": 8,
    }
)
"""What the architectures call their sizes; each takes those that its config has."""

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
"""Architectures, by model type, whose sizes have to fit one another in a way of their own; None leaves one out."""


_OWN_LAYERS = {"num_hidden_layers": None}  # the pattern of the layers' kinds may ask for all of them
VARIANTS: tuple[Mapping[str, Any], ...] = ({}, _FULL_HEADS, _OWN_LAYERS, {**_FULL_HEADS, **_OWN_LAYERS})
"""What to try in turn, where the usual settings do not fit one another."""


def small_settings(config: Any, variant: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """Return the settings that make a config of `transformers` small, its parts' (text, vision) within it."""
    names = {*config.to_dict(), *getattr(config, "attribute_map", {})}
    own = {**SMALL, **_OWN.get(config.model_type, {}), **variant}
    settings = {name: value for name, value in own.items() if name in names and value is not None}
    for name in config.sub_configs:
        part = getattr(config, name, None)
        if part is not None:
            settings[name] = {"model_type": part.model_type, **small_settings(part, variant)}
    return settings
