"""Arithmetic of intervals with float64 ends, rounded outward: sums, products and linear maps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

EPS = float(torch.finfo(torch.float64).eps)


@dataclass(frozen=True)
class Interval:
    """Every element lies between those of `lo` and `hi`; infinite ends are open."""

    lo: Float[Tensor, "..."]
    hi: Float[Tensor, "..."]

    @property
    def size(self) -> Float[Tensor, "..."]:
        """The largest absolute value of each element."""
        return torch.maximum(self.lo.abs(), self.hi.abs())

    @property
    def constant(self) -> bool:
        """Whether every element is known exactly."""
        return bool(torch.equal(self.lo, self.hi))

    def expand(self, shape: tuple[int, ...]) -> Interval:
        """Return the interval of an expanded tensor, laid out in memory."""
        return Interval(self.lo.expand(shape).clone(), self.hi.expand(shape).clone())

    def reshape(self, shape: tuple[int, ...]) -> Interval:
        """Return the interval of a reshaped tensor."""
        return Interval(self.lo.reshape(shape), self.hi.reshape(shape))

    def with_zero(self) -> Interval:
        """Return the smallest interval that holds this one and zero."""
        return Interval(self.lo.clamp(max=0.0), self.hi.clamp(min=0.0))

    def __contains__(self, value: Tensor) -> bool:
        return bool(((self.lo <= value) & (value <= self.hi)).all())


def point(value: Tensor) -> Interval:
    """Return the interval that holds one value."""
    exact = value.detach().cpu().double()
    return Interval(exact, exact)


def whole(shape: tuple[int, ...]) -> Interval:
    """Return the interval that holds everything."""
    return within(shape, -math.inf, math.inf)


def within(shape: tuple[int, ...], lo: float, hi: float) -> Interval:
    """Return the same interval for every element."""
    return Interval(torch.full(shape, lo, dtype=torch.float64), torch.full(shape, hi, dtype=torch.float64))


def outward(lo: Tensor, hi: Tensor, slack: Tensor | float = 0.0) -> Interval:
    """Return the interval with its ends moved apart by `slack` and by some units in the last place."""
    size = torch.maximum(*(end.abs().nan_to_num(posinf=0.0) for end in (lo, hi)))
    margin = 4 * EPS * size + slack + 5e-324
    return Interval(lo - margin, hi + margin)


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


def product(a: Interval, b: Interval) -> Interval:
    """Return the interval of a matrix product of two intervals."""
    terms = a.lo.shape[-1]
    if b.constant:
        return image(torch.matmul, a, b.lo, terms)
    if a.constant:
        return image(lambda x, W: torch.matmul(W, x), b, a.lo, terms)
    shape = tuple(torch.matmul(a.lo, b.lo).shape)
    if not bool(a.size.isfinite().all() and b.size.isfinite().all()):
        return whole(shape)
    middle, spread = (b.lo + b.hi) / 2, (b.hi - b.lo) / 2
    centre, radius = (a.lo + a.hi) / 2, (a.hi - a.lo) / 2
    half = centre.abs() @ spread + radius @ (middle.abs() + spread)
    slack = (2 * terms + 8) * EPS * (a.size @ b.size)
    return outward(centre @ middle - half, centre @ middle + half, slack)


def shifted(x: Interval, bias: Interval | None) -> Interval:
    """Return the interval of a sum with a constant."""
    if bias is None:
        return x
    return outward(x.lo + bias.lo, x.hi + bias.hi, EPS * bias.size)
