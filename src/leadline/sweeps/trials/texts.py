"""A text to be learnt in a trial: the help texts of Python, of which at every byte the next one is to be said."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import ClassVar

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from leadline.data import Split, load
from leadline.errors import UsageError
from leadline.sweeps.trials.materials import Examples, Material

BYTES = 256
_UNSEEN = 200
"""Windows that a learning rate is chosen by, and as many that a student is tested on."""


@dataclass(frozen=True)
class Text(Material):
    """Windows of `length` bytes of the help texts that come with Python, each byte to be followed by the next.

    Who knows nothing needs 8 bits for a byte, who knows how frequent each byte is about 4.7. The score is the share of
    bytes that are guessed right.

    Examples
    --------
    >>> x, following = Text(12).batch(1, torch.Generator().manual_seed(0))
    >>> torch.equal(x[:, 1:], following[:, :-1])
    True
    """

    length: int

    loss_unit: ClassVar[float] = math.log(2)

    def __post_init__(self) -> None:
        if not 1 <= self.length <= 4096:
            raise UsageError(f"windows of text have 1 to 4,096 bytes, not {self.length}: set length=")

    def batch(self, number: int, drawn: torch.Generator) -> Examples:
        """Draw windows (b, t) of the text to learn from, and the bytes that follow."""
        text = _text()[0]
        return self._windows(text, torch.randint(len(text) - self.length, (number,), generator=drawn))

    @cached_property
    def unseen(self) -> tuple[Examples, Examples]:
        """Windows at even distances of the data's own validation, and of its test."""
        _, validation, test = _text()
        first, second = (
            self._windows(text, torch.linspace(0, len(text) - self.length - 1, _UNSEEN).long())
            for text in (validation, test)
        )
        return first, second

    def _windows(self, text: Integer[Tensor, " n"], begins: Integer[Tensor, " b"]) -> Examples:
        found = text[begins[:, None] + torch.arange(self.length + 1)].long()
        return found[:, :-1], found[:, 1:]

    def merit(self, said: Float[Tensor, "b t v"], truth: Integer[Tensor, "b t"]) -> float:
        """Return what a learning rate is chosen by: how many of 8 bits are saved; none where they are not finite."""
        saved = 8 - float(self.loss(said, truth)) / self.loss_unit
        return saved if saved > 0 else 0.0


@cache
def _text() -> tuple[Tensor, Tensor, Tensor]:
    found = load("pydoc")

    def part(split: Split) -> Tensor:
        assert isinstance(split.examples, Sequence)
        return torch.cat(list(split.examples))

    return part(found.train), part(found.validation), part(found.test)
