"""The depths of a model, composed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from types import MappingProxyType
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from leadline.audit.audited import DEPTHS, About, Audit, Unavailable
from leadline.domains._causality import Causality, causality_of
from leadline.domains._context import context_of, placed
from leadline.domains._count import count_of
from leadline.domains._generation import generation_of, lag_of
from leadline.domains._memory import memory_of
from leadline.domains._span import span_of
from leadline.domains.arguments import public
from leadline.domains.engine import OnUnknown
from leadline.errors import Diverged, LayoutError, LeadlineError, ModelError, NotCausal, UsageError, near_misses
from leadline.graph.layout import Layout, LayoutLike, Order
from leadline.graph.proposals import with_likeliest_axes
from leadline.graph.reading import Reading
from leadline.graph.restoring.undisturbed import ONE_AT_A_TIME, undisturbed
from leadline.graph.user_code import raised_at, running
from leadline.jacobian._gradient import GradientDepth, gradient_of
from leadline.jacobian._reach import Reach, reach_of
from leadline.jacobian._remedies import Remedies, remedies_of
from leadline.recurrence._system import system_of
from leadline.recurrence.analysis.schedule import Wavefronts, wavefronts

Depth = TypeVar("Depth")
_RUN_ONLY = frozenset({"memory", "gradient"})
"""Depths that are taken of the model as it runs, which is not traced for them."""
_NOT_ASKED = Unavailable("not asked for", asked=False)
_NAMELESS = About()
_COTANGENTS = 4
"""A check has few random directions for the reach, which costs so many backward passes."""
Watch: TypeAlias = Callable[..., None]


@public("check")
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
    remedies: bool = False,
    only: Iterable[str] | None = None,
    rate: float | None = None,
    name: str | None = None,
    **kwargs: Any,
) -> Audit:
    """Take the depths of a model, the reach of its gradient, and its memory.

    A depth that cannot be taken (an operation without a rule, axes that cannot be told apart, outputs that cannot be
    differentiated) is `Unavailable` with the reason; the others stand. Where several usual layouts fit and none is
    given, the likeliest is taken, and the result says so.

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
    remedies
        Try what mends a gradient that vanishes or explodes, as `leadline.remedies` does.
    only
        The depths to take, of causality, context, reach, generation, span, count, memory and gradient; default: all.
    rate
        Positions in a second, in hertz, if they are samples of a signal: reports then say times too.
    name
        What to call the model in reports; default: its class.

    Raises
    ------
    ModelError
        If `model` cannot be called with these inputs at all.
    LayoutError
        If the axes, the order or the position given do not fit the model.
    UsageError
        If there is no depth of a name given.

    Examples
    --------
    >>> from leadline.zoo import build
    >>> specimen = build("masked-stack", layers=3, channels=2, height=6, width=6)
    >>> audit = check(specimen.model, *specimen.inputs, layout=specimen.layout)
    >>> audit.span.steps, audit.causality.verdict.value
    (3, 'structural')
    >>> print(check(torch.nn.Conv1d(1, 1, 3, padding=1), torch.zeros(1, 1, 9), only=["causality"], rate=16_000))
    Conv1d
    axes: taken for 'b c t -> b v t', the likeliest of 2 readings that fit (assumed)
    causality: leaks: an output looks 1 sample (0.0625 ms) ahead (confirmed)
    """
    reading = Reading(model, inputs, kwargs, layout=layout, order=order, output=output)
    how: dict[str, Any] = {"position": position, "strict": strict, "seed": seed, "backward": backward, "only": only}
    return audit_of(reading, **how, remedies=remedies, on_unknown=on_unknown, about=About(name, rate=rate))


def audit_of(
    reading: Reading,
    *,
    position: tuple[int, ...] | None = None,
    strict: bool = False,
    seed: int = 0,
    on_unknown: OnUnknown = "raise",
    backward: bool = False,
    remedies: bool = False,
    longer: bool = False,
    only: Iterable[str] | None = None,
    about: About = _NAMELESS,
    watch: Watch = lambda *_: None,
) -> Audit:
    """Take the depths of a reading: one trace, one layout, one walk for each domain; see `check`.

    With `longer` inputs a small model is traced again, where these inputs hide the end of what an output sees. `watch`
    is called with the name of each depth before it is taken, and again with it and what was found.
    """
    wanted = _wanted(only)
    with ONE_AT_A_TIME:
        take = _Taking(wanted, watch, axes_chosen=_positions_given(reading) or position is not None)
        memory = take("memory", lambda: memory_of(reading))  # first: it shows whether the model can be called
        if isinstance(memory, Unavailable):
            _rehearse(reading)
        traced = bool(wanted - _RUN_ONLY)
        if traced:
            take("trace", lambda: reading.graph)  # where it fails, each depth says why
        reading, assumed = _axes_settled(reading, take) if traced else (reading, "")
        known: dict[str, Any] = {"on_unknown": on_unknown}
        verdict = take(
            "causality", lambda: causality_of(reading, strict=strict, **known), always="generation" in wanted
        )
        gradient = take("gradient", lambda: _gradient(reading, seed))
        return Audit(
            **_described(reading, about, seed, traced),
            assumed=assumed,
            causality=verdict if "causality" in wanted else _NOT_ASKED,
            context=take("context", lambda: context_of(reading, position, longer=longer, **known)),
            reach=take("reach", lambda: _reach(reading, position, seed)),
            count=take("count", lambda: count_of(reading, backward=backward, **known)),
            span=take("span", lambda: span_of(reading, **known)),
            generation=take("generation", lambda: generation_of(reading, _lag(verdict), **known)),
            wavefronts=take("wavefronts", lambda: _wavefronts(reading, verdict)) if "generation" in wanted else None,
            memory=memory,
            gradient=gradient,
            remedies=take("remedies", lambda: _remedies(reading, gradient, seed)) if remedies else None,
            seconds=take.seconds,
        )


def _wanted(only: Iterable[str] | None) -> frozenset[str]:
    """Return the names of the depths that are asked for."""
    names = DEPTHS if only is None else tuple(only)
    for name in names:
        if name not in DEPTHS:
            raise UsageError(f"there is no depth {name!r}; {near_misses(name, DEPTHS)}")
    return frozenset(names)


def depths_named(text: str | None, *, strict: bool = False) -> list[str] | None:
    """Read the names of depths, ``"causality,context"``; with `strict` causality is one of them; None for all.

    Raises `UsageError` if none is named.
    """
    if text is None:
        return None
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UsageError(f"{text!r} names no depth; leave it out for all")
    return [*names, "causality"] if strict else names


def _sizes(tensor: Tensor) -> tuple[int, ...]:
    """Return the sizes of a tensor, -1 where they differ from part to part, as in nested ones."""
    return tuple(size if isinstance(size, int) else -1 for size in tensor.shape)


def _described(reading: Reading, about: About, seed: int, traced: bool) -> dict[str, Any]:
    """Return what an audit says of the model and of how it was made."""
    dtypes = [tensor.dtype for tensor in (*reading.model.parameters(), *reading.tensors.values())]
    try:
        layout = str(reading.layout) if traced else str(reading.given_layout or "")
    except ModelError:
        layout = ""
    return {
        "name": about.name or type(reading.model).__name__,
        "settings": MappingProxyType(dict(about.settings)),
        "inputs": MappingProxyType({key: _sizes(tensor) for key, tensor in reading.tensors.items()}),
        "layout": layout,
        "training": reading.model.training,
        "dtype": str(dtypes[0]).removeprefix("torch.") if dtypes else "none",
        "rate": about.rate,
        "seed": seed,
        "command": about.command,
        "leadline": version("leadline"),
        "torch": torch.__version__,
    }


def _axes_settled(reading: Reading, take: _Taking) -> tuple[Reading, str]:
    """Return the reading with the likeliest axes, and what was assumed; as it is, where there are none."""
    found = take("axes", lambda: with_likeliest_axes(reading))
    return (reading, "") if isinstance(found, Unavailable) else found


class _Taking:
    """Takes one depth after the other, of those wanted: each that cannot be taken is `Unavailable`, and is timed."""

    def __init__(self, wanted: frozenset[str], watch: Watch, *, axes_chosen: bool) -> None:
        self.wanted, self.watch, self.axes_chosen = wanted, watch, axes_chosen
        self.seconds: dict[str, float] = {}

    def __call__(self, what: str, measure: Callable[[], Depth], *, always: bool = False) -> Depth | Unavailable:
        if what in DEPTHS and what not in self.wanted and not always:
            return _NOT_ASKED
        self.watch(what)
        found = self._timed(what, measure)
        self.watch(what, found)
        return found

    def _timed(self, what: str, measure: Callable[[], Depth]) -> Depth | Unavailable:
        start = time.perf_counter()
        try:
            return measure()
        except (ModelError, Diverged) as error:
            if isinstance(error, LayoutError) and self.axes_chosen and what != "reach":  # it asks for more than axes
                raise
            return Unavailable(str(error), error=type(error).__name__)
        except LeadlineError:
            raise
        except Exception as error:  # of torch's, or a bug of ours: it is no reason to keep the other depths back
            return Unavailable(f"{type(error).__name__}: {error}{raised_at(error)}", error=type(error).__name__)
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


def _reach(reading: Reading, position: tuple[int, ...] | None, seed: int) -> Reach:
    """Return the reach from the position whose context is mapped, by a few cotangents."""
    place = placed(reading, position)
    at = tuple(place[axis] for axis in reading.layout.positions if axis in place)
    return reach_of(reading, [at] if at else None, probes=_COTANGENTS, seed=seed, exact=_COTANGENTS)


def _gradient(reading: Reading, seed: int) -> GradientDepth:
    return reading.once(("gradient", None, 8, seed), lambda: gradient_of(reading, seed=seed))


def _remedies(reading: Reading, gradient: GradientDepth | Unavailable, seed: int) -> Remedies | None:
    """Try what mends a gradient that vanishes or explodes; nothing for others."""
    if isinstance(gradient, Unavailable) or gradient.kind not in ("vanishing", "exploding"):
        return None
    return remedies_of(reading, seed=seed)


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
