"""The models that `structure.py` measures: published shapes with random weights or none, and stacks that grow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from leadline.zoo import build
from leadline.zoo.layers.causal_conv import CausalConv1d


@dataclass(frozen=True)
class Example:
    """A model, its inputs, how to read the axes, and the output position whose context is mapped."""

    model: nn.Module
    inputs: tuple[Tensor, ...]
    layout: str
    position: int


class Logits(nn.Module):
    """A model of `transformers` that returns its logits alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Run the model."""
        logits: Tensor = self.model(x).logits
        return logits


class Columns(nn.Module):
    """The first 224 logits of a classifier, read as columns: images have no order, and causality asks for one."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Run the model."""
        logits: Tensor = self.model(x)
        return logits[:, : x.shape[-1]]


class Sequence(nn.Module):
    """A recurrent layer that returns its outputs without its last state."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Run the layer."""
        outputs: Tensor = self.layer(x)[0]
        return outputs


def gpt2() -> Example:
    """Build GPT-2 small on 128 tokens."""
    model = hugging("GPT2LMHeadModel", "GPT2Config")
    return Example(Logits(model), (torch.randint(50000, (1, 128)),), "b t -> b t v", 64)


def gpt2_macs() -> int:
    """Count a block: 12 d² a token, and two products over all pairs."""
    d, length = 768, 128
    return 12 * (12 * d * d * length + 2 * length**2 * d) + d * 50257 * length


def resnet50() -> Example:
    """Build ResNet-50 on one image, its logits read as columns."""
    model = hugging("ResNetForImageClassification", "ResNetConfig", num_labels=1000)
    return Example(Columns(Logits(model)), (torch.randn(1, 3, 224, 224),), "b c h w -> b w", 0)


LLAMA_8B: Mapping[str, int] = {
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
}
LLAMA_70B: Mapping[str, int] = {
    **LLAMA_8B,
    "num_hidden_layers": 80,
    "hidden_size": 8192,
    "num_attention_heads": 64,
    "intermediate_size": 28672,
}
QWEN: Mapping[str, int] = {
    "num_hidden_layers": 24,
    "hidden_size": 1024,
    "num_attention_heads": 16,
    "head_dim": 128,
    "num_key_value_heads": 8,
    "intermediate_size": 3072,
    "vocab_size": 151936,
}
"""The shape of Qwen3-0.6B with 24 of its 28 layers; heads are twice as wide together as the stream."""


def llama(shape: Mapping[str, int], length: int) -> Example:
    """Build a Llama on one sequence."""
    model = hugging("LlamaForCausalLM", "LlamaConfig", max_position_embeddings=length, **shape)
    return Example(Logits(model), (torch.zeros(1, length, dtype=torch.long),), "b t -> b t v", length // 2)


def qwen(shape: Mapping[str, int], batch: int, length: int) -> Example:
    """Build a Qwen3 on a batch of sequences."""
    model = hugging("Qwen3ForCausalLM", "Qwen3Config", max_position_embeddings=length, **shape)
    return Example(Logits(model), (torch.zeros(batch, length, dtype=torch.long),), "b t -> b t v", length // 2)


def decoder_macs(shape: Mapping[str, int], batch: int, length: int) -> int:
    """Multiply-accumulates of a decoder with grouped heads and a gated feed-forward, dense, by hand."""
    d, heads, groups = shape["hidden_size"], shape["num_attention_heads"], shape["num_key_value_heads"]
    head = shape.get("head_dim", d // heads)
    projections = d * heads * head + 2 * d * groups * head + heads * head * d  # queries; keys and values; back
    attention = 2 * length * heads * head  # a token's scores over all positions, and their sum of values
    feed_forward = 3 * d * shape["intermediate_size"]  # gate, up, down
    layer = projections + attention + feed_forward
    return batch * length * (shape["num_hidden_layers"] * layer + d * shape["vocab_size"])


def hugging(model: str, config: str, **settings: Any) -> nn.Module:
    """Build a model of `transformers`."""
    import transformers as hf

    if config != "ResNetConfig":
        settings["use_cache"] = False
    made: nn.Module = getattr(hf, model)(getattr(hf, config)(**settings))
    return made.eval()


def pixelcnn() -> Example:
    """Build a small PixelCNN."""
    specimen = build("pixelcnn", layers=2, channels=8, inner=4, head=8, height=6, width=6)
    return Example(specimen.model.eval(), specimen.inputs, specimen.layout, 0)


def vocoder(length: int) -> Example:
    """Build a WaveNet of 12 gated layers, whose dilations double."""
    specimen = build("wavenet", layers=12, length=length)
    return Example(specimen.model.eval(), specimen.inputs, specimen.layout, length // 2)


def causal_convolutions(length: int) -> Example:
    """Build four causal convolutions of kernel 3, dilated 1, 2, 4 and 8."""
    layers = [part for i in range(4) for part in (CausalConv1d(4, 4, 3, 2**i), nn.ReLU())]
    return Example(nn.Sequential(*layers).eval(), (torch.randn(1, 4, length),), "b c t -> b v t", length // 2)


def padded_convolutions(length: int) -> Example:
    """Build four convolutions of kernel 3 that see to both sides."""
    layers = [part for _ in range(4) for part in (nn.Conv1d(4, 4, 3, padding=1), nn.ReLU())]
    return Example(nn.Sequential(*layers).eval(), (torch.randn(1, 4, length),), "b c t -> b v t", length // 2)


def gru(length: int) -> Example:
    """Build one GRU of 8 units."""
    layer = nn.GRU(8, 8, batch_first=True)
    return Example(Sequence(layer).eval(), (torch.randn(1, length, 8),), "b t c -> b t v", length // 2)


def deep(layers: int) -> Example:
    """Build so many small linear layers, a ReLU after each."""
    stack = [part for _ in range(layers) for part in (nn.Linear(4, 4), nn.ReLU())]
    return Example(nn.Sequential(*stack).eval(), (torch.randn(1, 4, 4),), "b t c -> b t v", 2)


def wavenet(layers: int, length: int) -> Example:
    """Build a WaveNet of two stacks, whose last output sees all of 2,047 samples where each stack has ten layers."""
    specimen = build("wavenet", layers=layers // 2, stacks=2, length=length, batch=1, lag=0)
    return Example(specimen.model, specimen.inputs, "b t -> b t v", length - 1)


EXAMPLES: Mapping[str, Callable[..., Example]] = {
    "gpt2": gpt2,
    "resnet50": resnet50,
    "pixelcnn": pixelcnn,
    "llama-8b": lambda layers=32, length=2048: llama({**LLAMA_8B, "num_hidden_layers": int(layers)}, int(length)),
    "llama-70b": lambda layers=80, length=8192: llama({**LLAMA_70B, "num_hidden_layers": int(layers)}, int(length)),
    "qwen": lambda layers=24, batch=8, length=2048: qwen(
        {**QWEN, "num_hidden_layers": int(layers)}, int(batch), int(length)
    ),
    "vocoder": lambda length=3200: vocoder(int(length)),
    "causal-convolutions": lambda length=10**5: causal_convolutions(int(length)),
    "padded-convolutions": lambda length=10**5: padded_convolutions(int(length)),
    "gru": lambda length=20_000: gru(int(length)),
    "wavenet": lambda layers=20, length=2047: wavenet(int(layers), int(length)),
    "deep": lambda layers=5000: deep(int(layers)),
}
HOLLOW = frozenset({"llama-8b", "llama-70b", "qwen"})
"""Built on the meta device."""
