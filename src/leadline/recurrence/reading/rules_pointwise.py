"""Rules for what happens at one point: elementwise functions, lookups, functions across channels, normalisation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leadline.graph import Node, Ref
from leadline.graph.ir import substitute
from leadline.recurrence.ir import Embedding, Operand, Pointwise, Reduction, Tap
from leadline.recurrence.reading.field import FEATURE, Dims, Factor, Field, Misfit, broadcast, canonical, spread, taken
from leadline.recurrence.reading.lowering import Fixed, Lowering, Unread, Value, arguments, invoked


def pointwise(low: Lowering, node: Node, args: dict[str, Any]) -> Value:
    """Apply an elementwise function to all its tensors, broadcast."""
    values = {name: value for name, value in args.items() if isinstance(value, Field | Fixed)}
    reads = [value for value in values.values() if isinstance(value, Field)]
    dims = broadcast([read.dims for read in reads])
    dims = _widened(dims, node.shape)
    operands = tuple(low.operand(value, dims, reads[0].sizes) for value in values.values())
    place = {name: i for i, name in enumerate(values)}
    bound = arguments(node)

    def call(*tensors: Tensor) -> Tensor:
        given = {n: tensors[place[n]] if n in place else substitute(v, _no_tensor) for n, v in bound.items()}
        result: Tensor = invoked(node, given)
        return result

    literals = {name: value for name, value in bound.items() if name not in place and value is not None}
    return low.emit(Pointwise(node.op.split(".")[1], operands, call, literals), dims, reads[0].sizes)


def converted(low: Lowering, node: Node, args: dict[str, Any]) -> Value:
    """Change the type of numbers, if it is another one."""
    read = args["self"]
    return read if low.graph.meta(node.refs[0]).dtype == node.meta.dtype else pointwise(low, node, args)


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


def _no_tensor(ref: Ref) -> Any:
    raise Misfit(f"it reads a list of tensors, %{ref.node} among them")


def _widened(dims: Dims, shape: tuple[int, ...]) -> Dims:
    """Let fixed operands widen dimensions of size 1 to features."""
    dims = ((),) * (len(shape) - len(dims)) + dims
    out = []
    for dim, size in zip(dims, shape, strict=True):
        grown = math.prod(f.size for f in dim) != size
        if grown and any(f.role != FEATURE for f in dim):
            raise Misfit("the batch or a position axis of size 1 is repeated by a fixed tensor")
        out.append((Factor(FEATURE, size),) if grown else dim)
    return tuple(out)


def created(low: Lowering, node: Node) -> Fixed:
    """Make a tensor that depends on the shape and type of another only: zeros_like, new_zeros, full_like."""
    metas = {ref: low.graph.meta(ref) for ref in node.refs}
    like = {ref: torch.zeros(meta.shape, dtype=meta.dtype) for ref, meta in metas.items()}
    made = invoked(node, {name: substitute(value, like.__getitem__) for name, value in arguments(node).items()})
    return Fixed(made, made)


def lookup(low: Lowering, node: Node, args: dict[str, Any]) -> Value:
    """Choose rows of a fixed table by computed integers: embeddings; or channels by fixed ones."""
    if isinstance(args.get("self"), Field):
        return _picked(args["self"], args["indices"])
    table, read = (args["weight"], args["indices"]) if "weight" in args else (args["self"], args["indices"][0])
    if not isinstance(table, Fixed) or not isinstance(read, Field) or table.tensor.ndim != 2:
        raise Misfit("values are picked by computed indices from something other than a fixed table of rows")
    return looked_up(low, read, table.tensor)


def _picked(read: Field, indices: tuple[Any, ...]) -> Field:
    """Keep what one list of fixed indices picks along one dimension."""
    dims = [dim for dim, index in enumerate(indices) if index is not None]
    if len(dims) != 1 or not isinstance(indices[dims[0]], Fixed) or indices[dims[0]].tensor.ndim != 1:
        raise Misfit("elements are picked by computed indices, or by several at once")
    chosen = torch.arange(read.shape[dims[0]])[indices[dims[0]].tensor]
    return taken(read, dims[0], chosen.tolist())


def one_hot(low: Lowering, node: Node, args: dict[str, Any]) -> Value:
    """Turn classes into unit vectors: a lookup in the identity."""
    return looked_up(low, args["self"], torch.eye(node.shape[-1], dtype=torch.int64))


def looked_up(low: Lowering, read: Field, rows: Tensor) -> Field:
    """Return the rows that a reading of classes picks, as features of a new last dimension."""
    dims = (*read.dims, (Factor(FEATURE, rows.shape[1]),))
    return canonical(low.emit(Embedding(low.tap(read), rows), dims, read.sizes, "embedding"))


def reduce(low: Lowering, node: Node, args: dict[str, Any]) -> Value:
    """Apply a function along dimensions that hold features only: sums, softmax, layer normalisation."""
    read: Field = args["self"] if "self" in args else args["input"]
    along = _along(read, args, node)
    for dim in along:
        if any(f.role != FEATURE for f in read.dims[dim]):
            raise Misfit("it mixes positions or samples")
    sizes = tuple(math.prod(f.size for f in dim if f.role == FEATURE) for dim in read.dims)
    extra = [value for name, value in args.items() if isinstance(value, Field) and value is not read]
    if extra:
        raise Misfit("its parameters are computed")
    bound = arguments(node)
    fixed = {name: value.tensor for name, value in args.items() if isinstance(value, Fixed)}
    own = "self" if "self" in args else "input"
    plain = {name: _later(name, value) for name, value in bound.items() if name != own and name not in fixed}

    def call(x: Tensor) -> Tensor:
        given = {name: x if name == own else fixed.get(name, plain.get(name)) for name in bound}
        result = invoked(node, given)
        first: Tensor = result[0] if isinstance(result, list | tuple) else result
        return first.reshape(len(x), -1)

    literals = {name: value for name, value in args.items() if isinstance(value, int | float | bool | tuple)}
    equation = Reduction(node.op.split(".")[1], low.tap(read), sizes, call, tuple(along), literals, fixed)
    out = canonical(low.emit(equation, _reduced(read, along, node.shape), read.sizes))
    return (out, *(Unread("statistics of a normalisation") for _ in node.outputs[1:])) if len(node.outputs) > 1 else out


def _along(read: Field, args: dict[str, Any], node: Node) -> list[int]:
    rank = len(read.dims)
    if "normalized_shape" in args:
        return list(range(rank - len(args["normalized_shape"]), rank))
    if "num_groups" in args or "group" in args:
        return list(range(1, rank))
    dim = args.get("dim")
    if dim is None or dim == ():
        raise Misfit("it mixes positions or samples")
    return [d % rank for d in (dim if isinstance(dim, tuple) else (dim,))]


def _later(name: str, value: Any) -> Any:
    """Move dimensions one back: a dimension of points stands first."""
    if name == "dim" and isinstance(value, tuple):
        return [d + 1 if d >= 0 else d for d in value]
    if name == "dim":
        return value + 1 if value >= 0 else value
    return substitute(value, _no_tensor)


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
    shape = [-1] + [1] * (len(read.dims) - 2)
    fixed = [t.to(mean.tensor.dtype).reshape(shape) for t in (scale, shift)]
    operands = [low.constant(t, read.dims, read.sizes) for t in fixed]
    call = Pointwise("affine", (low.tap(read), *operands), lambda x, a, b: x * a + b)
    out = low.emit(call, read.dims, read.sizes, "batch_norm")
    return (out, *(Unread("statistics of a normalisation") for _ in node.outputs[1:])) if len(node.outputs) > 1 else out


def cumulative(low: Lowering, node: Node, args: dict[str, Any]) -> Value:
    """Sum along a position axis: the sum so far, plus what is new."""
    read: Field = args["self"]
    factors = read.dims[args["dim"] % len(read.dims)]
    if len(factors) != 1 or factors[0].role < 0:
        return reduce(low, node, args)
    step = tuple(int(a == factors[0].role) for a in range(low.rank))
    new = low.tap(read)
    own = low.emit(Pointwise("add", (new,), lambda x: x), read.dims, read.sizes, "cumsum")
    past = low.tap(own, np.arange(own.channels.size), step)
    low.replace(own, Pointwise("add", (new, past), torch.add))
    return own
