"""How much pointwise operations can stretch a perturbation, of real numbers and of complex ones as pairs of reals."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from leadline.domains.engine import NoRule
from leadline.domains.values import curve_bounds
from leadline.domains.values.interval_arithmetic import EPS, Interval
from leadline.domains.values.interval_rules import call, operand
from leadline.graph.ir import Node, Ref
from leadline.graph.table import Curve, Form, Planar, Pointwise
from leadline.jacobian.bounds.gain import NOTHING, Gain, Known, Look, above, length, total


def pointwise(node: Node, look: Look, known: Known) -> tuple[Gain, ...]:
    """Use slopes, or the product rule on what values there are."""
    named, facts = node.bound(), node.operation.pointwise
    if facts is None:
        raise NoRule
    same, curve, plane = facts.identity(named), facts.curve(named), _in_the_plane(node, known)
    operands = [named[name] for name in facts.operands]
    if same is not None:
        lost = facts.detaches or (plane and not node.meta.dtype.is_complex)  # the real part is left
        found = known.repeated(named[same], look, node.shape).times(0.0 if lost else 1.0, 1.0)
    elif plane and facts.planar is not None:
        found = _PLANAR[facts.planar](node, operands, look, known)
    elif curve is not None and not plane:
        found = _curved(curve, node, operands[0], look, known)
    else:
        found = _combined(node, facts, operands, look, known)
    return (found, *(Gain(0.0, math.inf) for _ in node.outputs[1:]))


def _in_the_plane(node: Node, known: Known) -> bool:
    metas = [*node.outputs, *map(known.graph.meta, node.refs)]
    return any(meta is not None and meta.dtype.is_complex for meta in metas)


def _curved(curve: Curve, node: Node, ref: Ref, look: Look, known: Known) -> Gain:
    """Return the gain of a function of one number, by its slopes."""
    least, most = curve_bounds.slopes(curve, lambda x: call(node, lambda _: x)[0], known.values[ref])
    return look(ref).times(float(least.min()), float(most.max())) if least.numel() else NOTHING


def _combined(node: Node, facts: Pointwise, operands: list[Any], look: Look, known: Known) -> Gain:
    """Return the gain of a function of several operands."""
    if facts.form not in _FORMS:
        raise NoRule
    return _FORMS[facts.form](node, operands, look, known)


def _sum(node: Node, operands: list[Any], look: Look, known: Known) -> Gain:
    """Return the gain of ``a ± s b``: by the triangle inequality, on either side."""
    scale = abs(float(node.bound().get("alpha", 1)))
    a, b = (known.repeated(argument, look, node.shape) for argument in operands)
    return a.plus(b.times(scale, scale))


def _one_of(node: Node, operands: list[Any], look: Look, known: Known) -> Gain:
    """Return the gain of what is, element by element, one of the operands."""
    return Gain(0.0, length(*(known.repeated(argument, look, node.shape).hi for argument in operands)))


def _product(node: Node, operands: list[Any], look: Look, known: Known) -> Gain:
    """Return the gain of ``a ⊙ b``, ``sup|b| ‖da‖ + sup|a| ‖db‖``."""
    sizes = [operand(argument, known.values.__getitem__) for argument in operands]
    gains = [known.repeated(argument, look, node.shape) for argument in operands]
    upper = total(*(above(gain.hi, _most(x)) for gain, x in zip(gains, reversed(sizes), strict=True)))
    for mine, other in ((0, 1), (1, 0)):
        if not gains[other].moves:
            return Gain(gains[mine].times(_least(sizes[other]), 0.0).lo, upper)
    return Gain(0.0, upper)


def _quotient(node: Node, operands: list[Any], look: Look, known: Known) -> Gain:
    """Return the gain of ``a / b``, ``‖da‖ / inf|b| + sup|a/b| ‖db‖ / inf|b|``."""
    a, b = (operand(argument, known.values.__getitem__) for argument in operands)
    inverse = 1 / _least(b) * (1 + 4 * EPS) if _least(b) else math.inf
    if inverse == math.inf:
        raise NoRule
    over, under = (known.repeated(argument, look, node.shape) for argument in operands)
    if not under.moves:
        return over.times(1 / _most(b) * (1 - 4 * EPS), inverse)
    return Gain(0.0, total(above(over.hi, inverse), above(under.hi, _most(a), inverse, inverse)))


def _sloped(node: Node, operands: list[Any], look: Look, known: Known) -> Gain:
    """Return the gain of what is multiplied where it is below zero; slopes on either side have one sign, or jump."""
    slopes = operand(operands[1], known.values.__getitem__)
    steep = look(operands[0]).times(min(1.0, _least(slopes)), max(1.0, _most(slopes)))
    moved = known.repeated(operands[1], look, node.shape)
    return steep.plus(moved.times(0.0, _most(operand(operands[0], known.values.__getitem__))))


def _most(x: Interval) -> float:
    return float(x.size.max())


def _least(x: Interval) -> float:
    return float(x.least.min())


Combine = Callable[[Node, list[Any], Look, Known], Gain]
_FORMS: Mapping[Form, Combine] = {
    Form.SUM: _sum,
    Form.DIFFERENCE: _sum,
    Form.REVERSED: lambda node, operands, look, known: _sum(node, operands[::-1], look, known),
    Form.CHOICE: _one_of,
    Form.MAXIMUM: _one_of,
    Form.MINIMUM: _one_of,
    Form.PRODUCT: _product,
    Form.QUOTIENT: _quotient,
    Form.SLOPED: _sloped,
}


def _shadow(_: Node, operands: list[Any], look: Look, known: Known) -> Gain:  # noqa: ARG001 - all have one signature
    """Bound a part of complex numbers, or their moduli: they move no farther than these do."""
    return look(operands[0]).times(0.0, 1.0)


def _angle(_: Node, operands: list[Any], look: Look, known: Known) -> Gain:
    """Turn the faster, the closer to zero."""
    nearest = _least(known.values[operands[0]])
    if not nearest:
        raise NoRule
    return look(operands[0]).times(0.0, 1 / nearest * (1 + 4 * EPS))


def _paired(node: Node, operands: list[Any], look: Look, known: Known) -> Gain:
    real, imaginary = (known.repeated(argument, look, node.shape) for argument in operands)
    return real.beside(imaginary)


def _polar(node: Node, operands: list[Any], look: Look, known: Known) -> Gain:
    """Move outward by the modulus, and across by the modulus times the angle."""
    modulus, angle = (known.repeated(argument, look, node.shape) for argument in operands)
    across = angle.times(0.0, _most(operand(operands[0], known.values.__getitem__)))
    return Gain(0.0, length(modulus.hi, across.hi))


_PLANAR: Mapping[Planar, Combine] = {
    Planar.RIGID: lambda _, operands, look, __: look(operands[0]),
    Planar.CONJUGATE: lambda _, operands, look, __: look(operands[0]),
    Planar.REAL: _shadow,
    Planar.IMAGINARY: _shadow,
    Planar.MODULUS: _shadow,
    Planar.ANGLE: _angle,
    Planar.PAIR: _paired,
    Planar.POLAR: _polar,
}
