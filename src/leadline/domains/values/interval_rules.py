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
from leadline.graph.ir import Node, Ref
from leadline.graph.run_node import run_node
from leadline.graph.table import Cell, Form, Kind, Noise, Places, Statistics, Tally

Look: TypeAlias = Lookup[Interval]


# rules have one signature, whether they look at operands or not
def top(node: Node, look: Look) -> tuple[Interval, ...]:  # noqa: ARG001
    """Return the whole line: sound for any operation."""
    return tuple(whole(meta.shape if meta else ()) for meta in node.outputs)


def _besides(first: Interval, node: Node) -> tuple[Interval, ...]:
    """Return the first output's interval, and the whole line for all others."""
    return (first, *(whole(meta.shape if meta else ()) for meta in node.outputs[1:]))


_CPU = torch.device("cpu")


def call(node: Node, values: Callable[[Ref], Tensor | None]) -> tuple[Any, ...]:
    """Run a node's own operation on ends of intervals."""
    return run_node(node, values, device=_CPU)


def _creation(node: Node, look: Look) -> tuple[Interval, ...]:
    if node.refs and not all(look(ref).constant for ref in node.refs):
        raise NoRule
    if node.operation.unwritten:
        raise NoRule
    return (point(*call(node, lambda ref: look(ref).lo)),)


def _ends(node: Node, look: Look) -> tuple[Interval, ...]:
    """Run an operation that keeps the order of its argument on both ends."""
    lows, highs = call(node, lambda ref: look(ref).lo), call(node, lambda ref: look(ref).hi)
    return tuple(Interval(lo.double(), hi.double()) for lo, hi in zip(lows, highs, strict=True))


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
    return look(argument) if isinstance(argument, Ref) else point(torch.tensor(float(argument)))


def _sum(node: Node, a: Interval, b: Interval, sign: float = 1.0) -> Interval:
    """Return the interval of ``a + sign · alpha · b``."""
    scale = sign * float(node.bound().get("alpha", 1))
    c, d = (scale * b.lo, scale * b.hi) if scale >= 0 else (scale * b.hi, scale * b.lo)
    return outward(a.lo + c, a.hi + d, 2 * EPS * (a.size + b.size * abs(scale)).nan_to_num(posinf=0.0))


def _choice(node: Node, _: Interval, a: Interval, b: Interval) -> Interval:
    """Return the hull of both branches."""
    return Interval(torch.minimum(a.lo, b.lo), torch.maximum(a.hi, b.hi)).expand(node.shape)


def _quotient(_: Node, a: Interval, b: Interval) -> Interval:
    if not bool(((b.lo > 0) | (b.hi < 0)).all()):
        raise NoRule
    return multiplied(a, outward(1 / b.hi, 1 / b.lo))


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
}


def _contraction(node: Node, look: Look) -> tuple[Interval, ...]:
    named, factors = node.bound(), node.operation.product
    if factors is None or named.get("alpha", 1) != 1 or named.get("beta", 1) != 1:
        raise NoRule
    a, b = look(named[factors.left]), look(named[factors.right])
    _, right, _ = factors.axes(a.lo.ndim, b.lo.ndim)
    if right.startswith("jk"):  # the rows of a weight
        b = Interval(b.lo.T, b.hi.T)
    found = product(a, b)
    if found.lo.shape != node.shape:  # summed over the batch
        raise NoRule
    added = named[factors.added] if factors.added else None
    return (shifted(found, None if added is None else look(added)),)


def _convolution(node: Node, look: Look) -> tuple[Interval, ...]:
    named = node.bound()
    W = look(named["weight"])
    if not W.constant:
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
    if tally in (Tally.LARGEST, Tally.LEAST) and len(node.outputs) == 1:
        return _ends(node, look)
    if tally not in (Tally.SUM, Tally.MEAN):
        raise NoRule
    return (_added_up(node, look),)


def _added_up(node: Node, look: Look) -> Interval:
    """Return the interval of sums."""
    (ends,), x = _ends(node, look), look(node.refs[0])
    slack = 2 * EPS * x.lo.numel() * call(node, lambda _: x.size)[0]
    return outward(ends.lo, ends.hi, slack.nan_to_num(posinf=0.0))


def _cumulative(node: Node, look: Look) -> tuple[Interval, ...]:
    """Follow the order of sums and extremes so far; multiply products up."""
    tally = node.operation.tally
    if tally in (Tally.LARGEST, Tally.LEAST):
        values, places = _ends(node, look)
        return values, whole(tuple(places.lo.shape))
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
def _softmax(node: Node, look: Look) -> tuple[Interval, ...]:  # noqa: ARG001
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
    elif shares in (Statistics.BATCH, Statistics.LAYER):
        column = tuple(named["normalized_shape"]) if shares is Statistics.LAYER else column
        many = math.prod(column) if shares is Statistics.LAYER else math.prod(node.shape) // node.shape[1]
        normal = within(node.shape, -(many**0.5), many**0.5)
    else:
        raise NoRule
    if named.get("weight") is not None:
        normal = multiplied(normal, look(named["weight"]).reshape(column))
    if named.get("bias") is not None:
        normal = shifted(normal, look(named["bias"]).reshape(column))
    return _besides(normal, node)


def _attention(node: Node, look: Look) -> tuple[Interval, ...]:
    """Bound the output, a weighted mean over the keys, by their values' extremes."""
    v = look(node.bound()["value"])
    found = outward(v.lo.amin(-2, keepdim=True), v.hi.amax(-2, keepdim=True)).expand(node.shape)
    return (found.with_zero(),)  # a fully masked row yields zeros in some kernels


def _scan(node: Node, look: Look) -> tuple[Interval, ...]:
    """Bound states by the range of tanh and by the time that an LSTM's cell has had to grow."""
    named, recurrence = node.bound(), node.operation.recurrence
    if recurrence is None or recurrence.step or recurrence.grid or recurrence.cell is Cell.RELU:
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
    """Bound dropout, which keeps an element scaled up, or replaces it by zero."""
    if node.operation.noise is not Noise.DROPOUT:
        raise NoRule
    named = node.bound()
    x, p = look(named["input"]), float(named["p"])
    if not named.get("train"):
        return _besides(x, node)
    kept = outward(x.lo / (1 - p), x.hi / (1 - p)) if p < 1 else within(node.shape, 0.0, 0.0)
    return _besides(kept.with_zero(), node)


TRANSFERS: Mapping[Kind, Transfer[Interval]] = {
    Kind.CREATION: _creation,
    Kind.POINTWISE: _pointwise,
    Kind.VIEW: _ends,
    Kind.WINDOW: _ends,
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
