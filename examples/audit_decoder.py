"""Audit a decoder of `transformers` before training it: arithmetic, causality, depth of the gradient.

    pip install transformers
    python examples/audit_decoder.py

Weights are random and nothing is downloaded. The second audit repeats a refactor that happens: the same weights in an
encoder, which looks into the future; leadline names an output and a later input that it depends on.
"""

from functools import partial

import torch
from transformers import BertConfig, BertModel, LlamaConfig, LlamaModel

import leadline

LAYOUT = {"input_ids": "b t", "last_hidden_state": "b t c"}
SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": 50}


def main() -> None:
    torch.manual_seed(0)
    tokens = torch.randint(50, (2, 8))
    decoder = LlamaModel(LlamaConfig(**SIZES)).eval()
    encoder = BertModel(BertConfig(**SIZES), add_pooling_layer=False).eval()
    read = partial(leadline.read, input_ids=tokens, layout=LAYOUT, output="last_hidden_state")
    reading, other = read(decoder), read(encoder)
    counted = reading.count()
    print(f"{counted.macs} multiply-accumulates, {counted.connections} of them between units that exist")
    print(f"at least {reading.span().steps} steps after one another")
    print(f"LlamaModel: {reading.causality()}")
    print(f"BertModel: {other.causality()}")
    print(f"gradient: {reading.gradient().verdict}")


if __name__ == "__main__":
    main()
