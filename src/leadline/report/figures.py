"""The numbers of a result by name, as values with their units: what tables in every format are made of."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import singledispatch
from typing import TypeAlias

from leadline.audit._compare import Comparison
from leadline.audit.audited import DEPTHS, Audit, Unavailable
from leadline.claims.claim import Finding
from leadline.domains._causality import Causality
from leadline.domains._context import Context
from leadline.domains._count import Count
from leadline.domains._generation import Generation
from leadline.domains._memory import Memory
from leadline.domains._span import Span
from leadline.jacobian import GradientChain, GradientDepth, LyapunovSpectrum, Reach, Remedies, Spectrum
from leadline.recurrence import Law, Laws, System
from leadline.recurrence.analysis.schedule import Wavefronts
from leadline.report.numbers import bound, size, whole
from leadline.results import Bound, Coverage, Estimate, Result
from leadline.sampling import Exported, Narrowed
from leadline.sweeps.swept import Swept
from leadline.sweeps.trials._trial import Tried
from leadline.training import Moment
from leadline.training.scoring import Score

Value: TypeAlias = "int | float | str | bool | Bound | Estimate | None"


@dataclass(frozen=True)
class Figure:
    """A named value with its unit (``"bytes"``), how it is known, and the depth that it belongs to."""

    name: str
    value: Value
    unit: str = ""
    status: str = ""
    depth: str = ""

    def __str__(self) -> str:
        """Write the value as a person would."""
        match self.value:
            case None:
                return "unknown"
            case bool():
                return "yes" if self.value else "no"
            case int():
                return size(self.value) if self.unit == "bytes" else whole(self.value)
            case float():
                return f"{self.value:.4g}"
            case Bound():
                ends = self.value.lo, self.value.hi
                whole_numbers = all(math.isfinite(end) and float(end).is_integer() for end in ends)
                return bound(self.value) if whole_numbers else f"{self.value.lo:.4g} to {self.value.hi:.4g}"
            case Estimate(value, sem):
                return f"{value:.4g} ± {sem:.2g}" if math.isfinite(sem) else f"{value:.4g}"
        return str(self.value)


@singledispatch
def figures(result: Result) -> tuple[Figure, ...]:
    """Return the figures of a result."""
    raise TypeError(f"{type(result).__name__} has no figures: register it in leadline.report.figures")


@figures.register
def _(result: Bound) -> tuple[Figure, ...]:
    known = str(result.status)
    return Figure("lower bound", result.lo, status=known), Figure("upper bound", result.hi, status=known)


@figures.register
def _(result: Estimate) -> tuple[Figure, ...]:
    return (Figure(f"mean of {result.n}", result, status="estimate"),)


@figures.register
def _(result: Coverage) -> tuple[Figure, ...]:
    return Figure("operations", result.nodes), Figure("without a rule", len(result.gaps))


@figures.register
def _(result: Unavailable) -> tuple[Figure, ...]:
    return (Figure("unknown", result.reason, status=str(result.status)),)


@figures.register
def _(result: Causality) -> tuple[Figure, ...]:
    lag = "depends on no input" if result.lag is None else result.lag
    across = result.cross_batch is not None
    return (
        Figure("causality", str(result.verdict), status="proved" if result.coverage.complete else "unknown"),
        Figure("lag", lag, "positions"),
        Figure("depends on other samples", across),
    )


@figures.register
def _(result: Context) -> tuple[Figure, ...]:
    known = "proved" if result.coverage.complete else "bound"
    sides = (
        Figure(f"{way} along {axis}", count, "positions", known)
        for axis, both in sides_of(result).items()
        for way, count in zip(("back", "ahead"), both, strict=True)
    )
    blind = (
        Figure("earlier positions not seen", int(hidden.sum()), "positions", known)
        for hidden in list(result.blind.values())[:1]
    )
    return Figure("positions seen", result.size, "positions", known), *sides, *blind


def sides_of(context: Context) -> dict[str, tuple[int, int]]:
    """Return how far back and ahead of its own place an output sees, along each axis that it shares with the input.

    Examples
    --------
    >>> import torch
    >>> from leadline import context
    >>> conv = torch.nn.Conv1d(1, 1, 3, dilation=2, padding=2)
    >>> sides_of(context(conv, torch.zeros(1, 1, 9), position=4, layout="b c t -> b v t"))
    {'t': (2, 2)}
    """
    box = context.box() or {}
    place = context.position
    return {axis: (place[axis] - low, high - place[axis]) for axis, (low, high) in box.items() if axis in place}


@figures.register
def _(result: Count) -> tuple[Figure, ...]:
    known = str(result.status)
    back = result.backward
    training = () if back is None else (Figure("multiply-accumulates of the backward pass", back.macs, status=known),)
    return (
        Figure("parameters", result.parameters, status="proved"),
        Figure("connections", result.connections, status=known),
        Figure("multiply-accumulates", result.macs, status=known),
        Figure("multiply-accumulates without masked pairs", result.macs_masked, status=known),
        *training,
    )


@figures.register
def _(result: Span) -> tuple[Figure, ...]:
    known = str(result.status)
    return (
        Figure("sequential steps", result.steps, "steps", known),
        Figure("sequential steps as the code runs them", result.op_steps, "steps", known),
    )


@figures.register
def _(result: Generation) -> tuple[Figure, ...]:
    return (
        Figure("sequential steps to generate", result.steps, "steps", str(result.steps.status)),
        Figure("fronts of symbols drawn at once", result.fronts, "fronts", str(result.fronts.status)),
        Figure("symbols", result.symbols, "symbols", "proved"),
    )


@figures.register
def _(result: Wavefronts) -> tuple[Figure, ...]:
    waves = {"training": result.training, "generation": result.generation}
    return tuple(
        figure
        for name, wave in waves.items()
        if wave is not None
        for figure in (
            Figure(f"fronts of {name}", wave.count, "fronts", "proved"),
            Figure(f"widest front of {name}", wave.widest, "positions", "proved"),
        )
    )


@figures.register
def _(result: Memory) -> tuple[Figure, ...]:
    known = str(result.status)
    return (
        Figure("kept for the backward pass", result.saved, "bytes", known),
        Figure("parameters' memory", result.parameters, "bytes", "proved"),
        Figure("buffers", result.buffers, "bytes", "proved"),
        Figure("gradients", result.gradients, "bytes", "proved"),
        Figure("outputs", result.outputs, "bytes", "proved"),
        Figure("optimiser", result.optimizer, "bytes", "proved"),
        Figure("peak of a training step", result.peak, "bytes", "estimate"),
    )


@figures.register
def _(result: GradientChain) -> tuple[Figure, ...]:
    return _chain(result)


@figures.register
def _(result: GradientDepth) -> tuple[Figure, ...]:
    beside = (figure for chain in result.beside for figure in _chain(chain, f", {chain.name}"))
    missing = (Figure(f"gradient, {name}", None, status="unknown") for name in result.not_measured)
    return *_chain(result), *beside, *missing


def _chain(result: GradientChain, of: str = "") -> tuple[Figure, ...]:
    """Return the figures of one chain; their names end in which it is, where it is not the only one."""
    limits = (
        Figure(f"depth at which {name} loses it{of}", "never" if depth is None else depth, "stages", "estimate")
        for name, depth in result.underflow_depth.items()
    )
    return (
        Figure(f"gradient{of}", result.kind, status="estimate"),
        Figure(f"log rate a stage{of}", result.rate, status="estimate"),
        Figure(f"log growth over all stages{of}", result.total, status="estimate"),
        *(
            Figure(f"log growth over {words} as many stages{of}", value, status="estimate")
            for words, value in (("twice", result.twice), ("ten times", result.tenfold))
            if value is not None
        ),
        Figure(f"stages{of}", len(result.stages), "stages", "proved"),
        *limits,
    )


@figures.register
def _(result: Spectrum) -> tuple[Figure, ...]:
    known = str(result.status)
    pairs = zip(result.values.tolist(), result.errors.tolist(), strict=True)
    values = (
        Figure(f"singular value {place}", Estimate(value, error, 1), status=known)
        for place, (value, error) in enumerate(pairs, start=1)
    )
    return (*values, Figure("Frobenius norm", result.frobenius, status=known))


@figures.register
def _(result: Reach) -> tuple[Figure, ...]:
    shares = ((share, result.within(share)) for share in (0.5, 0.9, 0.99))
    used = () if result.used is None else (Figure("part of the context that holds 99 %", result.used, "", "estimate"),)
    return (
        *(Figure(f"{share:.0%} of the squared gradient within", far, "steps", "estimate") for share, far in shares),
        Figure("law over distance", str(result.law), status="estimate"),
        *([] if result.half_life is None else [Figure("half-life", result.half_life, "steps", "estimate")]),
        *used,
        *(Figure(f"{name} loses it at", far, "steps", "estimate") for name, far in result.lost_at.items() if far),
    )


@figures.register
def _(result: Exported) -> tuple[Figure, ...]:
    compared = () if result.difference is None else (
        Figure("largest difference, relative", result.difference, "", "estimate"),
    )  # fmt: skip
    return (
        Figure("positions compared", result.positions),
        *compared,
        Figure("kept between positions", result.state_bytes, "B", "proved"),
        Figure("multiply-adds a position", result.multiply_adds, "", "proved"),
    )


@figures.register
def _(result: Narrowed) -> tuple[Figure, ...]:
    score = () if result.score is None else (Figure("change of the score", result.score, "nats", "estimate"),)
    return (
        Figure("weights", result.weights),
        Figure("largest difference of an output", result.largest, "", "estimate"),
        Figure("largest difference in a sequence", result.difference, "", "estimate"),
        *score,
    )


@figures.register
def _(result: Swept) -> tuple[Figure, ...]:
    return (
        Figure("cells", len(result.rows), status="proved"),
        Figure("cells that failed", result.failed, status="proved"),
        *(Figure(f"values of {name}", len(values), status="proved") for name, values in result.settings.items()),
    )


@figures.register
def _(result: Tried) -> tuple[Figure, ...]:
    depth, first = result.task.depth, result.verdicts[0].name
    each = {**result.correlations, **{f"{first}, {depth}={at}": rho for at, rho in result.by_depth.items()}}
    return (
        Figure("models", len(result.points), status="proved"),
        Figure("cells that failed", result.failed, status="proved"),
        *(Figure(f"rank correlation, {which}", rho.value, status="estimate") for which, rho in each.items()),
        *(
            Figure(f"rank correlation with the loss, {which}", rho.value, status="estimate")
            for which, rho in result.loss_correlations.items()
        ),
    )


@figures.register
def _(result: Moment) -> tuple[Figure, ...]:
    return (
        Figure("updates before", result.step, "steps", "proved"),
        *(Figure(name, value, "", "estimate") for name, value in result.scalars().items()),
    )


@figures.register
def _(result: Remedies) -> tuple[Figure, ...]:
    before = Figure("log rate a stage, as it is", result.before.rate, status="estimate")
    return before, *(Figure(f"log rate with {each.name}", each.rate, status="estimate") for each in result.tried)


@figures.register
def _(result: LyapunovSpectrum) -> tuple[Figure, ...]:
    named = enumerate(result.exponents, start=1)
    return tuple(Figure(f"exponent {place}", value, "per step", "estimate") for place, value in named)


@figures.register
def _(result: Law) -> tuple[Figure, ...]:
    known = "fitted" if set(result.region) <= set(result.fitted) else str(result.status)
    rows = {"formula": result.formula, "grows as": result.growth or "unknown", "holds for": result.where or "all sizes"}
    return tuple(Figure(name, text, status=known) for name, text in rows.items())


QUANTITIES = {
    "connections": "connections",
    "macs": "multiply-accumulates, dense",
    "training_steps": "steps to train",
    "generation_steps": "steps to generate",
    "context": "context, positions",
    "state": "state to generate, numbers",
}
"""What each law is of."""


@figures.register
def _(result: Laws) -> tuple[Figure, ...]:
    laws = ((name, getattr(result, field)) for field, name in QUANTITIES.items())
    return tuple(
        Figure(name, None if law is None else str(law), status="" if law is None else figures(law)[0].status)
        for name, law in laws
    )


@figures.register
def _(result: System) -> tuple[Figure, ...]:
    kinds: dict[str, int] = {}
    for variable in result.variables:
        kind = type(variable.equation).__name__.lower()
        kinds[kind] = kinds.get(kind, 0) + 1
    return (
        Figure("variables", len(result.variables), status="proved"),
        *(Figure(f"of the kind {kind}", number, status="proved") for kind, number in kinds.items()),
        Figure("reads of one another", len(result.edges), status="proved"),
    )


@figures.register
def _(result: Finding) -> tuple[Figure, ...]:
    quantities = (Figure(q.name, q.value, status=str(q.status)) for q in result.evidence.quantities)
    return Figure("verdict", str(result.verdict), status=str(result.verdict)), *quantities


@figures.register
def _(result: Score) -> tuple[Figure, ...]:
    return (
        Figure("bits per dimension", result.bits_per_dim, "bits", "estimate"),
        Figure("nats per example", result.nats_per_example, "nats", "estimate"),
        Figure("examples", result.examples, status="proved"),
        Figure("symbols", result.symbols, "symbols", "proved"),
    )


@figures.register
def _(result: Audit) -> tuple[Figure, ...]:
    return tuple(
        replace(figure, depth=name)
        for name, depth in depths_of(result)
        for figure in ((Figure(name, None, status="unknown"),) if isinstance(depth, Unavailable) else figures(depth))
    )


def depths_of(audit: Audit) -> Iterable[tuple[str, Result]]:
    """Return the depths of an audit that were asked for, by name."""
    for name in (*DEPTHS, "remedies", "wavefronts"):
        depth = getattr(audit, name)
        if depth is not None and not (isinstance(depth, Unavailable) and not depth.asked):
            yield name, depth


@figures.register
def _(result: Comparison) -> tuple[Figure, ...]:
    return tuple(replace(figure, depth=audit.title) for audit in result.audits for figure in figures(audit))
