"""Assertions for users' own tests: what a model may see and what it costs, from its structure; what its gradients do.

Each takes what the function that it rests on takes, or a reading (`leadline.read`) instead of the model and its inputs:
then several assertions read the model once. A message shows the witness and the source line.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from leadline.audit._read import DepthReading
from leadline.audit.limits import drifts, looks_ahead
from leadline.audit.named_model import find_model
from leadline.domains._causality import Causality, Verdict, causality_of
from leadline.domains._context import OutputLike, Position, context_of, named_position, passage
from leadline.domains._count import Count, count_of
from leadline.domains._span import Span, span_of
from leadline.domains.dependence.depths import COSTS
from leadline.domains.engine import OnUnknown
from leadline.errors import UsageError
from leadline.graph import Reading
from leadline.graph.layout import LayoutLike, Order
from leadline.graph.user_code import foreseen
from leadline.jacobian._gradient import GradientDepth, gradient_of
from leadline.sampling.cached import Agreement, Generate, Step, agreement_of

_GRADES = (Verdict.STRUCTURAL, Verdict.FINITE_MASK, Verdict.PRESENT_WEIGHTS)
_AXES = ("layout", "order", "output")


@foreseen("assert_causal")
def assert_causal(
    model: nn.Module | Reading,
    *inputs: Any,
    at_least: Verdict | str = Verdict.FINITE_MASK,
    samples: bool = True,
    strict: bool = False,
    on_unknown: OnUnknown = "raise",
    **kwargs: Any,
) -> Causality:
    """Assert that no output depends on a later input, nor (if `samples`) on another sample; see `causality`.

    `at_least` is the weakest verdict that passes: ``"structural"``, ``"finite-mask"`` or ``"present-weights"``. An
    `AssertionError` shows the verdict and the witness.

    Examples
    --------
    >>> assert_causal(nn.GRU(3, 4, batch_first=True), torch.zeros(2, 5, 3), layout="b t c -> b t v", output="[0]").lag
    0
    """
    __tracebackhide__ = True
    reading = _reading(model, inputs, kwargs, _AXES)
    result, name = causality_of(reading, strict=strict, on_unknown=on_unknown), type(reading.model).__name__
    passing = _GRADES[: _GRADES.index(Verdict(at_least)) + 1]
    assert result.verdict in passing, f"{name} is not causal: {result}"
    assert not samples or result.cross_batch is None, f"{name} mixes samples: {result.cross_batch}"
    return result


@foreseen("assert_lookahead")
def assert_lookahead(
    model: nn.Module | Reading,
    *inputs: Any,
    samples: int | None = None,
    ms: float | None = None,
    rate: float | None = None,
    on_unknown: OnUnknown = "raise",
    **kwargs: Any,
) -> Causality:
    """Assert that no output looks further ahead than so many `samples`, or `ms` at a `rate` of positions a second.

    That is how long a live model has to wait for input before it can give the output at a position: 0 for a causal one.
    The rest is as in `causality`. An `AssertionError` shows the lookahead and the witness.

    Examples
    --------
    >>> smoothing, x = nn.Conv1d(1, 1, 5, padding=2), torch.zeros(1, 1, 99)
    >>> assert_lookahead(smoothing, x, ms=0.25, rate=16_000, layout="b c t -> b v t").lag
    -2
    """
    __tracebackhide__ = True
    if (samples is None) == (ms is None) or (ms is not None and not rate):
        raise UsageError("say how far in samples=, or in ms= with the rate= of samples a second")
    reading = _reading(model, inputs, kwargs, _AXES)
    result, name = causality_of(reading, on_unknown=on_unknown), type(reading.model).__name__
    assert result.coverage.complete, f"how far {name} looks ahead is not known: {result}"
    ahead, shown = looks_ahead(result), f"{samples} samples" if ms is None else f"{ms:g} ms"
    most = samples if samples is not None else (ms or 0.0) * (rate or 0.0) / 1000
    found = f"{ahead} samples" + (f" ({1000 * ahead / rate:.4g} ms)" if rate else "")
    assert ahead <= most, f"{name} looks {found} ahead, more than {shown}: {result.witness}"
    return result


@foreseen("assert_context")
def assert_context(
    model: nn.Module | Reading,
    *inputs: Any,
    sees: torch.Tensor | int,
    position: Position | None = None,
    output: OutputLike = None,
    on_unknown: OnUnknown = "raise",
    **kwargs: Any,
) -> None:
    """Assert which input positions one output position may depend on; see `context`.

    `sees` is a boolean map over the first input's positions, or how many positions it holds. An `AssertionError` shows
    the positions seen that should not be and the way to one of them, and those missing.

    Examples
    --------
    >>> conv = nn.Conv1d(1, 1, 3, padding=1)
    >>> assert_context(conv, torch.zeros(1, 1, 9), position=4, layout="b c t -> b v t", sees=3)
    """
    __tracebackhide__ = True
    name, position = named_position(output, position)
    reading = _reading(model, inputs, kwargs if name is None else {**kwargs, "output": name}, _AXES)
    found = context_of(reading, position, on_unknown=on_unknown)
    at = ", ".join(f"{axis}={place}" for axis, place in found.position.items())

    def way(seen: torch.Tensor) -> str:
        """Say where the dependence on the first of some positions passes."""
        if not len(seen):
            return ""
        first = tuple(int(i) for i in seen[0])
        places = passage(reading, first, position, on_unknown=on_unknown)
        return f"; {list(first)} is seen" + "".join(f"\n  through {place}" for place in places)

    if isinstance(sees, int):
        if found.size != sees:
            through = way(found.map.nonzero())
            raise AssertionError(f"the output at {at} sees {found.size} positions, not {sees}: {found.box()}{through}")
        return
    more, less = (found.map & ~sees).nonzero(), (sees & ~found.map).nonzero()
    if len(more) or len(less):
        seen, unseen = more.tolist(), less.tolist()
        raise AssertionError(f"the output at {at} sees {seen} besides, and does not see {unseen}{way(more)}")


@foreseen("assert_gradient_stable")
def assert_gradient_stable(
    model: nn.Module | Reading,
    *inputs: Any,
    rate: float = 0.1,
    total: float = 100.0,
    through: int | None = None,
    loss: Callable[[Any], torch.Tensor] | None = None,
    probes: int = 8,
    seed: int = 0,
    **kwargs: Any,
) -> GradientDepth:
    """Assert that gradients neither vanish nor explode from stage to stage, at initialisation or whenever it is called.

    `rate` is the largest change of the log gradient norm per stage that passes, either way, beyond what chance
    explains, and `total` the largest factor by which the norm may differ from the output's wherever a stage begins,
    from end to end too. Stages that follow no law pass if the whole interval of their rate does: few stages have a wide
    one. With `through`, float16 gradients of size 1 must not be lost within so many stages. The rest is
    as in `gradient`. An `AssertionError` says the verdict in plain words, and names the rate and the stage.

    Examples
    --------
    >>> _ = torch.manual_seed(1)
    >>> blocks = [nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=True) for _ in range(12)]
    >>> assert_gradient_stable(nn.Sequential(*blocks).eval(), torch.randn(2, 5, 16)).mode
    'eval'
    """
    __tracebackhide__ = True
    reading = _reading(model, inputs, kwargs, ("output",))
    found, name = gradient_of(reading, loss=loss, probes=probes, seed=seed), type(reading.model).__name__
    low, high = found.rate.interval()
    sure = len(found.stages) > 1 and (found.kind not in ("stable", "unknown") or found.sure)
    assert sure or (-rate <= low and high <= rate), (
        f"the stages of {name} are too few to judge, or too different: {found.verdict}; a rate from {low:.2g} to "
        f"{high:.2g} is not within ± {rate:g}: judge more blocks at once, take more probes, or allow a larger rate="
    )
    assert not drifts(found, rate), f"the gradient of {name} is {found.verdict}"
    far = max(map(abs, found.farthest)) > math.log(total)
    assert not far, f"the gradient of {name} changes by more than {total:g} ×: {found.verdict}"
    depth = found.underflow_depth.get("float16")
    assert through is None or depth is None or depth > through, (
        f"float16 loses the gradient of {name} after {depth} stages, not {through}: {found.verdict}"
    )
    return found


@foreseen("assert_span")
def assert_span(
    model: nn.Module | Reading,
    *inputs: Any,
    steps: int | None = None,
    at_most: int | None = None,
    costs: Mapping[str, int] | None = None,
    on_unknown: OnUnknown = "raise",
    **kwargs: Any,
) -> Span:
    """Assert how many contractions of ``model(*inputs, **kwargs)`` must follow one another; see `leadline.span`.

    Their number is `steps`, or `at_most` so many. An `AssertionError` lists the critical path by module and source
    line.

    Examples
    --------
    >>> assert_span(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), torch.zeros(1, 2), steps=2).op_steps
    2
    """
    __tracebackhide__ = True
    found = span_of(_reading(model, inputs, kwargs), costs=costs, on_unknown=on_unknown)
    path = "\n".join(f"  {step}" for step in found.critical_path)
    where = f"; the longest chain, from the input on:\n{path}" if path else ""
    if steps is not None and found.steps != steps:
        raise AssertionError(f"the span is {found.steps} steps, not {steps}{where}")
    if at_most is not None and found.steps > at_most:
        raise AssertionError(f"the span is {found.steps} steps, more than {at_most}{where}")
    return found


@foreseen("assert_connections")
def assert_connections(
    model: nn.Module | Reading,
    *inputs: Any,
    connections: int | None = None,
    macs: int | None = None,
    on_unknown: OnUnknown = "raise",
    **kwargs: Any,
) -> Count:
    """Assert the connections, or the multiply-accumulates, of ``model(*inputs, **kwargs)``; see `leadline.count`.

    The whole batch counts. An `AssertionError` lists the counts by module, with a source line.

    Examples
    --------
    >>> assert_connections(nn.Linear(3, 2), torch.zeros(5, 3), connections=30).parameters
    8
    """
    __tracebackhide__ = True
    reading = _reading(model, inputs, kwargs)
    found = count_of(reading, on_unknown=on_unknown)
    places = {node.place.module: node.place for node in reading.graph.nodes if node.kind in COSTS}
    for name, asked, has in (("connections", connections, found.connections), ("macs", macs, found.macs)):
        if asked is not None and has != asked:
            lines = "\n".join(
                f"  {places[path]}: {tally.connections} connections, {tally.macs} macs"
                for path, tally in found.by_module.items()
                if tally.macs
            )
            raise AssertionError(f"the model has {has} {name}, not {asked}; by module:\n{lines}")
    return found


@foreseen("assert_generate_matches")
def assert_generate_matches(
    model: nn.Module,
    *inputs: Any,
    generate: Generate | None = None,
    step: Step | None = None,
    new: int = 8,
    layout: LayoutLike = None,
    output: str | None = None,
    tolerance: float = 1e-4,
    **kwargs: Any,
) -> Agreement:
    """Assert that a model which goes on from a cache computes what it computes on the whole sequence.

    The user's own way runs, and then the model on everything that was fed: the stream that is derived from it where it
    has one, else its full forward pass. An `AssertionError` names the first position at which the outputs differ, and
    the first module. Everything runs in evaluation mode, and the model is left as it was.

    Parameters
    ----------
    model, inputs, kwargs, layout, output
        As in `leadline.read`; the first tensor is what the user's way begins with.
    generate
        Takes tokens ``(b, t)`` and how many to add, and returns them with those added (or these alone), the likeliest
        at each position; default: the model's own ``generate``, greedy and with its cache (`transformers`). Where it
        calls no module of the model, its tokens are compared.
    step
        Instead: takes the next position, like the first tensor but one long, and a state (None at the beginning), and
        returns the output there and the next state. It is fed the first tensor.
    new
        Tokens to add.
    tolerance
        How far outputs may differ, as a part of the largest of them where that is above 1.

    Raises
    ------
    NotCausal
        If an output depends on later inputs: then nothing can go on from a cache.

    Examples
    --------
    >>> rnn, x = nn.GRU(2, 3, batch_first=True), torch.randn(1, 6, 2)
    >>> axes = {"input": "b t c", "[0]": "b t v"}
    >>> assert_generate_matches(rnn, x, step=rnn, layout=axes, output="[0]").against
    'the derived stream'
    >>> def forgetful(chunk, state):
    ...     return rnn(chunk)[0], None
    >>> assert_generate_matches(rnn, x, step=forgetful, layout=axes, output="[0]")
    Traceback (most recent call last):
        ...
    AssertionError: the cached run of GRU parts from the derived stream at position 1, first in the model itself, by ...
    """
    __tracebackhide__ = True
    found = agreement_of(
        model, inputs, kwargs, generate=generate, step=step, new=new, layout=layout, output=output, tolerance=tolerance
    )  # fmt: skip
    name = type(model).__name__
    assert found.parting is None, f"the cached run of {name} parts from {found.against} {found.parting}"
    return found


@foreseen("reading_of")
def reading_of(
    word: str, *settings: str, layout: LayoutLike = None, order: Order = None, output: str | None = None
) -> DepthReading:
    """Read a model by the word that names it on the command line, such as ``my_model.py:factory``.

    The settings are ``key=value`` words; axes and order are the model's own where none are given. Raises `UsageError`
    if nothing is called so.

    Examples
    --------
    >>> assert_span(reading_of("chain", "layers=3"), steps=3).op_steps
    3
    """
    named = find_model(word, settings)
    axes: dict[str, Any] = {"order": named.order if order is None else order, "output": output}
    axes["layout"] = named.layout if layout is None else layout
    return DepthReading(named.model, named.inputs, named.keywords, **axes)


def _reading(
    model: nn.Module | Reading, inputs: tuple[Any, ...], kwargs: Mapping[str, Any], axes: tuple[str, ...] = ()
) -> Reading:
    """Return the reading that was given, or read the model; `axes` names the keywords that say how, not what."""
    if not isinstance(model, Reading):
        given = {name: value for name, value in kwargs.items() if name not in axes}
        return Reading(model, inputs, given, **{name: kwargs[name] for name in axes if name in kwargs})
    if inputs or kwargs:
        raise UsageError("a reading holds its inputs and its axes already: give them to `leadline.read`")
    return model
