"""A model whose positions change their rate, as a stream of frames."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from leadline.domains.arguments import public
from leadline.errors import Diverged, NotUniform, UsageError, near_misses
from leadline.likelihoods import Likelihood
from leadline.sampling._export import Exported
from leadline.sampling.interface import Interface, usual_likelihood
from leadline.sampling.naive import _checked_uniforms, _start
from leadline.sampling.rates.compiled import CompiledFrames, FramePlan
from leadline.sampling.rates.drawing import Order, Picture
from leadline.sampling.rates.early import Drawn, Early
from leadline.sampling.rates.sequence import Sequence, between, on_torch
from leadline.sampling.rates.source import RatedSource
from leadline.sampling.source import WeightsSnapshot

_MOST_NUMBERS = 1 << 27
"""Numbers of a picture that are kept at once: samples do not rest on each other, and are drawn part by part."""


def _at_once(order: Order, n: int) -> int:
    """Return how many of n samples are drawn together."""
    system = order.system
    each = sum(v.channels * int(np.prod(system.range(v.name, order.length))) for v in system.variables)
    return max(1, min(n, _MOST_NUMBERS // max(1, each)))


class FrameStream:
    """A model with strides, transposed convolutions, enlargements or patches along its positions, as a stream.

    Its unit is the `frame`, the fewest positions of the first input in which every part of the model has whole numbers
    of points: what strides make of so many positions. Chunks of any length go in; what comes out is what is known by
    then, so that outputs are those of the forward pass as soon as they are sure. Where a model makes whole frames at a
    time, as recurrences that are computed in chunks do, but is causal by its structure, each output comes with its own
    position (`early`), a sequence may end within a frame, and symbols are drawn. Its `lag`, in frames, is 0 where the
    outputs of a frame rest on no later frame, 1 where on earlier ones only, and -k where on the k next ones; `ahead`
    says for how many positions beyond a frame its outputs wait (compiled: for whole frames), and `finish` returns
    those that wait for an end. `why` says what keeps a stream from the backend that was asked for.

    Methods raise `UsageError` if a shape does not fit, a sequence ends within a frame, or the weights have changed.

    Examples
    --------
    >>> from leadline import stream
    >>> halved = torch.nn.Conv1d(1, 3, 2, stride=2)
    >>> made = stream(halved, torch.zeros(1, 1, 8), layout="b c t -> b v t", backend="torch")
    >>> made
    <FrameStream of Conv1d along t: frames of 2, lag 0, backend torch>
    >>> made.step(torch.zeros(1, 1, 6)).shape
    torch.Size([1, 3, 3])
    """

    def __init__(
        self,
        source: RatedSource,
        likelihood: Likelihood | None = None,
        encode: Callable[[Tensor], Tensor] | None = None,
        backend: Literal["numba", "torch"] = "torch",
    ) -> None:
        if backend not in ("numba", "torch"):
            raise UsageError(f"unknown backend {backend!r}; {near_misses(str(backend), ['numba', 'torch'])}")
        self.source, self._encode, self._plan = source, encode, FramePlan(source)
        self.why = "" if backend == "torch" else self._plan.refusal
        self.backend = "torch" if self.why else backend
        self.frame, self.lag, self.ahead = source.system.frame[0], *source.waits
        self.early = source.early is not None
        if self.backend != "torch":
            self.ahead = self._plan.delay * self.frame
        self._inputs = {name: Interface(RatedSource(source.reading, name)) for name in source.streamed}
        self._weights = WeightsSnapshot(source.reading.model)
        self._live: Sequence | None = None
        self._plans: dict[int, FramePlan] = {}
        self._one_at_a_time = threading.RLock()
        self._likelihood = likelihood or usual_likelihood(self._first)

    @property
    def _first(self) -> Interface:
        return self._inputs[self.source.streamed[0]]

    def __repr__(self) -> str:
        """Say what is streamed, and how."""
        model, axes = type(self.source.reading.model).__name__, " ".join(self.source.system.axes)
        return f"<FrameStream of {model} along {axes}: frames of {self.frame}, lag {self.lag}, backend {self.backend}>"

    @public("FrameStream.using")
    def using(self, backend: Literal["numba", "torch"]) -> FrameStream:
        """Return the same stream on another backend, or on torch where that has no form of it: `why` says so."""
        return FrameStream(self.source, self._likelihood, self._encode, backend)

    @property
    def state_bytes(self) -> int:
        """Bytes that are kept between frames, for one sample, once a sequence as long as the traced one is read."""
        system = self.source.system
        sequence = self._begun(self._plan, 1)
        for at in range(0, system.sizes[0], self.frame):
            sequence.go_on({name: self._nothing(name, at) for name in system.inputs})
        return sequence.machine.state_bytes

    def _begun(self, plan: FramePlan, batch: int) -> Sequence:
        made = CompiledFrames(plan, batch) if self.backend != "torch" else on_torch(plan.source, batch)
        return Sequence(plan.source, Early(made, plan.source.system) if self.early else made)

    def _nothing(self, name: str, at: int) -> Tensor:
        """Return one frame of an input, all zero."""
        system = self.source.system
        rate = system.rates[name][0]
        rows = int(rate * (at + self.frame)) - int(rate * at)
        widths = system.range(name, system.sizes[0])[1:]
        return torch.zeros(rows, *widths, 1, system[name].channels).to(self.source.reading.tensors[name].dtype)

    @public("FrameStream.logits")
    def logits(self, x: Tensor, **others: Tensor) -> Tensor:
        """Return the model's output on `x`, computed frame by frame: equal to the full forward pass.

        Inputs are like those that are streamed, of any batch and, along the slowest axis, of any whole number of frames
        that the model takes, or of any length where outputs are `early`; all but the first one go by name.
        """
        with self._one_at_a_time:
            self._check_weights()
            given = self._arranged({self.source.streamed[0]: x, **others})
            length, batch = next(iter(given.values())).shape[0], next(iter(given.values())).shape[-2]
            sequence = self._begun(self._planned(self._whole(length)), batch)
            starts = range(0, length, self.frame)
            parts = [sequence.go_on(between(sequence.system, given, at, at + self.frame)) for at in starts]
            return self._as_output(torch.cat([*parts, sequence.finish()]))

    @public("FrameStream.step")
    def step(self, chunk: Tensor, **others: Tensor) -> Tensor:
        """Go on with the next positions of a sequence, and return the outputs that are known now, none perhaps.

        `chunk` is like the first input, any number of positions long, and of the batch that `reset` was told, or the
        first chunk had; the other inputs go by name, as many of their points as belong to so many positions (where it
        is none, leave it out). After an error from within, the stream must be reset.
        """
        with self._one_at_a_time:
            self._check_weights(values=False)
            given = self._arranged({self.source.streamed[0]: chunk, **others})
            first = next(iter(given.values()))
            live = self._live or self._begun(self._plan, first.shape[-2])
            if first.shape[-2] != live.machine.batch:
                raise UsageError(
                    f"the chunk is for {first.shape[-2]} samples and this sequence for {live.machine.batch}: "
                    f"begin one with reset(batch={first.shape[-2]})"
                )
            live.refuse_beyond(live.machine.known + first.shape[0])
            self._live = live
            return self._as_output(live.go_on(given))

    @public("FrameStream.finish")
    def finish(self) -> Tensor:
        """End the sequence, and return the outputs that waited for it; the next step begins another one.

        `UsageError` if it ends within a frame, or none has begun.
        """
        with self._one_at_a_time:
            live, self._live = self._live, None
            if live is None or not live.machine.known:
                raise UsageError("no sequence has begun: there is nothing to finish")
            return self._as_output(live.finish())

    @public("FrameStream.reset")
    def reset(self, batch: int = 1, length: int | None = None) -> None:
        """Begin a new sequence for `step`; `length` is how far attention and tables must reach (default: as traced)."""
        if batch < 1:
            raise UsageError(f"a sequence is of at least one sample, got batch={batch}")
        with self._one_at_a_time:
            self._live = self._begun(self._plan if length is None else self._planned(length), batch)
            self._live.source.goes_on(2 * self._live.system.sizes[0])  # traced now, not in the middle of a sequence

    @public("FrameStream.generate")
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

        `NotCausal` if an output rests on later positions.
        """
        likelihood = self._likelihood
        if n < 1:
            raise UsageError(f"the number of samples must be at least 1, got {n}")
        if likelihood is None or (self._encode is None and not self._first.integer):
            raise UsageError(
                "inputs are numbers: say which likelihood= draws a class, and how encode= turns it into one"
            )
        with self._one_at_a_time:
            self._check_weights()
            length = length or self.source.system.sizes[0]
            plan, source = self._planned(self._whole(length)), self.source
            axes, places, sizes = source.axes, source.positions, source.sizes_at(length)
            moved, back = [places.index(axis) for axis in axes], [axes.index(axis) for axis in places]
            symbols, kept = _start(given, mask, n, tuple(sizes[i] for i in back), likelihood.levels)
            symbols, kept = (t.permute(0, *(1 + i for i in moved)).contiguous() for t in (symbols, kept))
            u = _checked_uniforms(uniforms, seed, n, int(np.prod(sizes)))
            order = Order(plan.source, length)
            for some in range(0, n, most := _at_once(order, n)):
                own = slice(some, some + most)
                picture = self._drawn(plan, len(u[own])) if self.early else Picture(order, len(u[own]), source.dtype)
                if picture.lag == 0 and not kept.flatten(1)[:, 0].all():
                    raise UsageError("a model of lag 0 has no distribution of the first symbol: give it (given=)")
                self._draw(picture, likelihood, symbols[own], kept[own], u[own], temperature, top_k)
            return symbols.permute(0, *(1 + i for i in back))

    def _draw(
        self,
        picture: Picture | Drawn,
        likelihood: Likelihood,
        symbols: Tensor,
        kept: Tensor,
        u: Tensor,
        temperature: float,
        top_k: int | None,
    ) -> None:
        """Fill `symbols` where they are not kept, one after the other."""
        encode, shape = self._encode or likelihood.encode, self.source.symbol_shape
        points = np.argwhere(np.ones(symbols.shape[1:], bool)).astype(np.int64)
        for number, point in enumerate(points):
            picture.after(number)
            where = (slice(None), *point.tolist())
            if not kept[where].all():
                logits = picture.logits(points[number if picture.lag else number - 1])
                try:
                    drawn = likelihood.draw(logits if shape else logits.squeeze(-1), u[:, number], temperature, top_k)
                except Diverged as error:
                    raise Diverged(
                        f"the symbol at position {tuple(point.tolist())} cannot be drawn: {error}"
                    ) from error
                symbols[where] = torch.where(kept[where], symbols[where], drawn)
            picture.give(point, encode(symbols[where]).reshape(len(symbols), -1))

    def _drawn(self, plan: FramePlan, n: int) -> Drawn:
        if self.source.early is None or len(plan.source.system.inputs) > 1:
            raise NotUniform("symbols are drawn where a model has one input, and an output at each of its positions")
        (name,) = plan.source.system.inputs
        return Drawn(self._begun(plan, n), self.source.early, self._nothing(name, 0).expand(-1, n, -1))

    @public("FrameStream.export")
    def export(self, path: str | Path, **_: Any) -> Exported:
        """Refuse (`NotUniform`): no C is written for streams in frames."""
        raise NotUniform(f"no C is written for {path}: positions change their rate, and streams in frames run on torch")

    def _planned(self, length: int) -> FramePlan:
        if length < 1 or length % self.frame:
            raise UsageError(f"a sequence is of whole frames of {self.frame} positions, and {length} are asked for")
        if self.source.goes_on(length):
            return self._plan
        if length not in self._plans:
            self._plans = {length: FramePlan(self.source.at(length))}
        return self._plans[length]

    def _whole(self, length: int) -> int:
        """Return the length of the frames that a sequence ends in, where it may end within one."""
        if not self.early or length < 1 or length % self.frame == 0 or not self.source.within_frames:
            return length
        return -(-length // self.frame) * self.frame

    def _arranged(self, given: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return all inputs in the machine's axes."""
        names = self.source.streamed
        for name in given:
            if name not in names:
                raise UsageError(f"the model streams no input {name!r}; {near_misses(name, names)}")
        found = {name: self._inputs[name].arranged(given[name]) for name in names if name in given}
        batch, system = found[names[0]].shape[-2], self.source.system
        for name in names:
            widths = system.range(name, system.sizes[0])[1:]
            rows = found.setdefault(name, torch.zeros(0, *widths, batch, system[name].channels))
            if rows.shape[1:-2] != widths or rows.shape[-2] != batch:
                raise UsageError(
                    f"{name} has shape {tuple(given[name].shape)}: all but its length and batch are as traced, "
                    f"and it is for {batch} samples as {names[0]} is"
                )
        return {name: found[name] for name in names}

    def _as_output(self, rows: Tensor) -> Tensor:
        return self._first.as_output(rows)

    def _check_weights(self, values: bool = True) -> None:
        if not self._weights.unchanged(values):
            raise UsageError("the model's weights have changed since this stream was made; make a new one")
