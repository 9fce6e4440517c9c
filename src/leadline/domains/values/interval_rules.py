"""How intervals pass through operations: one transfer per kind."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor

from leadline.domains.engine import Lookup, NoRule, Transfer
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
from leadline.graph.ir import Node, Ref, substitute
from leadline.graph.table import Kind

Look: TypeAlias = Lookup[Interval]


# rules have one signature, whether they look at operands or not
def top(node: Node, look: Look) -> tuple[Interval, ...]:  # noqa: ARG001
    """Return the whole line: sound for any operation."""
    return tuple(whole(meta.shape if meta else ()) for meta in node.outputs)


def call(node: Node, look: Callable[[Ref], Any]) -> Any:
    """Run a node's own operation on values for its references."""
    assert node.target is not None, f"{node.op} has nothing to run"

    def laid_out(ref: Ref) -> Any:
        # `view` needs a layout that these tensors may not have by themselves.
        value = look(ref)
        return value.contiguous() if isinstance(value, Tensor) else value

    args = [substitute(argument, laid_out) for argument in node.args]
    return node.target(*args, **{key: substitute(value, laid_out) for key, value in node.kwargs.items()})


def _creation(node: Node, look: Look) -> tuple[Interval, ...]:
    if node.refs and not all(look(ref).constant for ref in node.refs):
        raise NoRule
    if "empty" in node.op:
        raise NoRule
    return (point(call(node, lambda ref: look(ref).lo)),)


def _ends(node: Node, look: Look) -> tuple[Interval, ...]:
    """Run an operation that keeps the order of its argument on both ends."""
    lows, highs = call(node, lambda ref: look(ref).lo), call(node, lambda ref: look(ref).hi)
    if isinstance(lows, Tensor):
        lows, highs = [lows], [highs]
    return tuple(Interval(lo.double(), hi.double()) for lo, hi in zip(lows, highs, strict=True))


_MONOTONE = """
    alias clone contiguous detach lift_fresh lift_fresh_copy positive tanh sigmoid relu relu6 elu leaky_relu selu celu
    softplus exp expm1 erf atan sinh asinh hardtanh hardsigmoid clamp clamp_min clamp_max log_sigmoid floor ceil round
"""
MONOTONE = frozenset(_MONOTONE.split())

# Activations with one dip: a bound on its depth. They rise to its right, and are not positive to its left.
BUMPS = {"gelu": -0.1701, "silu": -0.2785, "mish": -0.3089, "hardswish": -0.3751}


def _pointwise(node: Node, look: Look) -> tuple[Interval, ...]:
    name = node.op.split(".")[1]
    if name in ("_to_copy", "to"):
        if not node.meta.dtype.is_floating_point:
            raise NoRule
        return (look(node.refs[0]),)
    if name in MONOTONE and len(node.refs) == 1:
        (ends,) = _ends(node, look)
        return (outward(ends.lo, ends.hi),)
    if name in BUMPS:
        x = look(node.refs[0])
        top = call(node, lambda _: x.hi).nan_to_num(nan=0.0)
        return (outward(torch.full_like(top, BUMPS[name]), top.clamp(min=0.0)),)
    rule = _BINARY.get(name)
    if rule is None:
        raise NoRule
    return (rule(node, look),)


def operand(argument: Any, look: Look) -> Interval:
    """Return the interval of an argument: a reference or a number."""
    return look(argument) if isinstance(argument, Ref) else point(torch.tensor(float(argument)))


def _add(node: Node, look: Look, sign: float = 1.0) -> Interval:
    named = node.bound()
    a, b = operand(named["self"], look), operand(named["other"], look)
    scale = sign * float(named.get("alpha", 1))
    c, d = (scale * b.lo, scale * b.hi) if scale >= 0 else (scale * b.hi, scale * b.lo)
    return outward(a.lo + c, a.hi + d, 2 * EPS * (a.size + b.size * abs(scale)).nan_to_num(posinf=0.0))


def _mul(node: Node, look: Look) -> Interval:
    a, b = (operand(argument, look) for argument in node.args[:2])
    return multiplied(a, b)


def _div(node: Node, look: Look) -> Interval:
    if node.kwargs.get("rounding_mode"):
        raise NoRule
    a, b = (operand(argument, look) for argument in node.args[:2])
    if not bool(((b.lo > 0) | (b.hi < 0)).all()):
        raise NoRule
    inverse = outward(1 / b.hi, 1 / b.lo)
    return multiplied(a, inverse)


def _neg(node: Node, look: Look) -> Interval:
    x = look(node.refs[0])
    return Interval(-x.hi, -x.lo)


def _abs(node: Node, look: Look) -> Interval:
    x = look(node.refs[0])
    inside = (x.lo <= 0) & (x.hi >= 0)
    return Interval(torch.where(inside, 0.0, torch.minimum(x.lo.abs(), x.hi.abs())), x.size)


def _wave(node: Node, look: Look) -> Interval:
    return within(tuple(look(node.refs[0]).lo.shape), -1.0, 1.0)


def _extreme(pick: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Node, Look], Interval]:
    def rule(node: Node, look: Look) -> Interval:
        a, b = (operand(argument, look) for argument in node.args[:2])
        return Interval(pick(a.lo, b.lo), pick(a.hi, b.hi))

    return rule


_BINARY: Mapping[str, Callable[[Node, Look], Interval]] = {
    "add": _add,
    "sub": lambda node, look: _add(node, look, -1.0),
    "mul": _mul,
    "div": _div,
    "neg": _neg,
    "abs": _abs,
    "sin": _wave,
    "cos": _wave,
    "maximum": _extreme(torch.maximum),
    "minimum": _extreme(torch.minimum),
}


def _contraction(node: Node, look: Look) -> tuple[Interval, ...]:
    name, args = node.op.split(".")[1], node.args
    if name == "linear":
        W, bias = look(args[1]), (look(args[2]) if len(args) > 2 and args[2] is not None else None)
        return (shifted(product(look(args[0]), Interval(W.lo.T, W.hi.T)), bias),)
    if name == "addmm" and not node.kwargs:
        return (shifted(product(look(args[1]), look(args[2])), look(args[0])),)
    if name in ("matmul", "mm", "bmm", "mv", "dot"):
        return (product(look(args[0]), look(args[1])),)
    raise NoRule


def _convolution(node: Node, look: Look) -> tuple[Interval, ...]:
    named = node.bound()
    W = look(named["weight"])
    if not W.constant:
        raise NoRule

    def apply(x: Tensor, weight: Tensor) -> Tensor:
        values = {named["input"]: x, named["weight"]: weight}
        result: Tensor = call(node, lambda ref: values.get(ref))
        return result

    bias = named.get("bias")
    terms = W.lo[0].numel() if "transpose" not in node.op else W.lo.numel()
    found = image(apply, look(named["input"]), W.lo, terms)
    if bias is None:
        return (found,)
    offset = look(bias)
    column = (-1, *[1] * (W.lo.ndim - 2))
    return (shifted(found, Interval(offset.lo.reshape(column), offset.hi.reshape(column))),)


def _reduction(node: Node, look: Look) -> tuple[Interval, ...]:
    name = node.op.split(".")[1]
    if name in ("amax", "amin"):
        return _ends(node, look)
    if name not in ("sum", "mean"):
        raise NoRule
    (ends,) = _ends(node, look)
    x = look(node.refs[0])
    slack = 2 * EPS * x.lo.numel() * call(node, lambda _: x.size)
    return (outward(ends.lo, ends.hi, slack.nan_to_num(posinf=0.0)),)


# bounded whatever it is given
def _softmax(node: Node, look: Look) -> tuple[Interval, ...]:  # noqa: ARG001
    return (within(node.shape, -math.inf, 0.0) if "log" in node.op else within(node.shape, 0.0, 1.0),)


def fixed_statistics(node: Node) -> bool:
    """Whether a normalisation takes its statistics from buffers, not from what it normalises."""
    return "no_training" in node.op or ("batch_norm" in node.op and node.bound().get("training") is False)


def _normalisation(node: Node, look: Look) -> tuple[Interval, ...]:
    """Bound what is normalised by the root of the number of elements that share statistics."""
    named = node.bound()
    if fixed_statistics(node):
        mean, var = look(named["running_mean"]), look(named["running_var"])
        scale = Interval(var.lo, var.hi)
        inverse = outward(1 / torch.sqrt(scale.hi + named["eps"]), 1 / torch.sqrt(scale.lo + named["eps"]))
        column = (-1, *[1] * (len(node.shape) - 2))
        x = look(named["input"])
        centred = outward(x.lo - mean.hi.reshape(column), x.hi - mean.lo.reshape(column))
        normal = multiplied(centred, Interval(inverse.lo.reshape(column), inverse.hi.reshape(column)))
    elif "batch_norm" in node.op:
        m = math.prod(node.shape) // node.shape[1]
        normal, column = within(node.shape, -(m**0.5), m**0.5), (-1, *[1] * (len(node.shape) - 2))
    elif node.op.startswith("aten.layer_norm"):
        m = math.prod(named["normalized_shape"])
        normal, column = within(node.shape, -(m**0.5), m**0.5), tuple(named["normalized_shape"])
    else:
        raise NoRule
    if named.get("weight") is not None:
        weight = look(named["weight"])
        normal = multiplied(normal, Interval(weight.lo.reshape(column), weight.hi.reshape(column)))
    if named.get("bias") is not None:
        bias = look(named["bias"])
        normal = shifted(normal, Interval(bias.lo.reshape(column), bias.hi.reshape(column)))
    return (normal, *(whole(meta.shape if meta else ()) for meta in node.outputs[1:]))


def _attention(node: Node, look: Look) -> tuple[Interval, ...]:
    """Bound the output, a weighted mean over the keys, by their values' extremes."""
    v = look(node.bound()["value"])
    lo, hi = v.lo.amin(-2, keepdim=True), v.hi.amax(-2, keepdim=True)
    found = outward(lo.expand(node.shape).clone(), hi.expand(node.shape).clone())
    # A fully masked row yields zeros in some kernels.
    return (Interval(found.lo.clamp(max=0.0), found.hi.clamp(min=0.0)),)


def _scan(node: Node, look: Look) -> tuple[Interval, ...]:
    """Bound states by the range of tanh and by the time that an LSTM's cell has had to grow."""
    name = node.op.split(".")[1]
    if name not in ("rnn_tanh", "gru", "lstm") or "input" not in node.op:
        raise NoRule
    initial = node.args[1:3] if name == "lstm" and isinstance(node.args[1], Ref) else node.args[1:2]
    states = [look(ref) for part in initial for ref in (part if isinstance(part, tuple) else (part,))]
    reach = max(1.0, float(states[0].size.max()))
    found = [within(meta.shape, -reach, reach) for meta in node.outputs if meta]
    if name == "lstm":
        time = max(look(node.args[0]).lo.shape[:2])
        cell = float(states[1].size.max()) + time
        found[0], found[1] = (within(tuple(item.lo.shape), -1.0, 1.0) for item in found[:2])
        found[2] = within(tuple(found[2].lo.shape), -cell, cell)
    return tuple(found)


def _gather(node: Node, look: Look) -> tuple[Interval, ...]:
    if not node.op.startswith("aten.embedding"):
        raise NoRule
    table = look(node.args[0])
    return (Interval(table.lo.amin(0).expand(node.shape).clone(), table.hi.amax(0).expand(node.shape).clone()),)


def _random(node: Node, look: Look) -> tuple[Interval, ...]:
    """Bound dropout, which keeps an element scaled up, or replaces it by zero."""
    if "dropout" not in node.op or "alpha" in node.op:
        raise NoRule
    named = node.bound()
    x, p = look(named["input"]), float(named["p"])
    if not named.get("train"):
        return (x, *(whole(meta.shape if meta else ()) for meta in node.outputs[1:]))
    kept = outward(x.lo / (1 - p), x.hi / (1 - p)) if p < 1 else within(node.shape, 0.0, 0.0)
    found = Interval(kept.lo.clamp(max=0.0), kept.hi.clamp(min=0.0))
    return (found, *(whole(meta.shape if meta else ()) for meta in node.outputs[1:]))


TRANSFERS: Mapping[Kind, Transfer[Interval]] = {
    Kind.CREATION: _creation,
    Kind.POINTWISE: _pointwise,
    Kind.VIEW: _ends,
    Kind.WINDOW: _ends,
    Kind.CONTRACTION: _contraction,
    Kind.CONVOLUTION: _convolution,
    Kind.REDUCTION: _reduction,
    Kind.SOFTMAX: _softmax,
    Kind.NORMALISATION: _normalisation,
    Kind.ATTENTION: _attention,
    Kind.SCAN: _scan,
    Kind.GATHER: _gather,
    Kind.RANDOM: _random,
}
