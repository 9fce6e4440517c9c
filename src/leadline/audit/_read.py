"""`read`: a model once, and all that can be asked of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from leadline.audit._check import audit_of
from leadline.audit.audited import About, Audit
from leadline.domains._causality import Causality, causality_of
from leadline.domains._context import Context, Position, context_of
from leadline.domains._count import Count, count_of
from leadline.domains._generation import Generation, generation_of
from leadline.domains._memory import Device, Memory, memory_of
from leadline.domains._span import Span, span_of
from leadline.domains.arguments import public
from leadline.domains.engine import OnUnknown
from leadline.domains.stand_ins import OptimizerLike
from leadline.errors import UsageError
from leadline.graph.layout import LayoutLike, Order
from leadline.graph.reading import Reading
from leadline.graph.restoring.undisturbed import ONE_AT_A_TIME
from leadline.graph.user_code import foreseen
from leadline.jacobian._bound import Box, bound_of
from leadline.jacobian._gradient import GradientDepth, gradient_of
from leadline.jacobian._reach import Positions, Reach, reach_of
from leadline.jacobian._remedies import Remedies, remedies_of
from leadline.jacobian._spectrum import Spectrum, spectrum
from leadline.likelihoods import Likelihood
from leadline.recurrence._system import system_of
from leadline.recurrence.ir import System
from leadline.results import Bound
from leadline.sampling._stream import stream_of
from leadline.sampling.backends import Backend, Stored
from leadline.sampling.drawing import Encode
from leadline.sampling.rates import FrameStream
from leadline.sampling.streaming import Stream


@public("read")
def read(
    model: nn.Module,
    *inputs: Any,
    layout: LayoutLike = None,
    order: Order = None,
    output: str | None = None,
    **kwargs: Any,
) -> DepthReading:
    """Read a model, to ask it several things: what they share is worked out once.

    The other functions (`causality`, `count`, `check`, …) take what this one takes, and raise what is said here.

    Parameters
    ----------
    model, inputs, kwargs
        Called as ``model(*inputs, **kwargs)``; left as it was. The model's mode matters: batch normalisation mixes
        samples in training. On ``meta`` it needs no memory for its weights; at least two samples show dependence across
        samples.
    layout
        The axes in einops notation, ``"b t -> b t v"``, or a dict by name; see `leadline.graph.layout`. Only what needs
        axes asks for them.
    order
        Position axes from slowest to fastest, ``"h w"``, or a tensor of ranks over the positions.
    output
        Which output, where there are several.

    Returns
    -------
    DepthReading
        Nothing has been traced or run yet. Its methods take ``on_unknown="raise"``, or ``"top"`` to go on past
        operations without a rule, with the sound assumption that their outputs rest on all of their inputs.

    Raises
    ------
    LayoutError
        If the axes cannot be told apart, there is nothing to order, or the position asked for does not exist.
    TraceError
        If the model cannot be traced.
    UnknownOp
        If an operation has no rule and `on_unknown` is ``"raise"``: with its name, module path and source line.

    Examples
    --------
    >>> from leadline.zoo import build
    >>> specimen = build("masked-stack", layers=3, channels=2, height=6, width=6)
    >>> reading = read(specimen.model, *specimen.inputs, layout=specimen.layout)
    >>> reading.span().steps, reading.causality().lag, reading.generation().steps.hi
    (3, 1, 48)
    """
    return DepthReading(model, inputs, kwargs, layout=layout, order=order, output=output)


class DepthReading(Reading):
    """A model that is read once, with a method for each question; see `read` and the functions of the same names.

    What a method returns is kept: asked again, it returns the same. Every method raises `UsageError` if the model's
    weights, buffers or mode have changed since it was read.
    """

    def __init__(self, model: nn.Module, inputs: tuple[Any, ...], kwargs: Mapping[str, Any], **axes: Any) -> None:
        super().__init__(model, inputs, kwargs, **axes)
        self._state = _state(self.model)

    @contextmanager
    def _unchanged(self) -> Iterator[None]:
        """Refuse to go on with another model than was read; another thread waits."""
        with ONE_AT_A_TIME, foreseen("the reading"):
            if _state(self.model) != self._state:
                name = type(self.model).__name__
                raise UsageError(f"{name} has changed since it was read (weights, buffers or mode): read it anew")
            yield

    @public("count")
    def count(self, *, backward: bool = False, on_unknown: OnUnknown = "raise") -> Count:
        """Count connections and multiply-accumulates; see `leadline.count`."""
        with self._unchanged():
            return count_of(self, backward=backward, on_unknown=on_unknown)

    @public("span")
    def span(self, *, costs: Mapping[str, int] | None = None, on_unknown: OnUnknown = "raise") -> Span:
        """Find how many steps must follow one another; see `leadline.span`."""
        with self._unchanged():
            return span_of(self, costs=costs, on_unknown=on_unknown)

    @public("causality")
    def causality(self, *, strict: bool = False, on_unknown: OnUnknown = "raise") -> Causality:
        """Decide whether outputs depend on later inputs; see `leadline.causality`."""
        with self._unchanged():
            return causality_of(self, strict=strict, on_unknown=on_unknown)

    @public("context")
    def context(
        self, position: Position | None = None, *, longer: bool = True, on_unknown: OnUnknown = "raise"
    ) -> Context:
        """Map what one position of the output sees, by default the middle one; see `leadline.context`."""
        with self._unchanged():
            return context_of(self, position, longer=longer, on_unknown=on_unknown)

    @public("generation")
    def generation(self, lag: int | None = None, *, on_unknown: OnUnknown = "raise") -> Generation:
        """Find how many steps it takes to generate, by default at the lag that is found; see `leadline.generation`."""
        with self._unchanged():
            return generation_of(self, lag, on_unknown=on_unknown)

    @public("memory")
    def memory(self, *, device: Device | None = None, optimizer: OptimizerLike = None) -> Memory:
        """Measure what training keeps for the backward pass; see `leadline.memory`."""
        with self._unchanged():
            return memory_of(self, device=device, optimizer=optimizer)

    @public("gradient")
    def gradient(self, *, loss: Callable[[Any], Tensor] | None = None, probes: int = 8, seed: int = 0) -> GradientDepth:
        """Measure how the gradient grows or shrinks through the stages; see `leadline.gradient`."""
        with self._unchanged():
            how: dict[str, Any] = {"loss": loss, "probes": probes, "seed": seed}
            return self.once(("gradient", *how.values()), lambda: gradient_of(self, **how))

    @public("reach")
    def reach(self, positions: Positions = None, *, probes: int = 8, seed: int = 0) -> Reach:
        """Measure how large the gradient is at every offset from an output; see `leadline.reach`."""
        with self._unchanged():
            return reach_of(self, positions, probes=probes, seed=seed)

    @public("remedies")
    def remedies(self, *, probes: int = 8, seed: int = 0) -> Remedies:
        """Try what may mend the gradient, on copies of the model; see `leadline.remedies`."""
        with self._unchanged():
            return remedies_of(self, probes=probes, seed=seed)

    @public("spectrum")
    def spectrum(
        self, k: int = 6, *, tolerance: float | None = None, block: int | None = None, probes: int = 0, seed: int = 0
    ) -> Spectrum:
        """Return the largest singular values of the output's Jacobian by the inputs; see `leadline.spectrum`."""
        f, x = (_OnTensors(self), tuple(self.tensors.values())) if self.kwargs else (self.model, self.inputs)
        how: dict[str, Any] = {"tolerance": tolerance, "block": block, "probes": probes, "seed": seed}
        with self._unchanged():
            return self.once(("spectrum", k, *how.values()), lambda: spectrum(f, x, k, output=self.given_output, **how))

    @public("bound")
    def bound(self, *, box: Box = None, on_unknown: OnUnknown = "raise") -> Bound:
        """Bound the singular values of the output's Jacobian for all inputs; see `leadline.bound`."""
        with self._unchanged():
            return bound_of(self, box=box, on_unknown=on_unknown)

    @public("system")
    def system(self) -> System:
        """Read the model as recurrence equations; see `leadline.system`."""
        with self._unchanged():
            return system_of(self)

    @public("stream")
    def stream(
        self,
        *,
        likelihood: Likelihood | None = None,
        encode: Encode | None = None,
        backend: Backend = "auto",
        wavefront: bool = True,
        weights: Stored | None = None,
        within: float | None = None,
        compared_on: Tensor | None = None,
    ) -> Stream | FrameStream:
        """Derive a sampler and a live stream, of the model in evaluation mode; see `leadline.stream`."""
        with self._unchanged():
            how: dict[str, Any] = {"weights": weights, "within": within, "compared_on": compared_on}
            return stream_of(self, likelihood=likelihood, encode=encode, backend=backend, wavefront=wavefront, **how)

    @public("check")
    def check(
        self,
        *,
        position: tuple[int, ...] | None = None,
        strict: bool = False,
        seed: int = 0,
        on_unknown: OnUnknown = "raise",
        backward: bool = False,
        remedies: bool = False,
        only: Iterable[str] | None = None,
        rate: float | None = None,
        name: str | None = None,
    ) -> Audit:
        """Take all depths, or `only` some; see `leadline.check`."""
        how: dict[str, Any] = {"position": position, "strict": strict, "seed": seed, "backward": backward, "only": only}
        with self._unchanged():
            return audit_of(self, **how, remedies=remedies, on_unknown=on_unknown, about=About(name, rate=rate))


class _OnTensors(nn.Module):
    """A reading's model as a function of the tensors alone, wherever among its arguments they stand."""

    def __init__(self, reading: Reading) -> None:
        super().__init__()
        self.model, self._names, self._replaced = reading.model, tuple(reading.tensors), reading.call.replaced

    def forward(self, *tensors: Tensor) -> Any:
        inputs, kwargs = self._replaced(dict(zip(self._names, tensors, strict=True)))
        return self.model(*inputs, **kwargs)


def _state(model: nn.Module) -> tuple[Any, ...]:
    """Return what tells whether a model has changed: its modes, and its tensors with their versions."""
    tensors = (*model.parameters(), *model.buffers())
    modes = tuple(module.training for module in model.modules())
    return (modes, *((id(tensor), None if tensor.is_inference() else tensor._version) for tensor in tensors))
