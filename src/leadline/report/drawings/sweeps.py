"""Claims at several values of a parameter as curves that a reader slides along."""

from __future__ import annotations

import math

from leadline.claims.claim import Finding, Quantity
from leadline.claims.sweeps import Sweep
from leadline.document import Curve
from leadline.results import Bound, Estimate

_DECADES = 100.0
"""Quantities that change by more than this factor are drawn on a logarithmic axis."""


def sweep_curve(sweep: Sweep) -> Curve:
    """Draw what changes with the parameter; where no figure does, how many tests of the statement hold."""
    letter, meaning = sweep.parameter.letter, sweep.parameter.meaning
    series = _changing(sweep) or (("tests of the statement that hold", tuple(map(_held, sweep.findings))),)
    drawn = [value for _, values in series for value in values]
    steep = min(drawn) > 0 and max(drawn) > _DECADES * min(drawn)
    words = tuple(f"{letter} = {x:g}: {f.verdict}" for x, f in zip(sweep.values, sweep.findings, strict=True))
    return Curve(
        sweep.values, series, f"{letter}, {meaning}", "found", f"With other values of {letter}, {meaning}",
        log_y=steep, names=words, slide=letter,
    )  # fmt: skip


def _held(finding: Finding) -> float:
    return float(sum(outcome.holds for outcome in finding.evidence.claimed))


def _changing(sweep: Sweep) -> tuple[tuple[str, tuple[float, ...]], ...]:
    """Return the figures that all findings have, each at its own value of the parameter, and that are not all alike."""
    each = []
    for x, finding in zip(sweep.values, sweep.findings, strict=True):
        own = f", {sweep.parameter.letter} = {x:g}"  # how a figure says which value it is for
        each.append({q.name.replace(own, ""): _number(q) for q in finding.evidence.quantities})
    shared = [name for name in each[0] if all(name in figures for figures in each)]
    rows = ((name, tuple(figures[name] for figures in each)) for name in shared)
    return tuple((name, values) for name, values in rows if len(set(values)) > 1 and all(map(math.isfinite, values)))


def _number(quantity: Quantity) -> float:
    match quantity.value:
        case Estimate(value, _, _):
            return float(value)
        case Bound(lo, hi, _, _):
            return float(hi if math.isfinite(hi) else lo)
    return math.nan if isinstance(quantity.value, str) else float(quantity.value)
