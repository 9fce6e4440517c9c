"""Rules for what happens among the features of one position: convolutions and pooling over maps, views, rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from leadline.domains.operations.convolutions import convolution_of
from leadline.graph import Graph, Node
from leadline.graph.ir import Meta
from leadline.graph.run_node import run_node
from leadline.recurrence.ir import Constant, Contraction, Pointwise, Rowwise, Tap
from leadline.recurrence.reading.field import (
    FEATURE,
    Dims,
    Factor,
    Field,
    Misfit,
    axis_of,
    canonical,
    features,
    of_features,
    permuted,
    taken,
)
from leadline.recurrence.reading.lowering import Fixed, Lowering, Unread, Value, no_tensor

LARGEST = 2**24
"""How many numbers a map of all features may have."""
_MARKS = (10007, 10009, 10037, 10039, 10061, 10067, 10069, 10079)


def slides_within(dim: Sequence[Factor], kernel: int, padding: int) -> bool:
    """Return whether a kernel slides over features alone: over several, or over one and what is padded around it."""
    return of_features(dim) and (bool(dim) or kernel > 1 or padding > 0)


# -- convolutions and pooling ------------------------------------------------------------------------------------------


def along_features(low: Lowering, node: Node, read: Field, weight: Fixed, bias: Tensor | None) -> Field:
    """Read a convolution that slides over features, and perhaps over positions, as a linear map for each offset."""
    slides = _Sliding(node, low.graph, read)
    read = low.filled(read, 0.0, slides.over(low.rank))
    taps, weights, alive = list[Tap](), list[Tensor](), list[Tensor]()
    many = math.prod(features(read.dims[:1]))
    for offset, index in slides.places(low.rank):
        nonzero = slides.matrix(weight.generic[index]) != 0
        if bool(nonzero.any()):
            taps.append(low.tap(read, offset=offset))
            weights.append(slides.matrix(weight.tensor[index]).repeat(many, 1))
            alive.append(nonzero.repeat(many, 1))
    full = None if bias is None else bias.repeat_interleave(math.prod(slides.outside)).repeat(many)
    dense = many * weight.tensor.numel() * math.prod(slides.inside if slides.conv.transposed else slides.outside)
    equation = Contraction(tuple(taps), tuple(weights), full, many, tuple(alive), dense=dense)
    dims, sizes = slides.result(read)
    return canonical(low.emit(equation, dims, sizes, "conv"))


class _Sliding:
    """A convolution along axes of which some are positions (`roles` has their numbers) and some features (None).

    Along features it reads `inside` places and gives `outside` places.
    """

    def __init__(self, node: Node, graph: Graph, read: Field) -> None:
        self.node, self.conv = node, convolution_of(node, graph)
        self.given = graph.meta(self.conv.input).shape
        self.roles = [axis_of(dim) for dim in read.dims[2:]]
        self.moving = [axis for axis, role in enumerate(self.roles) if role is not None]
        self.still = [axis for axis, role in enumerate(self.roles) if role is None]
        if not all(of_features(read.dims[2 + axis]) for axis in self.still):
            raise Misfit("it slides along an axis that is not a position axis of its own")
        if self.moving and (self.conv.transposed or any(self.conv.stride[axis] != 1 for axis in self.moving)):
            raise Misfit("a stride changes the grid")
        self.inside = [self.given[2 + axis] for axis in self.still]
        self.outside = [node.shape[2 + axis] for axis in self.still]
        count, made = self.given[1] * math.prod(self.inside), node.shape[1] * math.prod(self.outside)
        if count * made > LARGEST:
            raise Misfit(f"a convolution over features is a map of {count} numbers to {made}, too large to lay out")

    def over(self, rank: int) -> list[tuple[int, int]]:
        """Return how far it reads beyond the positions, before and after them, by position axis."""
        found = {}
        for axis in self.moving:
            before, span = self.conv.padding[axis], self.conv.dilation[axis] * (self.conv.taps[axis] - 1)
            found[self.roles[axis]] = before, max(0, self.node.shape[2 + axis] + span - self.given[2 + axis] - before)
        return [found.get(axis, (0, 0)) for axis in range(rank)]

    def places(self, rank: int) -> Iterator[tuple[list[int], tuple[slice, ...]]]:
        """Yield the offsets along positions, and where in the kernel their weights stand."""
        for place in product(*(range(self.conv.taps[axis]) for axis in self.moving)):
            offset, index = [0] * rank, [slice(None)] * (2 + self.conv.axes)
            for axis, k in zip(self.moving, place, strict=True):
                offset[self.roles[axis] or 0] = self.conv.padding[axis] - k * self.conv.dilation[axis]
                index[2 + axis] = slice(k, k + 1)
            yield offset, tuple(index)

    def matrix(self, kernel: Tensor) -> Tensor:
        """Return the matrix (out, in) of a kernel at one offset: what it makes of unit vectors."""
        conv, axes = self.conv, self.still
        kernel = kernel.reshape(*kernel.shape[:2], *(conv.taps[axis] for axis in axes))
        count = self.given[1] * math.prod(self.inside)
        units = torch.eye(count, dtype=kernel.dtype).reshape(count, self.given[1], *self.inside)
        stride, dilation, padding = ([all_[a] for a in axes] for all_ in (conv.stride, conv.dilation, conv.padding))
        extra = [0] * len(axes)
        if conv.transposed:
            given = self.node.bound()["output_padding"]
            extra = [given[axis] if len(given) > 1 else given[0] for axis in axes]
        else:
            ends: list[int] = []
            for i in reversed(range(len(axes))):
                needed = (self.outside[i] - 1) * stride[i] + dilation[i] * (kernel.shape[2 + i] - 1) + 1
                ends += [padding[i], needed - self.inside[i] - padding[i]]
            units, padding = functional.pad(units, ends), [0] * len(axes)
        convolve = torch.ops.aten.convolution.default
        out: Tensor = convolve(units, kernel, None, stride, padding, dilation, conv.transposed, extra, conv.groups)
        return out.flatten(1).mT.contiguous()

    def result(self, read: Field) -> tuple[Dims, tuple[int, ...]]:
        """Return the dimensions and the numbers of positions of what it gives."""
        sizes = list(read.sizes)
        dims: list[tuple[Factor, ...]] = [read.dims[0], (Factor(FEATURE, self.node.shape[1]),)]
        for role, size in zip(self.roles, self.node.shape[2:], strict=True):
            dims.append((Factor(FEATURE if role is None else role, size),))
            if role is not None:
                sizes[role] = size
        return tuple(dims), tuple(sizes)


def pool(low: Lowering, node: Node, args: dict[str, Any]) -> Value:
    """Pool over maps of features: each map is a row."""
    read, axes = args["self"], node.operation.spatial
    lead = len(read.dims) - axes
    if not all(map(of_features, read.dims[lead:])):
        raise Misfit("it pools over positions")
    sizes = read.shape[lead:]

    def call(x: Tensor) -> Tensor:
        made: Tensor = run_node(node, no_tensor, {"self": x.unflatten(2, sizes)})[0]
        return made.flatten(2)

    literals = {name: value for name, value in args.items() if name != "self"}
    rows = math.prod(f.size for dim in read.dims[:lead] for f in dim if f.role == FEATURE)
    equation = Rowwise(node.packet, (low.tap(read),), rows, call, literals)
    dims = (*read.dims[:lead], *(((Factor(FEATURE, size),)) for size in node.shape[lead:]))
    made = canonical(low.emit(equation, dims, read.sizes))
    return (made, *(Unread("places of what was pooled") for _ in node.outputs[1:]))


# -- views -------------------------------------------------------------------------------------------------------------


def moved(low: Lowering, node: Node, args: dict[str, Any]) -> Value:
    """Move features among themselves: what a view does to them, it does to their numbers."""
    own, read = next((name, value) for name, value in args.items() if isinstance(value, Field))
    acts = node.operation.acts(args, len(read.dims))
    if acts is None or not all(of_features(read.dims[dim]) for dim in acts):
        raise Misfit("it moves positions or samples")
    numbers = torch.arange(1, 1 + read.channels.size, dtype=torch.float64)  # which all views take
    shape = [size if of_features(dim) else 1 for size, dim in zip(read.shape, read.dims, strict=True)]
    marks = dict(zip((d for d, dim in enumerate(read.dims) if not of_features(dim)), _MARKS, strict=False))
    marked = torch.empty([marks.get(d, size) for d, size in enumerate(shape)], device="meta")
    places = run_node(node, no_tensor, {own: numbers.reshape(shape)})[0].long()
    (like,) = run_node(node, no_tensor, {own: marked})
    kept = {mark: read.dims[d] for d, mark in marks.items()}
    dims: Dims = tuple(kept.get(size, (Factor(FEATURE, size),)) for size in like.shape)
    if bool((places == 0).any()):
        read = _with_zero(low, read)
        places = torch.where(places == 0, read.channels.size, places)
    channels = read.channels.reshape(-1)[places.reshape(-1).numpy() - 1]
    sizes = [f.size for dim in dims for f in dim if f.role == FEATURE]
    return canonical(replace(read, dims=dims, channels=channels.reshape(sizes)))


def repeat(low: Lowering, node: Node, args: dict[str, Any]) -> Value:
    """Repeat features; or each position or sample by itself, which gives features behind it."""
    read, dim, times = args["self"], args.get("dim"), args.get("repeats")
    if not isinstance(dim, int) or not isinstance(times, int) or of_features(read.dims[dim % len(read.dims)]):
        return moved(low, node, args)
    return repeated(read, dim % len(read.dims), times)


def repeated(read: Field, dim: int, times: int) -> Field:
    """Return a reading of which everything along one dimension stands several times, one after the other."""
    dims = (*read.dims[:dim], (*read.dims[dim], Factor(FEATURE, times)), *read.dims[dim + 1 :])
    axis = sum(f.role == FEATURE for factors in read.dims[: dim + 1] for f in factors)
    channels = np.repeat(np.expand_dims(read.channels, axis), times, axis)
    return canonical(replace(read, dims=dims, channels=channels))


def _with_zero(low: Lowering, read: Field) -> Field:
    """Put a zero behind all channels of a reading."""
    zero = Constant(torch.zeros(1, dtype=torch.get_default_dtype()))
    equation = Pointwise("concat", (low.tap(read), zero), lambda x, zero: torch.cat((x, zero.to(x.dtype)), -1))
    positions = tuple((f,) for dim in read.dims for f in dim if f.role != FEATURE)
    return low.emit(equation, ((Factor(FEATURE, 1 + read.channels.size),), *positions), read.sizes)


# -- rows of numbers ---------------------------------------------------------------------------------------------------


def rowwise(low: Lowering, node: Node, args: dict[str, Any]) -> Value:
    """Apply an operation along one dimension of features, of which every row is worked on by itself: topk, gather."""
    values = {name: value for name, value in args.items() if isinstance(value, Field | Fixed)}
    reads = [value for value in values.values() if isinstance(value, Field)]
    rank, dim = len(reads[0].dims), args.get("dim")
    if not isinstance(dim, int) or any(_rank(value) != rank for value in values.values()):
        raise Misfit("it works along several dimensions, or on tensors of different ranks")
    dim %= rank
    others = [d for d in range(rank) if d != dim]
    like = [max((r.dims[d] for r in reads), key=lambda factors: math.prod(f.size for f in factors)) for d in others]
    if not all(of_features(read.dims[dim]) for read in reads):
        raise Misfit("it mixes positions or samples")
    operands = tuple(low.operand(*_row(value, dim, others, like), reads[0].sizes) for value in values.values())
    rows = math.prod(f.size for factors in like for f in factors if f.role == FEATURE)
    metas = {name: low.graph.meta(node.bound()[name]) for name in values}
    literals = {name: value for name, value in node.bound().items() if name not in values and value is not None}
    made = []
    for n, meta in enumerate(node.outputs):
        if meta is None:
            continue
        call = _call(node, metas, n)
        equation = Rowwise(node.packet, operands, rows, call, literals)
        width = meta.shape[dim] if len(meta.shape) == rank else 1
        field = low.emit(equation, (*like, (Factor(FEATURE, width),)), reads[0].sizes)
        back = permuted(field, [others.index(d) if d != dim else rank - 1 for d in range(rank)])
        made.append(canonical(back) if len(meta.shape) == rank else canonical(_dropped(back, dim)))
    return tuple(made)


def _rank(value: Field | Fixed) -> int:
    return len(value.dims) if isinstance(value, Field) else value.tensor.ndim


def _dropped(read: Field, dim: int) -> Field:
    return taken(canonical(read), dim, 0)


def _row(value: Field | Fixed, dim: int, others: list[int], like: list[tuple[Factor, ...]]) -> tuple[Any, Dims]:
    """Put the dimension that is worked along last; of the others what is beyond the shortest is cut off."""
    sizes = [math.prod(f.size for f in factors) for factors in like]
    if isinstance(value, Fixed):
        tensor, generic = (t.movedim(dim, -1) for t in (value.tensor, value.generic))
        if tuple(tensor.shape[:-1]) != tuple(sizes):
            raise Misfit("its tensors have different numbers of rows")
        return Fixed(tensor, generic), (*like, (Factor(FEATURE, tensor.shape[-1]),))
    last = permuted(value, [*others, dim])
    if last.shape[:-1] != tuple(sizes):
        raise Misfit("its tensors have different numbers of rows")
    return last, (*like, last.dims[-1])


def _call(node: Node, metas: dict[str, Meta], output: int) -> Any:
    """Return the function of rows, (points, rows, numbers), that gives one of a node's results."""

    def call(*tensors: Tensor) -> Tensor:
        whole = {
            name: t if meta.dtype.is_floating_point or meta.dtype.is_complex else t.to(meta.dtype)
            for (name, meta), t in zip(metas.items(), tensors, strict=True)
        }
        made: Tensor = run_node(node, no_tensor, {**whole, "dim": -1})[output]
        return made.reshape(*tensors[0].shape[:2], -1)

    return call
