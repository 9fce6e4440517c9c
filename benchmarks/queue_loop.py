"""The best loop over queues that a careful user of eager PyTorch writes for a WaveNet of kernel 2, one sample a step.

Weights are sliced and made contiguous once; queues are rings of rows, whose views are made once; everything is a
vector, and goes into memory that is there (``out=``). The sigmoid is a tanh of half its argument, its scale folded into
the weights, so that both gates are one call; the skips of all layers are one product at the end.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class QueueLoop:
    """A WaveNet with lag 1, step by step."""

    @torch.inference_mode()
    def __init__(self, model: nn.Module) -> None:
        k, layers = model.config.channels, len(model.blocks)
        half = torch.cat([torch.ones(k), torch.full((k,), 0.5)])
        self.embedding = model.embed.weight.detach().clone()
        self.values = torch.zeros(layers, k)  # what skips are made of
        self.time = 0
        inputs = torch.zeros(layers + 1, 2 * k)  # of each layer: the row that leaves its queue, and the new one
        self.first, self.layers = inputs[0, k:], []
        for n, block in enumerate(model.blocks):
            dilation = block.conv.dilation[0]
            weight = torch.cat([block.conv.weight[..., 0], block.conv.weight[..., 1]], 1) * half[:, None]
            gates, both = torch.zeros(2 * k), inputs[n]
            residual = None if block.residual is None else (_plain(block.residual.weight), _plain(block.residual.bias))
            self.layers.append(
                (
                    list(torch.zeros(dilation, k)), dilation, both, both[:k], both[k:], weight.contiguous(),
                    (block.conv.bias * half).contiguous(), gates, gates[:k], gates[k:], self.values[n], residual,
                    inputs[n + 1, k:],
                )
            )  # fmt: skip
        # y = tanh(a) · sigmoid(b) = tanh(a) · (1 + tanh(b / 2)) / 2: the last half too is folded, into what reads y
        self.skip = torch.cat([block.skip.weight[..., 0] / 2 for block in model.blocks], 1).contiguous()
        self.skip_bias = sum(block.skip.bias for block in model.blocks)
        self.flat = self.values.view(-1)
        self.head = [_plain(p) for p in (model.hidden.weight, model.hidden.bias)]
        self.logits = [_plain(p) for p in (model.logits.weight, model.logits.bias)]

    def step(self, row: Tensor) -> Tensor:
        """Return the next logits, where the last symbol is embedded as a row."""
        t = self.time
        self.time = t + 1
        self.first.copy_(row)
        for rows, dilation, both, past, now, weight, bias, gates, a, b, y, residual, following in self.layers:
            old = rows[t % dilation]
            past.copy_(old)
            old.copy_(now)
            torch.addmv(bias, weight, both, out=gates)
            gates.tanh_()
            torch.addcmul(a, a, b, out=y)
            if residual is not None:
                torch.addmv(residual[1], residual[0], y, alpha=0.5, out=following)
                following.add_(now)
        hidden = torch.addmv(self.skip_bias, self.skip, self.flat).relu_()
        hidden = torch.addmv(self.head[1], self.head[0], hidden).relu_()
        return torch.addmv(self.logits[1], self.logits[0], hidden)

    @torch.inference_mode()
    def generate(self, length: int) -> None:
        """Draw a sequence."""
        row = torch.zeros(self.embedding.shape[1])
        for _ in range(length):
            symbol = torch.multinomial(self.step(row).softmax(0), 1)
            row = self.embedding[int(symbol)]


def _plain(weight: Tensor) -> Tensor:
    return (weight[..., 0] if weight.ndim == 3 else weight).detach().contiguous()


@torch.inference_mode()
def is_the_model(model: nn.Module, x: Tensor) -> bool:
    """Return whether the loop's logits over one sequence of symbols, (1, t), are those of the model's forward pass."""
    loop = QueueLoop(model)
    rows = [torch.zeros(model.config.channels), *loop.embedding[x[0, :-1]]]
    return torch.allclose(torch.stack([loop.step(row) for row in rows]), model(x)[0], rtol=1e-4, atol=1e-4)
