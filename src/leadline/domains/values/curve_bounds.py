"""What a curve does with an interval: its image, and between which two absolute values its slope lies."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from leadline.domains.engine import NoRule
from leadline.domains.values.interval_arithmetic import EPS, Interval, outward
from leadline.graph.table import Curve

_TINY = 1e-300
_LEAST = 5e-324  # what rounds to zero is smaller
_FAR = 1e30  # where curves that torch does not compute at infinity have come to their limits
_MANY_TURNS = 1e5  # beyond which a wave's turns are not told apart
_DERIVED = 64 * EPS  # how far torch's derivatives err absolutely

Function = Callable[[Tensor], Tensor]


def image(curve: Curve, apply: Function, x: Interval) -> Interval:
    """Return the interval of a curve's values; `NoRule` if it is not defined on all of the interval.

    Examples
    --------
    >>> found = image(Curve(turns=(0.0,)), torch.square, Interval(-torch.ones(1), 2 * torch.ones(1)))
    >>> [round(end.item(), 12) + 0.0 for end in (found.lo, found.hi)]
    [0.0, 4.0]
    """
    x = _inside(curve, x)
    ends = [_at(apply, x.lo), _at(apply, x.hi)]
    if curve.rising is not None and curve.pole is None:
        low, high = ends if curve.rising else reversed(ends)
        return outward(low, high, curve.error)
    places = [place for around in _places(curve.turns, curve.period, x, x) for place in around]
    values = torch.stack([*ends, *(_at(apply, place) for place in places)])
    return outward(values.amin(0), values.amax(0), curve.error)


def slopes(curve: Curve, apply: Function, x: Interval) -> tuple[Tensor, Tensor]:
    """Return the least and the largest absolute slope, at a kink either side's; `NoRule` where `image` has none."""
    x = _inside(curve, x)
    first, last = curve.domain
    below, above = ((4 * EPS * end.abs() + _TINY).nan_to_num(posinf=0.0) for end in (x.lo, x.hi))
    wide = Interval((x.lo - below).clamp(min=first), (x.hi + above).clamp(max=last))
    slope = curve.slope or (lambda places: _derivative(apply, places))
    bends = [place for around in _places(curve.bends, curve.period, x, wide) for place in around]
    values = torch.stack([_at(slope, place) for place in (wide.lo, *bends, wide.hi)])
    # From right after one bend to right before the next the slope is continuous; across a bend it may jump over 0.
    begin, finish = values[[0, *range(3, len(values) - 1, 3)]], values[[*range(1, len(values) - 1, 3), -1]]
    crosses = ((begin <= 0) & (finish >= 0)) | ((begin >= 0) & (finish <= 0))
    least = torch.where(crosses.any(0), 0.0, values.abs().amin(0))
    most = values.abs().amax(0)
    slack = 0.0 if curve.level else _LEAST if curve.slope else _DERIVED
    return (least * (1 - 16 * EPS) - slack).clamp(min=0.0), most * (1 + 16 * EPS) + slack


def _inside(curve: Curve, x: Interval) -> Interval:
    """Return an interval without what rounding has moved beyond the domain's ends."""
    first, last = curve.domain
    low, high = (end - sign * (8 * EPS * abs(end) + _TINY) for end, sign in ((first, 1), (last, -1)))
    if not bool((x.lo >= low).all() and (x.hi <= high).all()):
        raise NoRule
    if curve.pole is not None and not bool(((x.lo > curve.pole) | (x.hi < curve.pole)).all()):
        raise NoRule
    return Interval(x.lo.clamp(min=first), x.hi.clamp(max=last))


def _at(function: Function, places: Tensor) -> Tensor:
    """Compute a function; where it has no value at infinity, far out."""
    values = function(places)
    lost = values.isnan() & places.isinf()
    return torch.where(lost, function(places.clamp(-_FAR, _FAR)), values) if bool(lost.any()) else values


def _derivative(apply: Function, places: Tensor) -> Tensor:
    with torch.enable_grad():
        leaf = places.detach().clone().requires_grad_()
        (found,) = torch.autograd.grad(apply(leaf).sum(), leaf)
    return found


def _places(
    marks: tuple[float, ...], period: float | None, x: Interval, within: Interval
) -> Iterator[tuple[Tensor, ...]]:
    """List what is right before marks, these, and right after; ends where they are not inside; of a wave, two."""
    unclear = torch.zeros_like(x.lo, dtype=torch.bool) if period is None else ~(x.size < _MANY_TURNS)
    for mark in sorted(marks):
        centres = [torch.full_like(x.lo, mark)]
        if period is not None:
            first = torch.where(unclear, 0.0, torch.ceil((x.lo - mark) / period))
            centres = [mark + (first + i) * period for i in (0, 1)]
        for centre in centres:
            beside = 4 * EPS * centre.abs() + _TINY
            around = (centre - beside, centre, centre + beside)
            yield tuple(torch.where(unclear, place, place.clamp(within.lo, within.hi)) for place in around)
