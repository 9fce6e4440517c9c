"""Rules for operations that move values without computing any: they change how a variable is read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from leadline.graph import Node
from leadline.graph.run_node import permutation, run_node
from leadline.recurrence.ir import Pointwise
from leadline.recurrence.reading.field import (
    FEATURE,
    Factor,
    Field,
    Misfit,
    axis_of,
    canonical,
    features,
    of_features,
    permuted,
    regroup,
    shifted,
    spread,
    taken,
    widened,
)
from leadline.recurrence.reading.lowering import Around, Fixed, Lowering, Value, no_tensor

if TYPE_CHECKING:
    from leadline.recurrence.ir import Channels


def identity(low: Lowering, node: Node, args: dict[str, Any]) -> Value:
    """Return the first argument: nothing happens to its values."""
    return next(iter(args.values()))


def reshape(low: Lowering, node: Node, args: dict[str, Any]) -> Value:
    """Group the same elements anew: view, flatten, unflatten, squeeze, unsqueeze."""
    return regroup(args["self"], node.shape)


def permute(low: Lowering, node: Node, args: dict[str, Any]) -> Value:
    """Reorder dimensions."""
    return permuted(args["self"], permutation(node, len(args["self"].dims)))


def take(low: Lowering, node: Node, args: dict[str, Any]) -> Value:
    """Keep some indices of one dimension: slice, select, split, chunk; the operator itself says which, on a ruler."""
    read = args["self"]
    rolled = read if isinstance(read, Around) else None
    read = rolled.read if rolled else read
    if not isinstance(read, Field):
        raise Misfit("values are picked by computed indices")
    dim = args.get("dim", 0) % len(read.dims)
    fixed = {name: value.tensor for name, value in args.items() if isinstance(value, Fixed)}
    parts = run_node(node, no_tensor, {"self": torch.arange(read.shape[dim]), "dim": 0, **fixed})
    start = int(args.get("start") or 0)  # where it would start tells an empty slice, to be padded, from another
    nowhere = max(0, min(read.shape[dim], start + read.shape[dim] * (start < 0)))
    if rolled is not None:
        return tuple(rolled.after(dim, part.tolist()) for part in parts)
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
    dims = widened(read.dims, node.shape)
    return canonical(replace(read, dims=dims, channels=spread(read, dims)))


def pad(low: Lowering, node: Node, args: dict[str, Any]) -> Value:
    """Pad or crop with a constant; along positions this is a shift whose fill is that constant."""
    read: Field = args["self"]
    if args.get("mode", "constant") != "constant":
        raise Misfit(f"padding by {args['mode']} reads positions that no constant offset reaches")
    amounts, fill = args["pad"], float(args.get("value") or 0.0)
    for place, (before, after) in enumerate(zip(amounts[::2], amounts[1::2], strict=True), 1):
        if before == after == 0:
            continue
        dim = len(read.dims) - place
        if (axis := axis_of(read.dims[dim])) is not None:
            over = [(max(0, before), max(0, after)) if a == axis else (0, 0) for a in range(low.rank)]
            read = shifted(low.filled(read, fill, over), dim, before, after)
        else:
            read = _pad_features(low, read, dim, before, after, fill)
    return read


def _pad_features(low: Lowering, read: Field, dim: int, before: int, after: int, fill: float) -> Field:
    if not of_features(read.dims[dim]) or min(before, after) < 0:
        raise Misfit("a padding of the batch or of merged axes")
    shape = [size if of_features(d) else 1 for size, d in zip(read.shape, read.dims, strict=True)]
    ends = [torch.full([*shape[:dim], amount, *shape[dim + 1 :]], fill) for amount in (before, after)]
    return joined(low, [Fixed(ends[0], ends[0]), read, Fixed(ends[1], ends[1])], dim)


def stack(low: Lowering, node: Node, args: dict[str, Any]) -> Value:
    """Join along a new dimension of features."""
    dim = args.get("dim", 0) % len(node.shape)
    parts: list[Field | Fixed] = []
    for part in args["tensors"]:
        if isinstance(part, Fixed):
            parts.append(Fixed(part.tensor.unsqueeze(dim), part.generic.unsqueeze(dim)))
        else:
            parts.append(replace(part, dims=part.dims[:dim] + ((),) + part.dims[dim:]))
    return joined(low, parts, dim)


def joined(low: Lowering, parts: Sequence[Field | Fixed], dim: int) -> Field:
    """Return the concatenation along a dimension of features as a variable of its own."""
    template = next(p for p in parts if isinstance(p, Field))
    if not of_features(template.dims[dim]):
        raise Misfit("tensors are joined along the batch or along merged axes")
    before = sum(f.role == FEATURE for d in template.dims[:dim] for f in d)
    pieces: list[Channels] = []
    operands = []
    for part in parts:
        width = part.shape[dim] if isinstance(part, Field) else part.tensor.shape[dim]
        dims = (*template.dims[:dim], (Factor(FEATURE, width),), *template.dims[dim + 1 :])
        operands.append(low.operand(_wide(part, dim), dims, template.sizes))
        shape = features(dims)
        start = sum(piece.size for piece in pieces)
        pieces.append(start + np.arange(math.prod(shape)).reshape(shape))
    channels = np.concatenate(pieces, axis=before)
    dims = (*template.dims[:dim], (Factor(FEATURE, channels.shape[before]),), *template.dims[dim + 1 :])
    call = Pointwise("concat", tuple(operands), lambda *values: torch.cat(values, -1))
    positions = ((f,) for d in template.dims for f in d if f.role != FEATURE)
    made = low.emit(call, ((Factor(FEATURE, channels.size),), *positions), template.sizes)
    return canonical(Field(dims, made.variable, channels, made.shift, made.sizes))


def _wide(part: Field | Fixed, dim: int) -> Field | Fixed:
    """Give a part of width 1 its feature of size 1 back, which `canonical` drops."""
    if isinstance(part, Fixed) or part.dims[dim]:
        return part
    axis = sum(f.role == FEATURE for d in part.dims[:dim] for f in d)
    dims = (*part.dims[:dim], (Factor(FEATURE, 1),), *part.dims[dim + 1 :])
    return replace(part, dims=dims, channels=np.expand_dims(part.channels, axis))
