"""What a budget can limit: measures of an audit, each a number that is certainly between two others, or unknown."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from leadline.audit.audited import Audit, Unavailable
from leadline.domains._causality import Causality
from leadline.jacobian import GradientDepth


@dataclass(frozen=True)
class Measured:
    """What is known of a measure: it lies between `low` and `high`; `text` says it, or why it is not known."""

    low: float
    high: float
    text: str


def _exactly(value: float, text: str = "") -> Measured:
    return Measured(value, value, text or f"{value:,}".replace(",", " "))


def _unknown(reason: str) -> Measured:
    return Measured(-math.inf, math.inf, f"unknown: {reason.removeprefix('unknown: ')}")


def _part(name: str, read: Callable[[Any], Measured]) -> Callable[[Audit], Measured]:
    """Read one depth of an audit; where it is not known, say why."""

    def measure(audit: Audit) -> Measured:
        found = getattr(audit, name)
        return _unknown(found.reason) if isinstance(found, Unavailable) else read(found)

    return measure


def looks_ahead(causality: Causality) -> int:
    """Return how many positions an output looks ahead of its own: 0 for a causal model.

    Examples
    --------
    >>> import torch
    >>> from leadline.domains import causality
    >>> looks_ahead(causality(torch.nn.Conv1d(1, 1, 5, padding=2), torch.zeros(1, 1, 9), layout="b c t -> b v t"))
    2
    """
    return 0 if causality.lag is None else max(0, -causality.lag)


def _ahead(causality: Causality) -> Measured:
    if not causality.coverage.complete:
        return _unknown(f"only {causality.coverage} have a rule")
    return _exactly(looks_ahead(causality))


def _ahead_in_time(audit: Audit) -> Measured:
    rate = audit.rate
    if rate is None:
        return _unknown("say how many positions a second has (--rate 16000)")
    found = _part("causality", _ahead)(audit)
    if found.high == math.inf:
        return found
    return _exactly(1000 * found.high / rate, f"{1000 * found.high / rate:.4g} ms")


def _generation(generation: Any) -> Measured:
    low, high = int(generation.steps.lo), int(generation.steps.hi)
    return _exactly(high) if low == high else Measured(low, high, f"{low} to {high}")


def _context(context: Any) -> Measured:
    size = context.size
    if context.borders:
        return Measured(size, math.inf, f"at least {size}: it reaches the border of {', '.join(context.borders)}")
    return _exactly(size)


def _bytes(name: str) -> Callable[[Any], Measured]:
    def read(memory: Any) -> Measured:
        value = getattr(memory, name)
        return _exactly(value, f"{value:,} bytes".replace(",", " "))

    return read


def drifts(gradient: GradientDepth, rate: float) -> bool:
    """Whether the log gradient norm changes by more than `rate` a stage, either way, beyond what chance explains."""
    low, high = gradient.rate.interval()
    return gradient.law.kind == "exponential" and (low > rate or high < -rate)


def _growth(gradient: GradientDepth) -> Measured:
    """Return the part of the rate that chance does not explain: nothing where the growth follows another law."""
    if not gradient.sure:
        return _unknown(gradient.verdict)
    low, high = gradient.rate.interval()
    certain = max(low, -high, 0.0) if gradient.law.kind == "exponential" else 0.0
    return _exactly(certain, f"{gradient.rate} a stage, {gradient.law.kind}")


MEASURES: Mapping[str, Callable[[Audit], Measured]] = MappingProxyType(
    {
        "lookahead": _part("causality", _ahead),
        "lookahead_ms": _ahead_in_time,
        "context": _part("context", _context),
        "connections": _part("count", lambda count: _exactly(count.connections)),
        "macs": _part("count", lambda count: _exactly(count.macs)),
        "parameters": _part("count", lambda count: _exactly(count.parameters)),
        "steps": _part("span", lambda span: _exactly(span.steps)),
        "generation_steps": _part("generation", _generation),
        "memory": _part("memory", _bytes("peak")),
        "saved": _part("memory", _bytes("saved")),
        "growth": _part("gradient", _growth),
        "reach": _part("reach", lambda reach: _exactly(reach.within(0.99))),
    }
)
"""What a budget can limit by number, in the order in which it is reported."""
