"""Rules for what happens at one point: elementwise functions, lookups, functions across channels, normalisation."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from leadline.graph import Node
from leadline.graph.run_node import run_node
from leadline.graph.table import Form
from leadline.recurrence.ir import Embedding, Operand, Pointwise, Reduction, Tap
from leadline.recurrence.reading.decays import in_pairs, running
from leadline.recurrence.reading.field import (
    FEATURE,
    Dims,
    Factor,
    Field,
    Misfit,
    axis_of,
    broadcast,
    canonical,
    of_features,
    spread,
    taken,
    widened,
)
from leadline.recurrence.reading.lowering import Fixed, Lowering, Unread, Value, no_tensor
from leadline.recurrence.reading.rules_features import repeated, rowwise
from leadline.recurrence.reading.rules_scores import function as of_pairs
from leadline.recurrence.reading.rules_scores import over_pairs


def pointwise(low: Lowering, node: Node, args: dict[str, Any]) -> Value:
    """Apply an elementwise function to all its tensors, broadcast."""
    values = {name: value for name, value in args.items() if isinstance(value, Field | Fixed)}
    reads = [value for value in values.values() if isinstance(value, Field)]
    if low.rank == 1 and over_pairs(reads):
        return of_pairs(low, node, args)
    if len(reads) == 1 and (pairs := in_pairs(low, node, values)) is not None:
        return pairs
    dims = widened(broadcast([read.dims for read in reads]), node.shape)
    operands = tuple(low.operand(value, dims, reads[0].sizes) for value in values.values())
    place = {name: i for i, name in enumerate(values)}

    def call(*tensors: Tensor) -> Tensor:
        result: Tensor = run_node(node, no_tensor, {name: tensors[i] for name, i in place.items()})[0]
        return result

    literals = {name: value for name, value in node.bound().items() if name not in place and value is not None}
    types = tuple(low.graph.meta(node.bound()[name]).dtype for name in place)
    equation = Pointwise(node.packet, operands, call, literals, tuple(place), types)
    made = low.emit(equation, dims, reads[0].sizes)
    return _with_others(made, node, "what is kept for the backward pass")


def _with_others(first: Field, node: Node, why: str) -> Value:
    """Return a node's outputs where only the first is read."""
    return (first, *(Unread(why) for _ in node.outputs[1:]))


def function(low: Lowering, node: Node, args: dict[str, Any]) -> Value:
    """Apply an elementwise function, unless it leaves one of its arguments as it is."""
    facts = node.operation.pointwise
    same = None if facts is None else facts.identity(args)
    if same is not None and isinstance(read := args[same], Field):
        source = low.graph.meta(node.bound()[same])
        if read.shape == node.shape and source.dtype == node.meta.dtype:
            return read
    if facts is not None and facts.form is Form.SLOPED:
        return sloped(low, node, args)
    return pointwise(low, node, args)


def sloped(low: Lowering, node: Node, args: dict[str, Any]) -> Value:
    """Read a PReLU as ``relu(x) - a · relu(-x)``; its slopes stand along the second dimension."""
    read, slope = args["self"], args["weight"]
    if not isinstance(read, Field) or not isinstance(slope, Fixed):
        raise Misfit("its slopes are computed")
    along = slope.tensor.reshape([-1] + [1] * (len(read.dims) - 2)) if len(read.dims) > 1 else slope.tensor

    def apply(function: str, call: Callable[..., Tensor], *operands: Operand) -> Tap:
        return low.tap(low.emit(Pointwise(function, operands, call), read.dims, read.sizes, function))

    below = apply("relu", torch.relu, apply("neg", torch.neg, low.tap(read, spread(read, read.dims))))
    scaled = apply("mul", torch.mul, below, low.constant(along, read.dims, read.sizes))
    above = apply("relu", torch.relu, low.tap(read, spread(read, read.dims)))
    return low.emit(Pointwise("sub", (above, scaled), torch.sub), read.dims, read.sizes)


def created(low: Lowering, node: Node) -> Fixed:
    """Make a tensor that depends on the shape and type of another only: zeros_like, new_zeros, full_like."""
    metas = {ref: low.graph.meta(ref) for ref in node.refs}
    like = {ref: torch.zeros(meta.shape, dtype=meta.dtype) for ref, meta in metas.items()}
    if node.operation.unwritten:
        made = torch.zeros(node.shape, dtype=node.meta.dtype)  # whatever stood there
    else:
        (made,) = run_node(node, like.__getitem__)
    return Fixed(made, made)


def lookup(low: Lowering, node: Node, args: dict[str, Any]) -> Value:
    """Choose rows of a fixed table by computed integers: embeddings; or channels by fixed ones."""
    if isinstance(args.get("self"), Field):
        return _picked(args["self"], args["indices"])
    table, indices = (args["weight"], (args["indices"],)) if "weight" in args else (args["self"], args["indices"])
    read = indices[0]
    if not isinstance(table, Fixed) or not isinstance(read, Field) or len(indices) > 1:
        raise Misfit("values are picked by computed indices from something other than a fixed table of rows")
    return looked_up(low, read, table.tensor)


def _picked(read: Field, indices: tuple[Any, ...]) -> Field:
    """Keep what one list of fixed indices picks along one dimension."""
    dims = [dim for dim, index in enumerate(indices) if index is not None]
    if len(dims) != 1 or not isinstance(indices[dims[0]], Fixed) or indices[dims[0]].tensor.ndim != 1:
        raise Misfit("elements are picked by computed indices, or by several at once")
    size = read.shape[dims[0]]
    chosen = torch.arange(size)[indices[dims[0]].tensor].tolist()
    times = len(chosen) // size
    if times > 1 and not of_features(read.dims[dims[0]]) and chosen == [i // times for i in range(len(chosen))]:
        return repeated(read, dims[0], times)
    return taken(read, dims[0], chosen)


def one_hot(low: Lowering, node: Node, args: dict[str, Any]) -> Value:
    """Turn classes into unit vectors: a lookup in the identity."""
    return looked_up(low, args["self"], torch.eye(node.shape[-1], dtype=torch.int64))


def looked_up(low: Lowering, read: Field, rows: Tensor) -> Field:
    """Return the rows that a reading of classes picks, as features of a new last dimension."""
    dims = (*read.dims, *((Factor(FEATURE, size),) for size in rows.shape[1:]))
    flat = rows.reshape(len(rows), -1)
    return canonical(low.emit(Embedding(low.tap(read), flat), dims, read.sizes, "embedding"))


def reduce(low: Lowering, node: Node, args: dict[str, Any]) -> Value:
    """Apply a function along dimensions that hold features only: sums, softmax, layer normalisation."""
    read: Field = args["self"] if "self" in args else args["input"]
    if node.operation.first is not None and isinstance(args.get("dim"), int):
        return rowwise(low, node, args)
    along = _along(read, args)
    if not all(of_features(read.dims[dim]) for dim in along):
        raise Misfit("it mixes positions or samples")
    sizes = tuple(math.prod(f.size for f in dim if f.role == FEATURE) for dim in read.dims)
    if any(isinstance(value, Field) and value is not read for value in args.values()):
        raise Misfit("its parameters are computed")
    fixed = {name: value.tensor for name, value in args.items() if isinstance(value, Fixed)}
    own = "self" if "self" in args else "input"
    later: dict[str, Any] = {}  # a dimension of points stands first
    if "dim" in args:
        later["dim"] = [d + 1 for d in along] if isinstance(args["dim"], tuple) else along[0] + 1

    def call(x: Tensor) -> Tensor:
        first: Tensor = run_node(node, no_tensor, {own: x, **fixed, **later})[0]
        return first.reshape(x.shape[0], -1)

    literals = {name: value for name, value in args.items() if isinstance(value, int | float | bool | tuple)}
    equation = Reduction(node.packet, low.tap(read), sizes, call, tuple(along), literals, fixed)
    out = canonical(low.emit(equation, _reduced(read, along, node.shape), read.sizes))
    return _with_others(out, node, "statistics of a normalisation")


def _along(read: Field, args: dict[str, Any]) -> list[int]:
    rank = len(read.dims)
    if "normalized_shape" in args:
        return list(range(rank - len(args["normalized_shape"]), rank))
    dim = args.get("dim")
    if dim is None or dim == ():
        raise Misfit("it mixes positions or samples")
    return [d % rank for d in (dim if isinstance(dim, tuple) else (dim,))]


def _reduced(read: Field, along: list[int], shape: tuple[int, ...]) -> Dims:
    """Return the dimensions of the result: as before where the size stays, of size 1, or gone."""
    if len(shape) < len(read.dims):
        return tuple(dim for d, dim in enumerate(read.dims) if d not in along)
    return tuple(
        dim if math.prod(f.size for f in dim) == size else ((Factor(FEATURE, size),) if size > 1 else ())
        for dim, size in zip(read.dims, shape, strict=True)
    )


def batch_norm(low: Lowering, node: Node, args: dict[str, Any]) -> Value:
    """Scale and shift every channel by fixed statistics; batch statistics mix samples and positions."""
    read: Field = args["input"]
    mean, variance = args.get("running_mean"), args.get("running_var")
    if args.get("training", False) or mean is None or variance is None:
        raise Misfit("it normalises by statistics of the batch, which mix positions; call model.eval() first")
    weight, bias = args.get("weight"), args.get("bias")
    scale = torch.rsqrt(variance.tensor.double() + args["eps"]) * (1 if weight is None else weight.tensor.double())
    shift = (0 if bias is None else bias.tensor.double()) - mean.tensor.double() * scale
    out = _affine(low, read, scale.to(mean.tensor.dtype), shift.to(mean.tensor.dtype), "batch_norm")
    return _with_others(out, node, "statistics of a normalisation")


def group_norm(low: Lowering, node: Node, args: dict[str, Any]) -> Value:
    """Normalise each group of channels as a layer norm does, then scale and shift every channel by its own numbers."""
    read: Field = args["input"]
    if not all(of_features(dim) for dim in read.dims[1:]):
        raise Misfit("it mixes positions or samples")
    length = math.prod(node.shape[1:]) // (args["num_groups"] if "num_groups" in args else args["group"])
    outer = math.prod(f.size for dim in read.dims for f in dim if f.role == FEATURE) // length
    literals = {"normalized_shape": (length,), "eps": args["eps"]}

    def call(x: Tensor) -> Tensor:
        return torch.layer_norm(x, (length,), eps=args["eps"]).flatten(1)

    equation = Reduction("layer_norm", low.tap(read), (outer, length), call, (1,), literals)
    normal = low.emit(equation, read.dims, read.sizes, "group_norm")
    weight, bias = args.get("weight"), args.get("bias")
    like = bias if weight is None else weight
    if like is not None:
        scale = torch.ones_like(like.tensor) if weight is None else weight.tensor
        shift = torch.zeros_like(like.tensor) if bias is None else bias.tensor
        normal = _affine(low, normal, scale, shift, "group_norm")
    return _with_others(normal, node, "statistics of a normalisation")


def _affine(low: Lowering, read: Field, scale: Tensor, shift: Tensor, name: str) -> Field:
    """Scale and shift every channel, which stand along the second dimension."""
    shape = [-1] + [1] * (len(read.dims) - 2)
    operands = [low.constant(t.reshape(shape), read.dims, read.sizes) for t in (scale, shift)]
    call = Pointwise("affine", (low.tap(read), *operands), lambda x, a, b: x * a + b)
    return low.emit(call, read.dims, read.sizes, name)


def cumulative(low: Lowering, node: Node, args: dict[str, Any]) -> Value:
    """Join along a position axis what is new to what there was so far."""
    read: Field = args["self"]
    axis = axis_of(read.dims[args["dim"] % len(read.dims)])
    if axis is None:
        return reduce(low, node, args)
    own = running(low, read, axis, node.operation.tally)
    return _with_others(own, node, "where the extremes stand")
