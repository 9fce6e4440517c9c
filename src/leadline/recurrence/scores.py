"""Attention as an equation: what a position makes of all before it, step by step from scores to a weighted sum.

At one position, the query's, a step has for each of its channels one number for each key that is seen, or one for all
of them. Steps are functions of what stands at the query, at the keys, between the two (tables), and of earlier steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from torch import Tensor

from leadline.graph.table import Kind, Operation, operation_of
from leadline.graph.table import Pointwise as PointwiseFacts

if TYPE_CHECKING:
    from leadline.recurrence.ir import Channels, Tap


@dataclass(frozen=True, eq=False)
class AtQuery:
    """What a tap reads at the position of the query: the same for all keys."""

    tap: Tap


@dataclass(frozen=True, eq=False)
class AtKeys:
    """What a tap reads at the position of each key."""

    tap: Tap


@dataclass(frozen=True, eq=False)
class Between:
    """Fixed numbers of shape (queries, keys, channels); a size of 1 where they are the same for all."""

    values: Tensor = field(repr=False)


@dataclass(frozen=True, eq=False)
class Made:
    """Channels of an earlier step, by its number."""

    step: int
    channels: Channels = field(repr=False)


Place: TypeAlias = AtQuery | AtKeys | Between | Made


@dataclass(frozen=True, eq=False)
class Products:
    """Scalar products of queries and keys, whose channels are (heads, features) flattened, times a scale."""

    query: Tap
    key: Tap
    heads: int
    scale: float = 1.0
    single = False

    @property
    def channels(self) -> int:
        """One for each head."""
        return self.heads

    @property
    def operands(self) -> tuple[Place, ...]:
        """What is multiplied."""
        return AtQuery(self.query), AtKeys(self.key)


@dataclass(frozen=True, eq=False)
class Applied:
    """One function of operands that have the same channels, or one channel: number by number, or `across` the keys.

    `names` are those of the operands in the operator's schema. `call` maps tensors of shape (batch, keys or 1,
    channels) to one of that shape, whose keys are one where it is `single`. Of a function across keys that has a second
    operand, this stands beside them as so many `more` keys of each channel, (channels, more) flattened, of which the
    result has none.
    """

    function: str
    operands: tuple[Place, ...]
    call: Callable[..., Tensor] = field(repr=False)
    channels: int
    literals: Mapping[str, Any] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    across: bool = False
    single: bool = False
    more: int = 0

    @property
    def facts(self) -> PointwiseFacts | None:
        """What the table says of a function number by number."""
        return operation_of(f"aten.{self.function}.other").pointwise

    @property
    def operation(self) -> Operation:
        """What the table says of the function."""
        return operation_of(f"aten.{self.function}.default")

    @property
    def shares(self) -> bool:
        """Whether it makes weights of one key 1, whatever its score."""
        return self.across and self.operation.kind is Kind.SOFTMAX and not self.more


Step: TypeAlias = Products | Applied


@dataclass(frozen=True, eq=False)
class Attention:
    """A weighted sum of the values of a point and of all before it: taps that grow with the grid (one axis only).

    The weights are channels of the last of the `steps`, one for each head, and the channels of `value` are (heads,
    features) flattened; without a value they are the result themselves, and single. Of the keys the latest `window` are
    seen, the point's own included, or all; there are `lead` more keys than queries, which stand before them. Where the
    weights are `uneven`, some are zero within the window, by a table. What was read off tables says nothing about
    longer sequences (`masked`).
    """

    steps: tuple[Step, ...]
    weights: Made
    value: Tap | None
    window: int | None = None
    lead: int = 0
    uneven: bool = False
    masked: bool = False

    @property
    def heads(self) -> int:
        """How many weights each value has."""
        return len(self.weights.channels)

    @cached_property
    def plain(self) -> Products | None:
        """The one product where the weights are its softmax, and nothing else."""
        if len(self.steps) != 2 or self.lead or self.uneven or self.value is None:
            return None
        products, last = self.steps
        whole = all(np.array_equal(made.channels, np.arange(self.heads)) for made in (self.weights, *last.operands)
                    if isinstance(made, Made))  # fmt: skip
        fits = isinstance(products, Products) and isinstance(last, Applied) and last.shares and whole
        return products if fits and isinstance(products, Products) and products.heads == self.heads else None

    @property
    def products(self) -> tuple[Products, ...]:
        """The steps that multiply queries and keys."""
        return tuple(step for step in self.steps if isinstance(step, Products))

    @property
    def taps(self) -> tuple[Tap, ...]:
        """Everything that is read, in order; the value last."""
        return tuple(tap for tap, _ in self.read)

    @cached_property
    def read(self) -> tuple[tuple[Tap, bool], ...]:
        """The taps, and whether they are read at the keys."""
        found = [(place.tap, isinstance(place, AtKeys)) for step in self.steps for place in step.operands
                 if isinstance(place, AtQuery | AtKeys)]  # fmt: skip
        return (*found, *(() if self.value is None else ((self.value, True),)))

    @property
    def cost(self) -> int:
        """The most products that follow one another."""
        return max((cost for _, cost, _, _ in self.dependences()), default=0)

    def dependences(self) -> Iterator[tuple[Tap, int, bool, int]]:
        """Yield for each tap how many products it goes through, whether it grows, and from which place on it matters.

        Values go through the last product only; where a query sees one key, a softmax weighs it 1, whatever the score.
        """
        last = 0 if self.value is None else 1
        after, shared = [last] * len(self.steps), [True] * len(self.steps)
        shared[self.weights.step] = False
        found: list[tuple[Tap, int, bool, int]] = []
        for n in reversed(range(len(self.steps))):
            step = self.steps[n]
            cost = after[n] + isinstance(step, Products)
            alone = shared[n] or (isinstance(step, Applied) and step.shares and not self.lead)
            for place in step.operands:
                if isinstance(place, Made):
                    after[place.step] = max(after[place.step], cost)
                    shared[place.step] &= alone
                elif not isinstance(place, Between):
                    found.append((place.tap, cost, isinstance(place, AtKeys), int(alone)))
        yield from found
        if self.value is not None:
            yield self.value, 1, True, 0

    def with_taps(self, change: Callable[[Tap], Tap]) -> Attention:
        """Return the same with taps that have gone through a function."""

        def moved(place: Place) -> Place:
            return replace(place, tap=change(place.tap)) if isinstance(place, AtQuery | AtKeys) else place

        steps = tuple(
            replace(step, query=change(step.query), key=change(step.key)) if isinstance(step, Products)
            else replace(step, operands=tuple(map(moved, step.operands)))
            for step in self.steps
        )  # fmt: skip
        return replace(self, steps=steps, value=None if self.value is None else change(self.value))
