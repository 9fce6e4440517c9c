"""Language models of `transformers`: its causal architectures as small as their settings let them be."""

from __future__ import annotations

import transformers as hf
from torch import nn

from leadline.audit.small_settings import small_settings
from published.entry import Published, in_double, tokens

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
    decoding = {"is_decoder": True} if "is_decoder" in known().to_dict() else {}
    made: nn.Module = hf.AutoModelForCausalLM.from_config(known(**small_settings(known()), **decoding))
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
