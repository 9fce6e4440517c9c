"""Arithmetic of intervals with float64 ends, rounded outward: sums, products and linear maps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

EPS = float(torch.finfo(torch.float64).eps)


@dataclass(frozen=True)
class Interval:
    """Every element lies between those of `lo` and `hi`; infinite ends are open.

    With `pairs`, the last axis holds the real and the imaginary parts of complex numbers.
    """

    lo: Float[Tensor, "..."]
    hi: Float[Tensor, "..."]
    pairs: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the tensor that is meant."""
        return tuple(self.lo.shape[:-1] if self.pairs else self.lo.shape)

    @property
    def ends(self) -> Float[Tensor, "..."]:
        """The largest absolute value of each element, or of each part of a complex one."""
        return torch.maximum(self.lo.abs(), self.hi.abs())

    @property
    def size(self) -> Float[Tensor, "..."]:
        """The largest absolute value of each element."""
        return _modulus(self.ends, above=True) if self.pairs else self.ends

    @property
    def least(self) -> Float[Tensor, "..."]:
        """The smallest absolute value of each element."""
        found = torch.maximum(self.lo, -self.hi).clamp(min=0.0)
        return _modulus(found, above=False) if self.pairs else found

    @property
    def constant(self) -> bool:
        """Whether every element is known exactly."""
        return bool(torch.equal(self.lo, self.hi))

    @property
    def finite(self) -> bool:
        """Whether no end is open."""
        return bool(self.lo.isfinite().all() and self.hi.isfinite().all())

    @property
    def middle(self) -> Float[Tensor, "..."] | Complex[Tensor, "..."]:
        """What every element is close to, or equal to if it is known exactly; all ends must be finite."""
        found = self.lo if self.constant else self.lo / 2 + self.hi / 2
        return torch.view_as_complex(found) if self.pairs else found

    @property
    def radius(self) -> Float[Tensor, "..."]:
        """How far at most an element is from the middle."""
        if self.constant:
            return torch.zeros(self.shape, dtype=torch.float64)
        parts = (self.hi / 2 - self.lo / 2) * (1 + 4 * EPS) + 4 * EPS * self.ends + 5e-324
        return _modulus(parts, above=True) if self.pairs else parts

    def expand(self, shape: tuple[int, ...]) -> Interval:
        """Return the interval of an expanded tensor, laid out in memory."""
        whole = (*shape, 2) if self.pairs else shape
        return Interval(self.lo.expand(whole).clone(), self.hi.expand(whole).clone(), self.pairs)

    def reshape(self, shape: tuple[int, ...]) -> Interval:
        """Return the interval of a reshaped tensor of real numbers."""
        return self.each(lambda end: end.reshape(shape))

    def each(self, change: Callable[[Tensor], Tensor]) -> Interval:
        """Return the interval whose ends are moved elsewhere."""
        return Interval(change(self.lo), change(self.hi), self.pairs)

    def chunk(self, count: int) -> list[Interval]:
        """Split along the first axis."""
        return [Interval(lo, hi, self.pairs) for lo, hi in zip(self.lo.chunk(count), self.hi.chunk(count), strict=True)]

    def with_zero(self) -> Interval:
        """Return the smallest interval that holds this one and zero."""
        return Interval(self.lo.clamp(max=0.0), self.hi.clamp(min=0.0), self.pairs)

    def joined(self, other: Interval) -> Interval:
        """Return the smallest interval that holds both, broadcast."""
        return Interval(torch.minimum(self.lo, other.lo), torch.maximum(self.hi, other.hi), self.pairs)

    def __contains__(self, value: Tensor) -> bool:
        return bool(((self.lo <= value) & (value <= self.hi)).all())


def _modulus(parts: Tensor, *, above: bool) -> Tensor:
    """Return the modulus of pairs, rounded up or down; `hypot` squares nothing that over- or underflows."""
    found = torch.hypot(parts[..., 0], parts[..., 1])
    return found * (1 + 4 * EPS) if above else found * (1 - 4 * EPS)


def wide(value: Tensor) -> Tensor:
    """Return a tensor on the CPU in float64, or complex128."""
    found = value.detach().cpu()
    return found.to(torch.complex128 if found.is_complex() else torch.float64)


def point(value: Tensor) -> Interval:
    """Return the interval that holds one value."""
    exact = wide(value)
    parts = torch.view_as_real(exact.resolve_conj()) if exact.is_complex() else exact
    return Interval(parts, parts, exact.is_complex())


def whole(shape: tuple[int, ...], *, pairs: bool = False) -> Interval:
    """Return the interval that holds everything."""
    return within(shape, -math.inf, math.inf, pairs=pairs)


def within(shape: tuple[int, ...], lo: float, hi: float, *, pairs: bool = False) -> Interval:
    """Return the same interval for every element."""
    shape = (*shape, 2) if pairs else shape
    return Interval(torch.full(shape, lo, dtype=torch.float64), torch.full(shape, hi, dtype=torch.float64), pairs)


def around(size: Tensor) -> Interval:
    """Return the interval of complex numbers of at most these moduli."""
    both = size.unsqueeze(-1).expand(*size.shape, 2)
    return Interval(-both, both, pairs=True)


def outward(lo: Tensor, hi: Tensor, slack: Tensor | float = 0.0, *, pairs: bool = False) -> Interval:
    """Return the interval with its ends moved apart by `slack` and some units in the last place; nan is an open end."""
    size = torch.maximum(*(end.abs().nan_to_num(posinf=0.0) for end in (lo, hi)))
    margin = 4 * EPS * size + slack + 5e-324
    low, high = lo - margin, hi + margin
    return Interval(torch.where(low.isnan(), -math.inf, low), torch.where(high.isnan(), math.inf, high), pairs)


def multiplied(a: Interval, b: Interval) -> Interval:
    """Return the interval of an elementwise product."""
    ends = torch.stack(
        [(x * y).nan_to_num(nan=0.0, posinf=math.inf, neginf=-math.inf) for x in (a.lo, a.hi) for y in (b.lo, b.hi)]
    )
    return outward(ends.amin(0), ends.amax(0))


def image(apply: Callable[[Tensor, Tensor], Tensor], x: Interval, W: Tensor, terms: int) -> Interval:
    """Return the interval of an operation that is linear in x with constant weights W, of so many terms per element."""
    above, below = W.clamp(min=0), W.clamp(max=0)

    def end(rising: Tensor, falling: Tensor) -> tuple[Tensor, Tensor]:
        """Add up the ends that push one way, and say where one of them is open."""
        finite = apply(torch.where(rising.isinf(), 0.0, rising), above) + apply(
            torch.where(falling.isinf(), 0.0, falling), below
        )
        return finite, apply(rising.isinf().double(), above) + apply(falling.isinf().double(), -below) > 0

    (lo, lo_open), (hi, hi_open) = end(x.lo, x.hi), end(x.hi, x.lo)
    slack = (2 * terms + 4) * EPS * apply(torch.where(x.size.isinf(), 0.0, x.size), W.abs())
    found = outward(lo, hi, slack)
    return Interval(found.lo.masked_fill(lo_open, -math.inf), found.hi.masked_fill(hi_open, math.inf))


def product(equation: str, a: Interval, b: Interval, terms: int) -> Interval:
    """Return the interval of a sum of products of two real intervals, of so many terms per element."""

    def multiply(x: Tensor, y: Tensor) -> Tensor:
        return torch.einsum(equation, x, y)

    if b.constant and b.finite:
        return image(multiply, a, b.lo, terms)
    if a.constant and a.finite:
        return image(lambda x, W: multiply(W, x), b, a.lo, terms)
    if not (a.finite and b.finite):
        return whole(tuple(multiply(a.lo, b.lo).shape))
    half = multiply(a.middle.abs(), b.radius) + multiply(a.radius, b.middle.abs() + b.radius)
    centre = multiply(a.middle, b.middle)
    slack = (2 * terms + 8) * EPS * multiply(a.size, b.size)
    return outward(centre - half, centre + half, slack)


def shifted(x: Interval, bias: Interval | None) -> Interval:
    """Return the interval of a sum with a constant."""
    if bias is None:
        return x
    return outward(x.lo + bias.lo, x.hi + bias.hi, EPS * bias.size)
