"""A trial as a document: how verdicts at initialisation rank models, beside how well they were trained."""

from __future__ import annotations

import math

from leadline.document import Block, Card, Curve, Document, Row, Section, Table, Text
from leadline.report.reproducing import how_to_repeat
from leadline.report.verdicts import cards
from leadline.results import Estimate
from leadline.sweeps.trials._trial import Point, Tried
from leadline.sweeps.trials.correlation import RankCorrelation, ranks
from leadline.sweeps.trials.verdicts import Verdict

_MOST = 24
_SURE = 0.5
"""A rank correlation whose interval lies above says that the verdict predicts; one that reaches 0, that it does not."""


def describe_trial(found: Tried, command: str = "") -> Document:
    """Lay a trial out: the correlations, the score along each verdict, the models, and where the verdict fails."""
    first, *others = found.task.verdicts
    depths = list(found.by_depth)
    drawn = [_curve(found, first, [p for p in found.points if _depth(found, p) == depth]) for depth in depths]
    drawn += [_curve(found, verdict, found.points) for verdict in others]
    curves = tuple(curve for curve in drawn if curve is not None)
    shown = (Section("Verdict and training", (Row(curves) if len(curves) > 1 else curves[0],)),) if curves else ()
    fixed = ", ".join(f"{name}={values[0]}" for name, values in found.taught.settings.items() if len(values) == 1)
    failed = tuple(card for swept in (found.judged, found.taught) if swept.failed for card in cards(swept))
    return Document(
        f"Trial: {found.task.title}",
        ", ".join(filter(None, (fixed, str(found.taught)))),
        (*shown, Section("Models", (models_table(found),)), Section("Where the verdict fails", exceptions(found))),
        trial_cards(found) + failed,
        how_to_repeat(command),
    )


def _depth(found: Tried, point: Point) -> object:
    return point.settings[found.task.depth]


def trial_cards(found: Tried) -> tuple[Card, ...]:
    """Say of each verdict over all models, and of the first one at each depth, whether it ranks as training does."""
    name, first = found.task.depth, found.task.verdicts[0].name
    each = {verdict: _card(verdict, rho, str(found.agreements[verdict])) for verdict, rho in found.correlations.items()}
    deep = [_card(f"{first}, {name}={depth}", rho) for depth, rho in found.by_depth.items()]
    return (*each.values(), *(deep if len(deep) > 1 else ()))


def _card(subject: str, rho: RankCorrelation, pairs: str = "") -> Card:
    if not math.isfinite(rho.value):
        return Card("unknown", subject, "all models came out alike, or none was measured", "estimate")
    said = "; ".join(filter(None, (f"rank correlation with training {rho}", pairs)))
    return Card("good" if rho.low > _SURE else "notice", subject, f"{in_words(rho)}; {said}", "estimate")


def in_words(rho: RankCorrelation) -> str:
    """Say what a correlation means.

    Examples
    --------
    >>> in_words(RankCorrelation(0.9, 0.6, 0.95, 8))
    'it predicts training'
    """
    if not math.isfinite(rho.value):
        return "it tells nothing: all models are alike"
    if rho.low > _SURE:
        return "it predicts training"
    return "it tells something of training" if rho.low > 0 else "it does not predict training"


def _curve(found: Tried, verdict: Verdict, points: tuple[Point, ...] | list[Point]) -> Curve | None:
    """Draw the score along the size of a verdict, a point for each model."""
    points = sorted((p for p in points if math.isfinite(_size(p, verdict))), key=lambda p: _size(p, verdict))
    if len({_size(point, verdict) for point in points}) < 2:
        return None
    intervals = [point.score.interval() if math.isfinite(point.score.sem) else None for point in points]
    ends = [ends for ends in intervals if ends is not None]
    score, depths = found.task.score, {str(_depth(found, point)) for point in points}
    bands = ((score, tuple(low for low, _ in ends), tuple(high for _, high in ends)),)
    where = f"{found.task.depth}={depths.pop()}: " if len(depths) == 1 else ""
    label = verdict.name if verdict.far else f"|{verdict.name}|"
    return Curve(
        tuple(_size(point, verdict) for point in points), ((score, tuple(point.score.value for point in points)),),
        f"{label} before training", f"{score} after it", f"{where}{score} after the budget along {label} before it",
        bands=bands if len(ends) == len(points) else (), names=tuple(name_of(found, point) for point in points),
    )  # fmt: skip


def _size(point: Point, verdict: Verdict) -> float:
    return abs(point.verdicts[verdict.name].value)


def name_of(found: Tried, point: Point) -> str:
    """Name a model by the settings that vary."""
    return ", ".join(f"{name}={point.settings[name]}" for name in found.judged.varied)


def models_table(found: Tried) -> Table:
    """Return every model with its verdicts, its score, and the ranks by the first verdict and by the score."""
    points, names, tuned = found.points, found.judged.varied, found.task.tuned
    verdicts = found.task.verdicts
    head = (*names, tuned, *(verdict.name for verdict in verdicts), "rank", found.task.score, "its rank")
    by_verdict = ranks([_size(point, verdicts[0]) for point in points]).tolist()
    by_score = ranks([-point.score.value for point in points]).tolist()
    rows = tuple(
        (
            *(str(point.settings[name]) for name in (*names, tuned)),
            *(_said(found, point, verdict) for verdict in verdicts), f"{first:g}",
            f"{point.score.value:.1%} ± {point.score.sem:.1%}", f"{second:g}",
        )
        for point, first, second in zip(points, by_verdict, by_score, strict=True)
    )  # fmt: skip
    caption = f"Each at its best {tuned}, means over {found.taught.seeds} seeds with their standard errors"
    return Table(head, rows, caption, sortable=True, most=_MOST)


def _said(found: Tried, point: Point, verdict: Verdict) -> str:
    mean: Estimate = point.verdicts[verdict.name]
    text = verdict.written(mean.value, found.task.deep(verdict, point.settings))
    return text if verdict.far else f"{text} ± {mean.sem:.2g}"


def exceptions(found: Tried) -> tuple[Block, ...]:
    """Say which pairs of models the first verdict surely orders otherwise than training does, the widest first."""
    verdict = found.task.verdicts[0]
    agreement = found.agreements[verdict.name]
    said = Text(f"Of the pairs of models that {verdict.name} and training both surely tell apart: {agreement}.")
    pairs = sorted(((found.points[i], found.points[j]) for i, j in agreement.against), key=_apart, reverse=True)
    if not pairs:
        return (said,)
    rows = tuple(
        (name_of(found, a), name_of(found, b), _said(found, a, verdict), _said(found, b, verdict),
         f"{a.score.value:.1%}", f"{b.score.value:.1%}")
        for a, b in pairs
    )  # fmt: skip
    score = found.task.score
    head = ("promised more", "than", f"its {verdict.name}", "and the other's", f"its {score}", "and the other's")
    return said, Table(head, rows, "Pairs that stand the other way round", most=_MOST)


def _apart(pair: tuple[Point, Point]) -> float:
    return pair[1].score.value - pair[0].score.value
