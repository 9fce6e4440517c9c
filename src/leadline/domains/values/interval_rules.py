"""How intervals pass through operations: one transfer per kind."""

import math
from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import Any, TypeAlias

import torch
from torch import Tensor

from leadline.domains.engine import Lookup, NoRule, Transfer
from leadline.domains.values import curve_bounds
from leadline.domains.values.interval_arithmetic import (
    EPS,
    Interval,
    image,
    multiplied,
    outward,
    point,
    product,
    shifted,
    whole,
    within,
)
from leadline.graph.ir import Meta, Node, Ref
from leadline.graph.run_node import run_node
from leadline.graph.table import Cell, Form, Kind, Move, Noise, Places, Statistics, Tally

Look: TypeAlias = Lookup[Interval]


# rules have one signature, whether they look at operands or not
def top(node: Node, look: Look) -> tuple[Interval, ...]:  # noqa: ARG001 - as all rules
    """Return everything that there is of a type: sound for any operation."""
    return tuple(map(_anything, node.outputs))


def _anything(meta: Meta | None) -> Interval:
    if meta is None:
        return whole(())
    if meta.dtype is torch.bool:
        return within(meta.shape, 0.0, 1.0)
    return whole(meta.shape, pairs=meta.dtype.is_complex)


def _besides(first: Interval, node: Node) -> tuple[Interval, ...]:
    """Return the first output's interval, and everything for all others."""
    return (first, *map(_anything, node.outputs[1:]))


_CPU = torch.device("cpu")


def call(node: Node, values: Callable[[Ref], Tensor | None]) -> tuple[Any, ...]:
    """Run a node's own operation on ends of intervals."""
    return run_node(node, values, device=_CPU)


def _ends(node: Node, look: Look) -> tuple[Interval, ...]:
    """Run an operation that keeps the order of its argument on both ends."""
    lows, highs = call(node, lambda ref: look(ref).lo), call(node, lambda ref: look(ref).hi)
    return tuple(Interval(lo.double(), hi.double()) for lo, hi in zip(lows, highs, strict=True))


def _view(node: Node, look: Look) -> tuple[Interval, ...]:
    if node.operation.move is Move.RETYPE:
        raise NoRule
    return _ends(node, look)


def _creation(node: Node, look: Look) -> tuple[Interval, ...]:
    """Run what looks at shapes alone."""
    if node.operation.unwritten or node.meta.dtype.is_complex or numbers_read(node):
        raise NoRule
    return (point(call(node, lambda ref: look(ref).lo)[0]),)


def numbers_read(node: Node) -> list[Ref]:
    """List the numbers read from tensors that something new is filled with, or is as large as."""
    return [ref for ref in node.refs if ref != node.bound().get("self")]


def _pointwise(node: Node, look: Look) -> tuple[Interval, ...]:
    named, facts = node.bound(), node.operation.pointwise
    if facts is None:
        raise NoRule
    same = facts.identity(named)
    curve = facts.curve(named)
    if same is not None:
        if not node.meta.dtype.is_floating_point:
            raise NoRule
        found = operand(named[same], look).expand(node.shape)
    elif curve is not None:
        found = curve_bounds.image(curve, lambda x: call(node, lambda _: x)[0], look(named[facts.operands[0]]))
    elif facts.form in _FORMS:
        found = _FORMS[facts.form](node, *(operand(named[name], look) for name in facts.operands))
    else:
        raise NoRule
    return _besides(found, node)


def operand(argument: Any, look: Look) -> Interval:
    """Return the interval of an argument: a reference or a number."""
    if isinstance(argument, Ref):
        return look(argument)
    kind = torch.complex128 if isinstance(argument, complex) else torch.float64
    return point(torch.tensor(argument, dtype=kind))


def _sum(node: Node, a: Interval, b: Interval, sign: float = 1.0) -> Interval:
    """Return the interval of ``a + sign · alpha · b``."""
    b = scaled(b, sign * float(node.bound().get("alpha", 1)))
    slack = 2 * EPS * (a.ends + b.ends).nan_to_num(posinf=0.0)
    return outward(a.lo + b.lo, a.hi + b.hi, slack, pairs=a.pairs)


def scaled(x: Interval, scale: float) -> Interval:
    """Return the interval of a multiple; one zero times is zero."""
    if scale == 0.0:
        return x.each(torch.zeros_like)
    low, high = (x.lo, x.hi) if scale > 0 else (x.hi, x.lo)
    return outward(low * scale, high * scale, pairs=x.pairs)


def _choice(node: Node, _: Interval, a: Interval, b: Interval) -> Interval:
    """Return the hull of both branches."""
    return a.joined(b).expand(node.shape)


def _quotient(_: Node, a: Interval, b: Interval) -> Interval:
    if not bool((b.least > 0).all()):
        raise NoRule
    return multiplied(a, outward(1 / b.hi, 1 / b.lo))


def _sloped(_: Node, a: Interval, b: Interval) -> Interval:
    """Return the interval of what is multiplied where it is below zero, with factors along the second axis."""
    slopes = b.reshape((-1, *(1,) * max(0, a.lo.ndim - 2))) if b.lo.numel() > 1 else b.reshape(())
    below, above = a.each(lambda end: end.clamp(max=0.0)), a.each(lambda end: end.clamp(min=0.0))
    return multiplied(below, slopes).joined(above)


def _extreme(pick: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Node, Interval, Interval], Interval]:
    return lambda _, a, b: Interval(pick(a.lo, b.lo), pick(a.hi, b.hi))


_FORMS: Mapping[Form, Callable[..., Interval]] = {
    Form.SUM: _sum,
    Form.DIFFERENCE: lambda node, a, b: _sum(node, a, b, -1.0),
    Form.REVERSED: lambda node, a, b: _sum(node, b, a, -1.0),
    Form.PRODUCT: lambda _, a, b: multiplied(a, b),
    Form.QUOTIENT: _quotient,
    Form.MAXIMUM: _extreme(torch.maximum),
    Form.MINIMUM: _extreme(torch.minimum),
    Form.CHOICE: _choice,
    Form.SLOPED: _sloped,
}


def combined(node: Node, form: Form, *operands: Interval) -> Interval:
    """Return the interval of an operation of this form."""
    return _FORMS[form](node, *operands)


def _contraction(node: Node, look: Look) -> tuple[Interval, ...]:
    named, factors = node.bound(), node.operation.product
    if factors is None:
        raise NoRule
    a, b = look(named[factors.left]), look(named[factors.right])
    left, right, out = factors.axes(a.lo.ndim, b.lo.ndim)
    terms = math.prod(size for letter, size in zip(left, a.shape, strict=True) if letter not in out)
    found = scaled(product(f"{left},{right}->{out}", a, b, terms), float(named.get("alpha", 1)))
    added = named[factors.added] if factors.added else None
    bias = None if added is None else scaled(look(added), float(named.get("beta", 1)))
    return (shifted(found, bias).expand(node.shape),)


def _convolution(node: Node, look: Look) -> tuple[Interval, ...]:
    named = node.bound()
    W = look(named["weight"])
    if not (W.constant and W.finite):
        raise NoRule

    def apply(x: Tensor, weight: Tensor) -> Tensor:
        values = {named["input"]: x, named["weight"]: weight}
        result: Tensor = call(node, values.get)[0]
        return result

    terms = W.lo.numel() if node.operation.transposed or named.get("transposed") else W.lo[0].numel()
    found = image(apply, look(named["input"]), W.lo, terms)
    bias = None if named.get("bias") is None else look(named["bias"]).reshape((-1, *[1] * (W.lo.ndim - 2)))
    return (shifted(found, bias),)


def _reduction(node: Node, look: Look) -> tuple[Interval, ...]:
    tally = node.operation.tally
    if tally in (Tally.LARGEST, Tally.LEAST):
        return _besides(_ends(node, look)[0], node)  # places come beside
    if tally not in (Tally.SUM, Tally.MEAN):
        raise NoRule
    return (_added_up(node, look),)


def _window(node: Node, look: Look) -> tuple[Interval, ...]:
    """Follow the order of largest elements, and of means unless their divisor is negative."""
    first = _ends(node, look)[0]
    if node.operation.tally is Tally.MEAN:
        slack = 8 * EPS * look(node.refs[0]).lo.numel() * first.ends.nan_to_num(posinf=0.0)
        first = outward(torch.minimum(first.lo, first.hi), torch.maximum(first.lo, first.hi), slack)
    return _besides(first, node)


def _added_up(node: Node, look: Look) -> Interval:
    """Return the interval of sums."""
    (ends,), x = _ends(node, look), look(node.refs[0])
    slack = 2 * EPS * x.lo.numel() * call(node, lambda _: x.size)[0]
    return outward(ends.lo, ends.hi, slack.nan_to_num(posinf=0.0))


def _cumulative(node: Node, look: Look) -> tuple[Interval, ...]:
    """Follow the order of sums and extremes so far; multiply products up."""
    tally = node.operation.tally
    if tally in (Tally.LARGEST, Tally.LEAST):
        return _besides(_ends(node, look)[0], node)
    if tally is Tally.PRODUCT:
        return (_products(look(node.refs[0]), node.bound()["dim"]),)
    if tally is not Tally.SUM:
        raise NoRule
    return (_added_up(node, look),)


def _products(x: Interval, dim: int) -> Interval:
    """Return the intervals of products so far."""
    if not x.lo.ndim:
        return x
    steps = [Interval(lo, hi) for lo, hi in zip(x.lo.unbind(dim), x.hi.unbind(dim), strict=True)]
    found = list(accumulate(steps, multiplied))
    return Interval(torch.stack([part.lo for part in found], dim), torch.stack([part.hi for part in found], dim))


# bounded whatever it is given
def _softmax(node: Node, look: Look) -> tuple[Interval, ...]:  # noqa: ARG001 - as all rules
    return (within(node.shape, -math.inf, 0.0) if node.operation.logarithm else within(node.shape, 0.0, 1.0),)


def _normalisation(node: Node, look: Look) -> tuple[Interval, ...]:
    """Bound what is normalised by the root of the number of elements that share statistics."""
    named, shares = node.bound(), node.operation.statistics
    column: tuple[int, ...] = (-1, *[1] * (len(node.shape) - 2))
    if node.operation.frozen(named):
        x, mean, var = (look(named[name]) for name in ("input", "running_mean", "running_var"))
        mean, eps = mean.reshape(column), named["eps"]
        inverse = outward(1 / torch.sqrt(var.hi + eps), 1 / torch.sqrt(var.lo + eps))
        normal = multiplied(outward(x.lo - mean.hi, x.hi - mean.lo), inverse.reshape(column))
    elif shares in (Statistics.LAYER, Statistics.SQUARES):
        column = tuple(named["normalized_shape"])
        normal = _normalised(node, math.prod(column))
    elif shares is Statistics.BATCH:
        normal = _normalised(node, math.prod(node.shape) // node.shape[1])
    elif shares is Statistics.GROUP:
        normal = _normalised(node, math.prod(node.shape[1:]) // named["num_groups"])
    else:
        raise NoRule
    if named.get("weight") is not None:
        normal = multiplied(normal, look(named["weight"]).reshape(column))
    if named.get("bias") is not None:
        normal = shifted(normal, look(named["bias"]).reshape(column))
    return _besides(normal, node)


def _normalised(node: Node, many: int) -> Interval:
    """Return how far so many elements can lie from their mean, in their own root mean square."""
    most = many**0.5 * (1 + 4 * EPS)
    return within(node.shape, -most, most)


def _attention(node: Node, look: Look) -> tuple[Interval, ...]:
    """Bound the output, a weighted mean over the keys, by their values' extremes; dropout scales weights up."""
    named = node.bound()
    v, p = look(named["value"]), float(named["dropout_p"])
    if p >= 1:
        raise NoRule
    found = outward(v.lo.amin(-2, keepdim=True), v.hi.amax(-2, keepdim=True))
    if named.get("enable_gqa"):
        groups = node.shape[-3] // found.shape[-3]
        found = found.each(lambda end: end.repeat_interleave(groups, -3))
    kept = found if p == 0 else scaled(found, 1 / (1 - p))
    return (kept.expand(node.shape).with_zero(),)  # a fully masked row yields zeros in some kernels


def _scan(node: Node, look: Look) -> tuple[Interval, ...]:
    """Bound states by the range of tanh and by the time that an LSTM's cell has had to grow."""
    named, recurrence = node.bound(), node.operation.recurrence
    if recurrence is None or recurrence.step or recurrence.grid or recurrence.cell is Cell.RELU:
        raise NoRule
    weights = (4 if named["has_biases"] else 2) * named["num_layers"] * (2 if named["bidirectional"] else 1)
    if len(named["params"]) != weights:  # projections
        raise NoRule
    initial = named["hx"]
    states = [look(ref) for ref in (initial if isinstance(initial, tuple) else (initial,))]
    reach = max(1.0, float(states[0].size.max()))
    found = [within(meta.shape, -reach, reach) for meta in node.outputs if meta]
    if recurrence.cell is Cell.LSTM:
        time = max(look(node.args[0]).lo.shape[:2])
        cell = float(states[1].size.max()) + time
        found[0], found[1] = (within(tuple(item.lo.shape), -1.0, 1.0) for item in found[:2])
        found[2] = within(tuple(found[2].lo.shape), -cell, cell)
    return tuple(found)


def _gather(node: Node, look: Look) -> tuple[Interval, ...]:
    if node.operation.places is not Places.ROWS:
        raise NoRule
    table = look(node.args[0])
    return (Interval(table.lo.amin(0), table.hi.amax(0)).expand(node.shape),)


def _random(node: Node, look: Look) -> tuple[Interval, ...]:
    """Bound dropout, which keeps an element scaled up or replaces it by zero, slopes that are drawn, and draws."""
    noise, named = node.operation.noise, node.bound()
    if noise in (Noise.DROPOUT, Noise.ALPHA_DROPOUT) and node.operation.quiet(named):
        return _besides(look(named["input"]), node)
    if noise is Noise.SLOPE:
        x = look(named["self"])
        drawn = within((), float(named["lower"]), float(named["upper"]))
        return _besides(_sloped(node, x, drawn), node)
    if noise is not Noise.DROPOUT:
        return _besides(within(node.shape, *node.operation.reach), node)
    x, p = look(named["input"]), float(named["p"])
    kept = scaled(x, 1 / (1 - p)) if p < 1 else within(node.shape, 0.0, 0.0)
    return _besides(kept.with_zero(), node)


TRANSFERS: Mapping[Kind, Transfer[Interval]] = {
    Kind.CREATION: _creation,
    Kind.POINTWISE: _pointwise,
    Kind.VIEW: _view,
    Kind.WINDOW: _window,
    Kind.CONTRACTION: _contraction,
    Kind.CONVOLUTION: _convolution,
    Kind.REDUCTION: _reduction,
    Kind.CUMULATIVE: _cumulative,
    Kind.SOFTMAX: _softmax,
    Kind.NORMALISATION: _normalisation,
    Kind.ATTENTION: _attention,
    Kind.SCAN: _scan,
    Kind.GATHER: _gather,
    Kind.RANDOM: _random,
}
