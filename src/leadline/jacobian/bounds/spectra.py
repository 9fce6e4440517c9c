"""Halves of symmetric spectra: their elements stand for two, and count twice, but for those that are their own mirror.

In the norm that counts so, a real Fourier transform is orthogonal up to its scale, and its inverse no longer than that.
What is done to a half element by element, by constant factors and by sums, is no longer in this norm than in the plain
one.
"""

from __future__ import annotations

import math
from dataclasses import replace

from leadline.domains.values.fourier import Fourier, fourier_of
from leadline.domains.values.interval_rules import operand
from leadline.graph.ir import Node, Ref
from leadline.graph.table import Form, Half, Kind, Planar, Pointwise
from leadline.jacobian.bounds.gain import Gain, Known, Look, Mirrored, above, total


def with_mirrored(node: Node, look: Look, known: Known, gains: tuple[Gain, ...]) -> tuple[Gain, ...]:
    """Add to the gain of half a spectrum that in the other norm, and use it where a half becomes a signal again."""
    gains = tuple(replace(gain, mirrored=None) if gain.mirrored else gain for gain in gains)  # elements may have moved
    first, *rest = gains
    if node.kind is Kind.MIXING:
        return (_transformed(node, look, known, first), *rest)
    facts = node.operation.pointwise
    if node.kind is Kind.POINTWISE and facts is not None and any(look(ref).mirrored for ref in node.refs):
        return (replace(first, mirrored=_elementwise(node, facts, look, known)), *rest)
    return gains


def _transformed(node: Node, look: Look, known: Known, gain: Gain) -> Gain:
    ref = node.refs[0]
    found, before = fourier_of(node, known.shape(ref)), look(ref)
    if found.real is Half.INPUT and node.shape[found.axes[-1]] == found.length // 2 + 1:
        return replace(gain, mirrored=Mirrored(above(before.hi, _scale(found)), found.axes[-1], found.length))
    half = before.mirrored
    if half and found.real is Half.OUTPUT and (half.axis, half.length) == (found.axes[-1], found.length):
        return Gain(gain.lo, min(gain.hi, above(half.hi, _scale(found))))
    return gain


def _scale(found: Fourier) -> float:
    return found.scale * math.sqrt(found.count) * (1 + 1e-15)


def _elementwise(node: Node, facts: Pointwise, look: Look, known: Known) -> Mirrored | None:
    """Return the gain of sums and multiples of halves of one kind; None for all else, and for what is broadcast."""
    named = node.bound()
    same = facts.identity(named)
    operands = [named[name] for name in ([same] if same is not None else facts.operands)]
    moving = [arg for arg in operands if isinstance(arg, Ref) and look(arg).moves]
    halves = [look(arg).mirrored for arg in moving]
    first = halves[0] if halves else None
    if first is None or not node.meta.dtype.is_complex or any(known.shape(arg) != node.shape for arg in moving):
        return None
    if any(half is None or (half.axis, half.length) != (first.axis, first.length) for half in halves):
        return None
    sizes = [half.hi for half in halves if half is not None]
    if same is not None or facts.planar in (Planar.RIGID, Planar.CONJUGATE):
        return first
    if facts.form in (Form.SUM, Form.DIFFERENCE, Form.REVERSED):
        scale = abs(float(named.get("alpha", 1)))
        return replace(first, hi=above(total(*sizes), max(1.0, scale)))
    if facts.form is Form.PRODUCT and len(moving) == 1:
        (factor,) = [argument for argument in operands if argument is not moving[0]]
        return replace(first, hi=above(first.hi, float(operand(factor, known.values.__getitem__).size.max())))
    return None
