"""How much each operation can stretch a perturbation of the inputs: one rule per kind, for the Jacobian so far.

A `Gain` says of a value v, as a function of the inputs x, that ``lo ‖dx‖ ≤ ‖dv‖ ≤ hi ‖dx‖`` for every perturbation dx
and every x in question. Rules combine the gains of their arguments with what is known of their values (intervals).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from leadline.domains.engine import Lookup, NoRule, Transfer
from leadline.domains.values import curve_bounds
from leadline.domains.values.interval_arithmetic import Interval
from leadline.domains.values.interval_rules import call, operand
from leadline.domains.values.intervals import Values
from leadline.graph.ir import Node, Ref
from leadline.graph.table import Curve, Form, Kind, Noise, Pointwise, Statistics, Tally
from leadline.jacobian.bounds.norms import certified_range, convolution_norm
from leadline.jacobian.bounds.recurrent_gains import grid_gains, scan_gains


@dataclass(frozen=True)
class Gain:
    """Bounds on the stretching of any perturbation, from the inputs to one value."""

    lo: float
    hi: float

    def times(self, lo: float, hi: float) -> Gain:
        """Return the gain after a map that stretches by between `lo` and `hi`, rounded outward; 0 · ∞ counts as 0."""
        return rounded(self.lo * lo if self.lo and lo else 0.0, self.hi * hi if self.hi and hi else 0.0)


NOTHING = Gain(0.0, 0.0)


def rounded(lo: float, hi: float) -> Gain:
    """Return a gain with both sides moved outward by one unit in the last place; zero stays zero."""
    return Gain(max(0.0, math.nextafter(lo, 0.0)), math.nextafter(hi, math.inf) if hi else 0.0)


Look = Lookup[Gain]


class Rules:
    """The transfers, given the intervals of all values."""

    def __init__(self, values: Values) -> None:
        self.values = values
        rules: Mapping[Kind, Transfer[Gain]] = {
            Kind.POINTWISE: self._pointwise,
            Kind.VIEW: self._view,
            Kind.CONTRACTION: self._contraction,
            Kind.CONVOLUTION: self._convolution,
            Kind.REDUCTION: self._reduction,
            Kind.SOFTMAX: self._softmax,
            Kind.NORMALISATION: self._normalisation,
            Kind.WINDOW: self._window,
            Kind.ATTENTION: self._attention,
            Kind.SCAN: self._scan,
            Kind.CUMULATIVE: self._cumulative,
            Kind.RANDOM: self._random,
        }
        self.transfers: Mapping[Kind, Transfer[Gain]] = {kind: partial(_if_moved, rules.get(kind)) for kind in Kind}

    def _pointwise(self, node: Node, look: Look) -> tuple[Gain, ...]:
        named, facts = node.bound(), node.operation.pointwise
        if facts is None:
            raise NoRule
        same, curve = facts.identity(named), facts.curve(named)
        if same is not None:
            found = self._repeated(node, named[same], look).times(0.0 if facts.detaches else 1.0, 1.0)
        elif curve is not None:
            found = self._curve(curve, node, named[facts.operands[0]], look)
        else:
            found = self._combined(node, facts, [named[name] for name in facts.operands], look)
        return (found, *(Gain(0.0, math.inf) for _ in node.outputs[1:]))

    def _curve(self, curve: Curve, node: Node, ref: Ref, look: Look) -> Gain:
        """Return the gain of a function of one number, by its slopes."""
        least, most = curve_bounds.slopes(curve, lambda x: call(node, lambda _: x)[0], self.values[ref])
        return look(ref).times(float(least.min()), float(most.max())) if least.numel() else NOTHING

    def _combined(self, node: Node, facts: Pointwise, operands: list[Any], look: Look) -> Gain:
        """Return the gain of a function of several operands."""
        if facts.form in (Form.SUM, Form.DIFFERENCE):
            return self._sum(node, look, *operands)
        if facts.form is Form.REVERSED:
            return self._sum(node, look, *reversed(operands))
        if facts.form in (Form.CHOICE, Form.MAXIMUM, Form.MINIMUM):  # every element is one of either argument's
            return rounded(0.0, math.hypot(*(self._repeated(node, argument, look).hi for argument in operands)))
        if facts.form is Form.PRODUCT:
            return self._product(node, look, *operands)
        if facts.form is Form.QUOTIENT:
            return self._quotient(node, look, *operands)
        raise NoRule

    def _quotient(self, node: Node, look: Look, a: Any, b: Any) -> Gain:
        """Return the gain of ``a / b`` for a divisor that stands still."""
        below = operand(b, self.values.__getitem__)
        size, least = below.size, torch.minimum(below.lo.abs(), below.hi.abs())
        if (isinstance(b, Ref) and look(b).hi > 0) or not bool((below.lo * below.hi > 0).all()):
            raise NoRule
        return self._repeated(node, a, look).times(float((1 / size).min()), float((1 / least).max()))

    def _repeated(self, node: Node, argument: Any, look: Look) -> Gain:
        """Return the gain of an argument after broadcasting, which repeats each element equally often."""
        if not isinstance(argument, Ref):
            return NOTHING
        times = math.prod(node.shape) / max(1, self.values[argument].lo.numel())
        return look(argument) if times == 1 else look(argument).times(math.sqrt(times), math.sqrt(times))

    def _sum(self, node: Node, look: Look, first: Any, second: Any) -> Gain:
        """Return the gain of ``a ± s b``: by the triangle inequality, on either side."""
        scale = abs(float(node.bound().get("alpha", 1)))
        a, b = self._repeated(node, first, look), self._repeated(node, second, look)
        b = b if scale == 1.0 else b.times(scale, scale)
        return rounded(max(0.0, a.lo - b.hi, b.lo - a.hi), a.hi + b.hi)

    def _product(self, node: Node, look: Look, a: Any, b: Any) -> Gain:
        """Return the gain of ``a ⊙ b``, ``sup|b| ‖da‖ + sup|a| ‖db‖``."""
        known = self.values.__getitem__
        sizes = [operand(argument, known).size for argument in (a, b)]
        first, second = self._repeated(node, a, look), self._repeated(node, b, look)
        upper = first.times(0.0, float(sizes[1].max())).hi + second.times(0.0, float(sizes[0].max())).hi
        lower = 0.0
        if second.hi == 0.0 and operand(b, known).constant:
            lower = first.times(float(sizes[1].min()), 0.0).lo
        elif first.hi == 0.0 and operand(a, known).constant:
            lower = second.times(float(sizes[0].min()), 0.0).lo
        return rounded(lower, upper)

    def _view(self, node: Node, look: Look) -> tuple[Gain, ...]:
        """Count how often each element is used: once or more keeps perturbations, dropping some may lose them."""
        refs = [ref for ref in dict.fromkeys(node.refs) if look(ref).hi > 0]
        gains = []
        for output in range(len(node.outputs)):
            parts = [self._used(node, ref, output, look(ref)) for ref in refs]
            hi = math.hypot(*[part.hi for part in parts])
            gains.append(rounded(max((part.lo for part in parts), default=0.0), hi) if len(parts) != 1 else parts[0])
        return tuple(gains)

    def _used(self, node: Node, ref: Ref, output: int, gain: Gain) -> Gain:
        """Return the gain of one argument, by moving numbered elements and counting where they went."""
        count = self.values[ref].lo.numel()
        numbers = torch.arange(1.0, count + 1, dtype=torch.float64).reshape(self.values[ref].lo.shape)

        def moved(elements: Tensor) -> Tensor:
            results = call(node, lambda other: elements if other == ref else torch.zeros_like(self.values[other].lo))
            chosen: Tensor = results[output]
            return chosen

        literal = moved(torch.zeros_like(numbers)) != 0  # what padding fills in
        uses = torch.bincount(moved(numbers)[~literal].flatten().long(), minlength=count + 1)[1:]
        least, most = int(uses.min()), int(uses.max())
        return gain if least == most == 1 else gain.times(math.sqrt(least), math.sqrt(most))

    def _contraction(self, node: Node, look: Look) -> tuple[Gain, ...]:
        named, factors = node.bound(), node.operation.product
        if factors is None or named.get("alpha", 1) != 1 or named.get("beta", 1) != 1:
            raise NoRule
        a, b = named[factors.left], named[factors.right]
        if factors.added:
            self._still(look, named[factors.added])
        left, right, result = factors.axes(self.values[a].lo.ndim, self.values[b].lo.ndim)
        if right.startswith("jk"):  # the rows of a weight
            self._still(look, b)
            return (_linear(look(a), self.values[b].lo),)
        if set(left + right) - {"k"} != set(result):  # summed over the batch
            raise NoRule
        if look(b).hi == 0 and self.values[b].constant and self.values[b].lo.ndim == 2:
            return (_linear(look(a), self.values[b].lo.T),)
        if look(a).hi == 0 and self.values[a].constant and self.values[a].lo.ndim == 2 and self.values[b].lo.ndim <= 2:
            return (_linear(look(b), self.values[a].lo),)
        sizes = [_largest_matrix(self.values[ref]) for ref in (a, b)]
        return (rounded(0.0, look(a).times(0.0, sizes[1]).hi + look(b).times(0.0, sizes[0]).hi),)

    def _still(self, look: Look, *arguments: Any) -> None:
        """Insist that weights do not depend on the inputs."""
        for argument in arguments:
            if isinstance(argument, Ref) and (look(argument).hi > 0 or not self.values[argument].constant):
                raise NoRule

    def _convolution(self, node: Node, look: Look) -> tuple[Gain, ...]:
        named = node.bound()
        self._still(look, named["weight"], named.get("bias"))
        W = self.values[named["weight"]].lo
        dims = W.ndim - 2
        size, dilation = self.values[named["input"]].lo.shape[-dims:], named["dilation"]
        if named.get("transposed") or node.operation.transposed:
            raise NoRule
        if len(dilation) != dims:
            dilation = tuple(dilation) * dims
        return (look(named["input"]).times(0.0, convolution_norm(W, tuple(size), tuple(dilation), named["groups"])),)

    def _reduction(self, node: Node, look: Look) -> tuple[Gain, ...]:
        tally, ref = node.operation.tally, node.refs[0]
        if tally in (Tally.LARGEST, Tally.LEAST) and len(node.outputs) == 1:
            return (look(ref).times(0.0, 1.0),)
        if tally not in (Tally.SUM, Tally.MEAN):
            raise NoRule
        merged = self.values[ref].lo.numel() / max(1, math.prod(node.shape))
        return (look(ref).times(0.0, math.sqrt(merged) if tally is Tally.SUM else 1 / math.sqrt(merged)),)

    def _softmax(self, node: Node, look: Look) -> tuple[Gain, ...]:
        """Use ``‖diag p - ppᵀ‖ ≤ ½``; the logarithm's ``I - 1pᵀ`` is an oblique projection of norm at most √n."""
        ref, dim = node.refs[0], node.bound()["dim"]
        return (look(ref).times(0.0, math.sqrt(max(2, node.shape[dim])) if node.operation.logarithm else 0.5),)

    def _normalisation(self, node: Node, look: Look) -> tuple[Gain, ...]:
        """Use the closed form: at most ``|γ|/s``, and ``s ≥ √ε`` where statistics come from the values."""
        named = node.bound()
        x, weight = named["input"], named.get("weight")
        self._still(look, weight, named.get("bias"))
        sizes = self.values[weight].size if weight is not None else torch.ones(1, dtype=torch.float64)
        if node.operation.frozen(named):
            factors = sizes / torch.sqrt(self.values[named["running_var"]].lo + named["eps"])
            gain = look(x).times(float(factors.min()) * (1 - 1e-15), float(factors.max()) * (1 + 1e-15))
        elif node.operation.statistics in (Statistics.BATCH, Statistics.LAYER):
            gain = look(x).times(0.0, float(sizes.max()) / math.sqrt(named["eps"]) * (1 + 1e-15))
        else:
            raise NoRule
        return (gain, *(Gain(0.0, math.inf) for _ in node.outputs[1:]))

    def _window(self, node: Node, look: Look) -> tuple[Gain, ...]:
        """Count the windows that an element can be in; a mean divides by its size."""
        named = node.bound()
        if node.operation.adaptive:
            raise NoRule
        kernel, stride = named["kernel_size"], named.get("stride") or named["kernel_size"]
        overlap = math.prod(math.ceil(k / s) for k, s in zip(kernel, stride * len(kernel), strict=False))
        scale = 1 / math.sqrt(math.prod(kernel)) if node.operation.tally is Tally.MEAN else 1.0
        gain = look(node.refs[0]).times(0.0, math.sqrt(overlap) * scale)
        return (gain, *(NOTHING for _ in node.outputs[1:]))

    def _random(self, node: Node, look: Look) -> tuple[Gain, ...]:
        """Bound dropout, which keeps an element scaled up, or loses it."""
        if node.operation.noise is not Noise.DROPOUT:
            raise NoRule
        named = node.bound()
        p = float(named["p"]) if named.get("train") else 0.0
        gain = look(named["input"]).times(float(p == 0.0), 1 / (1 - p) if p < 1 else 0.0)
        return (gain, *[NOTHING] * (len(node.outputs) - 1))

    def _attention(self, node: Node, look: Look) -> tuple[Gain, ...]:
        """Split ``d(P V) = P dV + dP V``: rows of P sum to 1, and softmax halves what its logits move by."""
        named = node.bound()
        q, k, v = (named[name] for name in ("query", "key", "value"))
        scale = named.get("scale") or self.values[q].lo.shape[-1] ** -0.5
        sizes = {ref: _largest_matrix(self.values[ref]) for ref in (q, k, v)}
        logits = scale * (look(q).times(0.0, sizes[k]).hi + look(k).times(0.0, sizes[q]).hi)
        queries = self.values[q].lo.shape[-2]
        through = 0.5 * logits * sizes[v] if logits and sizes[v] else 0.0
        direct = look(v).times(0.0, math.sqrt(queries)).hi
        return (rounded(0.0, (direct + through) * (1 + 1e-14)),)

    def _scan(self, node: Node, look: Look) -> tuple[Gain, ...]:
        recurrence = node.operation.recurrence
        rule = grid_gains if recurrence is not None and recurrence.grid else scan_gains
        return tuple(Gain(0.0, hi) for hi in rule(node, self.values, lambda ref: look(ref).hi))

    def _cumulative(self, node: Node, look: Look) -> tuple[Gain, ...]:
        """Use the spectrum of the triangle of ones, ``1/(2 cos(kπ/(2n+1)))``; the others take means or copies of n."""
        tally, ref, dim = node.operation.tally, node.refs[0], node.bound()["dim"]
        n = self.values[ref].lo.shape[dim] if node.shape else 1
        if tally is Tally.SUM:
            values = [0.5 / math.cos(k * math.pi / (2 * n + 1)) for k in (1, n)]
            return (look(ref).times(values[0] * (1 - 1e-13), values[1] * (1 + 1e-13 * n)),)
        if tally is Tally.PRODUCT:
            return (look(ref).times(0.0, _largest_product(self.values[ref].size, dim)),)
        return (look(ref).times(0.0, math.sqrt(n)), *(NOTHING for _ in node.outputs[1:]))


def _if_moved(rule: Transfer[Gain] | None, node: Node, look: Look) -> tuple[Gain, ...]:
    """Follow the rule of a kind, unless nothing that moves comes in or nothing that can move goes out."""
    floating = any(meta is not None and meta.dtype.is_floating_point for meta in node.outputs)
    if not floating or node.kind is Kind.CREATION or not any(look(ref).hi > 0 for ref in node.refs):
        return (NOTHING,) * len(node.outputs)
    if rule is None:
        raise NoRule
    return rule(node, look)


def _linear(x: Gain, W: Tensor) -> Gain:
    """Return the gain after ``x Wᵀ``; a map to fewer dimensions may lose a perturbation."""
    lo, hi = certified_range(W)
    return x.times(lo if W.shape[0] >= W.shape[1] else 0.0, hi)


def _largest_product(sizes: Tensor, dim: int) -> float:
    """Return an upper bound on the norm of the Jacobian of products so far, whose factors have at most these sizes.

    No entry is larger than the product of all sizes up to its row but the one of its column; nor is then the norm.
    """
    factors = sizes.movedim(dim, -1).flatten(0, -2).amax(0) if sizes.ndim else sizes.reshape(1)
    if not bool(factors.isfinite().all()):
        raise NoRule
    others = factors.expand(len(factors), -1).clone()
    others.fill_diagonal_(1.0)
    return certified_range(others.cumprod(-1).triu())[1] * (1 + 1e-15 * len(factors))


def _largest_matrix(x: Interval) -> float:
    """Return an upper bound on the norm of every matrix of a batch, by Frobenius."""
    squares = x.size.square().sum((-2, -1)) if x.size.ndim >= 2 else x.size.square().sum()
    return float(squares.max().sqrt()) * (1 + 1e-12)


def any_gain(node: Node, look: Callable[[Ref], Gain]) -> tuple[Gain, ...]:
    """Return the sound answer for an unknown operation: any stretching at all, or none if nothing moves."""
    moves = any(look(ref).hi > 0 for ref in node.refs)
    return (Gain(0.0, math.inf if moves else 0.0),) * len(node.outputs)
