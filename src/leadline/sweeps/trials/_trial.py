"""`trial`: models judged before they are trained, trained for a fixed budget, and what the one says of the other."""

from __future__ import annotations

import inspect
import itertools
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
from leadline.sweeps.trials.correlation import RankCorrelation, correlated
from leadline.sweeps.trials.tasks import TASKS, Task

RATE, LOST, ACCURACY = "gradient.rate", "gradient.underflow_depth.get('float16')", "trial.accuracy"
CHOSEN_BY = "trial.validation"
MEASURES = (RATE, LOST, "gradient.kind", ACCURACY, CHOSEN_BY, "trial.loss", "trial.steps")


@dataclass(frozen=True)
class Point:
    """A combination of settings: the verdict before training, and how well it is trained at its best learning rate.

    Attributes
    ----------
    settings
        What the model is, the tuned setting at its best value among it.
    verdict
        The log rate of the gradient a layer times the depth, over the seeds.
    lost_at
        The earliest layer, over the seeds, at which float16 loses a gradient of size 1; None if it never does.
    accuracy
        The share of unseen examples that are named rightly after the budget.
    by_seed
        Verdict and accuracy of each seed.
    """

    settings: Mapping[str, Value]
    verdict: Estimate
    lost_at: int | None
    accuracy: Estimate
    by_seed: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Trial(Result):
    """Whether the verdict at initialisation ranks models as training does.

    Attributes
    ----------
    name
        The task.
    swept
        All cells: every setting, learning rate and seed.
    points
        One for each combination of settings, the best learning rate taken.
    correlation
        Spearman's rank correlation of accuracy with -|rate × depth| over all points: 1 where the smaller change of the
        gradient always trains better.
    by_depth
        The same among the points of each depth.
    """

    derived: ClassVar[tuple[str, ...]] = ("points", "correlation", "by_depth")

    name: str
    swept: Swept

    @property
    def task(self) -> Task:
        """The task."""
        return TASKS[self.name]

    @cached_property
    def points(self) -> tuple[Point, ...]:
        """The combinations of settings of which cells were measured."""
        names = [name for name in self.swept.settings if name != self.task.tuned]
        chosen = itertools.product(*(self.swept.settings[name] for name in names))
        found = (self._point(dict(zip(names, values, strict=True))) for values in chosen)
        return tuple(point for point in found if point is not None)

    def _point(self, fixed: Mapping[str, Value]) -> Point | None:
        """Return a point at the tuned value of the highest mean accuracy on validation."""
        tried = []
        for value in self.swept.settings[self.task.tuned]:
            chosen_by = self.swept.mean(CHOSEN_BY, **fixed, **{self.task.tuned: value})
            tried += [] if chosen_by is None else [(chosen_by.value, value)]
        if not tried:
            return None
        settings = {**fixed, self.task.tuned: max(tried, key=lambda each: each[0])[1]}
        rows = [row for row in self.swept.where(**settings) if row["error"] is None]
        depth = number_of(fixed[self.task.depth])
        by_seed = tuple((number_of(row[RATE]) * depth, number_of(row[ACCURACY])) for row in rows)
        lost = [int(number_of(row[LOST])) for row in rows if row[LOST] is not None]
        verdict = Estimate.of([rate for rate, _ in by_seed])
        accuracy = Estimate.of([share for _, share in by_seed])
        return Point(settings, verdict, min(lost, default=None), accuracy, by_seed)

    @cached_property
    def correlation(self) -> RankCorrelation:
        """Over all points."""
        return _correlated(self.points)

    @cached_property
    def by_depth(self) -> Mapping[Value, RankCorrelation]:
        """Among the points of each depth."""
        name, points = self.task.depth, self.points
        depths = dict.fromkeys(point.settings[name] for point in points)
        return {depth: _correlated([p for p in points if p.settings[name] == depth]) for depth in depths}

    def __str__(self) -> str:
        return f"{self.name}: {len(self.points)} models, rank correlation {self.correlation}"


def _correlated(points: Sequence[Point]) -> RankCorrelation:
    verdicts = [[-abs(rate) for rate, _ in point.by_seed] for point in points]
    return correlated(verdicts, [[accuracy for _, accuracy in point.by_seed] for point in points])


def trial(
    name: str,
    folder: str | Path,
    *,
    settings: Mapping[str, Setting] | None = None,
    seeds: int = 5,
    **how: Any,
) -> Trial:
    """Judge models before training, train each for a fixed budget, and correlate the ranks.

    The verdict is the log rate of the gradient a layer times the depth, from `gradient` on untrained weights; a model
    whose gradient changes less on its way should train better. Cells are those of a `sweep`: called again, the trial
    goes on where it was.

    Parameters
    ----------
    name
        The task: ``"bn-placement"``, digits classified by a stack with batch normalisation at one of four placements.
    folder
        Where the cells and the table go.
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
        return Trial(name, sweep(task.model, chosen, MEASURES, folder, seeds=seeds, **how))
