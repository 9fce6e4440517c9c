"""Where a stream in frames takes its equations from: a model that is read, and read again at another length."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from leadline.domains._causality import Verdict, causality_of
from leadline.errors import LeadlineError, NotUniform, UsageError
from leadline.graph.reading import Reading
from leadline.graph.restoring.undisturbed import evaluating, undisturbed
from leadline.graph.table import Move
from leadline.recurrence.likeness import same_equations
from leadline.recurrence.rates import rated_system_of
from leadline.recurrence.rates.ir import RatedSystem
from leadline.recurrence.rates.needs import by_position, waits
from leadline.sampling.source import Source
from leadline.sampling.within.inside import Inside


@dataclass(frozen=True, eq=False)
class RatedSource(Source):
    """A reading whose positions change their rate; `only` names one of several inputs.

    Lengths are numbers of positions of the first input.
    """

    only: str | None = None

    @cached_property
    def system(self) -> RatedSystem:
        """The equations at the traced sizes."""
        found = rated_system_of(self.reading)
        return found if self.only is None else replace(found, inputs=(self.only,))

    @property
    def streamed(self) -> tuple[str, ...]:
        """Names of the inputs that are no conditioning."""
        return tuple(self.reading.input_axes) if self.only is None else (self.only,)

    @cached_property
    def waits(self) -> tuple[int, int]:
        """The lag in frames, and the positions beyond a frame that its outputs wait for."""
        return waits(self.system)

    @property
    def lag(self) -> int:
        """The lag in frames; see `waits`."""
        return self.waits[0]

    @property
    def ahead(self) -> int:
        """The positions beyond a frame that its outputs wait for."""
        return self.waits[1]

    @cached_property
    def early(self) -> int | None:
        """The lag, in positions, of outputs that come sooner than the equations of whole frames give them.

        None where the equations give them as soon, or the model's structure does not show that it is causal.
        """
        later = None if self.inside is not None else by_position(self.system)
        if later is None or self.system.frame[0] == 1 or self.lag < 0 or self.ahead > 0:
            return None
        with suppress(LeadlineError):
            found = causality_of(self.reading)
            sooner = found.lag is not None and -found.lag < later[0]
            if found.verdict in (Verdict.STRUCTURAL, Verdict.PRESENT_WEIGHTS) and (sooner or later[1] > 0):
                return found.lag
        return None

    @cached_property
    def within_frames(self) -> bool:
        """Whether the model gives the same on a sequence that ends within a frame, as tried at the traced inputs.

        A model that takes no such sequence says nothing else.
        """
        system, axis = self.system, self.system.axes[0]
        length = system.sizes[0] - 1
        other = {name: self.stretched(name, axis, length) for name in self.streamed}
        whole = _run(self.reading).narrow(self.reading.output_axes.index(axis), 0, length)
        try:
            short = _run(self.reading.on(other))
        except (LeadlineError, RuntimeError, IndexError):
            return True
        return short.shape == whole.shape and torch.allclose(short, whole, rtol=1e-4, atol=1e-5)

    def goes_on(self, length: int) -> bool:
        """Whether the equations are the same at a length: they are if they were found to be so at twice the traced."""
        return length == self.system.sizes[0] or (length % self.system.frame[0] == 0 and self._found_longer)

    @cached_property
    def _found_longer(self) -> bool:
        with suppress(LeadlineError):
            return same_equations(self.system, self.at(2 * self.system.sizes[0]).system)
        return False

    def at(self, length: int) -> RatedSource:
        """Read the model again on inputs of another length; `UsageError` if it does not take them."""
        axis, system = self.system.axes[0], self.system
        other = {}
        for name in self.reading.input_axes:
            points = system.rates[name][0] * length
            if points.denominator != 1:
                raise UsageError(f"{length} positions along {axis} are no whole frames of {system.frame[0]}")
            other[name] = self.stretched(name, axis, int(points))
        reading = self.reading.on(other).in_evaluation()
        try:
            _ = reading.graph
        except (LeadlineError, RuntimeError, IndexError) as error:
            raise UsageError(
                f"the model does not take {length} positions along {axis}, as where a positional table ends: {error}"
            ) from error
        return RatedSource(reading, self.only, inside=self.inside)


def rated_source_of(reading: Reading, inside: Inside | None = None) -> RatedSource:
    """Return the source of a reading in evaluation mode; `NotUniform` names what has no reading.

    Symbols may follow one another `inside` of its points, whose order is checked where they are drawn.
    A model that pads its positions to whole chunks is read at two chunks, where its structure shows.
    """
    made = RatedSource(reading.in_evaluation(), inside=inside)
    try:
        _ = made.waits
    except NotUniform:
        chunks = _padded_to(reading)
        if chunks is None:
            raise
        (axis,) = reading.layout.positions
        with suppress(LeadlineError):
            whole = {name: made.stretched(name, axis, 2 * chunks) for name in made.streamed}
            longer = RatedSource(reading.on(whole).in_evaluation(), inside=inside)
            _ = longer.waits
            return longer
        raise
    return made


def _padded_to(reading: Reading) -> int | None:
    """Return how many positions a model pads its own to, after the end; None: none, or it has several axes."""
    axes, shapes = reading.input_axes, {name: reading.input_shape(name) for name in reading.input_axes}
    lengths = {
        n for name in axes for a, n in zip(axes[name], shapes[name], strict=True) if a in reading.layout.positions
    }
    if len(reading.layout.positions) > 1 or len(lengths) > 1:
        return None
    (length,), found = lengths, set[int]()
    for node in reading.graph.nodes:
        if node.operation.move is Move.PAD and node.bound().get("mode", "constant") == "constant":
            before, amounts = reading.graph.meta(node.refs[0]).shape, node.bound()["pad"]
            for dim, (first, last) in enumerate(zip(amounts[::2], amounts[1::2], strict=True)):
                if first == 0 < last and before[-1 - dim] == length:
                    found.add(length + last)
    return max(found, default=None)


def _run(reading: Reading) -> Tensor:
    """Return the model's own output."""
    call = reading.call
    with evaluating(reading.model), undisturbed(reading.model, call.given), torch.no_grad():
        made = call(*reading.tensors.values())
    found: Tensor = dict(zip(call.outputs, made, strict=True))[reading.output]
    return found
