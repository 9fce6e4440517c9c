"""The four depths of a model, composed."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from torch import nn

from leadline.domains._causality import Causality, Verdict, causality_of
from leadline.domains._context import Context, context_of
from leadline.domains._count import Count, count_of
from leadline.domains._generation import Generation, generation_of, lag_of
from leadline.domains._memory import Memory, memory_of
from leadline.domains._span import Span, span_of
from leadline.domains.engine import OnUnknown
from leadline.errors import Diverged, LayoutError, LeadlineError, ModelError, NotCausal
from leadline.graph.layout import Layout, LayoutLike, Order
from leadline.graph.reading import Reading
from leadline.graph.restoring.undisturbed import ONE_AT_A_TIME, undisturbed
from leadline.graph.user_code import foreseen, raised_at, running
from leadline.jacobian._gradient import GradientDepth, gradient_of
from leadline.recurrence._system import system_of
from leadline.recurrence.analysis.schedule import Wavefronts, wavefronts
from leadline.results import Status

Result = TypeVar("Result")


@dataclass(frozen=True)
class Unavailable:
    """A depth that is not known for this model, and why: the error's own words."""

    reason: str

    @property
    def status(self) -> Status:
        """Always `unknown`."""
        return Status.UNKNOWN


@dataclass(frozen=True)
class Audit:
    """What `check` found out about one model, by the name that it was called.

    It has the shape of every input tensor by name, the mode and number format that the model ran in, the seed of random
    probes and torch's version; the depths, each with its status, or `Unavailable`; and the wall time of each.
    `wavefronts` are the points of a grid of several axes that are computed at once; None for sequences, whose order is
    the only one.
    """

    name: str
    inputs: Mapping[str, tuple[int, ...]]
    training: bool
    dtype: str
    seed: int
    torch: str
    count: Count | Unavailable
    span: Span | Unavailable
    causality: Causality | Unavailable
    generation: Generation | Unavailable
    wavefronts: Wavefronts | Unavailable | None
    context: Context | Unavailable
    memory: Memory | Unavailable
    gradient: GradientDepth | Unavailable
    seconds: Mapping[str, float]

    @property
    def leaks(self) -> bool:
        """Whether an output depends on a later input, or that could not be ruled out."""
        return (
            isinstance(self.causality, Unavailable)
            or not self.causality.causal
            or self.causality.cross_batch is not None
        )

    @property
    def verdict(self) -> Verdict:
        """The verdict on causality; `unknown` where there is none."""
        return Verdict.UNKNOWN if isinstance(self.causality, Unavailable) else self.causality.verdict


@foreseen("check")
def check(
    model: nn.Module,
    *inputs: Any,
    layout: LayoutLike = None,
    order: Order = None,
    output: str | None = None,
    position: tuple[int, ...] | None = None,
    strict: bool = False,
    seed: int = 0,
    on_unknown: OnUnknown = "raise",
    backward: bool = False,
    name: str | None = None,
    **kwargs: Any,
) -> Audit:
    """Take the four depths of a model and its memory.

    A depth that cannot be taken (an operation without a rule, axes that cannot be told apart, outputs that cannot be
    differentiated) is `Unavailable` with the reason; the others stand.

    Parameters
    ----------
    model, inputs, kwargs, layout, order, output, on_unknown
        As in `leadline.read`.
    position
        The output position whose context is mapped; default: the middle of every axis.
    strict
        Ask for a lag of at least one.
    seed
        Of the gradient's random probes.
    backward
        Count the multiply-accumulates of the backward pass too.
    name
        What to call the model in reports; default: its class.

    Raises
    ------
    ModelError
        If `model` cannot be called with these inputs at all.
    LayoutError
        If the axes, the order or the position given do not fit the model.

    Examples
    --------
    >>> from leadline.zoo import build
    >>> specimen = build("masked-stack", layers=3, channels=2, height=6, width=6)
    >>> audit = check(specimen.model, *specimen.inputs, layout=specimen.layout)
    >>> audit.span.steps, audit.causality.verdict.value
    (3, 'structural')
    """
    reading = Reading(model, inputs, kwargs, layout=layout, order=order, output=output)
    how: dict[str, Any] = {"position": position, "strict": strict, "seed": seed, "backward": backward}
    return audit_of(reading, **how, on_unknown=on_unknown, name=name)


def audit_of(
    reading: Reading,
    *,
    position: tuple[int, ...] | None = None,
    strict: bool = False,
    seed: int = 0,
    on_unknown: OnUnknown = "raise",
    backward: bool = False,
    longer: bool = False,
    name: str | None = None,
) -> Audit:
    """Take the depths of a reading: one trace, one layout, one walk for each domain; see `check`.

    With `longer` inputs a small model is traced again, where these inputs hide the end of what an output sees.
    """
    with ONE_AT_A_TIME:
        return _taken(
            reading,
            {"strict": strict, "on_unknown": on_unknown},
            {"backward": backward, "on_unknown": on_unknown},
            {"position": position, "longer": longer, "on_unknown": on_unknown},
            seed,
            name,
        )


def _taken(
    reading: Reading,
    causality: Mapping[str, Any],
    count: Mapping[str, Any],
    context: Mapping[str, Any],
    seed: int,
    name: str | None,
) -> Audit:
    on_unknown = count["on_unknown"]
    take = _Taking(axes_chosen=_positions_given(reading) or context["position"] is not None)
    memory = take("memory", lambda: memory_of(reading))  # first: it shows whether the model can be called
    if isinstance(memory, Unavailable):
        _rehearse(reading)
    take("trace", lambda: reading.graph)  # where it fails, each depth says why
    verdict = take("causality", lambda: causality_of(reading, **causality))
    dtypes = [tensor.dtype for tensor in (*reading.model.parameters(), *reading.tensors.values())]
    return Audit(
        name=name or type(reading.model).__name__,
        inputs=MappingProxyType({key: tuple(tensor.shape) for key, tensor in reading.tensors.items()}),
        training=reading.model.training,
        dtype=str(dtypes[0]).removeprefix("torch.") if dtypes else "none",
        seed=seed,
        torch=torch.__version__,
        count=take("count", lambda: count_of(reading, **count)),
        span=take("span", lambda: span_of(reading, on_unknown=on_unknown)),
        causality=verdict,
        generation=take("generation", lambda: generation_of(reading, _lag(verdict), on_unknown=on_unknown)),
        wavefronts=take("wavefronts", lambda: _wavefronts(reading, verdict)),
        context=take("context", lambda: context_of(reading, **context)),
        memory=memory,
        gradient=take("gradient", lambda: gradient_of(reading, seed=seed)),
        seconds=take.seconds,
    )


class _Taking:
    """Takes one depth after the other: those that cannot be taken are `Unavailable`, and each is timed."""

    def __init__(self, *, axes_chosen: bool) -> None:
        self.axes_chosen = axes_chosen
        self.seconds: dict[str, float] = {}

    def __call__(self, what: str, measure: Callable[[], Result]) -> Result | Unavailable:
        start = time.perf_counter()
        try:
            return measure()
        except (ModelError, Diverged) as error:
            if isinstance(error, LayoutError) and self.axes_chosen:
                raise
            return Unavailable(str(error))
        except LeadlineError:
            raise
        except Exception as error:  # of torch's, or a bug of ours: it is no reason to keep the other depths back
            return Unavailable(f"{type(error).__name__}: {error}{raised_at(error)}")
        finally:
            self.seconds[what] = round(time.perf_counter() - start, 3)


def _positions_given(reading: Reading) -> bool:
    """Whether the caller said how to read the axes, so that a reading that does not fit is the caller's error."""
    layout = reading.given_layout
    ordered = isinstance(layout, str) and bool(Layout.parse(layout).positions)
    return ordered or reading.order is not None or reading.given_output is not None


def _lag(verdict: Causality | Unavailable) -> int:
    """Return the lag of a causal model; `NotCausal` if nothing can be generated from the model."""
    if isinstance(verdict, Unavailable):
        raise NotCausal("generation needs an order in which the model is causal, and causality is unknown")
    return lag_of(verdict)


def _wavefronts(reading: Reading, verdict: Causality | Unavailable) -> Wavefronts | None:
    """Return the wavefronts over the positions, if these have several axes; `NotUniform` if no equations do."""
    if len(reading.layout.positions) < 2:
        return None
    lag = None if isinstance(verdict, Unavailable) or not verdict.causal else verdict.lag
    return wavefronts(system_of(reading), lag)


def _rehearse(reading: Reading) -> None:
    """Call a model that cannot be called with gradients without them: if that fails too, nothing can be said of it."""
    given = reading.inputs, reading.kwargs
    name = type(reading.model).__name__
    with undisturbed(reading.model, given, lazily=True) as before, before.contents.watched(), running(name, given):
        reading.model(*reading.inputs, **reading.kwargs)
