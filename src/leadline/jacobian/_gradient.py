"""How far a gradient reaches: gains per stage, the law of growth over depth, and the verdict."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import stdtrit
from torch import Tensor, nn

from leadline.errors import Diverged, NotDifferentiable
from leadline.graph.reading import Reading
from leadline.graph.user_code import running
from leadline.jacobian.growth import GrowthLaw, fit_law, format_depths, trimmed
from leadline.jacobian.kernels import kept, plain_kernels, run_once
from leadline.jacobian.probes import backward_norms, cut_open, forward_norms
from leadline.jacobian.sources import scalar, starting_point, with_gradient
from leadline.jacobian.stages import Chain, find_stages
from leadline.results import Estimate

GradientKind = Literal["vanishing", "exploding", "stable", "unknown"]

SLOW = 0.01
"""Exponential rates below one per cent a stage are called stable: float16 would need more than a thousand stages."""

SMALL = 0.1
"""Powers of depth that change the gradient by less than a tenth over the whole model are called stable too."""

UNDECIDED = 0.1
"""A rate that may, with 95 % confidence, be as large as ten per cent a stage either way is not called stable."""


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
class GradientDepth:
    """What `gradient` found.

    Attributes
    ----------
    stages
        In the order of the forward pass.
    rate
        Slope of the log gradient norm per stage, counted from the output back, after transients: positive explodes.
    law
        The law of growth, with its interval and the criterion that chose it.
    kind, verdict
        ``"vanishing"``, ``"exploding"``, ``"stable"`` or, where the stages are too few or differ too much to tell,
        ``"unknown"``; the same in plain words.
    underflow_depth
        For each number format the first depth at which a gradient of size 1 is lost, to zero or to infinity by the
        sign of the rate; None if it never is. Empty where no law is known.
    method, mode, dtype, seed
        How forward gains were taken; the mode and number format that the model ran in; the seed of the probes.
    """

    stages: tuple[Stage, ...]
    rate: Estimate
    law: GrowthLaw
    kind: GradientKind
    verdict: str
    underflow_depth: dict[str, int | None]
    method: str
    mode: Literal["train", "eval"]
    dtype: torch.dtype
    seed: int


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
    reading: Reading, *, loss: Callable[[Any], Tensor] | None = None, probes: int = 8, seed: int = 0
) -> GradientDepth:
    """Measure the gradient of a reading's model, which is not traced for it; see `gradient`."""
    model, output = reading.model, reading.given_output
    with kept(model, reading.inputs, reading.kwargs) as beginning, run_once(), torch.enable_grad():
        leaves = {name: with_gradient(tensor) for name, tensor in reading.tensors.items()}

        def call() -> Any:  # of copies, which the model may write into
            given, named = reading.call.replaced({name: leaf.clone() for name, leaf in leaves.items()})
            return model(*given, **named)

        def run() -> Tensor:
            return starting_point(call(), output) if loss is None else scalar(loss(call()))

        with running(type(model).__name__, (reading.inputs, reading.kwargs)):
            chain = find_stages(model, run)
            generator = torch.Generator().manual_seed(seed)
            beginning.restore()
            try:
                tape = cut_open(model, chain, run, seed)
            except RuntimeError:  # kernels of its own that cannot be cut
                beginning.restore()
                with plain_kernels():
                    tape = cut_open(model, chain, run, seed)
            backward = backward_norms(tape, 1 if loss is not None else probes, generator)
            dtype = tape.crossing[0][0].dtype
            entries = np.array([sum(t.numel() for t in tensors) for tensors in tape.crossing])
            del tape
            beginning.restore()
            forward, method = forward_norms(model, chain, call, probes, generator, seed)
        mode: Literal["train", "eval"] = "train" if model.training else "eval"
    squares = _alive(backward.numpy(), chain)
    measured = squares.shape[1]
    usable = squares.mean(axis=0) / entries[:measured] > torch.finfo(dtype).smallest_normal ** 2
    stages = _stages(chain.names(measured), squares, forward.numpy() if forward is not None else None, seed)
    return _judged(stages, squares, usable, method, mode, dtype, seed)


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


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64], seed: int) -> Estimate:
    """Estimate ``sqrt(E above / E below)`` from paired samples of squares, with the error by the delta method."""
    n = len(above)
    if not below.mean() > 0:
        return Estimate(math.nan, math.nan, n, seed)
    square = float(above.mean() / below.mean())
    spread = float(np.std(above - square * below, ddof=1) / math.sqrt(n) / below.mean()) if n > 1 else 0.0
    value = math.sqrt(square)
    return Estimate(value, spread / (2 * value) if value > 0 else 0.0, n, seed)


def _stages(
    names: tuple[str, ...], squares: NDArray[np.float64], forward: NDArray[np.float64] | None, seed: int
) -> tuple[Stage, ...]:
    """Turn squared norms at the boundaries into the gains of the stages between them."""
    ones = np.ones(len(squares))
    stages = []
    for i in range(squares.shape[1] - 1):
        backward, gradient = (_ratio(squares[:, i], below, seed) for below in (squares[:, i + 1], ones))
        carried = forward is not None and i + 1 < forward.shape[1]
        ahead = _ratio(forward[:, i + 1], forward[:, i], seed) if forward is not None and carried else None
        stages.append(Stage(names[i], backward, ahead, gradient))
    return tuple(stages)


def _judged(
    stages: tuple[Stage, ...],
    squares: NDArray[np.float64],
    usable: NDArray[np.bool_],
    method: str,
    mode: Literal["train", "eval"],
    dtype: torch.dtype,
    seed: int,
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
    start = int(alive.argmax())
    increments = 0.5 * np.log(squares.mean(axis=0)[:-1][alive] / squares.mean(axis=0)[1:][alive])
    window = trimmed(len(increments))
    settled = increments[window]
    law = fit_law(settled, first=start + window.start + 1, resolution=8 * torch.finfo(dtype).eps)
    rate = Estimate.of(settled, seed)  # generalised least squares for independent increments
    kind = _kind(law, rate, len(stages))
    depths = format_depths(law) if kind != "unknown" else {}
    measured = [stage for stage, is_alive in zip(stages, alive, strict=True) if is_alive]
    verdict = _in_words(kind, law, rate, measured, increments, depths)
    if lost:
        verdict += f"; in {dtype} it is already lost in stage {lost[-1]!r}"
    return GradientDepth(stages, rate, law, kind, verdict, depths, method, mode, dtype, seed)


def _kind(law: GrowthLaw, rate: Estimate, stages: int) -> GradientKind:
    """Name the direction of growth where the interval has one; where it has none, say whether that means stable."""
    low, high = law.interval
    if math.isinf(high - low):
        return "unknown"
    slow = abs(law.parameter) < SLOW if law.kind == "exponential" else abs(law.log_gradient(float(stages))) < SMALL
    if law.kind != "stable" and not slow and not low <= 0 <= high:
        return "exploding" if law.parameter > 0 else "vanishing"
    half_width = float(stdtrit(rate.n - 1, 0.975)) * rate.sem
    return "stable" if abs(rate.value) + half_width < UNDECIDED else "unknown"


def _in_words(
    kind: GradientKind,
    law: GrowthLaw,
    rate: Estimate,
    stages: list[Stage],
    increments: NDArray[np.float64],
    depths: dict[str, int | None],
) -> str:
    """Say what happens to the gradient, how fast, where, and to which depth each format carries it."""
    per_stage = f"{math.exp(rate.value):.3g} × a stage over {len(stages)} stages (log rate {rate})"
    if kind == "unknown" and len(stages) == 1:
        return f"unknown: one stage, {stages[0].name!r}, changes the gradient by {stages[0].backward} ×; no law follows"
    if kind == "unknown":
        return f"unknown: the stages differ too much for a law; in the mean the gradient changes by {per_stage}"
    if kind == "stable":
        return f"stable: the gradient changes by {per_stage}"
    manner = " as a power of depth" if law.kind == "power" else ""
    sign = 1.0 if kind == "exploding" else -1.0
    worst = int(np.argmax(sign * increments))
    where = "in all stages alike"
    if sign * increments[worst] > 3 * abs(rate.value) and len(stages) > 2:
        where = f"most of all in {stages[worst].name!r} ({math.exp(increments[worst]):.3g} ×)"
    limits = ", ".join(f"{name} {depth}" for name, depth in depths.items() if depth is not None)
    lost = f"; lost at depth: {limits}" if limits else ""
    return f"{kind}{manner}: the gradient changes by {per_stage}, {where}{lost}"
