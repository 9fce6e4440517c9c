"""Laws: formulas in the sizes of an architecture, with how they are known and where they hold."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import sympy

from leadline.errors import UsageError
from leadline.recurrence.analysis.fits import size
from leadline.recurrence.analysis.notation import growth, written
from leadline.results import Result, Status


@dataclass(frozen=True)
class Law(Result):
    """A formula in the sizes, how it is known, and where it holds.

    `status` is `proved` where the model's construction shows that the formula holds for all sizes in the region,
    `bound` if it is an upper bound, and `fitted` if it gives what was counted at the sizes that were given, and at
    those in `checked`. The region is from the sizes in `region` on, and up to those in `until`, where it ends. In the
    sizes that `fitted` names, formula and region were fitted exactly to counts; where these differ between the values
    that were given, their `steps` say which values are meant: the given ones, and those as far apart. A `doubt` says
    why nothing is proved of the grid.
    """

    derived: ClassVar[tuple[str, ...]] = ("formula", "growth", "where")

    expression: sympy.Expr
    status: Status
    region: Mapping[str, sympy.Expr]
    fitted: tuple[str, ...]
    checked: tuple[Mapping[str, int], ...]
    until: Mapping[str, int] = field(default_factory=dict)
    steps: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    doubt: str = ""

    def at(self, **sizes: int) -> int:
        """Return the value at given sizes; of a bound, the whole number below it.

        Raises `UsageError` if a size is missing or outside the region of validity, or if what should be a count is not
        a whole number there.
        """
        given = {size(name): value for name, value in sizes.items()}
        for name, expression in self.region.items():
            least = _number(expression, given)
            if sizes.get(name, least) < least:
                raise UsageError(f"this law holds from {name} = {least} on, not at {sizes[name]}")
            if sizes.get(name, least) > self.until.get(name, sizes.get(name, least)):
                raise UsageError(f"this law holds up to {name} = {self.until[name]}, not at {sizes[name]}")
        for name, (first, step) in self.steps.items():
            if (sizes.get(name, first) - first) % step:
                raise UsageError(f"this law holds for {name} = {first}, {first + step} …, not for {sizes[name]}")
        return _number(self.expression, given, whole=self.status is not Status.BOUND)

    @property
    def formula(self) -> str:
        """The formula as a person writes it: ``k²·(d·(5HW - 3H - 3W + 2) - HW)``."""
        return written(self.expression, [size(name) for name in self.fitted])

    @property
    def growth(self) -> str | None:
        """How fast it grows as all sizes do: ``Θ(H·W·d·k²)``; None where that cannot be read off the formula."""
        return growth(self.expression, self.region)

    @property
    def where(self) -> str:
        """The region in words: ``T ≥ 2^(d - 1)``; empty where the law holds everywhere."""
        within = [f"{self.region[name]} ≤ {name} ≤ {most}" for name, most in self.until.items()]
        from_on = [
            f"{name} ≥ {written(part)}"
            for name, least in self.region.items()
            for part in (least.args if isinstance(least, sympy.Max) else (least,))
            if least != 1 and name not in self.until
        ]
        apart = [f"{name} = {first}, {first + step} …" for name, (first, step) in self.steps.items()]
        return ", ".join((*within, *from_on, *apart))

    def __str__(self) -> str:
        return self.formula + (f" for {self.where}" if self.where else "")


def _number(expression: sympy.Expr, given: Mapping[sympy.Symbol, int], *, whole: bool = False) -> int:
    value = expression.subs(given)
    if value.free_symbols:
        raise UsageError(f"the law needs the sizes {', '.join(sorted(map(str, value.free_symbols)))}")
    if whole and not value.is_integer:
        raise UsageError(f"this law gives {value} there, which counts nothing: give the sizes that are meant to `law`")
    return int(sympy.floor(value))


@dataclass(frozen=True)
class Laws(Result):
    """The growth laws of an architecture.

    Attributes
    ----------
    connections
        Multiply-accumulate edges between units that exist, of one sample: no masked pairs, masked taps and padding.
    macs
        Dense multiply-accumulates of one sample, masked pairs and padding too. How they grow with the grid is fitted as
        well: each product at every place, attention at every pair of places. None where that does not give the counts:
        then `macs_unknown` says why.
    training_steps
        Contractions that must follow one another from an input on, all inputs being given.
    generation_steps
        The same while every input is drawn from an output; None for models that are not causal.
    context
        The most positions that one output sees.
    state
        Numbers that generation in raster order keeps, of one sample; None for models that are not causal.
    """

    connections: Law
    macs: Law | None
    training_steps: Law
    generation_steps: Law | None
    context: Law
    state: Law | None
    macs_unknown: str = ""
