"""How much each operation can stretch a perturbation of the inputs: one rule per kind, for the Jacobian so far.

Rules combine the gains of their arguments with what is known of their values (intervals). One that cannot tell raises
`NoRule`: nothing counts as not moving but what no input reaches, and what has no derivative.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from leadline.domains.engine import NoRule, Transfer
from leadline.domains.values.interval_arithmetic import EPS, Interval
from leadline.domains.values.interval_rules import numbers_read
from leadline.graph.ir import Node, Ref
from leadline.graph.table import Kind, Move, Noise, Statistics, Tally
from leadline.jacobian.bounds.attention_gains import attention
from leadline.jacobian.bounds.gain import NOTHING, Gain, Known, Look, Rule, above, kept
from leadline.jacobian.bounds.linear_gains import contraction, convolution, fourier, reduction, window
from leadline.jacobian.bounds.norms import certified_range
from leadline.jacobian.bounds.pointwise_gains import pointwise
from leadline.jacobian.bounds.recurrent_gains import grid_gains, scan_gains
from leadline.jacobian.bounds.spectra import with_mirrored
from leadline.jacobian.bounds.view_gains import used, view


def transfers(known: Known) -> Mapping[Kind, Transfer[Gain]]:
    """Return the rules of all kinds."""
    return {kind: partial(_if_moved, _RULES.get(kind), known) for kind in Kind}


def _if_moved(rule: Rule | None, known: Known, node: Node, look: Look) -> tuple[Gain, ...]:
    """Follow the rule of a kind, unless nothing that moves comes in or nothing that has a derivative goes out."""
    moved = any(look(ref).moves for ref in node.refs)
    smooth = any(meta is not None and (meta.dtype.is_floating_point or meta.dtype.is_complex) for meta in node.outputs)
    bits = node.kind is Kind.VIEW and node.operation.move is Move.RETYPE
    if not moved or not (smooth or bits):
        return (NOTHING,) * len(node.outputs)
    if rule is None:
        raise NoRule
    return with_mirrored(node, look, known, rule(node, look, known))


def _creation(node: Node, look: Look, known: Known) -> tuple[Gain, ...]:  # noqa: ARG001
    """Fill new memory with what does not move; a number read from a tensor may."""
    if any(look(ref).moves for ref in numbers_read(node)):
        raise NoRule
    return (NOTHING,) * len(node.outputs)


def any_gain(node: Node, look: Callable[[Ref], Gain]) -> tuple[Gain, ...]:
    """Return the sound answer for an unknown operation: any stretching at all, or none if nothing moves."""
    moves = any(look(ref).moves for ref in node.refs)
    return (Gain(0.0, math.inf if moves else 0.0),) * len(node.outputs)


def _softmax(node: Node, look: Look, known: Known) -> tuple[Gain, ...]:  # noqa: ARG001 - all have one signature
    """Use ``‖diag p - ppᵀ‖ ≤ ½``; the logarithm's ``I - 1pᵀ`` is an oblique projection of norm at most √n."""
    ref, dim = node.refs[0], node.bound()["dim"]
    return (look(ref).times(0.0, math.sqrt(max(2, node.shape[dim])) if node.operation.logarithm else 0.5),)


def _normalisation(node: Node, look: Look, known: Known) -> tuple[Gain, ...]:
    """Use the closed form: at most ``|γ|/s``, and ``s ≥ √ε`` where statistics come from the values."""
    named, statistics = node.bound(), node.operation.statistics
    weight, bias = named.get("weight"), named.get("bias")
    if statistics is Statistics.WEIGHT or any(ref is not None and look(ref).moves for ref in (weight, bias)):
        raise NoRule
    x: Ref = named["input"]
    one = torch.ones(1, dtype=torch.float64)
    factors = Interval(one, one) if weight is None else known.values[weight]
    least, most = factors.least, factors.size
    eps = named["eps"] if named["eps"] is not None else torch.finfo(node.meta.dtype).eps
    if node.operation.frozen(named):
        variance = known.values[named["running_var"]]
        if any(look(named[name]).moves for name in ("running_mean", "running_var")):
            raise NoRule
        low, high = (variance.lo + eps).clamp(min=0.0).sqrt(), (variance.hi + eps).sqrt()
        gain = look(x).times(float((least / high).min()) * (1 - 8 * EPS), float((most / low).max()) * (1 + 8 * EPS))
    else:
        steepest = 1 / math.sqrt(eps) * (1 + 8 * EPS) if eps > 0 else math.inf
        gain = look(x).times(0.0, above(float(most.max()), steepest))
    return (gain, *(Gain(0.0, math.inf) for _ in node.outputs[1:]))


def _random(node: Node, look: Look, known: Known) -> tuple[Gain, ...]:  # noqa: ARG001
    """Bound dropout, which keeps an element scaled up, or loses it, and slopes that are drawn."""
    named, noise = node.bound(), node.operation.noise
    if noise is Noise.SHAPE:
        return (NOTHING,) * len(node.outputs)
    if noise is Noise.SLOPE:
        slopes = [abs(float(named[end])) for end in ("lower", "upper")]
        least = 0.0 if float(named["lower"]) <= 0 <= float(named["upper"]) else min(1.0, *slopes)
        return (look(named["self"]).times(least, max(1.0, *slopes)),)
    if noise not in (Noise.DROPOUT, Noise.ALPHA_DROPOUT):
        raise NoRule
    if node.operation.quiet(named):
        gain = look(named["input"])
    elif noise is Noise.DROPOUT:
        gain = look(named["input"]).times(0.0, kept(float(named["p"])))
    else:
        raise NoRule
    return (gain, *[NOTHING] * (len(node.outputs) - 1))


def _scan(node: Node, look: Look, known: Known) -> tuple[Gain, ...]:
    recurrence = node.operation.recurrence
    rule = grid_gains if recurrence is not None and recurrence.grid else scan_gains
    return tuple(Gain(0.0, hi) for hi in rule(node, known.values, lambda ref: look(ref).hi))


def _cumulative(node: Node, look: Look, known: Known) -> tuple[Gain, ...]:
    """Use the spectrum of the triangle of ones, ``1/(2 cos(kπ/(2n+1)))``; the others take means or copies of n."""
    tally, ref, dim = node.operation.tally, node.refs[0], node.bound()["dim"]
    if known.values[ref].pairs:
        raise NoRule
    n = node.shape[dim] if node.shape else 1
    if tally is Tally.SUM:
        values = [0.5 / math.cos(k * math.pi / (2 * n + 1)) for k in (1, n)]
        return (look(ref).times(values[0] * (1 - 1e-13), values[1] * (1 + 1e-13 * n)),)
    if tally is Tally.PRODUCT:
        return (look(ref).times(0.0, _largest_product(known.values[ref].size, dim)),)
    return (look(ref).times(0.0, math.sqrt(n) * (1 + 4 * EPS)), *(NOTHING for _ in node.outputs[1:]))


def _largest_product(sizes: Tensor, dim: int) -> float:
    """Return an upper bound on the norm of the Jacobian of products so far, whose factors have at most these sizes.

    No entry is larger than the product of all sizes up to its row but the one of its column; nor is then the norm.
    """
    factors = sizes.movedim(dim, -1).flatten(0, -2).amax(0) if sizes.ndim else sizes.reshape(1)
    if not bool(factors.isfinite().all()):
        raise NoRule
    others = factors.expand(len(factors), -1).clone()
    others.fill_diagonal_(1.0)
    products = others.cumprod(-1).clamp(min=5e-324).triu()
    if not bool(products.isfinite().all()):
        raise NoRule
    return certified_range(products)[1] * (1 + 1e-15 * len(factors))


_RULES: Mapping[Kind, Rule] = {
    Kind.CREATION: _creation,
    Kind.POINTWISE: pointwise,
    Kind.VIEW: view,
    Kind.GATHER: used,
    Kind.CONTRACTION: contraction,
    Kind.CONVOLUTION: convolution,
    Kind.REDUCTION: reduction,
    Kind.SOFTMAX: _softmax,
    Kind.NORMALISATION: _normalisation,
    Kind.WINDOW: window,
    Kind.ATTENTION: attention,
    Kind.SCAN: _scan,
    Kind.CUMULATIVE: _cumulative,
    Kind.RANDOM: _random,
    Kind.MIXING: fourier,
}
