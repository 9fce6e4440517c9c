"""Rules for products with fixed weights: convolutions become one tap for each kernel element, matrices one tap."""

import math
from dataclasses import replace
from itertools import product
from typing import Any

import torch
from torch import Tensor

from leadline.domains.operations.convolutions import convolution_of
from leadline.graph import Node
from leadline.recurrence.ir import Contraction, Operand, Pointwise
from leadline.recurrence.reading.field import (
    FEATURE,
    Factor,
    Field,
    Misfit,
    axis_of,
    broadcast,
    canonical,
    features,
    of_features,
    regroup,
    turned,
)
from leadline.recurrence.reading.lowering import Fixed, Lowering, Value
from leadline.recurrence.reading.pairs import Scores
from leadline.recurrence.reading.pairs import multiplied as products
from leadline.recurrence.reading.rules_attention import added, scaled
from leadline.recurrence.reading.rules_features import along_features, slides_within
from leadline.recurrence.reading.rules_scores import mixed


def convolution(low: Lowering, node: Node, args: dict[str, Any]) -> Value:
    """Read a convolution as taps at the offsets of its kernel that are not masked; on a uniform grid, of stride 1.

    Along axes of features it is a linear map at each position.
    """
    conv, (read, weight) = convolution_of(node, low.graph), _convolved(node, args)
    kernel = conv.taps
    if any(map(slides_within, read.dims[2:], kernel, conv.padding)):
        return along_features(low, node, read, weight, _bias(args.get("bias")))
    strided = any(s != 1 for s, n in zip(conv.stride, node.shape[2:], strict=False) if n > 1)
    if conv.transposed or (strided and not low.rated):
        raise Misfit("a stride changes the grid (leadline.stream goes on in frames)")
    spans = [d * (k - 1) for d, k in zip(conv.dilation, kernel, strict=True)]
    steps = conv.stride if low.rated else (1,) * conv.axes
    sizes = zip(conv.padding, spans, low.graph.meta(conv.input).shape[2:], node.shape[2:], steps, strict=True)
    padding = [
        (before, max(0, (after - 1) * step + 1 + span - size - before)) for before, span, size, after, step in sizes
    ]
    roles = [_role(dim, size, pads) for dim, size, pads in zip(read.dims[2:], kernel, padding, strict=True)]
    over = [(0, 0)] * low.rank
    for role, pads in zip(roles, padding, strict=True):
        if role is not None:
            over[role] = pads
    read = low.filled(read, 0.0, over)
    stride = [next((s for r, s in zip(roles, steps, strict=True) if r == axis), 1) for axis in range(low.rank)]
    taps, weights, alive, many = [], [], [], math.prod(features(read.dims[:1]))
    for place in product(*map(range, kernel)):
        offset = [0] * low.rank
        for role, k, d, (before, _) in zip(roles, place, conv.dilation, padding, strict=True):
            if role is not None:
                offset[role] = before - k * d
        index: Any = (..., *place)
        tap, nonzero = low.spaced(low.tap(read, offset=offset), stride), weight.generic[index] != 0
        if bool(nonzero.any()):
            taps.append(tap)
            weights.append(weight.tensor[index].repeat(many, 1))
            alive.append(nonzero.repeat(many, 1))
    bias, dense = _bias(args.get("bias")), many * weight.tensor.numel()
    bias = None if bias is None else bias.repeat(many)
    equation = Contraction(tuple(taps), tuple(weights), bias, many * conv.groups, tuple(alive), dense=dense)
    dims, counts = [read.dims[0], (Factor(FEATURE, node.shape[1]),)], list(read.sizes)
    for role, dim, size in zip(roles, read.dims[2:], node.shape[2:], strict=True):
        dims.append(dim if role is None else (Factor(role, size),))
        if role is not None:
            counts[role] = size
    return canonical(low.emit(equation, tuple(dims), tuple(counts), "conv"))


def _convolved(node: Node, args: dict[str, Any]) -> tuple[Field, Fixed]:
    """Return what is convolved, and the kernel."""
    read, weight = args["input"], args["weight"]
    if not isinstance(weight, Fixed) or not isinstance(read, Field):
        raise Misfit("its kernel is computed")
    if len(read.dims) != weight.tensor.ndim or not of_features(read.dims[1]):
        raise Misfit("channels do not stand on the second axis of its input")
    return read, weight


def _role(dim: tuple[Factor, ...], kernel: int, padding: tuple[int, int]) -> int | None:
    if axis_of(dim) is None and (kernel != 1 or padding != (0, 0) or dim):
        raise Misfit("it slides along an axis that is not a position axis of its own")
    return axis_of(dim)


def _bias(bias: Any) -> Tensor | None:
    if bias is None:
        return None
    if not isinstance(bias, Fixed):
        raise Misfit("its bias is computed")
    return bias.tensor


def contraction(low: Lowering, node: Node, args: dict[str, Any]) -> Value:
    """Read a matrix product by the axes of its factors."""
    factors, named = node.operation.product, node.bound()
    assert factors is not None
    ranks = [len(low.graph.meta(named[name]).shape) for name in (factors.left, factors.right)]
    left, right, result = factors.axes(*ranks)
    if "b" in left and "b" not in result:
        raise Misfit("a product that sums over samples")
    if min(ranks) < 2:
        return _with_vector(low, node, args[factors.left], args[factors.right], ranks, args)
    if right.startswith("jk"):
        weight = _fixed(args["weight"])
        return multiplied(low, args["input"], weight.tensor, weight.generic, _bias(args.get("bias")))
    if "beta" not in args:
        return _matmul(low, node, args[factors.left], args[factors.right])
    return _baddbmm(low, node, args) if left.startswith("b") else _addmm(low, node, args)


def _matmul(low: Lowering, node: Node, left: Any, right: Any) -> Value:
    """Read a product with a fixed matrix on either side, or of queries and keys."""
    if isinstance(left, Field) and isinstance(right, Fixed):
        return multiplied(low, left, right.tensor.mT, right.generic.mT, None)
    if isinstance(left, Fixed) and isinstance(right, Field):
        if low.rank == 1 and left.tensor.ndim > 1 and axis_of(right.dims[-2]) == 0:
            return regroup(mixed(low, left, right, node.shape), node.shape)
        return turned(multiplied(low, turned(right), left.tensor, left.generic, None))
    if isinstance(left, Field) and isinstance(right, Field):
        within = len(left.dims) == len(right.dims) and all(map(of_features, (*left.dims[-2:], *right.dims[-2:])))
        return inner_product(low, node, left, right) if within else _products(low, node, left, right)
    raise Misfit("two computed tensors are multiplied that are not queries, keys and values")


def _products(low: Lowering, node: Node, query: Field, key: Field) -> Scores:
    """Read the products of queries (…, positions, features) and keys (…, features, positions)."""
    if low.rank != 1:
        raise Misfit("attention is read along one position axis, not over a grid")
    return products(low, query, turned(key), node.shape)


def _with_vector(low: Lowering, node: Node, left: Any, right: Any, ranks: list[int], args: dict[str, Any]) -> Value:
    """Read a product with a fixed vector, on either side, as one with a matrix of one row."""
    read, vector = (left, right) if ranks[1] == 1 else (turned(right) if isinstance(right, Field) else right, left)
    if max(ranks) < 2 or not (isinstance(read, Field) and isinstance(vector, Fixed)):
        raise Misfit("a product with a vector that is computed, or with two")
    total = multiplied(low, read, vector.tensor.unsqueeze(0), vector.generic.unsqueeze(0), None)
    return _added(low, node, canonical(replace(total, dims=total.dims[:-1])), args)


def _added(low: Lowering, node: Node, total: Value, args: dict[str, Any]) -> Field:
    """Return ``β · added + α · total``, where an operation adds anything."""
    if not isinstance(total, Field) or isinstance(total, Scores):
        raise Misfit("two computed tensors are multiplied, and something is added")
    if "beta" not in args:
        return total
    added, dims = args["self"], total.dims
    terms: list[Operand] = [low.tap(total), low.operand(added, dims, total.sizes)]
    for place, name in enumerate(("alpha", "beta")):
        if args.get(name, 1) != 1:
            factor = low.constant(torch.full((), args[name], dtype=node.meta.dtype), dims, total.sizes)
            product = low.emit(Pointwise("mul", (terms[place], factor), torch.mul), dims, total.sizes, "mul")
            terms[place] = low.tap(product)
    return low.emit(Pointwise("add", tuple(terms), torch.add), dims, total.sizes, "add")


def inner_product(low: Lowering, node: Node, left: Field, right: Field) -> Field:
    """Multiply two computed matrices of features, (…, n, k) and (…, k, m), at every position: products, then sums."""
    pair = (left, -1), (turned(right), -2)
    rows, columns = (replace(r, dims=(*r.dims[:at], (), *r.dims[at:])) for r, at in pair)
    dims = broadcast([rows.dims, columns.dims])
    operands = tuple(low.operand(read, dims, left.sizes) for read in (rows, columns))
    made = low.emit(Pointwise("mul", operands, torch.mul), dims, left.sizes, "mul")
    ones = torch.ones(1, made.shape[-1], dtype=node.meta.dtype)
    total = multiplied(low, made, ones, ones, None)
    return replace(total, dims=total.dims[:-1])


def _baddbmm(low: Lowering, node: Node, args: dict[str, Any]) -> Value:
    """Read ``β · added + α · left · right``: of queries and keys, or where one of them is fixed."""
    bias, query, key = args["self"], args["batch1"], args["batch2"]
    if isinstance(query, Fixed) or isinstance(key, Fixed):
        return _added(low, node, _matmul(low, node, query, key), args)
    if not (isinstance(bias, Fixed) and isinstance(query, Field) and isinstance(key, Field)):
        raise Misfit("two computed tensors are multiplied that are not queries and keys")
    beta, scores = args.get("beta", 1), _products(low, node, query, key)
    scores = scaled(low, scores, args.get("alpha", 1))
    return added(low, scores, Fixed(bias.tensor * beta, bias.generic * beta)) if beta else scores


def _addmm(low: Lowering, node: Node, args: dict[str, Any]) -> Value:
    """Read ``β · added + α · x W``, most often a bias."""
    added = args["self"]
    plain = args.get("alpha", 1) == args.get("beta", 1) == 1 and isinstance(added, Fixed) and added.tensor.ndim == 1
    if not plain or not isinstance(args["mat2"], Fixed):
        return _added(low, node, _matmul(low, node, args["mat1"], args["mat2"]), args)
    return multiplied(low, args["mat1"], args["mat2"].tensor.mT, args["mat2"].generic.mT, added.tensor)


def _fixed(value: Any) -> Fixed:
    if not isinstance(value, Fixed):
        raise Misfit("two computed tensors are multiplied")
    return value


def multiplied(low: Lowering, read: Field, weight: Tensor, generic: Tensor, bias: Tensor | None) -> Field:
    """Multiply the last dimension by a weight (..., out, in), whose leading dimensions meet the field's features."""
    if not of_features(read.dims[-1]):
        raise Misfit("a product sums over positions or samples")
    inner = weight.shape[-1]
    lead = read.channels.reshape(*features(read.dims[:-1]), inner)
    groups = math.prod(lead.shape[:-1])
    weights = [_grouped(read, matrix, groups) for matrix in (weight, generic)]
    tap = low.tap(read, lead)
    alive = weights[1] != 0
    full = None if bias is None else bias.repeat(groups)
    if bool(alive.any()):
        equation = Contraction((tap,), (weights[0],), full, groups, (alive,))
    else:
        equation = Contraction((), (), full, groups, dense=weights[0].numel())
    dims = (*read.dims[:-1], (Factor(FEATURE, weight.shape[-2]),))
    return canonical(low.emit(equation, dims, read.sizes, "linear"))


def _grouped(read: Field, weight: Tensor, groups: int) -> Tensor:
    """Return (groups · out, in): one matrix for each combination of the other features."""
    if weight.ndim == 2:
        return weight.repeat(groups, 1)
    lead = ((),) * (weight.ndim - len(read.dims)) + read.dims[:-2]
    sizes = []
    for d, dim in enumerate(lead):
        if weight.shape[d] > 1 and not of_features(dim):
            first = weight.narrow(d, 0, 1)
            if not bool((weight == first).all()):
                raise Misfit("its matrix differs between positions or samples")
            weight = first
        sizes.append(math.prod(f.size for f in dim if f.role == FEATURE))
    rows = math.prod(f.size for f in read.dims[-2] if f.role == FEATURE)
    full = weight.expand(*sizes, *weight.shape[-2:]).reshape(-1, 1, *weight.shape[-2:])
    return full.expand(-1, rows, -1, -1).reshape(groups * weight.shape[-2], weight.shape[-1]).contiguous()
