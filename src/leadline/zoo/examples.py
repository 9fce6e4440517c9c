"""Specimens of density models: random classes, and labels if the model is conditional, as example inputs."""

from __future__ import annotations

import torch
from torch import nn

from leadline.zoo.specimen import Specimen


def density_specimen(
    model: nn.Module, classes: int, labels: int, shape: tuple[int, ...], axes: str, lag: int = 1
) -> Specimen:
    """Wrap a model that gives logits over `classes` at every position of integers of `shape`, batch first.

    `axes` names the axes of the shape after the batch: ``"h w"``. A conditional model takes one of as many `labels` for
    each batch element. With a `lag` of 1 the logits are of the position's own class, so the model is a density; with 0
    of the next one.
    """
    x = torch.randint(classes, shape)
    likelihood = "categorical" if lag == 1 else None
    if not labels:
        return Specimen(model, (x,), f"b {axes} -> b {axes} v", likelihood=likelihood)
    label = torch.randint(labels, shape[:1])
    return Specimen(model, (x, label), f"b {axes}, _ -> b {axes} v", likelihood=likelihood)
