"""Published architectures go through `gradient` as they are, small and randomly initialised."""

import pytest
import torch
import transformers as hf

from leadline.jacobian import gradient
from leadline.zoo import build

SMALL = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24}
WORDS = SMALL | {"vocab_size": 31, "pad_token_id": 0}
DECODER = WORDS | {"use_cache": False}
IMAGE = SMALL | {"image_size": 16, "patch_size": 4, "num_labels": 3}
STAGES = {"depths": [2, 2], "hidden_sizes": [8, 16], "num_labels": 3}

MODELS = {
    "GPT-2": (hf.GPT2LMHeadModel, hf.GPT2Config, {"n_embd": 16, "n_layer": 3, "n_head": 2, "vocab_size": 31}),
    "Llama": (hf.LlamaForCausalLM, hf.LlamaConfig, DECODER | {"num_key_value_heads": 1}),
    "Mistral": (hf.MistralForCausalLM, hf.MistralConfig, DECODER | {"num_key_value_heads": 1, "sliding_window": 4}),
    "Qwen2": (hf.Qwen2ForCausalLM, hf.Qwen2Config, DECODER | {"num_key_value_heads": 1}),
    "GPT-NeoX": (hf.GPTNeoXForCausalLM, hf.GPTNeoXConfig, DECODER),
    "OPT": (hf.OPTForCausalLM, hf.OPTConfig, DECODER | {"ffn_dim": 24, "word_embed_proj_dim": 16}),
    "BLOOM": (hf.BloomForCausalLM, hf.BloomConfig, {"hidden_size": 16, "n_layer": 3, "n_head": 2, "vocab_size": 31}),
    "BERT": (hf.BertModel, hf.BertConfig, WORDS),
    "ALBERT": (hf.AlbertModel, hf.AlbertConfig, WORDS | {"embedding_size": 8}),
    "DistilBERT": (hf.DistilBertModel, hf.DistilBertConfig,
                   {"dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 24, "vocab_size": 31}),
    "ViT": (hf.ViTForImageClassification, hf.ViTConfig, IMAGE),
    "BEiT": (hf.BeitForImageClassification, hf.BeitConfig, IMAGE),
    "DINOv2": (hf.Dinov2ForImageClassification, hf.Dinov2Config, IMAGE),
    "ResNet": (hf.ResNetForImageClassification, hf.ResNetConfig, STAGES | {"embedding_size": 8}),
    "ConvNeXt": (hf.ConvNextForImageClassification, hf.ConvNextConfig, STAGES | {"num_stages": 2}),
}  # fmt: skip
QUICK = ("GPT-2", "ViT", "ResNet")


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in MODELS])
def test_the_gradient_at_a_stage_is_that_of_a_directional_difference(name):
    """An independent witness: the mean square of ``uᵀ J v`` over random u and v is ``‖J‖_F²``."""
    torch.manual_seed(0)
    kind, config, settings = MODELS[name]
    model = kind(config(**settings)).eval().double()
    image = "image" in kind.__name__.lower()
    named = (
        {"pixel_values": torch.randn(1, 3, 16, 16, dtype=torch.float64)}
        if image
        else {"input_ids": torch.randint(3, 30, (1, 7))}
    )
    output = "last_hidden_state" if not image and "LM" not in kind.__name__ else "logits"
    found = gradient(model, probes=30, output=output, **named)
    assert len(found.stages) >= 2
    entry = found.stages[0]
    path = entry.name.partition("#")[0]
    generator, squares = torch.Generator().manual_seed(1), []
    for _ in range(30):
        moved = [_output(model, path, sign * 1e-6, named, output, generator.get_state()) for sign in (1, -1)]
        generator.set_state(moved[0][1])
        squares.append(((moved[0][0] - moved[1][0]) / 2e-6).square().sum().item())
    values = torch.tensor(squares)
    mean, sem = values.mean().item(), values.std().item() / 30**0.5
    assert abs(entry.gradient.value**2 - mean) < 5 * (sem + 2 * entry.gradient.value * entry.gradient.sem)


def _output(model, path, size, named, output, state):
    """Run with what enters a stage moved along a random direction; return the output and the generator's state."""
    generator = torch.Generator()
    generator.set_state(state)

    def move(_, args, kwargs):
        v = torch.randn(args[0].shape, generator=generator, dtype=torch.float64)
        return (args[0] + size * v, *args[1:]), kwargs

    calls = iter([True])
    handle = model.get_submodule(path).register_forward_pre_hook(
        lambda m, a, k: move(m, a, k) if next(calls, False) else None, with_kwargs=True
    )
    with torch.no_grad():
        result = model(**named)[output]
    handle.remove()
    return result, generator.get_state()


@pytest.mark.parametrize("name", ["wavenet", "pixelcnn", "mdrnn", "gated-pixelcnn"])
def test_density_models_of_the_zoo_have_stages(name):
    specimen = build(name)
    assert gradient(specimen.model, *specimen.inputs, probes=2).stages
