"""Rules for what mixes the features of one position by each other: attention within them, matrices as a whole."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from leadline.graph import Node
from leadline.graph.run_node import run_node
from leadline.recurrence.ir import Pointwise, Reduction, Rowwise
from leadline.recurrence.reading.field import (
    FEATURE,
    Dims,
    Factor,
    Field,
    Misfit,
    broadcast,
    canonical,
    features,
    of_features,
    turned,
)
from leadline.recurrence.reading.lowering import Fixed, Lowering, Unread, Value, no_tensor
from leadline.recurrence.reading.rules_attention import attention
from leadline.recurrence.reading.rules_contraction import inner_product


def attending(low: Lowering, node: Node, args: dict[str, Any]) -> Value:
    """Read attention along positions; or, where queries and keys are features of one position, as products there."""
    reads = [args[name] for name in ("query", "key", "value")]
    if args.get("dropout_p") or args.get("enable_gqa") or not all(_of_features(read) for read in reads):
        return attention(low, node, args)
    query, key, value = reads
    scores = inner_product(low, node, query, turned(key))
    dims, sizes = scores.dims, scores.sizes
    factor = torch.full((), args.get("scale") or 1 / math.sqrt(query.shape[-1]), dtype=node.meta.dtype)
    scaled = Pointwise("mul", (low.tap(scores), low.constant(factor, dims, sizes)), torch.mul)
    scores, mask = low.emit(scaled, dims, sizes, "mul"), args.get("attn_mask")
    if args.get("is_causal"):
        seen = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
        mask = Fixed(seen, seen)
    if mask is not None:
        scores = _masked(low, scores, mask, node.meta.dtype)
    shape, last = scores.shape, len(scores.dims) - 1
    inner = tuple(n if of_features(dim) else 1 for n, dim in zip(shape, scores.dims, strict=True))

    def softmax(x: Tensor) -> Tensor:
        return x.softmax(last + 1).flatten(1)

    weights = low.emit(Reduction("softmax", low.tap(scores), inner, softmax, (last,), {"dim": last}), dims, sizes)
    return inner_product(low, node, weights, value)


def _of_features(read: Any) -> bool:
    return isinstance(read, Field) and len(read.dims) > 1 and all(map(of_features, read.dims[-2:]))


def _masked(low: Lowering, scores: Field, mask: Field | Fixed, dtype: torch.dtype) -> Field:
    """Add a mask of numbers to scores, or hide what one of truth values leaves out."""
    dims, sizes = scores.dims, scores.sizes
    if isinstance(mask, Fixed) and mask.tensor.dtype is torch.bool:
        level = torch.where(mask.tensor, 0.0, -math.inf).to(dtype)
        mask = Fixed(level, level)
    operands = (low.tap(scores), low.operand(mask, dims, sizes))
    return low.emit(Pointwise("add", operands, torch.add), dims, sizes, "add")


def matrices(low: Lowering, node: Node, args: dict[str, Any]) -> Value:
    """Read inverses, solutions and decompositions of matrices of features: each matrix is a row."""
    values = {name: value for name, value in args.items() if isinstance(value, Field | Fixed)}
    reads = [value for value in values.values() if isinstance(value, Field)]
    if not all(_of_features(read) for read in reads):
        raise Misfit("its matrices go along positions or samples")
    lead = broadcast([read.dims[:-2] for read in reads])
    sizes, shapes, operands = reads[0].sizes, {}, []
    for name, value in values.items():
        shapes[name] = tuple((value.shape if isinstance(value, Field) else tuple(value.tensor.shape))[-2:])
        dims: Dims = (*lead, *((Factor(FEATURE, n),) for n in shapes[name]))
        operands.append(low.operand(value, dims, sizes))
    rows = math.prod(features(lead))
    literals = {name: value for name, value in node.bound().items() if name not in values and value is not None}
    made: list[Value] = []
    for number, meta in enumerate(node.outputs):
        if meta is None or meta.dtype.is_complex:
            made.append(Unread("complex numbers that matrices give"))
            continue

        def call(*tensors: Tensor, number: int = number) -> Tensor:
            whole = {name: t.unflatten(-1, shapes[name]) for name, t in zip(shapes, tensors, strict=True)}
            found: Tensor = run_node(node, no_tensor, whole)[number]
            return found.flatten(2)

        equation = Rowwise(node.packet, tuple(operands), rows, call, literals)
        own: Dims = tuple(((Factor(FEATURE, n),)) for n in meta.shape[len(lead) :])
        made.append(canonical(low.emit(equation, (*lead, *own), sizes)))
    return tuple(made)
