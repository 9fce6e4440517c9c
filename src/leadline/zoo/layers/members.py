"""Several models of one kind whose probabilities are averaged: each errs in its own way, and much of that cancels.

Source: Lakshminarayanan, Pritzel, Blundell, "Simple and scalable predictive uncertainty estimation using deep
ensembles", 2017.
"""

import math
from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from leadline.errors import UsageError
from leadline.zoo.layers.marginal import Marginal


class Members(nn.Module):
    """Logits whose softmax is the mean of the members' own; in training each member learns from its part of a batch.

    A mean of distributions of a symbol given those before it is one too, so densities remain densities. The parts of a
    batch are as equal as they can be, in the order of its examples, and each example's logits are those of its member.

    Examples
    --------
    >>> twins = Members(nn.Linear, 2, 4, 3).eval()
    >>> mean = torch.stack([twin(torch.ones(1, 4)).softmax(-1) for twin in twins.models]).mean(0)
    >>> torch.allclose(twins(torch.ones(1, 4)).softmax(-1), mean)
    True
    """

    def __init__(self, make: Callable[..., nn.Module], number: int, *settings: Any) -> None:
        super().__init__()
        self.models = nn.ModuleList(make(*settings) for _ in range(number))
        self.config = getattr(self.models[0], "config", None)

    def forward(self, x: Tensor, label: Int[Tensor, " b"] | None = None) -> Float[Tensor, "b *p v"]:
        """Return logits over the classes, which stand on the last axis; `label` is what conditional members take."""
        number = len(self.models)
        if self.training:
            parts = x.tensor_split(number)
            labels = [None] * number if label is None else label.tensor_split(number)
            rows = zip(self.models, parts, labels, strict=True)
            return torch.cat([_of(model, part, each) for model, part, each in rows if len(part)])
        each = [_of(model, x, label).log_softmax(-1) for model in self.models]
        return reduce(torch.logaddexp, each) - math.log(number)


def _of(model: nn.Module, x: Tensor, label: Tensor | None) -> Tensor:
    logits: Tensor = model(x) if label is None else model(x, label)
    return logits


def averaged(make: Callable[[Any], nn.Module], config: Any) -> nn.Module:
    """Return the model of a config, or as many as its `members` in one; the density of any class if it is `marginal`.

    Raises `UsageError` if there are no labels to take the mean over.
    """
    model = make(config) if config.members == 1 else Members(make, config.members, config)
    if not config.marginal:
        return model
    if not config.labels:
        raise UsageError("marginal=True takes the mean over labels: build it with labels=N")
    return Marginal(model, config.labels)
