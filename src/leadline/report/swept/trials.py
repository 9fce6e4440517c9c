"""A trial as a document: how verdicts at initialisation rank models, beside how well they were trained."""

from __future__ import annotations

import math
from typing import Literal

from leadline.document import Card, Curve, Document, Row, Section, Text
from leadline.report.reproducing import how_to_repeat
from leadline.report.swept.trial_tables import exceptions, formats_table, models_table, name_of, rates_table, size_of
from leadline.report.verdicts import cards
from leadline.results import Estimate
from leadline.sweeps.trials._trial import Point, Tried
from leadline.sweeps.trials.correlation import RankCorrelation
from leadline.sweeps.trials.verdicts import Verdict

_SURE = 0.5
"""A rank correlation whose interval lies above says that the verdict predicts; one that reaches 0, that it does not."""


_READING = (
    "Each model is judged as it is built, by the verdicts, and then trained for the same small budget. A verdict "
    "promises more where the gradient changes less, or reaches farther. The rank correlation is Spearman's: 1 where "
    "models stand in the same order before training and after, 0 where the verdict says nothing, -1 where the order is "
    "the opposite; in parentheses stands the 95 % interval that drawing the seeds anew gives. A better model has the "
    "greater score and the smaller loss: with either, 1 is agreement. Two models are told apart where the 95 % "
    "interval of their difference leaves out zero."
)
"""What a newcomer needs to know, above all numbers."""


def describe_trial(found: Tried, command: str = "") -> Document:
    """Lay a trial out: the correlations, score and loss along each verdict, the models, and where the verdict fails."""
    first, *others = found.verdicts
    depths = list(found.by_depth)
    drawn = [_curve(found, first, [p for p in found.points if _depth(found, p) == depth]) for depth in depths]
    drawn += [_curve(found, verdict, found.points) for verdict in others]
    drawn.append(_curve(found, first, found.points, "loss"))
    curves = tuple(curve for curve in drawn if curve is not None)
    shown = (Section("Verdict and training", (Row(curves) if len(curves) > 1 else curves[0],)),) if curves else ()
    fixed = ", ".join(f"{name}={values[0]}" for name, values in found.taught.settings.items() if len(values) == 1)
    failed = tuple(card for swept in (found.judged, found.taught) if swept.failed for card in cards(swept))
    more = (("Learning rates", rates_table(found)), ("Number formats", formats_table(found)))
    return Document(
        f"Trial: {found.task.title}",
        ", ".join(filter(None, (fixed, str(found.taught)))),
        (
            *shown,
            Section("Models", (models_table(found),)),
            *(Section(heading, (table,)) for heading, table in more if table is not None),
            Section("Where the verdict fails", exceptions(found)),
            Section("How to read this", (Text(_READING),)),
        ),
        trial_cards(found) + failed,
        how_to_repeat(command),
    )


def _depth(found: Tried, point: Point) -> object:
    return point.settings[found.task.depth]


def trial_cards(found: Tried) -> tuple[Card, ...]:
    """Say of each verdict over all models, and of the first one at each depth, whether it ranks as training does."""
    name, first = found.task.depth, found.verdicts[0].name
    each = [
        _card(verdict, rho, found.loss_correlations[verdict], str(found.agreements[verdict]))
        for verdict, rho in found.correlations.items()
    ]
    deep = [_card(f"{first}, {name}={depth}", rho) for depth, rho in found.by_depth.items()]
    return (*each, *(deep if len(deep) > 1 else ()))


def _card(subject: str, rho: RankCorrelation, loss: RankCorrelation | None = None, pairs: str = "") -> Card:
    if not math.isfinite(rho.value):
        return Card("unknown", subject, "all models came out alike, or none was measured", "estimate")
    also = f"with the loss {in_numbers(loss)}" if loss is not None else ""
    said = "; ".join(filter(None, (f"rank correlation with the score {rho}", also, pairs)))
    return Card("good" if rho.low > _SURE else "notice", subject, f"{in_words(rho)}; {said}", "estimate")


def in_numbers(rho: RankCorrelation) -> str:
    """Write a correlation, if there is one.

    Examples
    --------
    >>> in_numbers(RankCorrelation(0.9, 0.6, 0.95, 8)), in_numbers(RankCorrelation(math.nan, math.nan, math.nan, 1))
    ('0.90 (0.60 to 0.95)', '—')
    """
    return f"{rho.value:.2f} ({rho.low:.2f} to {rho.high:.2f})" if math.isfinite(rho.value) else "—"


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


def _curve(
    found: Tried, verdict: Verdict, points: tuple[Point, ...] | list[Point], what: Literal["score", "loss"] = "score"
) -> Curve | None:
    """Draw the score, or the loss, along the size of a verdict, a point for each model whose numbers are finite."""

    def result(point: Point) -> Estimate:
        return point.score if what == "score" else point.loss

    known = [p for p in points if math.isfinite(size_of(p, verdict)) and math.isfinite(result(p).value)]
    points = sorted(known, key=lambda p: size_of(p, verdict))
    if len({size_of(point, verdict) for point in points}) < 2:
        return None
    intervals = [result(point).interval() if math.isfinite(result(point).sem) else None for point in points]
    ends = [ends for ends in intervals if ends is not None]
    said = found.task.score if what == "score" else found.task.loss
    depths = {str(_depth(found, point)) for point in points}
    bands = ((said, tuple(low for low, _ in ends), tuple(high for _, high in ends)),)
    where = f"{found.task.depth}={depths.pop()}: " if len(depths) == 1 else ""
    label = verdict.name if verdict.far else f"|{verdict.name}|"
    return Curve(
        tuple(size_of(point, verdict) for point in points), ((said, tuple(result(point).value for point in points)),),
        f"{label} before training", f"{said} after it", f"{where}{said} after the budget along {label} before it",
        bands=bands if len(ends) == len(points) else (), names=tuple(name_of(found, point) for point in points),
    )  # fmt: skip
