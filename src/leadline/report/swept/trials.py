"""A trial as a document: how the verdict at initialisation ranks models, beside how well they were trained."""

from __future__ import annotations

import math

from leadline.document import Card, Curve, Document, Row, Section, Table
from leadline.report.reproducing import how_to_repeat
from leadline.report.verdicts import cards
from leadline.sweeps.trials._trial import Point, Trial
from leadline.sweeps.trials.correlation import RankCorrelation, ranks

_MOST = 24
_SURE = 0.5
"""A rank correlation whose interval lies above says that the verdict predicts; one that reaches 0, that it does not."""


def describe_trial(found: Trial, command: str = "") -> Document:
    """Lay a trial out: the correlations, accuracy along the verdict for each depth, and the table of models."""
    depths = list(found.by_depth)
    curves = tuple(curve for depth in depths if (curve := _curve(found, depth)) is not None)
    drawn = (Section("Verdict and accuracy", (Row(curves) if len(curves) > 1 else curves[0],)),) if curves else ()
    fixed = ", ".join(f"{name}={values[0]}" for name, values in found.swept.settings.items() if len(values) == 1)
    return Document(
        f"Trial: {found.task.title}",
        ", ".join(filter(None, (fixed, str(found.swept)))),
        (*drawn, Section("Models", (_models(found),))),
        trial_cards(found) + (cards(found.swept) if found.swept.failed else ()),
        how_to_repeat(command),
    )


def trial_cards(found: Trial) -> tuple[Card, ...]:
    """Say of all models, and of those of each depth, whether the verdict ranks them as training does."""
    name = found.task.depth
    each = {"all models": found.correlation, **{f"{name}={depth}": rho for depth, rho in found.by_depth.items()}}
    return tuple(_card(subject, rho) for subject, rho in each.items())


def _card(subject: str, rho: RankCorrelation) -> Card:
    if not math.isfinite(rho.value):
        return Card("unknown", subject, "all models came out alike, or none was measured", "estimate")
    said = f"rank correlation of accuracy with how little the gradient changes: {rho}"
    if rho.low > _SURE:
        return Card("good", subject, f"the verdict at initialisation predicts training; {said}", "estimate")
    if rho.low > 0:
        return Card("notice", subject, f"the verdict tells something of training; {said}", "estimate")
    return Card("notice", subject, f"the verdict does not predict training; {said}", "estimate")


def _curve(found: Trial, depth: object) -> Curve | None:
    """Draw accuracy along |rate × depth|, a point for each model of a depth."""
    points = [point for point in found.points if point.settings[found.task.depth] == depth]
    points = sorted((p for p in points if math.isfinite(_size(p))), key=_size)
    if len(points) < 2:
        return None
    intervals = [point.accuracy.interval() if math.isfinite(point.accuracy.sem) else None for point in points]
    ends = [ends for ends in intervals if ends is not None]
    bands = (("accuracy", tuple(low for low, _ in ends), tuple(high for _, high in ends)),)
    return Curve(
        tuple(map(_size, points)), (("accuracy", tuple(point.accuracy.value for point in points)),),
        "|rate × depth| before training", "accuracy after it",
        f"{found.task.depth}={depth}: accuracy after the budget along how much the gradient changed before it",
        bands=bands if len(ends) == len(points) else (), names=tuple(_name(found, point) for point in points),
    )  # fmt: skip


def _size(point: Point) -> float:
    return abs(point.verdict.value)


def _name(found: Trial, point: Point) -> str:
    shown = [name for name in found.swept.varied if name != found.task.tuned]
    return ", ".join(f"{name}={point.settings[name]}" for name in shown)


def _models(found: Trial) -> Table:
    points = found.points
    names = [name for name in found.swept.varied if name != found.task.tuned]
    head = (*names, found.task.tuned, "rate × depth", "rank", "float16 ends", "accuracy", "its rank")
    by_verdict = ranks([_size(point) for point in points]).tolist()
    by_accuracy = ranks([-point.accuracy.value for point in points]).tolist()
    rows = tuple(
        (
            *(str(point.settings[name]) for name in (*names, found.task.tuned)),
            f"{point.verdict.value:.3g} ± {point.verdict.sem:.2g}", f"{first:g}",
            "" if point.lost_at is None else str(point.lost_at),
            f"{point.accuracy.value:.1%} ± {point.accuracy.sem:.1%}", f"{second:g}",
        )
        for point, first, second in zip(points, by_verdict, by_accuracy, strict=True)
    )  # fmt: skip
    caption = f"Each at its best {found.task.tuned}, means over {found.swept.seeds} seeds with their standard errors"
    return Table(head, rows, caption, sortable=True, most=_MOST)
