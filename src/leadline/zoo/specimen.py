"""What a zoo factory returns: a model, inputs it accepts, and how to read their axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
        ``"categorical"`` (the last output axis holds logits over classes) or ``"bernoulli"`` (one logit per position)
        for density models; None for everything else.
    """

    model: nn.Module
    inputs: tuple[Tensor, ...]
    layout: str
    order: str | None = None
    likelihood: str | None = None

    @property
    def config(self) -> Any:
        """The frozen dataclass that the model was built from."""
        return self.model.config
