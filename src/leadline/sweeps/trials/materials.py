"""What is learnt in a trial: digits to be named, numbers to be added, symbols to be copied, values to be recalled."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache, cached_property
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss

from leadline.data import Split, load
from leadline.errors import UsageError

Examples = tuple[Tensor, Tensor]
"""Inputs with what should come out: classes, or a number."""

IGNORED = -100
"""The class of places at which nothing is asked."""

_UNSEEN = 500


class Material(ABC):
    """Examples to learn from, others to choose a learning rate by and to be tested on, and how an answer is judged.

    Answers are logits over classes, of which one is right wherever it is asked for. The score is then the share of
    right answers. `loss_unit` is what the loss is told in, as a number of what is made small: 1, or ln 2 for bits.
    """

    loss_unit: ClassVar[float] = 1.0

    @abstractmethod
    def batch(self, number: int, drawn: torch.Generator) -> Examples:
        """Return so many examples to learn from."""

    @cached_property
    def unseen(self) -> tuple[Examples, Examples]:
        """What a learning rate is chosen by, and what the student is tested on: the same in every lesson."""
        drawn = torch.Generator().manual_seed(987_654_321)
        return self.batch(_UNSEEN, drawn), self.batch(_UNSEEN, drawn)

    def loss(self, said: Float[Tensor, "..."], truth: Tensor) -> Float[Tensor, ""]:
        """Return what is made small: the mean cross entropy."""
        return cross_entropy(said.flatten(0, -2), truth.flatten())

    def score(self, said: Float[Tensor, "..."], truth: Tensor) -> float:
        """Return how good answers are, at most 1."""
        return float((said.argmax(-1) == truth)[truth != IGNORED].float().mean())

    def merit(self, said: Float[Tensor, "..."], truth: Tensor) -> float:
        """Return what a learning rate is chosen by, the greater the better: the score."""
        return self.score(said, truth)


@dataclass(frozen=True)
class Digits(Material):
    """Handwritten digits of 8 × 8 pixels from -1 to 1, by their classes; by chance a tenth is right."""

    def batch(self, number: int, drawn: torch.Generator) -> Examples:
        """Draw pictures, each time from all of them."""
        (x, y), _, _ = _digits()
        chosen = torch.randint(len(x), (number,), generator=drawn)
        return x[chosen], y[chosen]

    @cached_property
    def unseen(self) -> tuple[Examples, Examples]:
        """The pictures of the data's own validation and test."""
        return _digits()[1:]


@cache
def _digits() -> tuple[Examples, Examples, Examples]:
    found = load("digits")

    def part(split: Split) -> Examples:
        assert isinstance(split.examples, Tensor)
        assert split.labels is not None
        return split.examples.flatten(1).float() / 8 - 1, split.labels

    return part(found.train), part(found.validation), part(found.test)


@dataclass(frozen=True)
class Adding(Material):
    """Numbers from 0 to 1, one of either half marked: their sum is to be said at the end.

    Who always says 1 is wrong by a variance of 1/6. The score is the share of it that is explained, 0 at the least.

    Source: Hochreiter and Schmidhuber, Long short-term memory (1997), with marks as in Le, Jaitly and Hinton, A simple
    way to initialize recurrent networks of rectified linear units (2015).

    Examples
    --------
    >>> x, sums = Adding(6).batch(1, torch.Generator().manual_seed(0))
    >>> x[0, :, 1].tolist()
    [0.0, 1.0, 0.0, 0.0, 1.0, 0.0]
    >>> torch.equal(sums, (x[..., 0] * x[..., 1]).sum(1))
    True
    """

    length: int

    def __post_init__(self) -> None:
        if self.length < 2:
            raise UsageError(f"two numbers are added, in a sequence of at least 2, not {self.length}: set length=")

    def batch(self, number: int, drawn: torch.Generator) -> Examples:
        """Draw sequences (b, t, 2) of numbers and marks, and the sums."""
        half, rest = self.length // 2, self.length - self.length // 2
        values = torch.rand(number, self.length, generator=drawn)
        first = torch.randint(half, (number,), generator=drawn)
        second = half + torch.randint(rest, (number,), generator=drawn)
        marks = torch.zeros_like(values)
        marks[torch.arange(number), first] = 1
        marks[torch.arange(number), second] = 1
        return torch.stack([values, marks], -1), (values * marks).sum(1)

    def loss(self, said: Float[Tensor, "b t 1"], truth: Tensor) -> Float[Tensor, ""]:
        """Return the mean squared error of what is said last."""
        return mse_loss(said[:, -1, 0], truth)

    def score(self, said: Float[Tensor, "b t 1"], truth: Tensor) -> float:
        """Return the share of the variance that is explained; 0 where numbers are not finite."""
        explained = 1 - 6 * float(self.loss(said, truth))
        return explained if explained > 0 else 0.0


@dataclass(frozen=True)
class Copying(Material):
    """Some `symbols` of an `alphabet`, then blanks, then marks at which the symbols are to be said in their order.

    `length` is that of the whole sequence. Who remembers nothing has a loss of ln(alphabet), and is right once in
    `alphabet` times.

    Source: Hochreiter and Schmidhuber, Long short-term memory (1997); Arjovsky, Shah and Bengio, Unitary evolution
    recurrent neural networks (2016).

    Examples
    --------
    >>> x, truth = Copying(length=7, symbols=2, alphabet=4).batch(1, torch.Generator().manual_seed(0))
    >>> x.tolist(), truth.tolist()
    ([[0, 3, 4, 4, 4, 5, 5]], [[-100, -100, -100, -100, -100, 0, 3]])
    """

    length: int
    symbols: int = 3
    alphabet: int = 8

    def __post_init__(self) -> None:
        if self.symbols < 1 or self.alphabet < 2 or self.length < 2 * self.symbols:
            raise UsageError(
                f"{self.symbols} symbols of {self.alphabet} are copied in a length of {self.length}: take at least one "
                "symbol of two, and a length of twice as many (length=, symbols=, alphabet=)"
            )

    @property
    def tokens(self) -> int:
        """How many different inputs there are: the symbols, the blank and the mark."""
        return self.alphabet + 2

    def batch(self, number: int, drawn: torch.Generator) -> Examples:
        """Draw sequences (b, t), and what is to be said at each place."""
        said = torch.randint(self.alphabet, (number, self.symbols), generator=drawn)
        x = torch.full((number, self.length), self.alphabet)
        x[:, : self.symbols], x[:, -self.symbols :] = said, self.alphabet + 1
        truth = torch.full_like(x, IGNORED)
        truth[:, -self.symbols :] = said
        return x, truth


@dataclass(frozen=True)
class Recall(Material):
    """Pairs of a key and its value, then all keys in another order: at each its value is to be said.

    Multi-query associative recall. As many `keys` and `values` there are to draw from; a sequence repeats no key.

    Source: Arora et al., Zoology: measuring and improving recall in efficient language models (2024).

    Examples
    --------
    >>> x, truth = Recall(pairs=2, keys=4, values=3).batch(1, torch.Generator().manual_seed(1))
    >>> x.tolist(), truth.tolist()
    ([[1, 5, 2, 5, 1, 2]], [[-100, -100, -100, -100, 1, 1]])
    """

    pairs: int
    keys: int = 32
    values: int = 8

    def __post_init__(self) -> None:
        if not 1 <= self.pairs <= self.keys or self.values < 2:
            raise UsageError(
                f"{self.pairs} pairs need as many different keys, not {self.keys}, and two values or more, not "
                f"{self.values} (pairs=, keys=, values=)"
            )

    @property
    def tokens(self) -> int:
        """How many different inputs there are: keys first, values after them."""
        return self.keys + self.values

    @property
    def length(self) -> int:
        """Of a sequence: all pairs, and a query for each."""
        return 3 * self.pairs

    def batch(self, number: int, drawn: torch.Generator) -> Examples:
        """Draw sequences (b, t), and what is to be said at each place."""
        keys = torch.rand(number, self.keys, generator=drawn).argsort(1)[:, : self.pairs]
        values = torch.randint(self.values, (number, self.pairs), generator=drawn)
        order = torch.rand(number, self.pairs, generator=drawn).argsort(1)
        shown = torch.stack([keys, self.keys + values], -1).flatten(1)
        x = torch.cat([shown, keys.gather(1, order)], 1)
        truth = torch.full_like(x, IGNORED)
        truth[:, 2 * self.pairs :] = values.gather(1, order)
        return x, truth
