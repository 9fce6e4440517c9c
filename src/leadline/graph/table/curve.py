"""Functions of one number, by what bounds on them rest on: where they and their slopes turn."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Curve:
    """A function of one number, for given literals.

    Attributes
    ----------
    rising
        True: it never falls; False: it never rises; None: it does both.
    turns
        Where it turns, or jumps. Between neighbouring ones it only rises or only falls, so that the extremes on an
        interval lie at its ends, at turns within it, or right beside those.
    bends
        The same of its slope.
    slope
        The slope to some units in the last place; None: torch's own derivative, whose error is known absolutely only.
    period
        Distance at which turns and bends repeat, if they do.
    domain
        Where it is defined, ends included.
    pole
        Where it is not, in between.
    factor
        By what it multiplies, if that is all that it does.
    level
        Whether its slope is zero along some piece; else one of zero is a number too small for its type.
    error
        How far at most torch's value errs absolutely, beyond some units in the last place.
    """

    rising: bool | None = None
    turns: tuple[float, ...] = ()
    bends: tuple[float, ...] = ()
    slope: Callable[[Tensor], Tensor] | None = None
    period: float | None = None
    domain: tuple[float, float] = (-math.inf, math.inf)
    pole: float | None = None
    factor: float | None = None
    level: bool = False
    error: float = 0.0
