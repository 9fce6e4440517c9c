"""Rules for tensors that are put together along positions: joined, written into, rolled around."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from leadline.graph import Kind, Node, Ref
from leadline.graph.run_node import run_node
from leadline.recurrence.ir import Constant, Operand, Pointwise, Tap
from leadline.recurrence.reading.field import FEATURE, Factor, Field, Misfit, axis_of, shifted, taken
from leadline.recurrence.reading.lowering import Around, Fixed, Lowering, Value, copied, no_tensor
from leadline.recurrence.reading.rules_features import moved
from leadline.recurrence.reading.rules_views import joined

if TYPE_CHECKING:
    from leadline.recurrence.reading.field import Dims


def roll(low: Lowering, node: Node, args: dict[str, Any]) -> Value:
    """Move positions on, or features around."""
    read, dims = args["self"], args["dims"]
    if len(dims) != 1 or axis_of(read.dims[dims[0] % len(read.dims)]) is None:
        return moved(low, node, args)
    dim, by = dims[0] % len(read.dims), args["shifts"][0]
    if by < 0:
        raise Misfit("it moves positions back, so that the first ones come around to the end")
    axis = axis_of(read.dims[dim])
    over = [(by, 0) if a == axis else (0, 0) for a in range(low.rank)]
    return Around(shifted(low.filled(read, 0.0, over), dim, by, -by), dim, by)


def windows(low: Lowering, node: Node, args: dict[str, Any]) -> Value:
    """Put neighbouring positions side by side, as features of a last dimension."""
    read, dim = args["self"], args["dimension"] % len(args["self"].dims)
    if axis_of(read.dims[dim]) is None:
        return moved(low, node, args)
    if args["step"] != 1:
        raise Misfit("it takes pieces of the positions with a stride")
    count = node.shape[dim]
    parts = [taken(read, dim, range(first, first + count)) for first in range(args["size"])]
    last = len(read.dims)
    return joined(low, [replace(part, dims=(*part.dims, ())) for part in parts], last)


def hidden(node: Node, around: Around, values: Mapping[Ref, Value]) -> bool:
    """Tell whether a pointwise operation of fixed tensors gives the same, whatever has come around: it is masked."""
    if node.kind is not Kind.POINTWISE or sum(values[ref] is around for ref in node.refs) != 1:
        return False
    if not all(isinstance(values[ref], Fixed | Around) for ref in node.refs):
        return False
    dim, shape = around.dim - len(around.read.dims), around.read.shape
    noise = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    first, second = (run_node(node, partial(_or, values, made))[0] for made in noise)
    return torch.equal(first.narrow(dim, 0, around.by), second.narrow(dim, 0, around.by))


def _or(values: Mapping[Ref, Value], made: Tensor, ref: Ref) -> Tensor:
    value = values[ref]
    return value.tensor if isinstance(value, Fixed) else made


def concat(low: Lowering, node: Node, args: dict[str, Any]) -> Value:
    """Join along features, or along positions."""
    dim = args.get("dim", 0) % len(node.shape)
    parts = [p for p in args["tensors"] if not isinstance(p, Fixed) or p.tensor.numel()]
    read = next(p for p in parts if isinstance(p, Field))
    if len(parts) == 1:
        return read
    axis = axis_of(read.dims[dim])
    return joined(low, parts, dim) if axis is None else beside(low, parts, dim, axis)


def beside(low: Lowering, parts: Sequence[Field | Fixed], dim: int, axis: int) -> Field:
    """Join along positions: fixed values before and after what is computed are its fill, or a table that is added."""
    reads = [part for part in parts if isinstance(part, Field)]
    if len(reads) > 1:
        return _in_a_row(low, parts, dim, axis)
    read, place = reads[0], next(i for i, part in enumerate(parts) if isinstance(part, Field))
    fixed = [part.tensor for part in parts if isinstance(part, Fixed)]
    before, after = (sum(t.shape[dim] for t in side) for side in (fixed[:place], fixed[place:]))
    over = [(before, after) if a == axis else (0, 0) for a in range(low.rank)]
    ends, sizes = _long(low, read, dim, axis, before + after)
    fill = low.fill_of(torch.cat(fixed, dim), ends, sizes)
    read = shifted(low.filled(read, 0.0 if fill is None else fill, over), dim, before, after)
    if fill is not None:
        return read
    middle = torch.zeros_like(fixed[0].narrow(dim, 0, 1)).repeat_interleave(read.shape[dim] - before - after, dim)
    table = torch.cat([*fixed[:place], middle, *fixed[place:]], dim)
    operands = (low.tap(read), low.constant(table, read.dims, read.sizes))
    return low.emit(Pointwise("add", operands, torch.add), read.dims, read.sizes, "start")


def _long(low: Lowering, read: Field, dim: int, axis: int, length: int) -> tuple[Dims, tuple[int, ...]]:
    """Return the dimensions and sizes of a reading that has so many positions along an axis."""
    dims = (*read.dims[:dim], (Factor(axis, length),), *read.dims[dim + 1 :])
    return dims, tuple(length if a == axis else n for a, n in enumerate(read.sizes))


def _in_a_row(low: Lowering, parts: Sequence[Field | Fixed], dim: int, axis: int) -> Field:
    """Join several computed tensors along positions: the last goes on, the others stand at its beginning."""
    main, lengths = parts[-1], [_shape(part)[dim] for part in parts]
    if not isinstance(main, Field) or any(isinstance(p, Field) and axis_of(p.dims[dim]) != axis for p in parts):
        raise Misfit("computed tensors are joined along a position axis, with something fixed behind them")
    total, end = sum(lengths), sum(lengths[:-1])
    over = [(end, 0) if a == axis else (0, 0) for a in range(low.rank)]
    result = shifted(low.filled(main, 0.0, over), dim, end, 0)
    for part, length in zip(reversed(parts[:-1]), reversed(lengths[:-1]), strict=True):
        first = _at(low, part, result, dim, axis, (end - length, total - end))
        begun = beginning(low, axis, end, result.channels.size)
        equation = Pointwise("where", (begun, first, low.tap(result)), lambda c, a, b: torch.where(c != 0, a, b))
        result, end = low.emit(equation, result.dims, result.sizes, "start"), end - length
    return result


def _at(low: Lowering, part: Field | Fixed, like: Field, dim: int, axis: int, around: tuple[int, int]) -> Operand:
    """Return a part that stands somewhere before others, as an operand."""
    if isinstance(part, Field):
        own = low.emit(copied(low.tap(part)), part.dims, part.sizes, "copy")
        over = [around if a == axis else (0, 0) for a in range(low.rank)]
        moved_there = shifted(low.filled(own, 0.0, over), dim, *around)
        return low.operand(moved_there, like.dims, like.sizes)
    values = low.constant(part.tensor, *_long(low, like, dim, axis, part.tensor.shape[dim]))
    if not isinstance(values, Constant):
        raise Misfit("fixed values that differ from place to place stand between computed tensors")
    return values


def beginning(low: Lowering, axis: int, length: int, channels: int) -> Tap:
    """Return an operand that is one at the first positions along an axis, and zero later: a fill, then a zero."""
    zero = low.emit(copied(Constant(torch.zeros(1))), ((Factor(FEATURE, 1),),), low.sizes, "zero")
    offset = tuple(length * (a == axis) for a in range(low.rank))
    return Tap(zero.variable, offset, np.zeros(channels, np.int64), 1.0)


def _shape(part: Field | Fixed) -> tuple[int, ...]:
    return part.shape if isinstance(part, Field) else tuple(part.tensor.shape)


def write(low: Lowering, node: Node, args: dict[str, Any]) -> Value:
    """Put values in the place of some indices of one dimension: what is left and what is new are joined."""
    into, src = args["self"], args["src"]
    if "dim" not in args:
        raise Misfit("it writes on a diagonal")
    dim = args["dim"] % len(node.shape)
    places, size = _places(node, args, dim), node.shape[dim]
    if "index" in args:
        src = _with_dimension(src, dim)
    if len(places) == size:
        return src
    like = next(v.read if isinstance(v, Around) else v for v in (into, src) if not isinstance(v, Fixed))
    axis = axis_of(like.dims[dim])
    if axis is not None:
        start = places[0] if places else 0
        if places != list(range(start, start + len(places))):
            raise Misfit("it writes at positions that do not follow one another")
        ends = (range(start), range(start + len(places), size))
        rest = [_cut(into, dim, list(end)) if len(end) else None for end in ends]
        parts = [part for part in (rest[0], src if places else None, rest[1]) if part is not None]
        return beside(low, parts, dim, axis) if len(parts) > 1 else parts[0]
    kept = [i for i in range(size) if i not in set(places)]
    joint = joined(low, [_cut(into, dim, kept), src], dim)
    where = {place: n for n, place in enumerate([*kept, *places])}
    return taken(joint, dim, [where[i] for i in range(size)])


def _places(node: Node, args: dict[str, Any], dim: int) -> list[int]:
    """Return which indices are written: the operator itself says which, on a ruler."""
    count = () if "index" in args else (_shape(args["src"])[dim],)
    ruler = {"self": torch.zeros(node.shape[dim]), "src": torch.ones(count), "dim": 0}
    (marked,) = run_node(node, no_tensor, ruler)
    found: list[int] = marked.nonzero().flatten().tolist()
    return found


def _with_dimension(value: Field | Fixed, dim: int) -> Field | Fixed:
    if isinstance(value, Fixed):
        return Fixed(value.tensor.unsqueeze(dim), value.generic.unsqueeze(dim))
    return replace(value, dims=(*value.dims[:dim], (), *value.dims[dim:]))


def _cut(value: Any, dim: int, index: list[int]) -> Field | Fixed:
    """Keep some indices of one dimension."""
    if isinstance(value, Around):
        return value.after(dim, index)
    if isinstance(value, Fixed):
        where = torch.tensor(index, dtype=torch.int64)
        return Fixed(value.tensor.index_select(dim, where), value.generic.index_select(dim, where))
    return taken(value, dim, index, index[0] if index else 0)
