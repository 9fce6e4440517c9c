"""Positions of a grid in one row, line after line: shifts that go on over the ends of lines, and attention."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from leadline.graph import Node
from leadline.graph.run_node import run_node
from leadline.recurrence.ir import Equation
from leadline.recurrence.rates.ir import RowTap
from leadline.recurrence.rates.lowering import RatedLowering, alone
from leadline.recurrence.reading.field import Dims, Factor, Field, Misfit
from leadline.recurrence.reading.lowering import Lowering, Row, Value, copied, no_tensor
from leadline.recurrence.reading.rules_attention import attention
from leadline.recurrence.scores import Attention

CUT_AND_FILLED = "positions of a grid in one row are cut off, and others put in their place"


def in_a_row(low: RatedLowering, value: Value, dim: int) -> bool:
    """Whether a dimension of a reading holds all positions of a grid."""
    if not isinstance(value, Field) or low.rank == 1:
        return False
    return value.dims[dim] == tuple(Factor(axis, size) for axis, size in enumerate(value.sizes))


def taken(low: RatedLowering, node: Node, args: dict[str, Any]) -> Value:
    """Keep some positions of a row, which follow one another."""
    row = _row(low, args["self"], args.get("dim", 0))
    ruler, *more = run_node(node, no_tensor, {"self": torch.arange(row.size), "dim": 0})
    if more:
        raise Misfit("positions of a grid in one row are cut into pieces")
    chosen = ruler.tolist()
    if not isinstance(chosen, list) or not chosen or chosen != list(range(chosen[0], chosen[0] + len(chosen))):
        raise Misfit("positions of a grid in one row are skipped, or none is left")
    first, count = chosen[0], len(chosen)
    seen = max(row.seen[0], first - row.by), min(row.seen[1], first + count - row.by)
    return _settled(low, replace(row, by=row.by - first, size=count, seen=seen))


def padded(low: RatedLowering, args: dict[str, Any]) -> Value:
    """Put a constant before or after the positions of a row, or cut them."""
    value, amounts, fill = args["self"], args["pad"], float(args.get("value") or 0.0)
    dims = len((value.read if isinstance(value, Row) else value).dims)
    pairs = {dims - 1 - i: pair for i, pair in enumerate(zip(amounts[::2], amounts[1::2], strict=True)) if any(pair)}
    if len(pairs) != 1:
        raise Misfit("positions of a grid in one row are padded along other dimensions, too")
    ((dim, (before, after)),) = pairs.items()
    row = _row(low, value, dim)
    if row.fill not in (None, fill):
        raise Misfit("positions of a grid in one row are padded by two numbers")
    by, size = row.by + before, row.size + before + after
    seen = max(row.seen[0], -by), min(row.seen[1], size - by)
    return _settled(low, replace(row, by=by, size=size, seen=seen, fill=fill))


def _row(low: RatedLowering, value: Any, dim: int) -> Row:
    if isinstance(value, Row):
        if dim % len(value.read.dims) != value.dim:
            raise Misfit(f"it reads {value.why}")
        return value
    read, size = alone(low, value), math.prod(value.sizes)
    return Row("a row of positions that is no whole grid", read, dim % len(read.dims), 0, size, (0, size))


def _settled(low: RatedLowering, row: Row) -> Value:
    """Return a row as a reading of a grid, once it has as many positions as one."""
    whole = math.prod(row.read.sizes)
    if row.size != whole:
        return row
    first, last = max(0, -row.by), min(whole, whole - row.by)
    if first < row.seen[0] or last > row.seen[1]:
        raise Misfit(CUT_AND_FILLED)
    if row.by == 0:
        return row.read
    offset = (row.by // math.prod(row.read.sizes[1:]), *[0] * (low.rank - 1))
    tap = RowTap(row.read.variable, offset, row.read.channels.reshape(-1), row.fill or 0.0, back=row.by)
    return low.emit(copied(tap), row.read.dims, row.read.sizes, "shifted")


@dataclass(eq=False)
class _AlongARow(Lowering):
    """A lowering whose one axis are all positions of another one's grid; what it emits are variables of that one."""

    grid: RatedLowering = field(kw_only=True)

    def emit(self, equation: Equation, dims: Dims, sizes: tuple[int, ...], name: str = "") -> Field:
        """Add a variable over the grid."""
        if sizes != self.sizes or not isinstance(equation, Attention):
            raise Misfit("attention along a grid in one row is read where keys and queries are its positions")
        here = (0,) * self.grid.rank
        found = equation.with_taps(lambda tap: replace(tap, offset=here))
        if found.lead:
            raise Misfit("there are more keys than positions of the grid")
        return _as_row(self.grid.emit(found, _with(dims, 0, self.factors), self.grid.sizes, name), self.factors)

    @property
    def factors(self) -> tuple[Factor, ...]:
        """The positions of the grid."""
        return tuple(Factor(axis, size) for axis, size in enumerate(self.grid.sizes))

    def range_of(self, name: str) -> tuple[int, ...]:  # noqa: ARG002
        """Return the number of positions: variables that are read are whole."""
        return self.sizes


def attention_in_rows(low: RatedLowering, node: Node, args: dict[str, Any]) -> Value:
    """Read attention along all positions of a grid, line after line."""
    size = math.prod(low.sizes)
    row = _AlongARow(low.graph, ("row",), (size,), low.batch, node=node, steps=low.steps, reaches=low.reaches, grid=low)
    reads = {}
    for name in ("query", "key", "value"):
        value = args[name]
        if not isinstance(value, Field) or value.sizes != low.sizes or not in_a_row(low, value, len(value.dims) - 2):
            raise Misfit("attention over a grid is read along all of its positions in one row, in their order")
        reads[name] = _as_row(alone(low, value), row.factors)
    found = attention(row, node, {**args, **reads})
    if not isinstance(found, Field):
        raise Misfit("attention along a grid in one row makes something else than a sum of values")
    return replace(found, dims=_with(found.dims, 0, row.factors), shift=(0,) * low.rank, sizes=low.sizes)


def _as_row(read: Field, factors: tuple[Factor, ...]) -> Field:
    """Return a reading of a whole variable whose positions are one axis."""
    size = math.prod(f.size for f in factors)
    dims = tuple((Factor(0, size),) if dim == factors else dim for dim in read.dims)
    return replace(read, dims=dims, shift=(0,), sizes=(size,), channels=np.array(read.channels))


def _with(dims: Dims, role: int, factors: tuple[Factor, ...]) -> Dims:
    """Put the positions of a grid in the place of one axis."""
    return tuple(tuple(g for f in dim for g in (factors if f.role == role else (f,))) for dim in dims)
