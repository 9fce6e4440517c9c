"""Counts of published architectures against closed forms; weights on the meta device, nothing downloaded."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as hf
from torch import Tensor, nn

from leadline import read
from leadline.domains._count import Count, count


def hollow(model: str, config: str, **settings: Any) -> nn.Module:
    with torch.device("meta"):
        made: nn.Module = getattr(hf, model)(getattr(hf, config)(**settings))
    return made.eval()


def tokens(length: int) -> Tensor:
    return torch.zeros(1, length, dtype=torch.long, device="meta")


def gpt2(layers: int, length: int) -> Count:
    model = hollow("GPT2LMHeadModel", "GPT2Config", n_layer=layers, use_cache=False)
    return count(model, tokens(length))


@pytest.mark.parametrize(("layers", "length"), [(1, 8), pytest.param(12, 128, marks=pytest.mark.slow)])
def test_gpt2(layers: int, length: int) -> None:
    """A block: 12 d² a token, and two products over all pairs, of which earlier-or-equal ones lie on a path."""
    d, vocabulary = 768, 50257
    head, block = d * vocabulary * length, 12 * d * d * length
    found = gpt2(layers, length)
    assert found.macs == layers * (block + 2 * length**2 * d) + head
    assert found.connections == found.macs_masked == layers * (block + length * (length + 1) * d) + head
    if layers == 12:
        assert found.parameters == 124_439_808


@pytest.mark.parametrize(("layers", "length"), [(1, 8), pytest.param(16, 64, marks=pytest.mark.slow)])
def test_llama(layers: int, length: int) -> None:
    """The shape of Llama 3.2 1B: 32 heads on 8 groups of keys and values, gated feed-forward of 8192."""
    d, inner, groups, vocabulary = 2048, 8192, 8 * 64, 128256
    model = hollow(
        "LlamaForCausalLM",
        "LlamaConfig",
        hidden_size=d,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=32,
        num_key_value_heads=8,
        vocab_size=vocabulary,
        tie_word_embeddings=True,
        use_cache=False,
    )
    projections = 2 * d * d + 2 * d * groups + 3 * d * inner
    assert count(model, tokens(length)).macs == length * (layers * (projections + 2 * length * d) + d * vocabulary)


@pytest.mark.parametrize("layers", [1, pytest.param(12, marks=pytest.mark.slow)])
def test_vit_base_16(layers: int) -> None:
    """196 patches of 16 × 16 × 3 and a class token; the classifier reads that token alone."""
    d, n = 768, 197
    model = hollow("ViTForImageClassification", "ViTConfig", num_hidden_layers=layers, num_labels=1000)
    found = count(model, torch.zeros(1, 3, 224, 224, device="meta"))
    block = 12 * d * d * n + 2 * n * n * d
    assert found.macs == d * 3 * 16 * 16 * 196 + layers * block + d * 1000


def resnet50_macs(size: int) -> int:
    """Stem, four stages of bottlenecks (the stride in the 3 × 3), classifier: 4.09 G at 224."""
    total, side, channels = 3 * 64 * 49 * (size // 2) ** 2, size // 4, 64
    for blocks, inner in ((3, 64), (4, 128), (6, 256), (3, 512)):
        for block in range(blocks):
            before = side
            side = side // 2 if block == 0 and inner > 64 else side
            total += channels * inner * before**2 + 9 * inner**2 * side**2 + 4 * inner**2 * side**2
            total += 4 * inner * channels * side**2 if block == 0 else 0
            channels = 4 * inner
    return total + 2048 * 1000


def test_resnet50_published() -> None:
    assert resnet50_macs(224) == 4_089_184_256


@pytest.mark.parametrize("size", [32, pytest.param(224, marks=pytest.mark.slow)])
def test_resnet50(size: int) -> None:
    model, x = (
        hollow("ResNetForImageClassification", "ResNetConfig", num_labels=1000),
        torch.zeros(1, 3, size, size, device="meta"),
    )
    reading = read(model, x)
    found = reading.count()
    assert found.macs == resnet50_macs(size)
    assert found.parameters == 25_557_032
    assert reading.span().steps == 1 + 3 * 16 + 1
