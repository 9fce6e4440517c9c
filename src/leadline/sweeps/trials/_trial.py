"""`trial`: models judged before they are trained, trained for a fixed budget, and what the one says of the other."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from leadline.errors import UsageError, near_misses
from leadline.graph.user_code import foreseen
from leadline.results import Estimate, Result
from leadline.sweeps._sweep import Setting, sweep
from leadline.sweeps.grid import Value
from leadline.sweeps.swept import Swept, number_of
from leadline.sweeps.trials.correlation import Agreement, RankCorrelation, agreement, correlated
from leadline.sweeps.trials.tasks import TASKS, Task
from leadline.sweeps.trials.verdicts import Verdict

SCORE, CHOSEN_BY, LOSS = "trial.score", "trial.validation", "trial.loss"
LEARNT = (SCORE, CHOSEN_BY, LOSS, "trial.steps")


@dataclass(frozen=True)
class Point:
    """A combination of settings: what was said before training, and how well it is trained at its best learning rate.

    Attributes
    ----------
    settings
        What the model is, the tuned setting at its best value among it.
    verdicts
        Each verdict by its name: its mean over the seeds at which it is known.
    score
        How good answers to unseen examples are after the budget.
    loss
        Their loss, in the task's unit; infinite where it was not finite.
    by_seed
        Each verdict, and `score` and `loss`, of each seed.
    """

    settings: Mapping[str, Value]
    verdicts: Mapping[str, Estimate]
    score: Estimate
    loss: Estimate
    by_seed: Mapping[str, tuple[float, ...]]


_Known = tuple[Point, list[float], list[float]]


@dataclass(frozen=True)
class Tried(Result):
    """Whether verdicts at initialisation rank models as training does.

    Attributes
    ----------
    name
        The task.
    judged
        The verdicts: every setting but the tuned one, and seed.
    taught
        The trainings: every setting, learning rate and seed.
    points
        One for each combination of settings, the best learning rate taken.
    correlation
        Spearman's rank correlation of the score with what the first verdict promises, over all points: 1 where the
        smaller change of the gradient always trains better.
    correlations
        The same of each verdict, by its name.
    loss_correlations
        Of each verdict with the loss: 1 where what promises more always has the smaller one.
    by_depth
        That of the first verdict among the points of each depth.
    agreements
        Of each verdict, the pairs of points that it and the score both tell apart, over the seeds.
    """

    derived: ClassVar[tuple[str, ...]] = (
        "points", "correlation", "correlations", "loss_correlations", "by_depth", "agreements",
    )  # fmt: skip

    name: str
    judged: Swept
    taught: Swept

    @property
    def task(self) -> Task:
        """The task."""
        return TASKS[self.name]

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """The verdicts that were asked for: all of the task's, but for results that are older than one of them."""
        return tuple(verdict for verdict in self.task.verdicts if verdict.measure in self.judged.measures)

    @property
    def failed(self) -> int:
        """How many cells have an error."""
        return self.judged.failed + self.taught.failed

    @cached_property
    def points(self) -> tuple[Point, ...]:
        """The combinations of settings of which cells were measured."""
        chosen = itertools.product(*self.judged.settings.values())
        found = (self._point(dict(zip(self.judged.settings, values, strict=True))) for values in chosen)
        return tuple(point for point in found if point is not None)

    def _point(self, fixed: Mapping[str, Value]) -> Point | None:
        """Return a point at the tuned value that is best on validation, in the mean over seeds."""
        tried, tuned = [], self.task.tuned
        for value in self.taught.settings[tuned]:
            chosen_by = self.taught.mean(CHOSEN_BY, **fixed, **{tuned: value})
            tried += [] if chosen_by is None else [(chosen_by.value, value)]
        if not tried:
            return None
        settings = {**fixed, tuned: max(tried, key=lambda each: each[0])[1]}
        judged = {row["seed"]: row for row in self.judged.where(**fixed) if row["error"] is None}
        taught = {row["seed"]: row for row in self.taught.where(**settings) if row["error"] is None}
        seeds = [seed for seed in judged if seed in taught]
        if not seeds:
            return None
        verdicts = {
            v.name: tuple(v.value(judged[seed], self.task.deep(v, fixed)) for seed in seeds) for v in self.verdicts
        }
        scores = tuple(number_of(taught[seed][SCORE]) for seed in seeds)
        losses = tuple(_or_infinite(number_of(taught[seed][LOSS])) for seed in seeds)
        means = {
            name: Estimate.of([v for v in values if math.isfinite(v)] or [math.nan])
            for name, values in verdicts.items()
        }
        loss = Estimate.of(losses) if all(map(math.isfinite, losses)) else Estimate(math.inf, math.nan, len(losses))
        return Point(settings, means, Estimate.of(scores), loss, {**verdicts, "score": scores, "loss": losses})

    def _known(self, verdict: Verdict, by: str = "score") -> tuple[_Known, ...]:
        """Return each point with what a verdict promises of it and how it did, at the seeds at which it is known.

        It did well `by` its score, or by a small loss.
        """
        found, sign = [], -1 if by == "loss" else 1
        for point in self.points:
            deep = self.task.deep(verdict, point.settings)
            pairs = zip(point.by_seed[verdict.name], point.by_seed[by], strict=True)
            known = [(verdict.promise(value, deep), sign * did) for value, did in pairs if math.isfinite(value)]
            found += [(point, [promise for promise, _ in known], [did for _, did in known])] if known else []
        return tuple(found)

    @property
    def correlation(self) -> RankCorrelation:
        """Of the first verdict, over all points."""
        return self.correlations[self.verdicts[0].name]

    @cached_property
    def correlations(self) -> Mapping[str, RankCorrelation]:
        """Of each verdict."""
        return {verdict.name: _correlated(self._known(verdict)) for verdict in self.verdicts}

    @cached_property
    def loss_correlations(self) -> Mapping[str, RankCorrelation]:
        """Of each verdict with the loss."""
        return {verdict.name: _correlated(self._known(verdict, "loss")) for verdict in self.verdicts}

    @cached_property
    def by_depth(self) -> Mapping[Value, RankCorrelation]:
        """Of the first verdict, among the points of each depth."""
        name, known = self.task.depth, self._known(self.verdicts[0])
        depths = dict.fromkeys(point.settings[name] for point, _, _ in known)
        return {depth: _correlated([each for each in known if each[0].settings[name] == depth]) for depth in depths}

    @cached_property
    def agreements(self) -> Mapping[str, Agreement]:
        """Of each verdict; pairs are named by the places of their points, the one that promised more first."""
        found = {}
        for verdict in self.verdicts:
            known = self._known(verdict)
            places = [self.points.index(point) for point, _, _ in known]
            promises, scores = [promises for _, promises, _ in known], [scores for _, _, scores in known]
            found[verdict.name] = agreement(promises, scores, places)
        return found

    def __str__(self) -> str:
        return f"{self.name}: {len(self.points)} models, rank correlation {self.correlation}"


def _or_infinite(loss: float) -> float:
    """Return a loss; of a model whose numbers are not finite none is worse."""
    return loss if math.isfinite(loss) else math.inf


def _correlated(known: Sequence[_Known]) -> RankCorrelation:
    return correlated([promises for _, promises, _ in known], [scores for _, _, scores in known])


def trial(
    name: str,
    folder: str | Path,
    *,
    settings: Mapping[str, Setting] | None = None,
    seeds: int = 5,
    **how: Any,
) -> Tried:
    """Judge models before training, train each for a fixed budget, and correlate the ranks.

    The verdicts are those of `gradient`, and of sequences those of `reach`, on untrained weights: the log rate of the
    gradient a layer or step times the depth, its growth from end to end, where float16 and bfloat16 lose it, and how
    far it reaches. After training stand a score and a loss, on examples that were not seen, at the learning rate that
    does best on others. Cells are those of a `sweep`: called again, the trial goes on where it was.

    Parameters
    ----------
    name
        The task. Digits classified, by ``"bn-placement"``, stacks with batch normalisation at one of four placements,
        and ``"residual"``, layers with and without skip connections; ``"adding"`` and ``"copy"`` by recurrences;
        ``"mqar"``, values recalled by their keys, and ``"text"``, the next byte of English, by attention, state spaces
        and LSTM.
    folder
        Where the cells and the tables go: ``verdicts`` and ``lessons``, each a sweep's folder.
    settings
        Values that take the place of the task's own, or are added: ``{"layers": [5, 20], "steps": 200}``.
    seeds
        How many seeds, from 0 on.
    **how
        `workers`, `scheduler` and `console` of a sweep.

    Raises
    ------
    UsageError
        If the task or a setting is unknown, or a package is missing.
    StorageError
        If the disk refuses.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> small = {"placement": ["plain", "after"], "layers": 3, "lr": 0.1, "steps": 3, "width": 8, "batch": 16}
    >>> with TemporaryDirectory() as folder:
    ...     found = trial("bn-placement", folder, settings=small, seeds=2, workers=0)
    >>> [point.settings["placement"] for point in found.points]
    ['plain', 'after']
    """
    if name not in TASKS:
        raise UsageError(f"no trial is called {name!r}; {near_misses(name, TASKS)}")
    with foreseen("trial"):
        task, known = TASKS[name], inspect.signature(TASKS[name].build).parameters
        for key in settings or {}:
            if key not in known:
                raise UsageError(f"the trial {name} has no setting {key!r}; {near_misses(key, known)}")
        chosen: dict[str, Any] = {**{key: list(values) for key, values in task.settings.items()}, **(settings or {})}
        models = {key: values for key, values in chosen.items() if key != task.tuned}
        measures = tuple(verdict.measure for verdict in task.verdicts)
        where, given = Path(folder), {"seeds": seeds, "only": task.only, **how}
        judged = sweep(task.model, models, measures, where / "verdicts", **given)
        return Tried(name, judged, sweep(task.model, chosen, LEARNT, where / "lessons", **given))
