"""What a gradient does through one chain, from its squared norms at the boundaries: gains, law of growth, verdict."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from leadline.errors import Diverged, NotDifferentiable
from leadline.jacobian.laws.growth import GrowthLaw, fit_law, format_depths, trimmed
from leadline.jacobian.laws.series import mean_of_series
from leadline.jacobian.laws.verdicts import GradientKind, Path, further, goes_on, in_words, kind_of
from leadline.jacobian.stages import Along
from leadline.results import Estimate, Result

_LEAST = 8 * torch.finfo(torch.float32).eps
"""Rates below the rounding of single precision follow no law in any: no depth makes something of them."""


@dataclass(frozen=True)
class Stage:
    """One link of the chain.

    Attributes
    ----------
    name
        Path of the module, with the number of the call or time step if it runs repeatedly.
    backward
        Gain of the gradient's norm on its way back through the stage.
    forward
        Gain of a random tangent's norm on its way forward; None where no forward derivative exists.
    gradient
        Norm of the gradient where the stage begins, from standard normal cotangents (or the loss): the Frobenius norm
        of the Jacobian from there to the end.
    """

    name: str
    backward: Estimate
    forward: Estimate | None
    gradient: Estimate


@dataclass(frozen=True)
class GradientChain(Result):
    """What the gradient does through one chain of stages: the modules, or the steps or fronts of a recurrence.

    Attributes
    ----------
    name, along
        What the stages are, in words, and which kind of them: ``"modules"``, ``"steps"`` or ``"fronts"``.
    stages
        In the order of the forward pass.
    rate
        Slope of the log gradient norm per stage, counted from the output back, without the first and the last tenth of
        the stages: positive explodes. Its error allows for the correlation of stages, from eight of them on.
    law
        The law of growth through the same stages, with its interval and the criterion that chose it.
    total
        Log of the growth from the output to the input, through all stages: the sum of what each does. Through time the
        output is the last state, of the recurrence itself.
    farthest
        The same to where the norm is largest, and to where it is smallest, of all places where stages begin.
    kind, verdict
        ``"vanishing"`` or ``"exploding"`` if the norm changes by a factor of a hundred through the stages at hand, or,
        by the law, through twice as many; ``"turning"`` if growth and decay undo each other; ``"stable"``; or, where
        the stages differ too much to tell, ``"unknown"``. The same in plain words.
    twice, tenfold
        Log of the growth through twice and ten times as many stages: by the law, if it is sure, else as if they went
        on alike; None where nothing is known.
    sure
        Whether the law says what happens beyond the stages at hand.
    underflow_depth
        For each number format the first depth at which a gradient of size 1 is lost, to zero or to infinity: as
        measured, and beyond the stages at hand by the law; None if it never is. Formats of which neither tells are
        left out.
    method
        How forward gains were taken.
    """

    derived: ClassVar[tuple[str, ...]] = ("twice", "tenfold", "sure")

    name: str
    along: Along
    stages: tuple[Stage, ...]
    rate: Estimate
    law: GrowthLaw
    total: Estimate
    farthest: tuple[float, float]
    kind: GradientKind
    verdict: str
    underflow_depth: dict[str, int | None]
    method: str

    @property
    def twice(self) -> float | None:
        """Log of the growth through twice as many stages, by the law."""
        return self._over(2)

    @property
    def tenfold(self) -> float | None:
        """Log of the growth through ten times as many stages, by the law."""
        return self._over(10)

    def _over(self, times: int) -> float | None:
        stages = len(self.stages)
        total = self.total.value
        return None if self.kind == "unknown" else total + further(self.law, stages, total, times)

    @property
    def sure(self) -> bool:
        """Whether the law is sure of its direction, or that there is none, beyond the stages at hand."""
        return goes_on(self.law, len(self.stages))


@dataclass(frozen=True)
class Sampled:
    """How squared norms were sampled: the seed, the relative rounding error, and whether their mean is exact.

    `single`: they are those of one number each. `alike`: the stages that are repeated, if others stand around them.
    """

    seed: int
    resolution: float
    exact: bool = False
    single: bool = False
    alike: tuple[int, int] | None = None

    def ratio(self, above: NDArray[np.float64], below: NDArray[np.float64]) -> Estimate:
        """Estimate ``sqrt(E above / E below)`` from paired samples of squares, with the error of its logarithm.

        The error is the jackknife's. Few squares tell too little of their own tail: it is widened by √(n/(n-2)).
        """
        n = len(above)
        if not below.mean() > 0:
            return Estimate(math.nan, math.nan, n, self.seed)
        value = math.sqrt(float(above.mean() / below.mean()))
        if self.exact or not value > 0:
            return Estimate(value, self.resolution * value, n, self.seed)
        left_out = (above.sum() - above) / (below.sum() - below) if n > 1 else np.zeros(1)
        if not left_out.min() > 0:
            return Estimate(value, math.inf, n, self.seed, dof=max(n - 1, 1))
        spread = 0.5 * float(np.std(np.log(left_out))) * math.sqrt(n - 1) * math.sqrt(n / max(n - 2, 1))
        return Estimate(value, math.hypot(spread, self.resolution) * value, n, self.seed, dof=n - 1)


def alive(squares: NDArray[np.float64], names: tuple[str, ...]) -> NDArray[np.float64]:
    """Drop the last boundary if nothing comes back to it (a dead last residual); complain about any other."""
    means = squares.mean(axis=0)
    if not means[-1] > 0 and squares.shape[1] > 2:
        squares, means = squares[:, :-1], means[:-1]
    if np.isnan(means).any():
        raise NotDifferentiable(f"no gradient comes back to stage {names[int(np.isnan(means).argmax())]!r}")
    if np.isinf(means).any():
        raise Diverged(
            "the gradient is not finite on its way back: look for a root or logarithm of 0; if it grew too large, "
            "measure a shallower copy, or model.double()"
        )
    return squares


def stages_between(
    names: tuple[str, ...], squares: NDArray[np.float64], forward: NDArray[np.float64] | None, sampled: Sampled
) -> tuple[Stage, ...]:
    """Turn squared norms at the boundaries into the gains of the stages between them."""
    ones, at_random = np.ones(len(squares)), replace(sampled, exact=False)
    stages = []
    for i in range(squares.shape[1] - 1):
        backward, gradient = (sampled.ratio(squares[:, i], below) for below in (squares[:, i + 1], ones))
        carried = forward is not None and i + 1 < forward.shape[1]
        ahead = at_random.ratio(forward[:, i + 1], forward[:, i]) if forward is not None and carried else None
        stages.append(Stage(names[i], backward, ahead, gradient))
    return tuple(stages)


def judged(
    stages: tuple[Stage, ...],
    squares: NDArray[np.float64],
    usable: NDArray[np.bool_],
    sampled: Sampled,
    dtype: torch.dtype,
    *,
    method: str = "not asked for",
    name: str = "the modules",
    along: Along = "modules",
) -> GradientChain:
    """Fit the law of growth to the stages that can be measured, and put it into words."""
    if not stages:
        raise NotDifferentiable(
            "there is no stage between the first floating activation and the output: nothing to compare a gradient with"
        )
    lost = [stage.name for stage, carries in zip(stages, usable, strict=False) if not carries]
    both = usable[:-1] & usable[1:]
    if not both.any():
        raise NotDifferentiable(
            f"the gradient is zero in {dtype} in every stage, from {lost[-1]!r} back: try model.double()"
        )
    start, seed = int(both.argmax()), sampled.seed
    growth = 0.5 * np.log(squares.mean(axis=0)[:-1][both] / squares.mean(axis=0)[1:][both])
    path = Path([stage.name for stage, is_alive in zip(stages, both, strict=True) if is_alive], growth)
    window = _inner(len(growth), start, sampled.alike)
    resolution = max(sampled.resolution, _LEAST)
    law = fit_law(growth[window], first=start + window.start + 1, resolution=resolution)
    rate = mean_of_series(growth[window], seed, resolution=sampled.resolution)
    kind = kind_of(law, path, growth[window])
    depths = format_depths(law if _tells(law, kind, path) else None, path.back, single=sampled.single)
    verdict = in_words(kind, law, rate, path, depths, len(stages))
    if lost:
        verdict += f"; in {dtype} it is already lost in stage {lost[-1]!r}"
    ends = sampled.ratio(squares[:, start], squares[:, start + len(growth)])
    total = Estimate(path.total, ends.sem / ends.value, ends.n, seed, dof=ends.dof)
    farthest = max(0.0, float(path.back.max())), min(0.0, float(path.back.min()))
    return GradientChain(name, along, stages, rate, law, total, farthest, kind, verdict, depths, method)


def _inner(stages: int, start: int, alike: tuple[int, int] | None) -> slice:
    """Return which of the measured stages follow a law: those that are repeated, but for a tenth at either end."""
    first, last = alike or (0, stages)
    first, last = max(first - start, 0), min(last - start, stages) if last > 0 else stages + last
    if last - first < 2:
        return trimmed(stages)
    inner = trimmed(last - first)
    return slice(first + inner.start, first + inner.stop)


def _tells(law: GrowthLaw, kind: GradientKind, path: Path) -> bool:
    """Tell whether a law says at which depth a format gives up: one that goes on, and as the verdict does."""
    against = law.parameter * path.total < 0 and kind in ("vanishing", "exploding")
    return kind in ("stable", "vanishing", "exploding") and goes_on(law, len(path.growth)) and not against
