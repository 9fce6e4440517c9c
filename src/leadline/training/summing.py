"""The negative log-likelihood of a batch, of a few rows of logits at a time where the model's last layer is linear.

With 256 classes logits are the largest table of a step: product, softmax, loss and their gradients pass over it nine
times. Rows need nothing of each other: what is made of a few of them, their gradients included, stays in the cache.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from leadline.data import Batch
from leadline.likelihoods import Categorical, Likelihood
from leadline.training.scoring import inputs_of, scored, symbol_nats
from leadline.zoo.layers.logits import Logits

_AT_ONCE = 1 << 18
"""Logits at a time: two tables of this size fit in a core's cache."""


def summed_nats(
    model: nn.Module,
    batch: Batch,
    likelihood: Likelihood,
    *,
    lag: int = 1,
    conditional: bool = False,
    classes_axis: int = -1,
) -> Float[Tensor, ""]:
    """Return the sum of `symbol_nats`, to be differentiated once, within its rounding."""
    layer = getattr(model, "logits", None)
    if not (isinstance(layer, Logits) and isinstance(likelihood, Categorical) and _plain(layer, likelihood)):
        how: dict[str, Any] = {"lag": lag, "conditional": conditional, "classes_axis": classes_axis}
        return symbol_nats(model, batch, likelihood, **how).sum()
    inputs = inputs_of(batch, conditional)
    with layer.held_back():
        features = model(*inputs)
    z, x, counts = scored(features, batch, lag)
    rows = z.reshape(-1, layer.in_features), x.flatten(), None if counts is None else counts.flatten()
    found: Tensor = _Summed.apply(layer.weight, layer.bias, *rows)  # type: ignore[no-untyped-call]
    return found


def _plain(layer: Logits, likelihood: Categorical) -> bool:
    """Say whether the layer gives a logit for each class by a product that is worth cutting up."""
    weight = layer.weight
    on_cpu = weight.device.type == "cpu" and weight.dtype.itemsize >= 4 and not torch.is_autocast_enabled("cpu")
    return on_cpu and layer.bias is not None and likelihood.fits((layer.out_features,))


class _Summed(torch.autograd.Function):
    """The sum of ``-log softmax(W z + b)[x]`` over the rows that count; its gradients are made with it."""

    @staticmethod
    def forward(
        ctx: Any,
        weight: Float[Tensor, "v k"],
        bias: Float[Tensor, " v"],
        z: Float[Tensor, "n k"],
        x: Int[Tensor, " n"],
        counts: Bool[Tensor, " n"] | None,
    ) -> Float[Tensor, ""]:
        total, gradients = z.new_zeros(()), (torch.zeros_like(weight), torch.zeros_like(bias), torch.empty_like(z))
        rows = max(1, _AT_ONCE // len(weight))
        logits, logs = z.new_empty(2, min(rows, len(z)), len(weight))
        for start in range(0, len(z), rows):
            part = slice(start, start + rows)
            symbols = x[part, None]
            made = torch.addmm(bias, z[part], weight.T, out=logits[: len(symbols)])
            found = torch.log_softmax(made, -1, out=logs[: len(symbols)])
            log_prob, shares = found.gather(1, symbols), found.exp_()
            shares.scatter_add_(1, symbols, torch.full_like(log_prob, -1))
            if counts is not None:
                log_prob, shares = log_prob * counts[part, None], shares.mul_(counts[part, None])
            total -= log_prob.sum()
            gradients[0].addmm_(shares.T, z[part])
            gradients[1].add_(shares.sum(0))
            torch.mm(shares, weight, out=gradients[2][part])
        ctx.save_for_backward(*gradients)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        return (*(g * gradient for gradient in ctx.saved_tensors), None, None)
