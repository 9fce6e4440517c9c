"""A comparison as a document: one table of all models, their context maps and their samples."""

from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from typing import TypeVar

from leadline.audit._compare import Comparison, Trial
from leadline.audit.audited import Audit, Unavailable
from leadline.document import Curve, Document, GridMap, Row, Section, Table
from leadline.domains._causality import Causality
from leadline.domains._context import Context
from leadline.jacobian import GradientDepth
from leadline.report.drawings.curves import gradient_curve
from leadline.report.drawings.maps import context_map
from leadline.report.exports import blocks
from leadline.report.numbers import bound, factor, places, shape, size, whole
from leadline.report.reproducing import how_to_repeat
from leadline.report.verdicts import cards
from leadline.results import Bound

Depth = TypeVar("Depth")

Figure = TypeVar("Figure", GridMap, Curve)

Cells = tuple[tuple[str, ...], ...]


def describe_comparison(comparison: Comparison, *, full: bool = True) -> Document:
    """Lay a comparison out: verdicts and one table, differences marked; all figures, maps and samples if `full`."""
    audits, first = comparison.audits, comparison.audits[0]
    names = [audit.title for audit in audits]
    rows = (*_depth_rows(audits, brief=not full), *_trial_rows(comparison.trials))
    table = Table(("", *names), rows, differing=_differing(rows))
    sections = [Section("Depths", (table,)), *(_drawings(comparison, names) if full else ())]
    subtitle = f"{first.dtype} · ≠ they differ · (p) proved, (b) bound, (e) estimate"
    more = "" if full or not first.command else "more: --full, --html PAGE.html, --json FILE"
    again = tuple(filter(None, (*how_to_repeat(first.command, f"seed {first.seed}"), more)))
    return Document(" beside ".join(names), subtitle, tuple(sections), cards(comparison), again)


def _drawings(comparison: Comparison, names: list[str]) -> list[Section]:
    """Lay out what is looked at: maps, gradients, samples."""
    audits, sections = comparison.audits, []
    maps = _captioned(audits, lambda a: _drawn(a.context, context_map))
    if maps:
        sections.append(Section("What one output sees", (Row(maps),)))
    curves = _captioned(audits, lambda a: _drawn(a.gradient, gradient_curve))
    if curves:
        sections.append(Section("Gradients through depth", (Row(curves),)))
    trials = zip(names, comparison.trials, strict=True)
    pictures = [blocks(trial.drawn, f"{name}, seed {trial.drawn.seed}") for name, trial in trials if trial]
    if pictures:
        sections.append(Section("Samples", tuple(chain.from_iterable(pictures))))
    return sections


def _differing(rows: Cells) -> frozenset[int]:
    """Return the rows in which the models are not all alike."""
    return frozenset(index for index, (_, *cells) in enumerate(rows) if len(set(cells)) > 1)


def _depth_rows(audits: tuple[Audit, ...], brief: bool) -> Cells:
    rows: tuple[tuple[str, str, Callable[[Audit], str]], ...] = (
        ("inputs", "", lambda a: ", ".join(map(shape, a.inputs.values()))),
        ("causality", "causality", lambda a: _unless(a.causality, lambda c: _causal(c, brief))),
        (
            "positions that one output sees",
            "positions seen",
            lambda a: _unless(a.context, lambda c: f"{whole(c.size)} of {whole(c.map.numel())} (p)"),
        ),
        ("earlier positions it does not see", "blind to", lambda a: _blind(a, brief)),
        (
            "sequential steps to generate",
            "steps to generate",
            lambda a: _unless(a.generation, lambda g: _whole_bound(g.steps)),
        ),
        (
            "fronts of symbols drawn at once",
            "",
            lambda a: _unless(a.generation, lambda g: f"{_whole_bound(g.fronts)} for {whole(g.symbols)} symbols"),
        ),
        (
            "sequential steps to train",
            "steps to train",
            lambda a: _unless(a.span, lambda s: f"{whole(s.steps)} ({s.status[0]})"),
        ),
        (
            "steps as the code runs them",
            "",
            lambda a: _unless(a.span, lambda s: f"{whole(s.op_steps)} ({s.status[0]})"),
        ),
        ("connections", "", lambda a: _unless(a.count, lambda c: f"{whole(c.connections)} ({c.status[0]})")),
        (
            "multiply-accumulates, dense",
            "multiply-adds",
            lambda a: _unless(a.count, lambda c: f"{whole(c.macs)} ({c.status[0]})"),
        ),
        ("without masked pairs", "", lambda a: _unless(a.count, lambda c: f"{whole(c.macs_masked)} ({c.status[0]})")),
        ("parameters", "parameters", lambda a: _unless(a.count, lambda c: f"{whole(c.parameters)} (p)")),
        (
            "kept for the backward pass",
            "kept to train",
            lambda a: _unless(a.memory, lambda m: f"{size(m.saved)} ({m.status[0]})"),
        ),
        ("gradient through depth", "gradient", lambda a: _unless(a.gradient, _growth)),
        (
            "99 % of the squared gradient comes from within",
            "",
            lambda a: _unless(a.reach, lambda r: f"{places(r.within(0.99))} (e)"),
        ),
    )
    return tuple((short if brief else name, *map(tell, audits)) for name, short, tell in rows if short or not brief)


def _growth(gradient: GradientDepth) -> str:
    rate = f", {factor(gradient.rate.value)} a stage" if len(gradient.stages) > 1 else ""
    return f"{gradient.kind}{rate} (e)"


def _trial_rows(trials: tuple[Trial | None, ...]) -> Cells:
    if not any(trials):
        return ()
    rows: tuple[tuple[str, Callable[[Trial], str]], ...] = (
        ("test score", lambda t: f"{t.test_bits:.4f} bits/dim, {t.test_nats:.2f} nats per example"),
        ("data", lambda t: t.data + (f", {t.binarisation}" if t.binarisation else "")),
        ("trained for", lambda t: f"{t.training_seconds:.0f} s, {t.examples_per_second:.0f} examples/s"),
        ("drawing a sample takes", _drawing),
    )
    return tuple((name, *("not trained" if t is None else tell(t) for t in trials)) for name, tell in rows)


def _drawing(trial: Trial) -> str:
    ratio = trial.naive_seconds_per_sample / trial.seconds_per_sample
    how = f"{len(trial.drawn.symbols)} at once, {trial.drawn.sampler} sampler"
    return f"{trial.seconds_per_sample:.4f} s ({how}), {ratio:.0f} × as fast as full forward passes"


def _causal(causality: Causality, brief: bool) -> str:
    if causality.lag is not None and causality.lag < 0:
        return f"{causality.verdict}: looks {places(-causality.lag)} ahead"
    verdict = "causal" if brief and causality.verdict == "structural" else causality.verdict
    return f"{verdict}, lag {'none' if causality.lag is None else causality.lag}"


def _unless(result: Depth | Unavailable, tell: Callable[[Depth], str]) -> str:
    return "unknown" if isinstance(result, Unavailable) else tell(result)


def _whole_bound(value: Bound) -> str:
    return f"{bound(value)} ({value.status[0]})"


def _blind(audit: Audit, brief: bool) -> str:
    def tell(context: Context) -> str:
        blind = next(iter(context.blind.values()), None)
        always = next(iter(context.always_blind.values()), None)
        if blind is None:
            return "no order"
        ever = (
            ""
            if brief or always is None or not blind.any()
            else f", {whole(int(always.sum()))} of them in any stack of copies"
        )
        return f"{whole(int(blind.sum()))}{ever}"

    return _unless(audit.context, tell)


def _drawn(result: Depth | Unavailable, draw: Callable[[Depth], Figure | None]) -> Figure | None:
    return None if isinstance(result, Unavailable) else draw(result)


def _captioned(audits: tuple[Audit, ...], figure_of: Callable[[Audit], Figure | None]) -> tuple[Figure, ...]:
    drawn = ((audit.title, figure_of(audit)) for audit in audits)
    return tuple(replace(figure, caption=f"{name}: {figure.caption}") for name, figure in drawn if figure is not None)
