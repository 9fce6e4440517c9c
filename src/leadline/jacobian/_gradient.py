"""How far a gradient reaches: gains per stage, the law of growth over depth, and the verdict."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from leadline.domains.arguments import public
from leadline.errors import Diverged, NotDifferentiable, UsageError, require_seed
from leadline.graph.reading import Reading
from leadline.graph.restoring.snapshot import Snapshot
from leadline.graph.user_code import running
from leadline.jacobian.kernels import kept, plain_kernels, run_once
from leadline.jacobian.laws.growth import GrowthLaw, fit_law, format_depths, trimmed
from leadline.jacobian.laws.series import mean_of_series
from leadline.jacobian.laws.verdicts import GradientKind, Path, further, goes_on, in_words, kind_of
from leadline.jacobian.probes import backward_norms, cut_open, forward_norms
from leadline.jacobian.sources import scalar, starting_point, with_gradient
from leadline.jacobian.stages import Chain, find_stages
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
class GradientDepth(Result):
    """What `gradient` found.

    Attributes
    ----------
    stages
        In the order of the forward pass.
    rate
        Slope of the log gradient norm per stage, counted from the output back, without the first and the last tenth of
        the stages: positive explodes. Its error allows for the correlation of stages, from eight of them on.
    law
        The law of growth through the same stages, with its interval and the criterion that chose it.
    total
        Log of the growth from the output to the input, through all stages: the sum of what each does.
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
    method, mode, dtype, seed
        How forward gains were taken; the mode and number format that the model ran in; the seed of the probes.
    """

    derived: ClassVar[tuple[str, ...]] = ("twice", "tenfold", "sure")

    stages: tuple[Stage, ...]
    rate: Estimate
    law: GrowthLaw
    total: Estimate
    farthest: tuple[float, float]
    kind: GradientKind
    verdict: str
    underflow_depth: dict[str, int | None]
    method: str
    mode: Literal["train", "eval"]
    dtype: torch.dtype
    seed: int

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


@public("gradient")
def gradient(
    model: nn.Module,
    *inputs: Any,
    output: str | None = None,
    loss: Callable[[Any], Tensor] | None = None,
    probes: int = 8,
    seed: int = 0,
    **kwargs: Any,
) -> GradientDepth:
    """Measure how the gradient grows or shrinks through the stages of a model, as it stands.

    Stages are found (see `leadline.jacobian.stages`). The model runs in its own mode and number format and is left as
    it was. Models that take integers are measured from their first floating activation.

    Parameters
    ----------
    model, *inputs, **kwargs
        The model and what it is called with.
    output
        The output that gradients start from, by name or path (``"logits"``, ``"[0]"``); default: the first that is
        differentiable.
    loss
        Takes the model's output and returns a scalar: then its gradient is measured instead of random probes.
    probes
        How many random cotangents.
    seed
        Of the probes, and of the model's own noise (dropout).

    Raises
    ------
    NotDifferentiable
        If no gradient exists: integer, empty or detached outputs, empty stages.
    Diverged
        If an activation is not finite, or the gradient.
    UsageError
        If no output bears the name given, or the loss is not a scalar.
    ModelError
        If the model or the loss raises.

    Examples
    --------
    >>> layers = [layer for _ in range(12) for layer in (nn.Linear(1, 1), nn.Sigmoid())]
    >>> depth = gradient(nn.Sequential(*layers), torch.zeros(1, 1))
    >>> depth.kind, depth.rate.value < math.log(1 / 4)
    ('vanishing', True)
    """
    reading = Reading(model, inputs, kwargs, output=output)
    return gradient_of(reading, loss=loss, probes=probes, seed=seed)


def gradient_of(
    reading: Reading,
    *,
    loss: Callable[[Any], Tensor] | None = None,
    probes: int = 8,
    seed: int = 0,
    ahead: bool = True,
) -> GradientDepth:
    """Measure the gradient of a reading's model, which is not traced for it; see `gradient`.

    Forward gains are measured too, if `ahead`.
    """
    require_seed(seed)
    if probes < 1:
        raise UsageError(f"the gradient takes at least one probe, got probes={probes}")
    model = reading.model
    with _differentiated(reading, loss) as (beginning, call, run):
        chain = find_stages(model, run)
        generator = torch.Generator().manual_seed(seed)
        beginning.restore()
        try:
            tape = cut_open(model, chain, run, seed)
        except RuntimeError:  # kernels of its own that cannot be cut
            beginning.restore()
            with plain_kernels():
                tape = cut_open(model, chain, run, seed)
        backward, exact = backward_norms(tape, 1 if loss is not None else probes, generator)
        dtype, entries = tape.dtype, np.array(tape.entries)
        del tape
        beginning.restore()
        forward, method = None, "not asked for"
        if ahead:
            forward, method = forward_norms(model, chain, call, probes, generator, seed)
        mode: Literal["train", "eval"] = "train" if model.training else "eval"
    squares = _alive(backward.numpy(), chain)
    measured = squares.shape[1]
    usable = squares.mean(axis=0) / entries[:measured] > torch.finfo(dtype).smallest_normal ** 2
    estimated = Sampled(seed, 8 * torch.finfo(dtype).eps, exact, single=bool(entries.max() == 1), alike=chain.alike)
    stages = _stages(chain.names(measured), squares, forward.numpy() if forward is not None else None, estimated)
    return _judged(stages, squares, usable, estimated, method, mode, dtype)


@contextmanager
def _differentiated(
    reading: Reading, loss: Callable[[Any], Tensor] | None = None
) -> Iterator[tuple[Snapshot, Callable[[], Any], Callable[[], Tensor]]]:
    """Yield the state that a reading's model began in, a call of it, and one that returns what gradients start from."""
    model, output = reading.model, reading.given_output
    with kept(model, reading.inputs, reading.kwargs) as beginning, run_once(), torch.enable_grad():
        leaves = {name: with_gradient(tensor) for name, tensor in reading.tensors.items()}

        def call() -> Any:  # of copies, which the model may write into
            given, named = reading.call.replaced({name: leaf.clone() for name, leaf in leaves.items()})
            return model(*given, **named)

        def run() -> Tensor:
            return starting_point(call(), output) if loss is None else scalar(loss(call()))

        with running(type(model).__name__, (reading.inputs, reading.kwargs)):
            yield beginning, call, run


def chain_of(reading: Reading) -> Chain:
    """Return the stages that `gradient` would find."""
    with _differentiated(reading) as (_, _, run):
        return find_stages(reading.model, run)


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


def _alive(squares: NDArray[np.float64], chain: Chain) -> NDArray[np.float64]:
    """Drop the last boundary if nothing comes back to it (a dead last residual); complain about any other."""
    means = squares.mean(axis=0)
    if not means[-1] > 0 and squares.shape[1] > 2:
        squares, means = squares[:, :-1], means[:-1]
    if np.isnan(means).any():
        names = chain.names(len(means) + 1)
        raise NotDifferentiable(f"no gradient comes back to stage {names[int(np.isnan(means).argmax())]!r}")
    if np.isinf(means).any():
        raise Diverged(
            "the gradient is not finite on its way back: look for a root or logarithm of 0; if it grew too large, "
            "measure a shallower copy, or model.double()"
        )
    return squares


def _stages(
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


def _judged(
    stages: tuple[Stage, ...],
    squares: NDArray[np.float64],
    usable: NDArray[np.bool_],
    sampled: Sampled,
    method: str,
    mode: Literal["train", "eval"],
    dtype: torch.dtype,
) -> GradientDepth:
    """Fit the law of growth to the stages that can be measured, and put it into words."""
    if not stages:
        raise NotDifferentiable(
            "there is no stage between the first floating activation and the output: nothing to compare a gradient with"
        )
    lost = [stage.name for stage, alive in zip(stages, usable, strict=False) if not alive]
    alive = usable[:-1] & usable[1:]
    if not alive.any():
        raise NotDifferentiable(
            f"the gradient is zero in {dtype} in every stage, from {lost[-1]!r} back: try model.double()"
        )
    start, seed = int(alive.argmax()), sampled.seed
    growth = 0.5 * np.log(squares.mean(axis=0)[:-1][alive] / squares.mean(axis=0)[1:][alive])
    path = Path([stage.name for stage, is_alive in zip(stages, alive, strict=True) if is_alive], growth)
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
    return GradientDepth(stages, rate, law, total, farthest, kind, verdict, depths, method, mode, dtype, seed)


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
