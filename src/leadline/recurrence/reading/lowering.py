"""The state of a lowering: the variables so far, and what each traced tensor has become."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeAlias

import numpy as np
import torch
from torch import Tensor

from leadline.errors import NotUniform
from leadline.graph import Graph, Node, Ref
from leadline.recurrence.ir import Constant, Contraction, Equation, Operand, Pointwise, Table, Tap, Variable
from leadline.recurrence.reading.field import BATCH, FEATURE, Dims, Field, Misfit, features, spread, taken, whole
from leadline.recurrence.scores import Step


@dataclass(frozen=True, eq=False)
class Fixed:
    """A tensor that rests on no streamed input: weights, buffers, conditioning, and what is computed from them.

    `generic` is the same computation with every parameter replaced by noise: a zero in it is there by construction.
    """

    tensor: Tensor
    generic: Tensor


@dataclass(frozen=True)
class Unread:
    """A tensor that no system describes; it is an error to read it, not to produce it."""

    why: str


@dataclass(frozen=True, eq=False)
class Row(Unread):
    """All positions of a grid in one row, along a dimension, of which there are more or fewer than the grid has.

    Element i is number ``i - by`` of the positions, there are `size` of them, and `fill` stands where there is none. Of
    the positions those from `seen`'s first to its last are left. It has to become a grid again, by paddings and cuts.
    """

    read: Field
    dim: int
    by: int
    size: int
    seen: tuple[int, int]
    fill: float | None = None


@dataclass(frozen=True, eq=False)
class Around:
    """A tensor whose positions have moved on by so many along one dimension, so that its last ones stand first.

    What stands there rests on what comes later: it has to be cut off, or written over.
    """

    read: Field
    dim: int
    by: int
    why = "what comes around from the last positions"

    def after(self, dim: int, index: Sequence[int]) -> Field:
        """Return some of the positions, none of which have come around."""
        if dim != self.dim or (index and index[0] < self.by):
            raise Misfit(f"it reads {self.why}")
        return taken(self.read, dim, index)


Value: TypeAlias = "Field | Fixed | Unread | Around | Any"


@dataclass(eq=False)
class Lowering:
    """Collects variables while the graph is walked.

    `axes`, `sizes` and `batch` are those of the traced grid, `variables` those emitted so far, and `node` is the one at
    work, for names and places; `in_loop` says whether it is one of a loop's body, which the model computes position by
    position, and `looped` whether there was any. `steps` are what has been made of scores of attention, and `reaches`
    says of those that go over all keys how many of the latest they need, of how many. `special` gives the rule of a
    node that is read otherwise than usual.
    """

    graph: Graph
    axes: tuple[str, ...]
    sizes: tuple[int, ...]
    batch: int
    variables: list[Variable] = field(default_factory=list)
    node: Node | None = None
    in_loop: bool = False
    looped: bool = False
    steps: list[Step] = field(default_factory=list)
    reaches: dict[int, tuple[int, int]] = field(default_factory=dict)
    special: Callable[[Node], Any] = lambda _: None
    rated: ClassVar[bool] = False

    def spaced(self, tap: Tap, stride: Sequence[int]) -> Tap:
        """Return a tap that goes on by `stride` where its reader goes on by one; all are one on a uniform grid."""
        assert set(stride) <= {1}, "a stride changes the grid"
        return tap

    @property
    def rank(self) -> int:
        """Number of position axes."""
        return len(self.axes)

    def emit(self, equation: Equation, dims: Dims, sizes: tuple[int, ...], name: str = "") -> Field:
        """Add a variable with this equation, and return its reading in the shape of `dims`."""
        node = self.node
        assert node is not None, "a variable needs a node that it comes from"
        if self.in_loop and isinstance(equation, Contraction):
            equation = replace(equation, apart=True)
        base = name or node.packet
        result = whole(dims, f"{base}_{len(self.variables)}", self.rank, sizes)
        margin = tuple(mine - n for mine, n in zip(sizes, self.sizes, strict=True))
        self.variables.append(Variable(result.variable, result.channels.size, equation, margin, node.place))
        return result

    def state(self, dims: Dims, sizes: tuple[int, ...], name: str) -> Field:
        """Add a variable that gets its equation later, by `close`, because others read it before that."""
        return self.emit(Pointwise("copy", (), lambda: torch.empty(0)), dims, sizes, name)

    def close(self, read: Field, equation: Equation) -> None:
        """Give a variable that others read one step back its equation, and put it last, after what it reads itself."""
        index = self._index(read.variable)
        self.variables.append(replace(self.variables.pop(index), equation=equation))

    def range_of(self, name: str) -> tuple[int, ...]:
        """Return the traced range of a variable."""
        return self.variables[self._index(name)].range(self.sizes)

    def _index(self, name: str) -> int:
        return next(i for i, v in enumerate(self.variables) if v.name == name)

    def tap(self, read: Field, channels: Any = None, offset: Sequence[int] | None = None) -> Tap:
        """Return the tap that reads a field at the reader's own index, or `offset` before it."""
        move = offset or (0,) * self.rank
        which = np.ascontiguousarray(read.channels if channels is None else channels).reshape(-1)
        fill = read.fill[torch.tensor(which)] if isinstance(read.fill, Tensor) else read.fill
        return Tap(read.variable, tuple(s + o for s, o in zip(read.shift, move, strict=True)), which, fill)

    def filled(self, read: Field, fill: float | Tensor, over: Sequence[tuple[int, int]]) -> Field:
        """Return a reading that gives `fill` up to `over` positions before and after its ends, on every axis.

        Where there are several numbers they are those of its features, in order.
        """
        if not any(map(any, over)):
            return read
        size = self.range_of(read.variable)
        ends = [(-s, n - s, m) for s, n, m in zip(read.shift, read.sizes, size, strict=True)]
        filled = any(first < 0 or last > m for first, last, m in ends)
        hides = any(
            (before and first > 0) or (after and last < m)
            for (first, last, m), (before, after) in zip(ends, over, strict=True)
        )
        if hides or isinstance(fill, Tensor) or (filled and (isinstance(read.fill, Tensor) or read.fill != fill)):
            read = self.emit(copied(self.tap(read)), read.dims, read.sizes, "copy")
        return replace(read, fill=fill)

    def operand(self, value: Field | Fixed, dims: Dims, sizes: tuple[int, ...]) -> Operand:
        """Return one operand of an equation over `dims`, broadcast to all its features."""
        if isinstance(value, Field):
            if value.sizes != sizes:
                raise Misfit(f"two tensors of {value.sizes} and {sizes} positions are combined")
            return self.tap(value, spread(value, dims))
        return self.constant(value.tensor, dims, sizes)

    def fill_of(self, tensor: Tensor, dims: Dims, sizes: tuple[int, ...]) -> float | Tensor | None:
        """Return a fixed tensor as a fill for all features of `dims`; None where it differs from place to place."""
        values = self.constant(tensor, dims, sizes)
        if not isinstance(values, Constant):
            return None
        numbers = {*values.values.tolist()}
        return float(numbers.pop()) if len(numbers) == 1 else values.values

    def constant(self, tensor: Tensor, dims: Dims, sizes: tuple[int, ...]) -> Constant | Table:
        """Return a fixed tensor, which broadcasts to `dims`, as values by channel, or by position and channel."""
        shape = [int(np.prod([f.size for f in dim])) for dim in dims]
        factors = [f for dim in dims for f in dim]
        full = tensor.expand(shape).reshape([f.size for f in factors])
        order = [i for role in (BATCH, *range(self.rank)) for i, f in enumerate(factors) if f.role == role]
        order += [i for i, f in enumerate(factors) if f.role == FEATURE]
        full = full.permute(order)
        if any(f.role == BATCH for f in factors):
            if not bool((full == full[:1]).all() | full.isnan().any()):
                raise Misfit("a fixed tensor differs between the samples of a batch")
            full = full[0]
        there = {f.role for f in factors}  # a field within a loop has no dimension of the loop's axis
        own = [n if axis in there else 1 for axis, n in enumerate(sizes)]
        values = full.reshape(*own, int(np.prod(features(dims)))).expand(*sizes, -1)
        first = values[(slice(0, 1),) * self.rank]
        if torch.equal(values, first.expand_as(values)):
            return Constant(first.reshape(-1).clone())
        return Table(values.contiguous())


def copied(operand: Operand) -> Pointwise:
    """Return the equation of a variable that is what one operand is."""
    return Pointwise("copy", (operand,), lambda x: x)


def no_tensor(ref: Ref) -> Any:
    """Refuse to give a value for a reference that is not replaced."""
    raise Misfit(f"it reads a list of tensors, %{ref.node} among them")


def refuse(node: Node, why: str) -> NotUniform:
    """Return the error for a node that no recurrence equation describes."""
    return NotUniform(
        f"{node.op} at {node.place}: {why}; no system of uniform recurrence equations describes it. "
        "The graph level still does: leadline.check(model, ...)"
    )
