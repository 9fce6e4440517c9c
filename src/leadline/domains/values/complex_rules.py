"""How intervals pass through operations on complex numbers, as pairs of reals."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from leadline.domains.engine import NoRule, Transfer
from leadline.domains.values.fourier import fourier_of
from leadline.domains.values.interval_arithmetic import (
    EPS,
    Interval,
    around,
    multiplied,
    outward,
    within,
)
from leadline.domains.values.interval_rules import Look, call, combined, operand
from leadline.graph.ir import Node
from leadline.graph.table import Form, Half, Kind, Move, Planar, Tally


def _paired(x: Interval) -> Interval:
    """Return an interval as one of complex numbers."""
    if x.pairs:
        return x
    low, high = (torch.stack([end, torch.zeros_like(end)], -1) for end in (x.lo, x.hi))
    return Interval(low, high, pairs=True)


def _part(x: Interval, which: int) -> Interval:
    return Interval(x.lo[..., which], x.hi[..., which])


def _joint(real: Interval, imaginary: Interval) -> Interval:
    lows = torch.broadcast_tensors(real.lo, imaginary.lo)
    highs = torch.broadcast_tensors(real.hi, imaginary.hi)
    return Interval(torch.stack(lows, -1), torch.stack(highs, -1), True)


def _pointwise(node: Node, look: Look) -> tuple[Interval, ...]:
    named, facts = node.bound(), node.operation.pointwise
    if facts is None:
        raise NoRule
    same = facts.identity(named)
    operands = [operand(named[name], look) for name in ([same] if same is not None else facts.operands)]
    if same is not None:
        found = _paired(operands[0]) if node.meta.dtype.is_complex else _part(_paired(operands[0]), 0)
    elif facts.planar is not None:
        found = _PLANAR[facts.planar](*operands)
    elif facts.form is Form.PRODUCT:
        found = _product(*operands)
    elif facts.form is Form.QUOTIENT:
        found = _quotient(*operands)
    elif facts.form is Form.CHOICE:
        found = _paired(operands[1]).joined(_paired(operands[2]))
    elif facts.form in (Form.SUM, Form.DIFFERENCE, Form.REVERSED):
        found = combined(node, facts.form, *map(_paired, operands))
    else:
        raise NoRule
    return (found.expand(node.shape),)


def _product(a: Interval, b: Interval) -> Interval:
    if not (a.pairs and b.pairs):
        a, b = (x if x.pairs else x.each(lambda end: end.unsqueeze(-1)) for x in (a, b))
        return Interval(*_ends(multiplied(a, b)), True)
    (p, q), (r, s) = ((_part(x, 0), _part(x, 1)) for x in (a, b))
    first, second, third, fourth = multiplied(p, r), multiplied(q, s), multiplied(p, s), multiplied(q, r)
    return _joint(
        outward(first.lo - second.hi, first.hi - second.lo), outward(third.lo + fourth.lo, third.hi + fourth.hi)
    )


def _ends(x: Interval) -> tuple[Tensor, Tensor]:
    return x.lo, x.hi


def _quotient(a: Interval, b: Interval) -> Interval:
    least = b.least
    if not bool((least > 0).all()):
        raise NoRule
    return around(a.size / least * (1 + 4 * EPS))


def _polar(modulus: Interval, angle: Interval) -> Interval:
    return around(torch.broadcast_tensors(modulus.size, angle.size)[0])


_PLANAR: Mapping[Planar, Callable[..., Interval]] = {
    Planar.RIGID: lambda z: Interval(-z.ends, z.ends, True),
    Planar.CONJUGATE: lambda z: Interval(-z.ends, z.ends, True),
    Planar.REAL: lambda z: _part(z, 0),
    Planar.IMAGINARY: lambda z: _part(z, 1),
    Planar.MODULUS: lambda z: Interval(z.least, z.size),
    Planar.ANGLE: lambda z: within(z.shape, -4.0, 4.0),
    Planar.PAIR: _joint,
    Planar.POLAR: _polar,
}


def _view(node: Node, look: Look) -> tuple[Interval, ...]:
    """Move both parts as one would move real numbers."""
    move = node.operation.move
    if move is Move.PAIRS_TO_COMPLEX:
        return (Interval(*_ends(look(node.refs[0])), True),)
    if move is Move.COMPLEX_TO_PAIRS:
        return (Interval(*_ends(look(node.refs[0]))),)
    if move is Move.RETYPE:
        raise NoRule
    return _by_parts(node, look)


def _by_parts(node: Node, look: Look) -> tuple[Interval, ...]:
    """Run an operation that keeps the order of real numbers on both ends of both parts; literals have one part."""

    def run(which: int, end: Callable[[Interval], Tensor]) -> tuple[Any, ...]:
        return call(node, lambda ref: end(_part(_paired(look(ref)), which)))

    parts = []
    for which in (0, 1):
        lows, highs = run(which, lambda x: x.lo), run(which, lambda x: x.hi)
        found = [Interval(lo.double(), hi.double()) for lo, hi in zip(lows, highs, strict=True)]
        parts.append([x.with_zero() for x in found] if which else found)
    return tuple(_joint(real, imaginary) for real, imaginary in zip(*parts, strict=True))


def _reduction(node: Node, look: Look) -> tuple[Interval, ...]:
    """Add up what moduli there are."""
    if node.operation.tally not in (Tally.SUM, Tally.MEAN):
        raise NoRule
    size = look(node.refs[0]).size
    return (around(call(node, lambda _: size)[0] * (1 + 2 * EPS * size.numel())),)


def _contraction(node: Node, look: Look) -> tuple[Interval, ...]:
    """Multiply moduli."""
    named, factors = node.bound(), node.operation.product
    if factors is None or named.get("alpha", 1) != 1 or named.get("beta", 1) != 1:
        raise NoRule
    sizes = [look(named[name]).size for name in (factors.left, factors.right)]
    left, right, out = factors.axes(*(size.ndim for size in sizes))
    terms = math.prod(sizes[0].shape)
    found = around(torch.einsum(f"{left},{right}->{out}", *sizes) * (1 + 2 * EPS * terms))
    added = named[factors.added] if factors.added else None
    if added is None:
        return (found.expand(node.shape),)
    bias = _paired(look(added))
    return (outward(found.lo + bias.lo, found.hi + bias.hi, pairs=True).expand(node.shape),)


def _fourier(node: Node, look: Look) -> tuple[Interval, ...]:
    """Add up moduli along the axes, those of half a spectrum twice."""
    x = look(node.refs[0])
    found = fourier_of(node, x.shape)
    twice = 2 if found.real is Half.OUTPUT else 1
    total = x.size.sum(found.axes, keepdim=True) * (twice * found.scale * (1 + 2 * EPS * (found.count + 8)))
    sums = around(total) if node.meta.dtype.is_complex else Interval(-total, total)
    return (sums.expand(node.shape),)


TRANSFERS: Mapping[Kind, Transfer[Interval]] = {
    Kind.POINTWISE: _pointwise,
    Kind.VIEW: _view,
    Kind.REDUCTION: _reduction,
    Kind.CONTRACTION: _contraction,
    Kind.MIXING: _fourier,
}


def touches(node: Node, look: Look) -> bool:
    """Say whether complex numbers go in or come out."""
    return any(look(ref).pairs for ref in node.refs) or any(
        meta is not None and meta.dtype.is_complex for meta in node.outputs
    )
