"""Verdicts on Jacobians: gradients by stage, spectra, how far back gradients come from, exponents."""

from __future__ import annotations

import math
from typing import Any

from leadline.document import Card
from leadline.jacobian import GradientChain, GradientDepth, LyapunovSpectrum, Reach, Spectrum
from leadline.report.numbers import factor, places, whole
from leadline.report.verdicts.cards import cards

_NEAR, _MANY = 0.1, 20
"""A gradient that comes from less than a tenth of what is seen, of so many positions or more, is worth a word."""

_HARMLESS = math.log(10)
"""A gradient that changes less than tenfold through the whole model trains all the same."""

_MUCH = math.log(100)
"""A wider interval of a rate tells nothing."""

_UNITS = {"modules": "stage", "steps": "step", "fronts": "front"}

_CURES = {
    "vanishing": "a larger initial scale, residual connections, …: leadline.remedies (--remedies) tries them",
    "exploding": "a smaller initial scale, a normalisation, …: leadline.remedies (--remedies) tries them",
    "turning": "look at the stages where the growth changes its sign: --full draws them",
    "stable": "",
}


_MOST_BESIDE = 3
"""So many chains beside the first have a card of their own; of more those that change the gradient most."""


@cards.register
def _(result: GradientChain, *, rate: float | None = None) -> tuple[Card, ...]:
    return (_card(result),)


@cards.register
def _(result: GradientDepth, *, rate: float | None = None) -> tuple[Card, ...]:
    if not result.beside and not result.not_measured:
        return (_card(result),)
    beside = sorted(result.beside, key=lambda chain: -abs(chain.total.value))[:_MOST_BESIDE]
    shown = [chain for chain in result.beside if chain in beside]
    missing = (
        Card("unknown", "gradient", f"through {name}: {why}", "unknown") for name, why in result.not_measured.items()
    )
    return _card(result, result.name), *(_card(chain, chain.name, advice=False) for chain in shown), *missing


def _card(result: GradientChain, through: str = "", *, advice: bool = True) -> Card:
    """Say what the gradient does through a chain, which is named where there are others."""
    stages = len(result.stages)
    over = f"{factor(result.total.value)} over {whole(stages)} {_UNITS[result.along]}{'' if stages == 1 else 's'}"
    text = f"{result.kind}{f' through {through}' if through else ''}: {over}"
    one = _UNITS[result.along]
    if stages > 1:
        text += f", {factor(result.rate.value)} a {one}"
    limits = [f"{name} at {whole(d)}" for name, d in result.underflow_depth.items() if d is not None]
    if stages > 1 and result.twice is not None and result.tenfold is not None:
        deeper = ((2, result.twice), (10, result.tenfold))
        text += f"; {', '.join(f'{factor(log)} over {whole(n * stages)}' for n, log in deeper)}"
        text += "" if result.sure else " if they go on so"
    if result.kind in ("vanishing", "exploding") and limits:
        text += f"; lost in {', '.join(limits)} {one}s"
    mark: Any = {"stable": "good", "unknown": "unknown"}.get(result.kind, "notice")
    if stages == 1 and result.kind in ("stable", "unknown"):
        return Card(mark, "gradient", text, "estimate", "a single stage tells no law: give a deeper model")
    if result.kind == "unknown":
        low, high = result.rate.interval()
        ends = " to ".join(factor(end).removesuffix(" ×") for end in (low, high))
        between = f" ({ends})" if high - low < _MUCH else ""
        return Card(mark, "gradient", text + between, "estimate", _undecided(result))
    return Card(mark, "gradient", text, "estimate", _CURES[result.kind] if advice else "")


def _undecided(result: GradientChain) -> str:
    """Say whether it matters that no law was told, and about how many stages would tell."""
    rate, stages = result.rate, len(result.stages)
    low, high = rate.interval()
    needed = stages * (rate.half_width() / rate.value) ** 2 if rate.value else math.inf
    some = f"about {whole(math.ceil(needed))} layers" if stages < needed < 20 * stages else "a deeper model"
    matters = "harmless at this depth; " if abs(result.total.value) < _HARMLESS else ""
    return f"{matters}{some}, or typical inputs, tell {'growth from decay' if low <= 0 <= high else 'the law'}"


@cards.register
def _(result: Spectrum, *, rate: float | None = None) -> tuple[Card, ...]:
    values = ", ".join(f"{value:.4g}" for value in result.values.tolist())
    shape = " × ".join(map(str, result.shape))
    text = f"largest singular values of the {shape} Jacobian: {values} (± {float(result.errors.max()):.2g})"
    return (Card("plain", "spectrum", text, str(result.status)),)


@cards.register
def _(result: Reach, *, rate: float | None = None) -> tuple[Card, ...]:
    if not result.within(1.0):
        return (Card("plain", "reach", "all of the gradient comes from its own position", "estimate"),)
    shares = (result.within(share) for share in (0.5, 0.99))
    near, most = (f"within {places(far, rate)}" if far else "its own position" for far in shares)
    text = f"half of the squared gradient comes from {near}, 99 % from {most}"
    if result.used is not None:
        text += f", {_percent(result.used)} of what the output sees"
    fades = result.law.in_words("positions" if rate is None else "samples")
    text += f"; {fades}" if fades else ""
    seen, far = result.seen or 0, result.farthest
    lost = [f"{name} at {whole(at)}" for name, at in result.lost_at.items() if at is not None and far and at <= far]
    if lost:
        text += f"; lost in {', '.join(lost)}"
    if result.used is not None and result.used < _NEAR and seen >= _MANY:
        advice = "it sees far and learns from near: longer memory (forget gates, skips) lets it learn from the rest"
        return (Card("notice", "reach", text, "estimate", advice),)
    return (Card("plain", "reach", text, "estimate"),)


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.995 else "all"


@cards.register
def _(result: LyapunovSpectrum, *, rate: float | None = None) -> tuple[Card, ...]:
    low, high = result.largest.interval()
    ways = (
        "grow: the recurrence is chaotic" if low > 0 else "die out" if high < 0 else "neither grow nor die out surely"
    )
    text = f"small differences {ways}, at {result.largest} a step, over {result.steps} steps"
    return (Card("notice" if low > 0 else "plain", "exponents", text, "estimate"),)
