"""Constant propagation: which elements are known exactly, which are one of a few values, and within what others lie.

Buffers and constants are known, parameters and inputs are not; arithmetic on known values is carried out. So a zero in
a mask survives ``weight * mask``, and -inf survives ``masked_fill`` and its softmax as a zero. Truth values are one of
two, and so is what is made of them: where a mask that is known is joined with one that is not, what the known one
decides stays known.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from leadline.domains.compact import Pool, lifted, shrunk
from leadline.graph.ir import Node, Ref
from leadline.graph.run_node import run_node

_NOWHERE = torch.zeros((), dtype=torch.bool)
_MOST = 4  # values that an element is said to be one of
_TRUTHS = torch.tensor(False), torch.tensor(True)


class Options(NamedTuple):
    """Values that elements may have, side by side, and where these are all that they may have."""

    values: Sequence[Tensor]
    there: Tensor


class Bounds(NamedTuple):
    """Constants between which those within sums lie, as float64."""

    low: Tensor
    high: Tensor


class Named(NamedTuple):
    """Places of a row, along a last axis, that indices may name; and those that some index of its row surely names."""

    may: Tensor
    surely: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Facts:
    """What is known of a tensor, element by element, in compact tensors (see `leadline.domains.compact`).

    The exact `value` holds where `known` (None: everywhere); it is None if no element is known. Of the others, those
    `among` some `choices` are one of these; a weight that is zero, or nan where its row is masked whole, is. The rest
    is some number of moderate size plus a constant between `least` and `bias`: what pushes logits down. None: `least`
    is `bias`, and `bias` is zero. Of indices that are not known, some places may be `named` and others not.
    """

    value: Tensor | None = None
    known: Tensor | None = None
    bias: Tensor | None = None
    least: Tensor | None = None
    choices: tuple[Tensor, ...] = ()
    among: Tensor | None = None
    named: Named | None = None

    @property
    def constant(self) -> bool:
        """Whether every element is known."""
        return self.value is not None and self.known is None

    @property
    def empty(self) -> bool:
        """Whether nothing is known."""
        return not self.parts and self.named is None

    @property
    def parts(self) -> tuple[Tensor, ...]:
        """The tensors that hold what is known of values."""
        held = (self.value, self.known, self.bias, self.least, *self.choices, self.among)
        return tuple(part for part in held if part is not None)

    def fixed(self) -> Tensor | None:
        """Where an element depends on nothing: it is known, and a number. None: nowhere."""
        if self.value is None:
            return None
        return self.where_known() & ~self.value.isnan()

    def zeros(self) -> Tensor:
        """Where an element is known to be zero, always a tensor."""
        known = self.where_known()
        return known if self.value is None else known & (self.value == 0)

    def idle(self) -> Tensor:
        """Where nothing passes that is multiplied by an element: it is zero, or nan whatever the other factor is."""
        if self.among is None:
            return self.zeros()
        return self.zeros() | reduce(torch.logical_and, ((c == 0) | c.isnan() for c in self.choices), self.among)

    def nonzero(self) -> Tensor | None:
        """Where something may pass. None: everywhere."""
        idle = self.idle()
        return shrunk(~idle) if bool(idle.any()) else None

    def where_known(self) -> Tensor:
        """Return the mask of known elements, always a tensor."""
        if self.value is None:
            return _NOWHERE
        return ~_NOWHERE if self.known is None else self.known

    def options(self, *, truths: bool = False) -> Options:
        """Return the values that elements may have; with `truths`, those that are not known are true or false."""
        known, among = self.where_known(), _NOWHERE if self.among is None else self.among
        rest: Sequence[Tensor] = self.choices or (torch.zeros(()),)
        if truths:
            rest, among = _TRUTHS, ~_NOWHERE
        if self.value is None:
            return Options(rest, among)
        held = self.value
        return Options([torch.where(known, held, part.to(held.dtype)) for part in rest], known | among)

    def bounds(self) -> Bounds:
        """Return the constants between which those within sums lie, known values included."""
        high = torch.zeros((), dtype=torch.float64) if self.bias is None else self.bias
        low = high if self.least is None else self.least
        if self.among is not None:
            real = [choice.double() for choice in self.choices]
            low = torch.where(self.among, reduce(torch.fmin, real), low)
            high = torch.where(self.among, reduce(torch.fmax, real), high)
        if self.value is None or self.value.is_complex():
            return Bounds(low, high)
        held, known = self.value.double(), self.where_known()
        return Bounds(torch.where(known, held, low), torch.where(known, held, high))

    def void(self) -> Tensor:
        """Where an element is known to be nan."""
        return _NOWHERE if self.value is None else self.where_known() & self.value.isnan()

    def doubtful(self) -> Tensor:
        """Where an element is nan, or one of several values of which one is."""
        if self.among is None:
            return self.void()
        return self.void() | (self.among & reduce(torch.logical_or, (choice.isnan() for choice in self.choices)))


UNKNOWN = Facts()


def partial(value: Tensor, known: Tensor, bounds: Bounds | None = None) -> Facts:
    """Return facts in their simplest form: fully known, partly known, or not known."""
    return one_of(Options([value], known), bounds)


def one_of(options: Options, bounds: Bounds | None = None) -> Facts:
    """Return the facts of elements that have one of some values where these are there, in their simplest form.

    What lies at or below minus infinity is that; where the low end is nan, it may be nan too.
    """
    if bounds is not None:
        sunk, doubtful = bounds.high == -torch.inf, bounds.low.isnan()
        options = filled(filled(options, sunk & ~doubtful, -torch.inf), sunk, -torch.inf, torch.nan)
    values, there = _distinct(options)
    first, *more = values
    known = there & reduce(torch.logical_and, (_same(first, other) for other in more), ~_NOWHERE)
    if bool(known.all()):
        return Facts(first)
    blank = torch.zeros((), dtype=first.dtype)
    value = torch.where(known, first, blank) if bool(known.any()) else None
    among = there & ~known
    choices: tuple[Tensor, ...] = ()
    if more and first.dtype is not torch.bool and bool(among.any()):
        choices = tuple(torch.where(among, part, blank) for part in values)
    least, bias = (None, None) if bounds is None else (part.masked_fill(there, 0.0) for part in bounds)
    if bias is None or least is None or not bool(bias.any() | least.any()):
        bias = least = None
    elif torch.equal(*torch.broadcast_tensors(bias, least)):
        least = None
    return Facts(value, None if value is None else known, bias, least, choices, among if choices else None)


def filled(options: Options, mask: Tensor, *values: float) -> Options:
    """Put values down at the marked places of which nothing is known yet."""
    mask = mask & ~options.there
    if not bool(mask.any()):
        return options
    held = [*options.values, *[options.values[-1]] * (len(values) - len(options.values))]
    laid = [torch.where(mask, values[min(i, len(values) - 1)], part).to(part.dtype) for i, part in enumerate(held)]
    return Options(laid, options.there | mask)


def _same(a: Tensor, b: Tensor) -> Tensor:
    return (a == b) | (a.isnan() & b.isnan())


def _distinct(options: Options) -> Options:
    """List the different values of each element, in order; where they are too many, none are there."""
    values, there = options
    if len(values) == 1:
        return options
    if values[0].is_complex():  # which have no order
        return Options(values[:1], reduce(torch.logical_and, (_same(values[0], other) for other in values[1:]), there))
    ordered = torch.stack(torch.broadcast_tensors(*values)).sort(0).values
    new = torch.cat([torch.zeros_like(ordered[:1], dtype=torch.bool), ~_same(ordered[1:], ordered[:-1])])
    rank = new.cumsum(0)
    filled = ordered[:1].expand_as(ordered).clone().scatter_(0, rank, ordered)
    there = there & (rank[-1] < _MOST)
    most = int((rank[-1] * there).max()) + 1 if rank[-1].numel() else 1
    return Options(list(filled[:most]), there)


def zero_where(zeros: Tensor, idle: Tensor, dtype: torch.dtype) -> Facts:
    """Return the facts of a tensor of which some elements are zero, or else perhaps nan, and nothing else is known."""
    nothing = Options([torch.zeros((), dtype=dtype)], _NOWHERE)
    zero = filled(nothing, zeros, 0.0)
    return one_of(filled(zero, idle, 0.0, torch.nan) if dtype.is_floating_point else zero)


def settled(found: Facts, ndim: int, pool: Pool) -> Facts:
    """Return facts as small as they can be, of `ndim` axes, and the same object for equal ones."""
    if found is UNKNOWN:
        return found

    def small(part: Tensor | None) -> Tensor | None:
        return None if part is None else pool.one(shrunk(lifted(part, ndim)))

    choices = tuple(pool.one(shrunk(lifted(part, ndim))) for part in found.choices)
    value, known, bias, least = (small(part) for part in (found.value, found.known, found.bias, found.least))
    among, named = small(found.among), found.named
    if named is not None:
        may, surely = (None if part is None else pool.one(shrunk(lifted(part, ndim + 1))) for part in named)
        named = None if may is None else Named(may, surely)
    return pool.made(
        [value, known, bias, least, among, *(named or ()), *choices],
        lambda: Facts(value, known, bias, least, choices, among, named),
    )


_CPU = torch.device("cpu")
_NONE: Mapping[str, Any] = MappingProxyType({})


def evaluate(
    node: Node, values: Callable[[Ref], Tensor], replaced: Mapping[str, Any] = _NONE
) -> tuple[Tensor | None, ...]:
    """Compute a node on the CPU from its arguments' values; `replaced` are arguments to exchange, by name."""
    parts = run_node(node, values, replaced, _CPU)
    return tuple(part if isinstance(part, Tensor) else None for part in parts)


def evaluated(node: Node, values: Callable[[Ref], Tensor], replaced: Mapping[str, Any] = _NONE) -> Tensor:
    """Compute a node's first output; see `evaluate`."""
    (first, *_) = evaluate(node, values, replaced)
    assert first is not None, f"{node.op} gives no tensor"
    return first
