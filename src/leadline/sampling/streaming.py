"""A model as a stream: what `leadline.stream` returns for models of one rate."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

from leadline.domains.arguments import public
from leadline.errors import NotUniform, UsageError
from leadline.graph.restoring.undisturbed import ONE_AT_A_TIME
from leadline.likelihoods import Likelihood
from leadline.recurrence.analysis.schedule import Schedule, delays, generation_schedule, raster, schedule_within
from leadline.sampling._export import Exported, export_of
from leadline.sampling.backends import Backend, Stored, checked_weights, chosen
from leadline.sampling.compiled.packing import Packing
from leadline.sampling.compiled.unfolding import unfolded
from leadline.sampling.drawing import Drawing, Encode
from leadline.sampling.exported.machine import CMachines
from leadline.sampling.fusion import fused, joined
from leadline.sampling.interface import Interface, usual_likelihood
from leadline.sampling.live import Live
from leadline.sampling.machine import Machine, TorchMachine
from leadline.sampling.naive import _checked_uniforms, _start
from leadline.sampling.narrowed import Narrowed, narrowed, refuse_beyond
from leadline.sampling.plan import Plan
from leadline.sampling.source import Source, WeightsSnapshot

if TYPE_CHECKING:
    from leadline.sampling.buffers import Array


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
        self.likelihood = likelihood or usual_likelihood(self.interface)
        self._encode = encode
        self._weights = WeightsSnapshot(source.reading.model)
        self._plans: dict[int, Plan] = {}
        self._drawing_plans: dict[int, Plan] = {}
        self._machines: dict[bool, tuple[tuple[int, int], Machine]] = {}  # the latest, by whether it draws
        self._live: Live | None = None
        self._steps = 0
        self._one_at_a_time = threading.RLock()
        self._working = False
        self._c = CMachines(source.dtype, type(source.reading.model).__name__)
        if backend == "c":
            if source.inside is not None:
                raise NotUniform("no C is written where several symbols stand at a point: leave backend= out")
            self._c.require(self.plan(source.system.sizes[0]))

    def __repr__(self) -> str:
        """Say what is streamed, and how."""
        model, axes = type(self.source.reading.model).__name__, " ".join(self.source.system.axes)
        return f"<Stream of {model} along {axes}: lag {self.lag}, backend {self.backend}>"

    @property
    def backend(self) -> Literal["numba", "c", "torch"]:
        """What runs the stream."""
        return self._choice.backend

    @property
    def reason(self) -> str:
        """Why it does, and, of the compiled path, what torch computes within it."""
        if self.backend != "numba":
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
        return self.drawing_plan(self.source.system.sizes[0]).schedule

    @property
    def state_bytes(self) -> int:
        """Bytes that are kept between positions, for one sample."""
        return self._machine(self.plan(self.source.system.sizes[0]), 1).state_bytes

    @public("Stream.logits")
    def logits(self, x: Tensor, **others: Tensor) -> Tensor:
        """Return the model's output on `x`, computed front by front: equal to the full forward pass.

        `x` is like the input that is streamed, of any batch; along the slowest axis of any length that the model takes.
        A model that streams several inputs gets the `others` by their names.
        """
        with self._alone():
            self._check_weights()
            values = self.interface.arranged(x, others)
            plan = self.plan(len(values))
            if values.shape[:-2] != plan.schedule.sizes:
                raise UsageError(f"the input has {tuple(values.shape[:-2])} positions, the model {plan.schedule.sizes}")
            return self.interface.as_output(self._kept_machine(plan, values.shape[-2], draws=False).feed(values))

    def step(self, chunk: Tensor, **others: Tensor) -> Tensor:
        """Go on with the next positions of a sequence, and return the outputs at them.

        `chunk` is like the streamed input, any number of positions long, and of the batch that `reset` was told, or the
        first chunk had. A model that streams several inputs gets the `others` by name: ``step(audio, mel=frame)``. On a
        grid of several axes there is no next position but in a picture of known size: `NotUniform`. After an error from
        within, the stream must be reset. What chunks of one shape need is worked out at the first one; weights
        that were changed in place are found at once, others that took their place within 64 calls.
        """
        if not others and self._one_at_a_time.acquire(False):
            try:
                self._steps += 1
                if self._live is not None and not self._working and self._steps % 64 and self._weights.same_versions():
                    found = self._live.again(chunk)
                    if found is not None:
                        return found
            finally:
                self._one_at_a_time.release()
        return self._step(chunk, others)

    @public("Stream.step")
    def _step(self, chunk: Tensor, others: Mapping[str, Tensor]) -> Tensor:
        """Look at everything, and go on."""
        with self._alone():
            self._check_weights(values=False)
            if self._live is None:
                self._live = self._started(self.interface.arranged(chunk, others).shape[-2])
            return self._live.go_on(chunk, others)

    def step_into(self, chunk: Array, out: Array) -> None:
        """Go on with the next positions of a sequence, and write the outputs at them into `out`.

        `chunk` and `out` are tensors or numpy arrays of the stream's own numbers (classes: int64), shaped as for
        `step`, laid out in any way. The same two objects, call after call, are looked at once; what was written into
        them is read. On the backend ``"c"`` such a call allocates nothing but Python's own small numbers, waits for no
        lock (it refuses where another thread is at work on this stream), and its time is bounded by the chunk. The
        weights are those of the `reset`. Takes models of one input along one axis.
        """
        if self._one_at_a_time.acquire(False):
            try:
                if self._live is not None and not self._working:
                    self._live.fill(chunk, out)
                    return
            finally:
                self._one_at_a_time.release()
        self._begin_into(chunk, out)

    @public("Stream.step_into")
    def _begin_into(self, chunk: Array, out: Array) -> None:
        """Begin a sequence with the batch of a chunk; refuse where another thread is at work."""
        if self._live is not None:
            raise UsageError("another thread is at work on this stream, or it is itself: give each its own (using)")
        with self._alone():
            self._check_weights()
            if self.interface.sides is not None:
                self._live = self._started(self.interface.sides[0].buffer(chunk).batch)
            else:
                self._live = self._started(1)
            self._live.fill(chunk, out)

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
            _, likelihood = self.interface.name, self.likelihood
            if likelihood is None or (self._encode is None and not self.interface.integer):
                raise UsageError(
                    "inputs are numbers: say which likelihood= draws a class, and how encode= turns it into one"
                )
            classes = self.interface.classes
            if self._encode is None and classes is not None and classes < likelihood.levels:
                raise UsageError(f"{likelihood.levels} classes are drawn, and the model has embeddings for {classes}")
            length = self.source.system.sizes[0] if length is None else length
            plan, axes, positions = self.drawing_plan(length), self.source.axes, self.source.positions
            shape = self.source.sizes_at(length)
            moved = [positions.index(axis) for axis in axes]
            places = tuple(shape[axes.index(axis)] for axis in positions)
            symbols, kept = _start(given, mask, n, places, likelihood.levels)
            order = [0, *(1 + p for p in moved)]
            symbols, kept = (t.permute(order).contiguous() for t in (symbols, kept))
            u = _checked_uniforms(uniforms, seed, n, int(np.prod(shape))).reshape(n, *shape)
            if self.lag == 0 and not kept[:, 0].all():
                raise UsageError("a model of lag 0 has no distribution of the first symbol: give it (given=)")
            drawing = Drawing(likelihood, self._encode, self.lag, temperature, top_k)
            drawing.fill(self._kept_machine(plan, n, draws=True), plan, symbols, kept, u)
            return symbols.permute([0, *(1 + axes.index(axis) for axis in positions)])

    @public("Stream.export")
    def export(
        self,
        path: str | Path,
        *,
        length: int | None = None,
        compare: int = 10_000,
        seed: int = 0,
        chunk: int | None = None,
    ) -> Exported:
        """Write the stream for other programs: as C, an ONNX graph or an exported program, by the suffix of `path`.

        ``NAME.c`` is C99 with the weights, and ``NAME.h`` its header; it allocates nothing and needs the mathematics
        library alone; its functions are ``NAME_reset`` and ``NAME_step(state, in, out, n)``. ``NAME.onnx`` (extra
        ``onnx``) and ``NAME.pt2`` are one step as a function: inputs, a position and states go in, which begin as
        zeros; outputs, the next position and states come out. ``NAME.json`` says what it is: where this system can run
        it, it is compared with the model's own forward pass over as many positions as `compare` says. `length` is how
        far attention and tables must reach (default: as traced); `chunk` how many positions a call of a graph takes
        (default: any number, or 1 where there are recurrences).

        Raises
        ------
        NotUniform
            Naming what none is written for: grids, some functions, half precision.
        ModelError
            Where what was written differs from the model.
        StorageError
            If a file cannot be written; what stood there is intact.
        """
        if self.source.inside is not None:
            raise NotUniform("nothing is written for other programs where several symbols stand at a point")
        return export_of(self, path, length=length, compare=compare, seed=seed, chunk=chunk)

    # -- plans and machines ------------------------------------------------------------------------------------------

    def plan(self, length: int) -> Plan:
        """Return how sequences of a length are computed."""
        if length < 1:
            raise UsageError(f"a sequence has at least one position, got length={length}")
        if length not in self._plans:
            self._plans[length] = self._planned(length)
        return self._plans[length]

    def drawing_plan(self, length: int) -> Plan:
        """Return how sequences of a length are drawn: where symbols follow one another within a point, otherwise."""
        if self.source.inside is None:
            return self.plan(length)
        if length < 1:
            raise UsageError(f"a sequence has at least one position, got length={length}")
        if length not in self._drawing_plans:
            self._drawing_plans[length] = self._planned(length, draws=True)
        return self._drawing_plans[length]

    def _planned(self, length: int, draws: bool = False) -> Plan:
        source, traced = self.source, self.source.system.sizes[0]
        one = len(source.system.axes) == 1
        if source.lacks(length) or not (source.holds_at(length) if one else length == traced):
            source = source.at(length)
        system = source.within.system if draws else joined(source.system)
        sizes = (length, *system.sizes[1:])
        named = source.within.draws if draws else {}
        if draws:
            schedule = schedule_within(system, named, sizes, wavefront=self._wavefront)
        elif self._wavefront and self.lag and source.inside is None:
            schedule = generation_schedule(system, self.lag, sizes)
        else:
            schedule = raster(system, self.lag if source.inside is None else 0, sizes)
        if self.backend == "numba":
            system = fused(unfolded(system))
            schedule = Schedule(system, sizes, schedule.slope, delays(system, schedule.slope, named))
        return Plan(schedule, length, source.goes_on if one and not source.bound_to_length else None, named)

    def _kept_machine(self, plan: Plan, batch: int, draws: bool) -> Machine:
        """Return a machine for a whole sequence, which writes before it reads: the last one again, if it fits."""
        key = plan.schedule.sizes[0], batch
        if draws not in self._machines or self._machines[draws][0] != key:
            self._machines[draws] = key, self._machine(plan, batch, blocks=not draws)
        return self._machines[draws][1]

    def _machine(self, plan: Plan, batch: int, blocks: bool = False) -> Machine:
        if self.backend == "torch":
            return TorchMachine(plan, batch, self.source.dtype)
        if self.backend == "c":
            return self._c.machine(plan, batch)
        from leadline.sampling.compiled.machine import NumbaMachine

        packing = None if self._stored is None else Packing(self._stored)
        return NumbaMachine(plan, batch, self.source.dtype, packing, blocks)

    def _started(self, batch: int, length: int | None = None) -> Live:
        if len(self.source.system.axes) > 1:
            raise NotUniform("step goes along one axis; a picture is run whole, by logits or generate")
        plan = self.plan(self.source.system.sizes[0] if length is None else length)
        return Live(self._machine(plan, batch, blocks=True), plan, batch, self.interface)

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

    def _check_weights(self, values: bool = True) -> None:
        """Refuse to go on with other weights than those read."""
        with ONE_AT_A_TIME:  # another thread may be running the model, on stand-ins for its weights
            unchanged = self._weights.unchanged(values)
        if not unchanged:
            raise UsageError("the model's weights have changed since this stream was made; make a new one")
