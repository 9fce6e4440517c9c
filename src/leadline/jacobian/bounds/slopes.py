"""Between which two absolute values the slope of an activation lies on an interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from leadline.domains.values.interval_arithmetic import EPS, Interval
from leadline.graph.ir import Node

Slopes = Callable[[Node, Interval], tuple[Tensor, Tensor]]


def slope_range(node: Node, x: Interval) -> tuple[float, float] | None:
    """Return the least and the largest ``|φ'|`` over all elements of an interval; None for an unknown activation.

    Each rule rounds its own slopes outward; at a kink, either side's slope counts.
    """
    rule = SLOPES.get(node.op.split(".")[1])
    if rule is None:
        return None
    least, most = rule(node, x)
    if not least.numel():
        return 0.0, 0.0
    return float(least.min()), float(most.max())


def _peaked(slope: Callable[[Tensor], Tensor], peak: float) -> Slopes:
    """Return the rule of a slope that is even, falls on either side of 0, and is `peak` there, exactly."""

    def rule(_: Node, x: Interval) -> tuple[Tensor, Tensor]:
        near = torch.where((x.lo <= 0) & (x.hi >= 0), 0.0, torch.minimum(x.lo.abs(), x.hi.abs()))
        most = torch.where(near == 0, peak, slope(near) * (1 + 16 * EPS))
        return slope(x.size) * (1 - 16 * EPS), most

    return rule


def _rising(slope: Callable[[Tensor], Tensor]) -> Slopes:
    """Return the rule of a slope that is positive and never falls."""
    return lambda _, x: (slope(x.lo) * (1 - 16 * EPS), slope(x.hi) * (1 + 16 * EPS))


def _between(least: float, most: float) -> Slopes:
    """Return the rule of a slope known only to lie between two numbers."""
    return lambda _, x: (torch.full_like(x.lo, least), torch.full_like(x.lo, most))


def _leaky(node: Node, x: Interval) -> tuple[Tensor, Tensor]:
    named = node.bound()
    slope = abs(float(named.get("negative_slope", 0.0)))
    left, right = torch.where(x.lo < 0, slope, 1.0), torch.where(x.hi > 0, 1.0, slope)
    least, most = torch.minimum(left, right), torch.maximum(left, right)
    touched = (x.lo <= 0) & (x.hi >= 0)
    return torch.where(touched, min(slope, 1.0), least), torch.where(touched, max(slope, 1.0), most)


def _relu(_: Node, x: Interval) -> tuple[Tensor, Tensor]:
    return (x.lo > 0).double(), (x.hi >= 0).double()


def _sech2(x: Tensor) -> Tensor:
    return torch.cosh(x).reciprocal().square().nan_to_num(nan=0.0)


def _logistic(x: Tensor) -> Tensor:
    return torch.sigmoid(x) * torch.sigmoid(-x)


_CONTRACTING = "abs relu6 hardtanh clamp clamp_min clamp_max sin cos log_sigmoid softplus"
# Traces show `detach` as `alias`: it may stop a perturbation.
_PASSING = "alias detach"
_KEEPING = "clone contiguous lift_fresh lift_fresh_copy positive neg _to_copy to"

SLOPES: Mapping[str, Slopes] = {
    **dict.fromkeys(_KEEPING.split(), _between(1.0, 1.0)),
    **dict.fromkeys((_CONTRACTING + " " + _PASSING).split(), _between(0.0, 1.0)),
    "relu": _relu,
    "leaky_relu": _leaky,
    "tanh": _peaked(_sech2, 1.0),
    "sigmoid": _peaked(_logistic, 0.25),
    "erf": _peaked(lambda x: 2 / math.sqrt(math.pi) * torch.exp(-x.square()), 1.1283791670955128),
    "atan": _peaked(lambda x: 1 / (1 + x.square()), 1.0),
    "exp": _rising(torch.exp),
    "expm1": _rising(torch.exp),
    "hardsigmoid": _between(0.0, 0.16666666666666669),
    # Suprema of |φ'|, rounded up: 1.12890…, 1.09983…, 1.08849…, 1.5.
    "gelu": _between(0.0, 1.1296),
    "silu": _between(0.0, 1.0999),
    "mish": _between(0.0, 1.0886),
    "hardswish": _between(0.0, 1.5),
}
