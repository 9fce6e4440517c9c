"""What an audit holds: the depths of one model, each with how it is known, and all that it takes to reproduce them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar

from leadline.domains._causality import Causality, Verdict
from leadline.domains._context import Context
from leadline.domains._count import Count
from leadline.domains._generation import Generation
from leadline.domains._memory import Memory
from leadline.domains._span import Span
from leadline.jacobian._gradient import GradientDepth
from leadline.jacobian._reach import Reach
from leadline.jacobian._remedies import Remedies
from leadline.recurrence.analysis.schedule import Wavefronts
from leadline.results import Result, Status

DEPTHS = ("causality", "context", "reach", "generation", "span", "count", "memory", "gradient")
"""What can be asked for."""


@dataclass(frozen=True)
class Unavailable(Result):
    """A depth that is not known for this model, and why.

    The `reason` is the words of an `error`, by its kind; or the depth was not `asked` for.
    """

    reason: str
    asked: bool = True
    error: str = ""

    @property
    def status(self) -> Status:
        """Always `unknown`."""
        return Status.UNKNOWN


@dataclass(frozen=True)
class About:
    """What a report calls a model, the settings it was built with, and the command that made the report.

    Positions are samples of a signal if they have a `rate`, in hertz: times are said in milliseconds too.
    """

    name: str | None = None
    settings: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    command: str = ""
    rate: float | None = None


@dataclass(frozen=True, repr=False)
class Audit(Result):
    """What `check` found out about one model, by the name that it was called, and with which settings.

    It has the shape of every input tensor by name, and how their axes were read (``""`` if they could not be), with
    what was `assumed` where nobody said and several ways fit; the mode and number format that the model ran in; the
    `rate` of its positions in hertz, if they have one; the seed of random probes, the `command`, and the versions of
    leadline and torch, to reproduce it; the depths, each with its status, or `Unavailable`; and the wall time of each.
    `wavefronts` are the points of a grid of several axes that are computed at once; None for sequences, whose order is
    the only one. `remedies` are what was tried on a gradient that vanishes or explodes; None for others, and where
    nobody asked.
    """

    derived: ClassVar[tuple[str, ...]] = ("title", "verdict", "leaks")

    name: str
    settings: Mapping[str, Any]
    inputs: Mapping[str, tuple[int, ...]]
    layout: str
    assumed: str
    training: bool
    dtype: str
    rate: float | None
    seed: int
    command: str
    leadline: str
    torch: str
    count: Count | Unavailable
    span: Span | Unavailable
    causality: Causality | Unavailable
    generation: Generation | Unavailable
    wavefronts: Wavefronts | Unavailable | None
    context: Context | Unavailable
    reach: Reach | Unavailable
    memory: Memory | Unavailable
    gradient: GradientDepth | Unavailable
    remedies: Remedies | Unavailable | None
    seconds: Mapping[str, float]

    @property
    def title(self) -> str:
        """The model's name and its settings."""
        return " ".join((self.name, *(f"{key}={value}" for key, value in self.settings.items())))

    @property
    def unread(self) -> str:
        """Why the axes could not be read; nothing if they were, or nobody asked."""
        failed = [depth for depth in (self.causality, self.context) if isinstance(depth, Unavailable)]
        reasons = (depth.reason for depth in failed if depth.error == "LayoutError")
        return "" if self.layout else next(reasons, "")

    @property
    def leaks(self) -> bool:
        """Whether an output depends on a later input, or that could not be ruled out."""
        return (
            isinstance(self.causality, Unavailable)
            or not self.causality.causal
            or self.causality.cross_batch is not None
        )

    @property
    def verdict(self) -> Verdict:
        """The verdict on causality; `unknown` where there is none."""
        return Verdict.UNKNOWN if isinstance(self.causality, Unavailable) else self.causality.verdict
