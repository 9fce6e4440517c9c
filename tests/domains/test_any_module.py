"""What modules may look like: parametrised, called by keyword, conditioned, with several outputs, too large to hold."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as hf
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode

from leadline import causality, context, count, memory, span

B, T, C, CLASSES = 2, 5, 4, 3


class Labelled(nn.Module):
    """A weight-normalised causal convolution on tokens, shifted by a label; two outputs by name."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.label = nn.Embedding(CLASSES, C), nn.Embedding(7, C)
        self.conv = nn.utils.parametrizations.weight_norm(nn.Conv1d(C, C, 3))
        self.head = nn.Linear(C, CLASSES)

    def forward(self, tokens: Tensor, *, label: Tensor, scale: float = 1.0) -> dict[str, Tensor]:
        x = self.embed(tokens).mT
        x = self.conv(nn.functional.pad(x, (2, 0))).mT + scale * self.label(label).unsqueeze(1)
        return {"logits": self.head(x.relu()), "summary": x.mean(1)}


def test_a_labelled_model_with_two_outputs_through_every_depth() -> None:
    model, tokens, label = Labelled(), torch.randint(CLASSES, (B, T)), torch.tensor([1, 4])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    named: dict[str, Any] = {"label": label, "scale": 0.5}
    layout = {"tokens": "b t", "label": None, "logits": "b t v"}
    pairs = 3 * T - 3  # the first position has one tap, the second two
    found = count(model, tokens, **named)
    assert found.connections == B * (pairs * C * C + T * C * CLASSES)
    assert found.macs == B * T * (3 * C * C + C * CLASSES)
    assert found.by_module["conv"].connections == B * pairs * C * C
    assert span(model, tokens, **named).steps == 2
    verdict = causality(model, tokens, layout=layout, output="logits", **named)
    assert (verdict.verdict, verdict.lag, verdict.cross_batch) == ("structural", 0, None)
    seen = context(model, tokens, layout=layout, output="logits", position=3, **named)
    assert seen.map.tolist() == [False, True, True, True, False]
    assert memory(model, tokens, **named).parameters == 4 * sum(p.numel() for p in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.slow
def test_a_llama_of_seventy_billion_weights_on_meta() -> None:
    layers, d, inner, groups, vocabulary, length = 80, 8192, 28672, 8 * 128, 128256, 16
    config = hf.LlamaConfig(
        hidden_size=d, intermediate_size=inner, num_hidden_layers=layers, num_attention_heads=64,
        num_key_value_heads=8, vocab_size=vocabulary, tie_word_embeddings=False, use_cache=False,
    )  # fmt: skip
    with torch.device("meta"):
        model, x = hf.LlamaForCausalLM(config).eval(), torch.zeros(1, length, dtype=torch.long)
    found, steps = count(model, x), span(model, x)
    weights = layers * (2 * d * d + 2 * d * groups + 3 * d * inner)
    assert found.parameters == weights + 2 * d * vocabulary + (2 * layers + 1) * d
    assert found.macs == length * (weights + d * vocabulary) + layers * 2 * length**2 * d
    pairs = length**2 + length * (length + 1) // 2
    assert found.connections == length * (weights + d * vocabulary) + layers * pairs * d
    # query or key, their product, the values', the output, gate or up, down; then the head
    assert steps.steps == 6 * layers + 1
    assert found.parameters > 70e9


def test_fake_tensors_take_no_memory() -> None:
    with FakeTensorMode():
        model = nn.Sequential(nn.Linear(1 << 17, 1 << 17, bias=False), nn.ReLU(), nn.Linear(1 << 17, 1 << 17))
        x = torch.zeros(1, 1 << 17)
    assert count(model, x).macs == 2 << 34
    assert span(model, x).steps == 2
    assert causality(nn.GRU(3, 3, batch_first=True, device="meta"), torch.zeros(1, 5, 3, device="meta"),
                     layout={"input": "b t c", "[0]": "b t k"}).verdict == "structural"  # fmt: skip
