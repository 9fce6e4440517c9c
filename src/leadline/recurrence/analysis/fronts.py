"""Wavefronts to look at: the fronts of a grid's points, without the equations that they come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from leadline.recurrence.analysis.schedule import Schedule, generation_schedule, training_schedule
from leadline.recurrence.ir import System

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Wavefront:
    """When every point of a grid is computed.

    Attributes
    ----------
    axes
        Names of the grid's axes.
    slope
        The linear form: a point p is in front ``slope · p``.
    fronts
        The front of every point, from 0 on.
    count, widest, parallelism
        How many fronts hold points, the most points in one, and the mean.
    """

    axes: tuple[str, ...]
    slope: tuple[int, ...]
    fronts: NDArray[np.int64]
    count: int
    widest: int
    parallelism: float

    @classmethod
    def of(cls, schedule: Schedule) -> Wavefront:
        """Take a schedule's fronts."""
        widths = schedule.widths
        axes, slope = schedule.system.axes, schedule.slope
        return cls(axes, slope, schedule.fronts, len(widths), int(widths.max()), schedule.parallelism)

    def __str__(self) -> str:
        form = " + ".join(f"{s}{a}" if s > 1 else a for s, a in zip(self.slope, self.axes, strict=True) if s)
        return f"front {form or '0'}"


@dataclass(frozen=True)
class Wavefronts:
    """The wavefronts of a forward pass and of generation; None where the model does not generate."""

    training: Wavefront
    generation: Wavefront | None


def wavefronts(system: System, lag: int | None) -> Wavefronts:
    """Return the wavefronts of a grid of several axes, at the sizes that the system was derived at.

    Raises
    ------
    NotUniform
        If no linear form orders the points.

    Examples
    --------
    >>> from leadline.recurrence.examples import masked
    >>> found = wavefronts(masked(layers=3, sizes=(8, 8)), lag=1)
    >>> str(found.generation), found.generation.count, found.training.count
    ('front 2h + w', 22, 1)
    """
    generates = lag is not None and lag >= 1
    generation = Wavefront.of(generation_schedule(system)) if generates else None
    return Wavefronts(Wavefront.of(training_schedule(system)), generation)
