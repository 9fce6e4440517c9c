"""What a zoo factory returns: a model, inputs it accepts, and how to read their axes."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Specimen:
    """A model of the zoo, ready to be audited, trained or sampled.

    Attributes
    ----------
    model
        A plain `nn.Module`; its frozen config is `model.config`.
    inputs
        Example inputs (positional), batch first.
    layout
        The axes of inputs and output in einops notation, e.g. ``"b h w -> b h w v"``; ``_`` in place of an input marks
        conditioning that every output may see, e.g. ``"b t, _ -> b t v"``.
    order
        The generation order over named position axes, ``"h w"``; None: as they stand in the layout.
    likelihood
        ``"categorical"`` (the last output axis holds logits over classes), ``"logistics"`` (it holds the parameters of
        a mixture) or ``"bernoulli"`` (one logit per position) for density models; None for everything else.
    labels
        The number of classes that conditioning, or training, names; None if there are none, or nobody knows.
    frames
        Of local conditioning, which the last input then is, ``(b, frames, channels)``: its channels, and how many
        positions each frame is for; None if there is none.
    most
        The most positions along the first axis that the model takes; None: any number.
    taught
        Whether training tells the model one of `labels` classes for each example, as its second input, which it is not
        told otherwise.
    """

    model: nn.Module
    inputs: tuple[Tensor, ...]
    layout: str
    order: str | None = None
    likelihood: str | None = None
    labels: int | None = None
    frames: tuple[int, int] | None = None
    most: int | None = None
    taught: bool = False

    @property
    def conditional(self) -> bool:
        """Whether the second input is a class for each example."""
        return len(self.inputs) - (self.frames is not None) > 1

    @property
    def config(self) -> Any:
        """The frozen dataclass that the model was built from."""
        return self.model.config


def density_specimen(
    model: nn.Module,
    classes: int,
    labels: int,
    shape: tuple[int, ...],
    axes: str,
    lag: int = 1,
    frames: tuple[int, int] | None = None,
) -> Specimen:
    """Wrap a model that gives logits over `classes` at every position of integers of `shape`, batch first.

    `axes` names the axes of the shape after the batch: ``"h w"``. A conditional model takes one of as many `labels` for
    each batch element. With a `lag` of 1 the logits are of the position's own class, so the model is a density; with 0
    of the next one. `frames` are those of local conditioning along the first axis, as `Specimen` describes it.
    """
    inputs = [torch.randint(classes, shape)]
    if labels:
        inputs.append(torch.randint(labels, shape[:1]))
    if frames is not None:
        channels, each = frames
        inputs.append(torch.randn(shape[0], -(-shape[1] // each), channels))
    layout = f"b {axes}{', _' * (len(inputs) - 1)} -> b {axes} v"
    likelihood = "categorical" if lag == 1 else None
    return Specimen(model, tuple(inputs), layout, likelihood=likelihood, labels=labels or None, frames=frames)


def image_specimen(model: nn.Module, config: Any, batch: int) -> Specimen:
    """Wrap a density over images of the config's `height`, `width` and `colors`: `density_specimen` at those axes.

    One that is `marginal` is taught its labels, and not told them otherwise.
    """
    size = (batch, config.height, config.width)
    shape, axes = (size, "h w") if config.colors == 1 else ((*size, config.colors), "h w c")
    if getattr(config, "marginal", False):
        return replace(density_specimen(model, config.classes, 0, shape, axes), labels=config.labels, taught=True)
    return density_specimen(model, config.classes, config.labels, shape, axes)
