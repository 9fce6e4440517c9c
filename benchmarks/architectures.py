"""Small, randomly initialised models of `transformers`: the architectures that `transformers_table.py` walks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import transformers as hf
from torch import Tensor, nn

TOKENS, IMAGE, SAMPLES = 16, 32, 48


@dataclass(frozen=True)
class Architecture:
    """A model class with a small config, example inputs, and how to read the axes."""

    name: str
    area: str
    model: Callable[[], nn.Module]
    inputs: Callable[[], Mapping[str, Tensor]]
    layout: Mapping[str, str | None]


def tokens() -> Mapping[str, Tensor]:
    return {"input_ids": torch.randint(3, 90, (1, TOKENS))}


def image() -> Mapping[str, Tensor]:
    return {"pixel_values": torch.randn(1, 3, IMAGE, IMAGE)}


def wave() -> Mapping[str, Tensor]:
    return {"input_values": torch.randn(1, SAMPLES)}


def _language(name: str, model: str, config: str, **settings: Any) -> Architecture:
    common: dict[str, Any] = {"vocab_size": 99, "use_cache": False, "pad_token_id": 0} | settings
    layout = {"input_ids": "b t", "logits": "b t v"}
    return Architecture(name, "language", lambda: _build(model, config, common), tokens, layout)


def _hidden(name: str, model: str, config: str, **settings: Any) -> Architecture:
    common: dict[str, Any] = {"vocab_size": 99, "pad_token_id": 0} | settings
    layout = {"input_ids": "b t", "last_hidden_state": "b t v"}
    return Architecture(name, "language", lambda: _build(model, config, common), tokens, layout)


def _vision(name: str, model: str, config: str, **settings: Any) -> Architecture:
    """Three classes, named like the three colours: an image has no order, but this walks every operation."""
    layout = {"pixel_values": "b c h w", "logits": "b c"}
    return Architecture(name, "vision", lambda: _build(model, config, {"num_labels": 3} | settings), image, layout)


def _build(model: str, config: str, settings: Mapping[str, Any]) -> nn.Module:
    made: nn.Module = getattr(hf, model)(getattr(hf, config)(**settings))
    return made.eval()


_DECODER = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
_GROUPED = _DECODER | {"num_key_value_heads": 2}
_ENCODER = _DECODER | {"max_position_embeddings": 40}
_PATCHES = _DECODER | {"image_size": IMAGE, "patch_size": 8}
_STAGES = {"depths": [1, 1], "hidden_sizes": [8, 16], "num_stages": 2}


def _whisper() -> Architecture:
    sizes = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 4}
    more = {"decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "num_mel_bins": 8}
    places = {"max_source_positions": 20, "max_target_positions": 20, "vocab_size": 99, "use_cache": False}
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    return Architecture(
        "Whisper",
        "audio",
        lambda: _build("WhisperForConditionalGeneration", "WhisperConfig", sizes | more | places | special),
        lambda: {"input_features": torch.randn(1, 8, 40), "decoder_input_ids": torch.randint(3, 90, (1, TOKENS))},
        {"input_features": None, "decoder_input_ids": "b t", "logits": "b t v"},
    )


def _waves(name: str, model: str, config: str) -> Architecture:
    """Frames as many as samples, so that time has an order at both ends."""
    convolutions = {"conv_dim": (8, 8), "conv_kernel": (1, 1), "conv_stride": (1, 1), "num_feat_extract_layers": 2}
    positions = {"num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}
    more = {"mask_time_prob": 0.0, "mask_feature_prob": 0.0, "vocab_size": 40}
    settings = _DECODER | convolutions | positions | more
    layout = {"input_values": "b t", "logits": "b t v"}
    return Architecture(name, "audio", lambda: _build(model, config, settings), wave, layout)


ARCHITECTURES: tuple[Architecture, ...] = (
    _language("GPT-2", "GPT2LMHeadModel", "GPT2Config", n_embd=32, n_layer=2, n_head=4),
    _language(
        "GPT-Neo",
        "GPTNeoForCausalLM",
        "GPTNeoConfig",
        hidden_size=32,
        num_layers=2,
        num_heads=4,
        attention_types=[[["global", "local"], 1]],
        window_size=4,
    ),
    _language("GPT-J", "GPTJForCausalLM", "GPTJConfig", n_embd=32, n_layer=2, n_head=4, rotary_dim=4),
    _language("GPT-NeoX", "GPTNeoXForCausalLM", "GPTNeoXConfig", **_DECODER),
    _language("OPT", "OPTForCausalLM", "OPTConfig", ffn_dim=48, word_embed_proj_dim=32, **_DECODER),
    _language("BLOOM", "BloomForCausalLM", "BloomConfig", hidden_size=32, n_layer=2, n_head=4),
    _language("Llama", "LlamaForCausalLM", "LlamaConfig", **_GROUPED),
    _language("Mistral", "MistralForCausalLM", "MistralConfig", sliding_window=8, **_GROUPED),
    _language("Qwen2", "Qwen2ForCausalLM", "Qwen2Config", **_GROUPED),
    _language("Gemma", "GemmaForCausalLM", "GemmaConfig", head_dim=8, **_GROUPED),
    _language("Phi", "PhiForCausalLM", "PhiConfig", **_DECODER),
    _language("StableLM", "StableLmForCausalLM", "StableLmConfig", **_GROUPED),
    _language("Falcon", "FalconForCausalLM", "FalconConfig", **_DECODER),
    _hidden("BERT", "BertModel", "BertConfig", **_ENCODER),
    _hidden("RoBERTa", "RobertaModel", "RobertaConfig", **_ENCODER),
    _hidden("ALBERT", "AlbertModel", "AlbertConfig", embedding_size=16, **_ENCODER),
    _hidden("ELECTRA", "ElectraModel", "ElectraConfig", embedding_size=16, **_ENCODER),
    _hidden("DistilBERT", "DistilBertModel", "DistilBertConfig", dim=32, n_layers=2, n_heads=4, hidden_dim=48),
    _hidden("MPNet", "MPNetModel", "MPNetConfig", **_ENCODER),
    _vision("ViT", "ViTForImageClassification", "ViTConfig", **_PATCHES),
    _vision("DeiT", "DeiTForImageClassification", "DeiTConfig", **_PATCHES),
    _vision("BEiT", "BeitForImageClassification", "BeitConfig", **_PATCHES),
    _vision("DINOv2", "Dinov2ForImageClassification", "Dinov2Config", **_PATCHES),
    _vision(
        "ResNet", "ResNetForImageClassification", "ResNetConfig", embedding_size=8, depths=[1, 1], hidden_sizes=[16, 32]
    ),
    _vision(
        "RegNet",
        "RegNetForImageClassification",
        "RegNetConfig",
        embedding_size=8,
        depths=[1, 1],
        hidden_sizes=[16, 32],
        groups_width=8,
    ),
    _vision("ConvNeXt", "ConvNextForImageClassification", "ConvNextConfig", **_STAGES),
    _vision("ConvNeXt V2", "ConvNextV2ForImageClassification", "ConvNextV2Config", **_STAGES),
    _vision("MobileNet V2", "MobileNetV2ForImageClassification", "MobileNetV2Config", depth_multiplier=0.25),
    _vision(
        "PoolFormer",
        "PoolFormerForImageClassification",
        "PoolFormerConfig",
        depths=[1, 1, 1, 1],
        hidden_sizes=[8, 16, 16, 16],
    ),
    _vision(
        "Swin",
        "SwinForImageClassification",
        "SwinConfig",
        image_size=IMAGE,
        embed_dim=8,
        depths=[1, 1],
        num_heads=[2, 2],
        window_size=4,
    ),
    _vision(
        "SegFormer",
        "SegformerForImageClassification",
        "SegformerConfig",
        depths=[1, 1, 1, 1],
        hidden_sizes=[8, 8, 16, 16],
        num_attention_heads=[1, 1, 2, 2],
    ),
    _waves("wav2vec 2.0", "Wav2Vec2ForCTC", "Wav2Vec2Config"),
    _waves("HuBERT", "HubertForCTC", "HubertConfig"),
    _whisper(),
)
