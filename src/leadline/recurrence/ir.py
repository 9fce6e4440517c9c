"""Systems of uniform recurrence equations: variables on a grid, and the taps through which they read each other.

At every point p of its range a variable v is ``y_v[p] = φ_v(taps)``, where a tap reads ``y_u[p - δ]``: a source u at a
constant offset δ (Karp, Miller & Winograd, 1967). A tap that leaves the range of its source reads its fill value.
Every variable counts its own points from 0; how its range differs from the grid is its `margin`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from leadline.graph.table import Operation, operation_of
from leadline.graph.table import Pointwise as PointwiseFacts
from leadline.recurrence.scores import Attention, Between
from leadline.results import Place, Result

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Channels: TypeAlias = "NDArray[np.int64]"

Offset: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Tap:
    """A read of ``source[p - offset]``: how far back along every axis, and which channels, in the order that is wanted.

    Beyond the range of the source it reads `fill`, one number or one for each of the channels; where that is the
    initial state of a recurrence (`initial`), what is read there is a unit, which padding is not.
    """

    source: str
    offset: Offset
    channels: Channels = field(repr=False)
    fill: float | Tensor = 0.0
    initial: bool = False

    @property
    def filled(self) -> bool:
        """Whether anything but zeros is read beyond the range of the source."""
        return bool((self.fill != 0).any()) if isinstance(self.fill, Tensor) else self.fill != 0

    def part(self, start: int, stop: int) -> Tap:
        """Return the read of some of the channels, which follow one another."""
        fill = self.fill[start:stop] if isinstance(self.fill, Tensor) else self.fill
        return replace(self, channels=self.channels[start:stop], fill=fill)


@dataclass(frozen=True, eq=False)
class Constant:
    """An operand that is the same at every point: values of shape (channels,)."""

    values: Tensor


@dataclass(frozen=True, eq=False)
class Table:
    """An operand that depends on the point: values of shape (*range of the variable, channels)."""

    values: Tensor


Operand: TypeAlias = Tap | Constant | Table


@dataclass(frozen=True, eq=False)
class Input:
    """Values from outside: classes (`integer`) or numbers."""

    integer: bool = False
    cost = 0
    taps: tuple[Tap, ...] = ()


@dataclass(frozen=True, eq=False)
class Contraction:
    """``bias + Σ_taps weight · tap``, in groups like those of a convolution.

    Each tap has a weight of shape (channels out, channels in / groups), and `alive` says which of its numbers are not
    zero by construction (nothing: all); reads whose weights all are so are no taps. The `cost` in sequential steps is 0
    for a product that the model does not compute, which has no connections. Where the model computes every point by
    itself, in a loop (`apart`), there is no unit where nothing is left to sum. The model multiplies `dense` numbers at
    each point, those of reads that are no taps too (nothing: as many as there are in the weights).
    """

    taps: tuple[Tap, ...]
    weights: tuple[Tensor, ...]
    bias: Tensor | None = None
    groups: int = 1
    alive: tuple[Tensor, ...] = ()
    cost: int = 1
    apart: bool = False
    dense: int | None = None

    @property
    def macs(self) -> int:
        """Multiply-accumulates at each point, masked ones too."""
        return sum(weight.numel() for weight in self.weights) if self.dense is None else self.dense


@dataclass(frozen=True, eq=False)
class Pointwise:
    """One function of operands that have the same channels.

    `function` is its ATen name, ``"tanh"``, without namespace and overload; `call` maps tensors of shape (...,
    channels), in the order of `operands`, to one of that shape; `literals` are the arguments that are not tensors, by
    their names in the operator's schema, and `names` (nothing: those of the table) are those of the operands there.
    The model gives them in `types` (nothing: numbers like all others).
    """

    function: str
    operands: tuple[Operand, ...]
    call: Callable[..., Tensor] = field(repr=False)
    literals: Mapping[str, Any] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    types: tuple[torch.dtype, ...] = ()
    cost = 0

    @property
    def facts(self) -> PointwiseFacts | None:
        """What the table says of the function; None for one that only systems have: affine, blend, concat."""
        # of max and min, `other` is the overload that is pointwise; the rest have one record
        return operation_of(f"aten.{self.function}.other").pointwise

    @property
    def taps(self) -> tuple[Tap, ...]:
        """The operands that read other variables."""
        return tuple(operand for operand in self.operands if isinstance(operand, Tap))


@dataclass(frozen=True, eq=False)
class Embedding:
    """A row of a table of shape (classes, channels), chosen by a tap on an integer variable."""

    tap: Tap
    rows: Tensor
    cost = 0

    @property
    def taps(self) -> tuple[Tap, ...]:
        """The one tap."""
        return (self.tap,)


@dataclass(frozen=True, eq=False)
class Reduction:
    """A function that mixes the channels of one point: softmax, layer normalisation, sums.

    `call` maps a tensor of shape (points, *shape), where the channels of the tap fill `shape`, to (points, channels);
    it mixes the dimensions `along` of that shape. `literals` and `tensors` are the function's further arguments, by
    their names in the operator's schema.
    """

    function: str
    tap: Tap
    shape: tuple[int, ...]
    call: Callable[[Tensor], Tensor] = field(repr=False)
    along: tuple[int, ...]
    literals: Mapping[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    cost = 0

    @property
    def operation(self) -> Operation:
        """What the table says of the function."""
        return operation_of(f"aten.{self.function}.default")

    @property
    def taps(self) -> tuple[Tap, ...]:
        """The one tap."""
        return (self.tap,)


@dataclass(frozen=True, eq=False)
class Rowwise:
    """A function of rows of channels at one point that no other equation is: sorting, choosing and placing by indices.

    The channels of each operand, and of the result, are as many rows as `rows` says, one after the other; a row of the
    result rests on those of its number. `call` maps tensors of shape (points, rows, channels of a row), in the order of
    `operands`, to one of that shape. `function` is its ATen name, `literals` are the arguments that are no tensors.
    """

    function: str
    operands: tuple[Operand, ...]
    rows: int
    call: Callable[..., Tensor] = field(repr=False)
    literals: Mapping[str, Any] = field(default_factory=dict)
    cost = 0

    @property
    def taps(self) -> tuple[Tap, ...]:
        """The operands that read other variables."""
        return tuple(operand for operand in self.operands if isinstance(operand, Tap))


Equation: TypeAlias = Input | Contraction | Pointwise | Embedding | Reduction | Rowwise | Attention


@dataclass(frozen=True, eq=False)
class Variable:
    """One quantity at every point of its range, ``[0, N_a + margin_a)`` along each axis a of the grid's size N_a.

    `uncropped` is the margin that the model computes, where points on which the output does not rest were dropped.
    """

    name: str
    channels: int
    equation: Equation
    margin: tuple[int, ...]
    place: Place = field(default_factory=lambda: Place(""))
    uncropped: tuple[int, ...] | None = None

    def range(self, sizes: Iterable[int]) -> tuple[int, ...]:
        """Return how many points there are along each axis of a grid of these sizes."""
        return tuple(max(0, n + m) for n, m in zip(sizes, self.margin, strict=True))

    @property
    def computed(self) -> tuple[int, ...]:
        """The margin that the model computes, whatever the output rests on."""
        return self.margin if self.uncropped is None else self.uncropped


@dataclass(frozen=True)
class Edge:
    """A dependence: `reader` at p needs `source` at p - offset, and at all points before it where `growing`.

    `first` is the first place, along the first axis, where the reader's value does depend on what it reads.
    """

    reader: str
    source: str
    offset: Offset
    cost: int
    growing: bool = False
    first: int = 0


@dataclass(frozen=True, eq=False)
class System(Result):
    """A system of uniform recurrence equations.

    `axes` stand slowest first in the order of generation, and `sizes` are those that the system was derived at.
    Variables are in an order in which the values of one point can be computed; `inputs` are those that come from
    outside, `output` is the one that is asked for, its channels laid out as `shape`. What was read off a loop over
    positions is `looped`: a trace holds every turn of it by itself.
    """

    axes: tuple[str, ...]
    sizes: tuple[int, ...]
    variables: tuple[Variable, ...]
    inputs: tuple[str, ...]
    output: str
    shape: tuple[int, ...] = ()
    looped: bool = False

    def __post_init__(self) -> None:
        rank = len(self.axes)
        for variable in self.variables:
            bad = [tap.source for tap in variable.equation.taps if tap.source not in self.named]
            if bad or any(len(tap.offset) != rank for tap in variable.equation.taps) or len(variable.margin) != rank:
                problem = f"reads {bad}, which do not exist" if bad else "has offsets or margins of another rank"
                raise ValueError(f"{variable.name} {problem}")

    @cached_property
    def named(self) -> Mapping[str, Variable]:
        """Variables by name."""
        return {variable.name: variable for variable in self.variables}

    def __getitem__(self, name: str) -> Variable:
        return self.named[name]

    @cached_property
    def edges(self) -> tuple[Edge, ...]:
        """Every dependence, in the order of the variables."""
        return tuple(self._edges())

    def _edges(self) -> Iterator[Edge]:
        for variable in self.variables:
            equation = variable.equation
            if isinstance(equation, Attention):
                for tap, cost, growing, first in equation.dependences():
                    yield Edge(variable.name, tap.source, tap.offset, cost, growing, first)
                continue
            for tap in equation.taps:
                yield Edge(variable.name, tap.source, tap.offset, equation.cost)

    def live(self) -> System:
        """Drop the variables, and at the ends of their ranges the points, on which the output does not rest."""
        needed: dict[str, list[int]] = {name: [0] * len(self.axes) for name in self.inputs}
        needed[self.output] = [0] * len(self.axes)  # the output is asked for on the grid alone
        changed = True
        while changed:
            changed = False
            for edge in self.edges:
                if edge.reader in needed:
                    changed |= edge.source not in needed  # whatever it reads is needed too, be it of no point
                    margin = needed.setdefault(edge.source, [-n for n in self.sizes])
                    for a, (mine, offset, limit) in enumerate(
                        zip(needed[edge.reader], edge.offset, self[edge.source].margin, strict=True)
                    ):
                        if min(limit, mine - offset) > margin[a]:
                            margin[a], changed = min(limit, mine - offset), True
        kept = (
            replace(v, margin=tuple(needed[v.name]), uncropped=v.uncropped or v.margin)
            for v in self.variables
            if v.name in needed
        )
        return replace(self, variables=tuple(kept))

    def tensors(self) -> Iterator[Tensor]:
        """Every weight, bias and table that the equations hold."""
        for variable in self.variables:
            yield from tensors_of(variable.equation)


def tensors_of(equation: Any) -> Iterator[Tensor]:
    """Yield every weight, bias and table that an equation holds."""
    if isinstance(equation, Contraction):
        yield from equation.weights
        if equation.bias is not None:
            yield equation.bias
    elif isinstance(equation, Pointwise | Rowwise):
        yield from (operand.values for operand in equation.operands if not isinstance(operand, Tap))
    elif isinstance(equation, Embedding):
        yield equation.rows
    elif isinstance(equation, Attention):
        places = (place for step in equation.steps for place in step.operands)
        yield from (place.values for place in places if isinstance(place, Between))
