"""The tables of a trial: its models, where number formats lose their gradients, all learning rates, and exceptions."""

from __future__ import annotations

import math

from leadline.document import Block, Table, Text
from leadline.results import Estimate
from leadline.sweeps.trials._trial import CHOSEN_BY, LOSS, SCORE, Point, Tried
from leadline.sweeps.trials.correlation import ranks
from leadline.sweeps.trials.verdicts import FARTHEST, Verdict

_MOST = 24


def size_of(point: Point, verdict: Verdict) -> float:
    """Return the size of a verdict, without its sign."""
    return abs(point.verdicts[verdict.name].value)


def name_of(found: Tried, point: Point) -> str:
    """Name a model by the settings that vary."""
    return ", ".join(f"{name}={point.settings[name]}" for name in found.judged.varied)


def models_table(found: Tried) -> Table:
    """Return every model with its verdicts, its score and loss, and the ranks by the first verdict and by the score."""
    points, names, tuned = found.points, found.judged.varied, found.task.tuned
    verdicts = [verdict for verdict in found.verdicts if verdict.format is None]
    head = (
        *names,
        tuned,
        *(verdict.name for verdict in verdicts),
        "rank",
        found.task.score,
        "its rank",
        found.task.loss,
    )
    by_verdict = ranks([size_of(point, verdicts[0]) for point in points]).tolist()
    by_score = ranks([-point.score.value for point in points]).tolist()
    rows = tuple(
        (
            *(str(point.settings[name]) for name in (*names, tuned)),
            *(_said(found, point, verdict) for verdict in verdicts), f"{first:g}",
            f"{point.score.value:.1%} ± {point.score.sem:.1%}", f"{second:g}", loss_in_words(point.loss),
        )
        for point, first, second in zip(points, by_verdict, by_score, strict=True)
    )  # fmt: skip
    caption = (
        f"Each at its best {tuned}, means over {found.taught.seeds} seeds with their standard errors; rank 1 is that "
        "of the smallest change of the gradient, and of the best score"
    )
    return Table(head, rows, caption, sortable=True, most=_MOST)


def loss_in_words(loss: Estimate) -> str:
    """Write a loss.

    Examples
    --------
    >>> loss_in_words(Estimate.of([1.0, 2.0, 3.0])), loss_in_words(Estimate(math.inf, math.nan, 3))
    ('2.000 ± 0.58', 'not finite')
    """
    return f"{loss.value:.3f} ± {loss.sem:.2g}" if math.isfinite(loss.value) else "not finite"


def formats_table(found: Tried) -> Table | None:
    """Return where each number format loses a gradient of size 1, by the verdict; None where that was not asked."""
    asked = [verdict for verdict in found.verdicts if verdict.format is not None]
    if not asked:
        return None
    names = found.judged.varied
    rows = tuple(
        (*(str(point.settings[name]) for name in names), *(_said(found, point, verdict) for verdict in asked))
        for point in found.points
    )
    caption = (
        "How many layers or steps a gradient of size 1 lasts before a format rounds it to zero or infinity; of a reach "
        f"the distance along the sequence. Beyond: more than {FARTHEST:g} times what is to be crossed. Unknown: the "
        "format carries what was measured, and no law is sure of what comes after"
    )
    return Table((*names, *(verdict.name for verdict in asked)), rows, caption, sortable=True, most=_MOST)


def rates_table(found: Tried) -> Table | None:
    """Return the score and the loss of every model at every learning rate; None where there is one alone."""
    tuned, names = found.task.tuned, found.judged.varied
    values = found.taught.settings[tuned]
    if len(values) < 2:
        return None
    rows = []
    for point in found.points:
        fixed = {name: point.settings[name] for name in found.judged.settings}
        cells = []
        for value in values:
            score, loss = (found.taught.mean(what, **fixed, **{tuned: value}) for what in (SCORE, LOSS))
            known = [row for row in found.taught.where(**fixed, **{tuned: value}) if row[CHOSEN_BY] is not None]
            finite = loss is not None and loss.n == len(known)
            said = (
                "—"
                if score is None
                else f"{score.value:.1%}, {f'{loss.value:.3g}' if loss and finite else 'not finite'}"
            )
            cells.append(f"{said} *" if value == point.settings[tuned] else said)
        rows.append((*(str(point.settings[name]) for name in names), *cells))
    head = (*names, *(f"{tuned}={value:g}" if isinstance(value, float) else f"{tuned}={value}" for value in values))
    caption = (
        f"{found.task.score}, and the {found.task.loss} after it, at each {tuned}; * is the best one on validation"
    )
    return Table(head, tuple(rows), caption, sortable=True, most=_MOST)


def _said(found: Tried, point: Point, verdict: Verdict) -> str:
    mean: Estimate = point.verdicts[verdict.name]
    text = verdict.written(mean.value, found.task.deep(verdict, point.settings))
    return text if verdict.far else f"{text} ± {mean.sem:.2g}"


def exceptions(found: Tried) -> tuple[Block, ...]:
    """Say which pairs of models the first verdict surely orders otherwise than training does, the widest first."""
    verdict = found.verdicts[0]
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
