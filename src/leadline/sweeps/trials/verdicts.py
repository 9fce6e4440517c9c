"""What is said of a model before it is trained, and in what order that puts models."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from leadline.sweeps.swept import number_of

FARTHEST = 10.0
"""What lies beyond so many times the depth is as good as endless."""


@dataclass(frozen=True)
class Verdict:
    """A number of an untrained model, from one of its results, by which models are ranked.

    Attributes
    ----------
    name
        What it is.
    measure
        Where a sweep finds it.
    kind
        ``"rate"`` is a log growth for each layer or step, and is multiplied by the depth; ``"growth"`` one from end to
        end. Of both the smaller change promises more. ``"distance"`` is one in layers or steps, ``"reach"`` one along a
        sequence: the greater one promises more, and None is endless.
    missing
        The number that stands where nothing is known, if there is one.
    format
        The number format that it speaks of; None: of none.
    """

    name: str
    measure: str
    kind: Literal["rate", "growth", "distance", "reach"]
    missing: int | None = None
    format: str | None = None

    @property
    def far(self) -> bool:
        """Whether it is a distance, of either kind."""
        return self.kind in ("distance", "reach")

    def value(self, row: Mapping[str, Any], depth: float) -> float:
        """Return the number of one untrained model of a depth, or along a length; NaN where it is not known.

        Examples
        --------
        >>> Verdict("rate × depth", "gradient.rate", "rate").value({"gradient.rate": -0.5}, 10)
        -5.0
        """
        found = row[self.measure]
        if found is not None and found == self.missing:
            return math.nan
        if self.far:
            return min(math.inf if found is None else number_of(found), FARTHEST * depth)
        return number_of(found) * (depth if self.kind == "rate" else 1)

    def promise(self, value: float, depth: float) -> float:
        """Return how much the number promises: a greater promise is a better model.

        Distances count beside the depth that is to be crossed.
        """
        return value / depth if self.far else -abs(value)

    def written(self, value: float, depth: float) -> str:
        """Write a number of this kind.

        Examples
        --------
        >>> Verdict("float16 ends", "", "distance").written(400.0, 40)
        'beyond 400'
        """
        if math.isnan(value):
            return "unknown"
        if self.far:
            return f"beyond {value:.0f}" if value >= FARTHEST * depth else f"{value:.3g}"
        return f"{value:.3g}"


RATE = Verdict("rate × depth", "gradient.rate", "rate")
"""The log rate of the gradient a layer or step, of the inner ones, times the depth."""

GROWTH = Verdict("growth", "gradient.total", "growth")
"""The log of the gradient's growth from end to end, through all layers or steps."""

ENDS, BRAIN_ENDS = (
    Verdict(f"{name} ends", f"gradient.underflow_depth.get({name!r}, 0)", "distance", missing=0, format=name)
    for name in ("float16", "bfloat16")
)
"""The layer or step at which a gradient of size 1 is lost in a number format, to zero or to infinity."""

MODULES_RATE, MODULES_GROWTH = (
    replace(each, measure=each.measure.replace("gradient.", "gradient.modules.")) for each in (RATE, GROWTH)
)
"""The same through layers, in models that step through time within them."""

REACH = Verdict("reach", "reach.within(0.99)", "reach")
"""The distance along the sequence within which 99 % of an output's squared gradient lie."""

REACH_ENDS, BRAIN_REACH_ENDS = (
    Verdict(f"reach in {name}", f"reach.lost_at.get({name!r}, 0)", "reach", missing=0, format=name)
    for name in ("float16", "bfloat16")
)
"""The distance along the sequence at which a gradient of size 1 is lost in a number format."""

ALONG_DEPTH = (RATE, GROWTH, ENDS, BRAIN_ENDS)
"""What is asked of stacks of layers."""

ALONG_TIME = (*ALONG_DEPTH, REACH, REACH_ENDS, BRAIN_REACH_ENDS)
"""What is asked of recurrences, whose steps are the stages."""

ALONG_TIME_AT_ONCE = (RATE, GROWTH, REACH, REACH_ENDS, BRAIN_REACH_ENDS)
"""What is asked of layers that mix positions at once: growth through the layers, and reach along the sequence."""

ALONG_TIME_BY_LAYERS = (MODULES_RATE, MODULES_GROWTH, *ALONG_TIME_AT_ONCE[2:])
"""The same where some of the layers step through time."""
