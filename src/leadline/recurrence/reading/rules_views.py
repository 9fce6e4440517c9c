"""Rules for operations that move values without computing any: they change how a variable is read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from leadline.graph import Node
from leadline.graph.run_node import run_node
from leadline.recurrence.ir import Pointwise
from leadline.recurrence.reading.field import (
    FEATURE,
    PRIMES,
    Factor,
    Field,
    Misfit,
    canonical,
    permuted,
    regroup,
    shifted,
    taken,
)
from leadline.recurrence.reading.lowering import Fixed, Lowering, Value, no_tensor

if TYPE_CHECKING:
    from leadline.recurrence.ir import Channels


def identity(low: Lowering, node: Node, args: dict[str, Any]) -> Value:
    """Return the first argument: nothing happens to its values."""
    return next(iter(args.values()))


def reshape(low: Lowering, node: Node, args: dict[str, Any]) -> Value:
    """Group the same elements anew: view, flatten, unflatten, squeeze, unsqueeze."""
    return regroup(args["self"], node.shape)


def permute(low: Lowering, node: Node, args: dict[str, Any]) -> Value:
    """Reorder dimensions; the operator itself says how, on a tensor whose sizes are told apart."""
    return permuted(args["self"], order_of(node, len(args["self"].dims)))


def order_of(node: Node, rank: int) -> list[int]:
    """Return which axis stands where after a permutation."""
    probe = torch.empty(PRIMES[:rank], device="meta")
    return [PRIMES.index(size) for size in run_node(node, lambda _: probe)[0].shape]


def take(low: Lowering, node: Node, args: dict[str, Any]) -> Value:
    """Keep some indices of one dimension: slice, select, split, chunk; the operator itself says which, on a ruler."""
    read = args["self"]
    if not isinstance(read, Field):
        raise Misfit("values are picked by computed indices")
    dim = args.get("dim", 0) % len(read.dims)
    fixed = {name: value.tensor for name, value in args.items() if isinstance(value, Fixed)}
    parts = run_node(node, no_tensor, {"self": torch.arange(read.shape[dim]), "dim": 0, **fixed})
    start = int(args.get("start") or 0)  # where it would start tells an empty slice, to be padded, from another
    nowhere = max(0, min(read.shape[dim], start + read.shape[dim] * (start < 0)))
    return tuple(taken(read, dim, part.tolist(), nowhere) for part in parts)


def flip(low: Lowering, node: Node, args: dict[str, Any]) -> Value:
    """Reverse channels; positions have one order only."""
    read: Field = args["self"]
    for dim in node.operation.acts(args, len(read.dims)) or ():
        read = taken(read, dim, list(reversed(range(read.shape[dim]))))
    return read


def expand(low: Lowering, node: Node, args: dict[str, Any]) -> Value:
    """Repeat along dimensions of size 1: features that all read the same channels."""
    read: Field = args["self"]
    shape = node.shape
    dims = ((),) * (len(shape) - len(read.dims)) + read.dims
    new, sizes = [], []
    for size, dim in zip(shape, dims, strict=True):
        grown = math.prod(f.size for f in dim) != size
        if grown and any(f.role != FEATURE for f in dim):
            raise Misfit("the batch or a position axis is repeated")
        new.append((Factor(FEATURE, size),) if grown else dim)
        sizes += [1] if grown else [f.size for f in dim if f.role == FEATURE]
    grown_dims = tuple(new)
    channels = read.channels.reshape(sizes)
    target = tuple(f.size for dim in grown_dims for f in dim if f.role == FEATURE)
    return canonical(
        Field(grown_dims, read.variable, np.broadcast_to(channels, target), read.shift, read.sizes, read.fill)
    )


def pad(low: Lowering, node: Node, args: dict[str, Any]) -> Value:
    """Pad or crop with a constant; along positions this is a shift whose fill is that constant."""
    read: Field = args["self"]
    if args.get("mode", "constant") != "constant":
        raise Misfit(f"padding by {args['mode']} reads positions that no constant offset reaches")
    amounts, fill = args["pad"], float(args.get("value") or 0.0)
    for place in range(len(amounts) // 2):
        dim, before, after = len(read.dims) - 1 - place, amounts[2 * place], amounts[2 * place + 1]
        if before == after == 0:
            continue
        factors = read.dims[dim]
        if len(factors) == 1 and factors[0].role >= 0:
            over = [(max(0, before), max(0, after)) if a == factors[0].role else (0, 0) for a in range(low.rank)]
            read = shifted(low.filled(read, fill, over), dim, before, after)
        else:
            read = _pad_features(low, read, dim, before, after, fill)
    return read


def _pad_features(low: Lowering, read: Field, dim: int, before: int, after: int, fill: float) -> Field:
    if any(f.role != FEATURE for f in read.dims[dim]) or min(before, after) < 0:
        raise Misfit("a padding of the batch or of merged axes")
    shape = list(read.shape)
    ends: list[torch.Tensor] = []
    for amount in (before, after):
        shape[dim] = amount
        ends.append(
            torch.full(
                [1 if any(f.role != FEATURE for f in d) else n for n, d in zip(shape, read.dims, strict=True)], fill
            )
        )
    return joined(low, [Fixed(ends[0], ends[0]), read, Fixed(ends[1], ends[1])], dim)


def concat(low: Lowering, node: Node, args: dict[str, Any]) -> Value:
    """Join along features; or put fixed values before or after along positions."""
    parts = list(args["tensors"])
    rank = len(node.shape)
    dim = args.get("dim", 0) % rank
    parts = [p for p in parts if not isinstance(p, Fixed) or p.tensor.numel()]
    read = next(p for p in parts if isinstance(p, Field))
    if len(read.dims[dim]) == 1 and read.dims[dim][0].role >= 0:
        return _beside(low, parts, read, dim)
    return joined(low, parts, dim)


def stack(low: Lowering, node: Node, args: dict[str, Any]) -> Value:
    """Join along a new dimension of features."""
    dim = args.get("dim", 0) % len(node.shape)
    parts: list[Field | Fixed] = []
    for part in args["tensors"]:
        if isinstance(part, Fixed):
            parts.append(Fixed(part.tensor.unsqueeze(dim), part.generic.unsqueeze(dim)))
        else:
            dims = part.dims[:dim] + ((),) + part.dims[dim:]
            parts.append(Field(dims, part.variable, part.channels, part.shift, part.sizes, part.fill))
    return joined(low, parts, dim)


def joined(low: Lowering, parts: Sequence[Field | Fixed], dim: int) -> Field:
    """Return the concatenation along a dimension of features as a variable of its own."""
    template = next(p for p in parts if isinstance(p, Field))
    if any(f.role != FEATURE for f in template.dims[dim]):
        raise Misfit("tensors are joined along the batch or along merged axes")
    before = sum(f.role == FEATURE for d in template.dims[:dim] for f in d)
    pieces: list[Channels] = []
    operands = []
    for part in parts:
        width = part.shape[dim] if isinstance(part, Field) else part.tensor.shape[dim]
        dims = (*template.dims[:dim], (Factor(FEATURE, width),), *template.dims[dim + 1 :])
        operands.append(low.operand(_wide(part, dim), dims, template.sizes))
        shape = [f.size for d in dims for f in d if f.role == FEATURE]
        start = sum(piece.size for piece in pieces)
        pieces.append(start + np.arange(math.prod(shape)).reshape(shape))
    channels = np.concatenate(pieces, axis=before)
    dims = (*template.dims[:dim], (Factor(FEATURE, channels.shape[before]),), *template.dims[dim + 1 :])
    call = Pointwise("concat", tuple(operands), lambda *values: torch.cat(values, -1))
    made = low.emit(call, ((Factor(FEATURE, channels.size),), *_positions(template)), template.sizes)
    return canonical(Field(dims, made.variable, channels, made.shift, made.sizes))


def _wide(part: Field | Fixed, dim: int) -> Field | Fixed:
    """Give a part of width 1 its feature of size 1 back, which `canonical` drops."""
    if isinstance(part, Fixed) or part.dims[dim]:
        return part
    axis = sum(f.role == FEATURE for d in part.dims[:dim] for f in d)
    dims = (*part.dims[:dim], (Factor(FEATURE, 1),), *part.dims[dim + 1 :])
    return Field(dims, part.variable, np.expand_dims(part.channels, axis), part.shift, part.sizes, part.fill)


def _positions(read: Field) -> tuple[tuple[Factor, ...], ...]:
    return tuple((f,) for dim in read.dims for f in dim if f.role != FEATURE)


def _beside(low: Lowering, parts: list[Field | Fixed], read: Field, dim: int) -> Field:
    """Put fixed values before and after along positions: a shift, and what is not its fill as a table that is added."""
    if sum(isinstance(p, Field) for p in parts) > 1:
        raise Misfit("computed tensors are joined along a position axis")
    place = next(i for i, p in enumerate(parts) if isinstance(p, Field))
    fixed = [p.tensor if isinstance(p, Fixed) else None for p in parts]
    before = sum(t.shape[dim] for t in fixed[:place] if t is not None)
    after = sum(t.shape[dim] for t in fixed[place + 1 :] if t is not None)
    values = {float(v) for t in fixed if t is not None for v in t.flatten().tolist()}
    fill = values.pop() if len(values) == 1 else 0.0
    axis = read.dims[dim][0].role
    over = [(before, after) if a == axis else (0, 0) for a in range(low.rank)]
    moved = shifted(low.filled(read, fill, over), dim, before, after)
    if not values:
        return moved
    shape = list(next(t for t in fixed if t is not None).shape)
    shape[dim] = read.shape[dim]
    middle = torch.zeros(shape, dtype=next(t for t in fixed if t is not None).dtype)
    table = torch.cat([middle if t is None else t for t in fixed], dim)
    operands = (low.tap(moved), low.constant(table, moved.dims, moved.sizes))
    return low.emit(Pointwise("add", operands, torch.add), moved.dims, moved.sizes, "start")
