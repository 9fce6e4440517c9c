"""The four depths of a model, composed: `check` for one, `compare` for two."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from leadline.audit.named_model import NamedModel
from leadline.domains._causality import Causality, Verdict, causality
from leadline.domains._context import Context, context
from leadline.domains._count import Count, count
from leadline.domains._generation import Generation, generation
from leadline.domains._memory import Memory, memory
from leadline.domains._span import Span, span
from leadline.domains.engine import OnUnknown
from leadline.domains.subject import Subject, subject
from leadline.errors import Diverged, LayoutError, ModelError, NotCausal, NotUniform
from leadline.graph.layout import Layout, LayoutLike, Order
from leadline.graph.trace import quiet, trace
from leadline.graph.user_code import running
from leadline.jacobian import GradientDepth, gradient
from leadline.recurrence._system import lower
from leadline.recurrence.analysis.fronts import Wavefronts, wavefronts
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
    """What `check` found out about one model.

    Attributes
    ----------
    name
        What the model was called.
    inputs
        Shape of every input tensor, by name or place.
    training, dtype, seed, torch
        The mode and number format that the model ran in, the seed of random probes, torch's version.
    count, span, causality, generation, context, memory, gradient
        The depths, each with its status, or `Unavailable`.
    wavefronts
        The points of a grid of several axes that are computed at once; None for sequences, whose order is the only one.
    seconds
        Wall time of each.
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
    name: str | None = None,
    **kwargs: Any,
) -> Audit:
    """Take the four depths of a model and its memory.

    A depth that cannot be taken (an operation without a rule, axes that cannot be told apart, outputs that cannot be
    differentiated) is `Unavailable` with the reason; the others stand.

    Parameters
    ----------
    model, inputs, kwargs
        Called as ``model(*inputs, **kwargs)``; left as it was.
    layout, order, output
        How to read the axes; see `leadline.graph.layout`.
    position
        The output position whose context is mapped; default: the middle of every axis.
    strict
        Ask for a lag of at least one.
    seed
        Of the gradient's random probes.
    on_unknown
        ``"top"`` goes on past operations without a rule, with sound assumptions and a coverage that says so.
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
    _rehearse(model, inputs, kwargs)
    ordered = isinstance(layout, str) and bool(Layout.parse(layout).positions)
    chosen = ordered or order is not None or output is not None or position is not None
    axes: dict[str, Any] = {"layout": layout, "order": order, "output": output}
    seconds: dict[str, float] = {}

    def take(what: str, measure: Callable[[], Result]) -> Result | Unavailable:
        start = time.perf_counter()
        try:
            return measure()
        except (ModelError, Diverged) as error:
            if isinstance(error, LayoutError) and chosen:
                raise
            return Unavailable(str(error))
        finally:
            seconds[what] = round(time.perf_counter() - start, 3)

    tensors = {str(i): leaf for i, leaf in enumerate(tree_leaves((inputs, kwargs))) if isinstance(leaf, Tensor)}
    floating = [p.dtype for p in model.parameters()] + [t.dtype for t in tensors.values()]
    graph = take("trace", lambda: trace(model, *inputs, **kwargs))
    traced = None if isinstance(graph, Unavailable) else graph  # without one, each depth says why
    how: dict[str, Any] = {"on_unknown": on_unknown, "traced": traced, **kwargs}
    viewed = {**axes, "output": position if output is None else {output: position}}

    def read() -> Subject:
        return subject(model, inputs, kwargs, layout, order, output, traced)

    verdict = take("causality", lambda: causality(model, *inputs, **axes, strict=strict, **how))
    return Audit(
        name=name or type(model).__name__,
        inputs=MappingProxyType({key: tuple(tensor.shape) for key, tensor in tensors.items()}),
        training=model.training,
        dtype=str(floating[0]).removeprefix("torch.") if floating else "none",
        seed=seed,
        torch=torch.__version__,
        count=take("count", lambda: count(model, *inputs, **how)),
        span=take("span", lambda: span(model, *inputs, **how)),
        causality=verdict,
        generation=take("generation", lambda: generation(model, *inputs, lag=_lag(verdict), **axes, **how)),
        wavefronts=take("wavefronts", lambda: _wavefronts(read(), list(tensors.values()), order, verdict)),
        context=take("context", lambda: context(model, *inputs, **viewed, **how)),
        memory=take("memory", lambda: memory(model, *inputs, **kwargs)),
        gradient=take("gradient", lambda: gradient(model, *inputs, output=output, seed=seed, **kwargs)),
        seconds=seconds,
    )


def check_named(named: NamedModel, **settings: Any) -> Audit:
    """Take the depths of a model that `leadline.audit.named_model.find_model` found.

    `settings` are those of `check`; where one is None, the model's own holds.
    """
    own = {"layout": named.layout, "order": named.order}
    given = {key: value for key, value in settings.items() if value is not None}
    return check(named.model, *named.inputs, name=named.name, **{**own, **given}, **named.keywords)


def _lag(verdict: Causality | Unavailable) -> int:
    """Return the lag of a causal model.

    Raises
    ------
    NotCausal
        If nothing can be generated from the model.
    """
    if isinstance(verdict, Unavailable):
        raise NotCausal("generation needs an order in which the model is causal, and causality is unknown")
    if verdict.lag is None:
        raise NotCausal("no output depends on any input: there is nothing to generate step by step")
    return verdict.lag


def _wavefronts(
    read: Subject, tensors: Sequence[Tensor], order: Order, verdict: Causality | Unavailable
) -> Wavefronts | None:
    """Return the wavefronts over the positions, if these have several axes.

    Raises
    ------
    NotUniform
        If the model is no system of recurrence equations over them.
    """
    if len(read.layout.positions) < 2:
        return None
    if any(tensor.is_meta for tensor in (*tensors, *read.graph.values.values())):
        raise NotUniform("equations are read off weights, and tensors on the meta device have none")
    inputs = dict(zip(read.graph.inputs, tensors, strict=True))
    lag = None if isinstance(verdict, Unavailable) or not verdict.causal else verdict.lag
    return wavefronts(lower(read.graph, inputs, read.layout, order, read.output), lag)


def _rehearse(model: nn.Module, inputs: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Call the model once, so that whatever it raises is one error rather than six."""
    with quiet(model), running(type(model).__name__, (inputs, kwargs)):
        model(*inputs, **kwargs)
