"""`stream`: a model run one point, or one front of points, at a time, doing only what is new there."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from leadline.domains.arguments import public
from leadline.errors import NotUniform, UsageError
from leadline.graph.layout import LayoutLike, Order
from leadline.graph.reading import Reading
from leadline.graph.restoring.undisturbed import ONE_AT_A_TIME
from leadline.likelihoods import Bernoulli, Categorical, Likelihood
from leadline.recurrence.analysis.schedule import Schedule, delays, generation_schedule, raster
from leadline.sampling._export import Exported, export_of
from leadline.sampling.backends import Backend, Stored, checked_weights, chosen
from leadline.sampling.compiled.packing import Packing
from leadline.sampling.drawing import Drawing, Encode
from leadline.sampling.fusion import fused
from leadline.sampling.interface import Interface
from leadline.sampling.machine import Machine, TorchMachine
from leadline.sampling.naive import _checked_uniforms, _start
from leadline.sampling.narrowed import Narrowed, narrowed, refuse_beyond
from leadline.sampling.plan import Plan
from leadline.sampling.source import Source, WeightsSnapshot
from leadline.sampling.unfolding import unfolded


@public("stream")
def stream(
    model: nn.Module,
    *inputs: Any,
    layout: LayoutLike = None,
    order: Order = None,
    output: str | None = None,
    likelihood: Likelihood | None = None,
    encode: Encode | None = None,
    backend: Backend = "auto",
    wavefront: bool = True,
    weights: Stored | None = None,
    within: float | None = None,
    compared_on: Tensor | None = None,
    **kwargs: Any,
) -> Stream:
    """Derive a sampler, and a live stream, from a causal model, which is read in evaluation mode and left in its own.

    Parameters
    ----------
    model, inputs, kwargs, layout, order, output
        As in `leadline.read`; conditioning is fixed at the given values.
    likelihood
        The distribution that the output describes; default for integer inputs: categorical over the output's channels,
        Bernoulli if there are none.
    encode
        From drawn symbols ``(n, points)`` to what the model reads, features last; default: the likelihood's.
    backend
        ``"numba"`` is the CPU's fast path, ``"torch"`` runs anywhere; ``"auto"`` takes the first where it is installed
        and runs the model: the stream's `backend` says which, and `reason` why.
    wavefront
        Compute independent points of a grid together; False: raster order, with the least state.
    weights
        How the compiled path stores the weights of products, which are multiplied as the model's numbers are:
        ``"float32"``, ``"bfloat16"``, ``"float16"``, or ``"int8"`` with a scale for each row; None: as the model has
        them. What it costs is `Stream.narrowed`.
    within, compared_on
        The largest difference of an output that narrower weights may make, on inputs like the streamed one or,
        without it, on random inputs.

    Raises
    ------
    NotUniform
        If no system of recurrence equations describes the model.
    NotCausal
        If an output depends on what comes after it; with the witness.
    UsageError
        Among others, if narrower weights change an output by more than `within`.

    Examples
    --------
    >>> from leadline.zoo import build
    >>> specimen = build("wavenet", classes=4, layers=2, length=6)
    >>> sampler = stream(specimen.model, *specimen.inputs, layout=specimen.layout, backend="torch")
    >>> sampler
    <Stream of WaveNet along t: lag 1, backend torch>
    >>> sampler.generate(2, length=9).shape, sampler.lag
    (torch.Size([2, 9]), 1)
    """
    reading = Reading(model, inputs, kwargs, layout=layout, order=order, output=output)
    how: dict[str, Any] = {"weights": weights, "within": within, "compared_on": compared_on}
    return stream_of(reading, likelihood=likelihood, encode=encode, backend=backend, wavefront=wavefront, **how)


def stream_of(
    reading: Reading,
    *,
    likelihood: Likelihood | None = None,
    encode: Encode | None = None,
    backend: Backend = "auto",
    wavefront: bool = True,
    weights: Stored | None = None,
    within: float | None = None,
    compared_on: Tensor | None = None,
) -> Stream:
    """Return the stream of a reading; see `stream`."""
    made = Stream(Source(reading.in_evaluation()), likelihood, encode, backend, wavefront, weights)
    if within is not None or compared_on is not None:
        if weights is None:
            raise UsageError("within= and compared_on= say what narrower weights may cost: say which, weights=")
        made.compare_weights(compared_on, within)
    return made


@dataclass(frozen=True)
class _Live:
    """A sequence that `step` goes on with: its machine, and how far it is."""

    machine: Machine
    plan: Plan
    batch: int
    at: int = 0
    lost: bool = False

    def go_on(self, values: Tensor) -> Tensor:
        if self.lost:
            raise UsageError("an error has ended this sequence midway: begin another one with reset()")
        return self.machine.feed(values, self.at)


class Stream:
    """A model as a stream; see `stream`. Calls from several threads wait for each other.

    Its `lag` is 1 where the output at a position is the distribution of the input there, 0 where of the next one.
    Methods raise `UsageError` if a shape does not fit, a positional table ends, or the weights have changed.
    """

    def __init__(
        self,
        source: Source,
        likelihood: Likelihood | None,
        encode: Encode | None,
        backend: Backend,
        wavefront: bool,
        weights: Stored | None = None,
    ) -> None:
        self.source, self._wavefront = source, wavefront
        self._stored = checked_weights(weights)
        self._choice = chosen(backend, source.system, source.dtype, self._stored)
        self._narrowed: Narrowed | None = None
        self.interface = Interface(source)
        self.lag = source.lag
        self.likelihood = likelihood or self._usual_likelihood()
        self._encode = encode
        self._weights = WeightsSnapshot(source.reading.model)
        self._plans: dict[int, Plan] = {}
        self._machines: dict[bool, tuple[tuple[int, int], Machine]] = {}  # the latest, by whether it draws
        self._live: _Live | None = None
        self._one_at_a_time = threading.RLock()
        self._working = False

    def __repr__(self) -> str:
        """Say what is streamed, and how."""
        model, axes = type(self.source.reading.model).__name__, " ".join(self.source.system.axes)
        return f"<Stream of {model} along {axes}: lag {self.lag}, backend {self.backend}>"

    @property
    def backend(self) -> Literal["numba", "torch"]:
        """What runs the stream."""
        return self._choice.backend

    @property
    def reason(self) -> str:
        """Why it does, and, of the compiled path, what torch computes within it."""
        if self.backend == "torch":
            return self._choice.reason
        machine: Any = self._machine(self.plan(self.source.system.sizes[0]), 1)
        program = machine.program
        inner = ", ".join(f"{what} ({variable.place})" for variable, what in program.called)
        return self._choice.reason + (f"; torch computes {inner}" if inner else "")

    @public("Stream.using")
    def using(self, backend: Backend) -> Stream:
        """Return the same stream on another backend, without reading the model again."""
        stored = None if backend == "torch" else self._stored
        return Stream(self.source, self.likelihood, self._encode, backend, self._wavefront, stored)

    @property
    def narrowed(self) -> Narrowed | None:
        """What weights that are stored narrower cost, on the given data or on random inputs; None: they are not."""
        if self._stored is not None and self._narrowed is None:
            self.compare_weights()
        return self._narrowed

    def compare_weights(self, data: Tensor | None = None, within: float | None = None) -> None:
        """Compare outputs with those of the model's own weights; `UsageError` where they differ more than `within`."""
        assert self._stored is not None
        wide = Stream(self.source, self.likelihood, self._encode, "numba", self._wavefront)
        self._narrowed = narrowed(self, wide, self._stored, data)
        if within is not None:
            refuse_beyond(self._narrowed, within)

    @property
    def schedule(self) -> Schedule:
        """The order in which points are computed."""
        return self.plan(self.source.system.sizes[0]).schedule

    @property
    def state_bytes(self) -> int:
        """Bytes that are kept between positions, for one sample."""
        return self._machine(self.plan(self.source.system.sizes[0]), 1).state_bytes

    @public("Stream.logits")
    def logits(self, x: Tensor) -> Tensor:
        """Return the model's output on `x`, computed front by front: equal to the full forward pass.

        `x` is like the input that is streamed, of any batch; along the slowest axis of any length that the model takes.
        """
        with self._alone():
            self._check_weights()
            values = self.interface.arranged(x)
            plan = self.plan(len(values))
            if values.shape[:-2] != plan.schedule.sizes:
                raise UsageError(f"the input has {tuple(values.shape[:-2])} positions, the model {plan.schedule.sizes}")
            return self.interface.as_output(self._kept_machine(plan, values.shape[-2], draws=False).feed(values))

    @public("Stream.step")
    def step(self, chunk: Tensor) -> Tensor:
        """Go on with the next positions of a sequence, and return the outputs at them.

        `chunk` is like the streamed input, any number of positions long, and of the batch that `reset` was told, or the
        first chunk had. On a grid of several axes there is no next position but in a picture of known size:
        `NotUniform`. After an error from within, the stream must be reset.
        """
        if len(self.source.system.axes) > 1:
            raise NotUniform("step goes along one axis; a picture is run whole, by logits or generate")
        with self._alone():
            self._check_weights(values=False)
            values = self.interface.arranged(chunk)
            live = self._live or self._started(values.shape[1])
            end = live.at + len(values)
            if values.shape[1] != live.batch:
                raise UsageError(
                    f"the chunk is for {values.shape[1]} samples and this sequence for {live.batch}: "
                    f"begin one with reset(batch={values.shape[1]})"
                )
            if not live.plan.reaches(end):
                raise UsageError(
                    f"this stream holds {live.plan.capacity} positions and {end} are asked for: attention, positional "
                    "tables, and models that change with their length need `reset(length=...)` with the whole length"
                )
            self._live = replace(live, lost=True)  # unless the machine comes through
            found = live.go_on(values)
            self._live = replace(live, at=end)
            return self.interface.as_output(found)

    @public("Stream.reset")
    def reset(self, batch: int = 1, length: int | None = None) -> None:
        """Begin a new sequence for `step`; `length` is how far attention and tables must reach (default: as traced)."""
        if batch < 1:
            raise UsageError(f"a sequence is of at least one sample, got batch={batch}")
        with self._alone():
            self._live = self._started(batch, length)

    @public("Stream.generate")
    def generate(
        self,
        n: int = 1,
        seed: int = 0,
        length: int | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        given: Int[Tensor, "g ..."] | None = None,
        mask: Bool[Tensor, "..."] | None = None,
        uniforms: Float[Tensor, "n p"] | None = None,
    ) -> Int[Tensor, "n ..."]:
        """Draw n samples; arguments, result and errors are those of `leadline.sampling.naive_sample`.

        With the same seed the symbols are the same as the naive sampler's, unless a uniform lies within rounding of
        a step of its distribution.
        """
        if n < 1:
            raise UsageError(f"the number of samples must be at least 1, got {n}")
        with self._alone():
            self._check_weights()
            likelihood = self.likelihood
            if likelihood is None or (self._encode is None and not self.interface.integer):
                raise UsageError(
                    "inputs are numbers: say which likelihood= draws a class, and how encode= turns it into one"
                )
            classes = self.interface.classes
            if self._encode is None and classes is not None and classes < likelihood.levels:
                raise UsageError(f"{likelihood.levels} classes are drawn, and the model has embeddings for {classes}")
            plan = self.plan(self.source.system.sizes[0] if length is None else length)
            shape = plan.schedule.sizes
            moved = [self.source.reading.layout.positions.index(axis) for axis in plan.system.axes]
            places = tuple(shape[plan.system.axes.index(axis)] for axis in self.source.reading.layout.positions)
            symbols, kept = _start(given, mask, n, places, likelihood.levels)
            order = [0, *(1 + p for p in moved)]
            symbols, kept = (t.permute(order).contiguous() for t in (symbols, kept))
            u = _checked_uniforms(uniforms, seed, n, int(np.prod(shape))).reshape(n, *shape)
            if self.lag == 0 and not kept[:, 0].all():
                raise UsageError("a model of lag 0 has no distribution of the first symbol: give it (given=)")
            drawing = Drawing(plan, self.interface.name, likelihood, self.lag, self._encode)
            drawing.fill(self._kept_machine(plan, n, draws=True), symbols, kept, u, temperature, top_k)
            return symbols.permute([0, *(1 + plan.system.axes.index(a) for a in self.source.reading.layout.positions)])

    @public("Stream.export")
    def export(self, path: str | Path, *, length: int | None = None, compare: int = 10_000, seed: int = 0) -> Exported:
        """Write the stream as C: ``NAME.c`` with the weights, ``NAME.h``, and ``NAME.json``, which says what it is.

        The C is C99, allocates nothing and needs the mathematics library alone; its functions are ``NAME_reset`` and
        ``NAME_step(state, in, out, n)``. Where the system has a C compiler it is compiled, and compared with the
        model's own forward pass over as many positions as `compare` says. `length` is how far attention and tables
        must reach (default: as traced).

        Raises
        ------
        NotUniform
            Naming what no C is written for: grids, some functions, half precision.
        ModelError
            Where the compiled C differs from the model.
        StorageError
            If a file cannot be written; what stood there is intact.
        """
        return export_of(self, path, length=length, compare=compare, seed=seed)

    # -- plans and machines ------------------------------------------------------------------------------------------

    def plan(self, length: int) -> Plan:
        """Return how sequences of a length are computed."""
        if length < 1:
            raise UsageError(f"a sequence has at least one position, got length={length}")
        if length not in self._plans:
            self._plans[length] = self._planned(length)
        return self._plans[length]

    def _planned(self, length: int) -> Plan:
        source, traced = self.source, self.source.system.sizes[0]
        one = len(source.system.axes) == 1
        if source.lacks(length) or not (source.holds_at(length) if one else length == traced):
            source = source.at(length)
        system = source.system
        sizes = (length, *system.sizes[1:])
        order = generation_schedule if self._wavefront and self.lag else raster
        schedule = order(system, self.lag, sizes)
        if self.backend == "numba":
            system = fused(unfolded(system))
            schedule = Schedule(system, sizes, schedule.slope, delays(system, schedule.slope))
        return Plan(schedule, length, source.goes_on if one and not source.bound_to_length else None)

    def _kept_machine(self, plan: Plan, batch: int, draws: bool) -> Machine:
        """Return a machine for a whole sequence, which writes before it reads: the last one again, if it fits."""
        key = plan.schedule.sizes[0], batch
        if draws not in self._machines or self._machines[draws][0] != key:
            self._machines[draws] = key, self._machine(plan, batch, blocks=not draws)
        return self._machines[draws][1]

    def _machine(self, plan: Plan, batch: int, blocks: bool = False) -> Machine:
        if self.backend == "torch":
            return TorchMachine(plan, batch, self.source.dtype)
        from leadline.sampling.compiled.machine import NumbaMachine

        packing = None if self._stored is None else Packing(self._stored)
        return NumbaMachine(plan, batch, self.source.dtype, packing, blocks)

    def _started(self, batch: int, length: int | None = None) -> _Live:
        plan = self.plan(self.source.system.sizes[0] if length is None else length)
        return _Live(self._machine(plan, batch, blocks=True), plan, batch)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let other threads wait: one machine's state serves one call at a time, and none from within another."""
        with self._one_at_a_time:
            if self._working:
                raise UsageError("this stream is at work, and its own encode= or likelihood= has called it again")
            self._working = True
            try:
                yield
            finally:
                self._working = False

    def _usual_likelihood(self) -> Likelihood | None:
        shape = self.source.system.shape
        if not self.interface.integer or len(shape) > 1:
            return None
        return Categorical(shape[0]) if shape else Bernoulli()

    def _check_weights(self, values: bool = True) -> None:
        """Refuse to go on with other weights than those read."""
        with ONE_AT_A_TIME:  # another thread may be running the model, on stand-ins for its weights
            unchanged = self._weights.unchanged(values)
        if not unchanged:
            raise UsageError("the model's weights have changed since this stream was made; make a new one")
