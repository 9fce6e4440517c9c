"""Where a stream in frames takes its equations from: a model that is read, and read again at another length."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property

from leadline.errors import LeadlineError, UsageError
from leadline.graph.reading import Reading
from leadline.recurrence.likeness import same_equations
from leadline.recurrence.rates import rated_system_of
from leadline.recurrence.rates.ir import RatedSystem
from leadline.recurrence.rates.needs import waits
from leadline.sampling.source import Source


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
        return RatedSource(reading, self.only)


def rated_source_of(reading: Reading) -> RatedSource:
    """Return the source of a reading in evaluation mode; `NotUniform` names what has no reading."""
    made = RatedSource(reading.in_evaluation())
    _ = made.waits
    return made
