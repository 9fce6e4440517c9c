"""Rules for scores of attention that are written out: what is done with them on the way to a weighted sum of values.

A tensor of scores has two dimensions of positions, which no variable has. What is computed of it are steps of one
attention (`pairs`), which its product with the values emits, or a sum of it over the keys.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leadline.graph import Kind, Node
from leadline.graph.run_node import permutation, run_node
from leadline.graph.table import Move, Noise, Operation, operation_of
from leadline.recurrence.reading import known, rules_views
from leadline.recurrence.reading.decays import accumulated
from leadline.recurrence.reading.field import FEATURE, Dims, Factor, Field, Misfit, permuted, regroup, turned, widened
from leadline.recurrence.reading.lowering import Fixed, Lowering, Unread, Value, no_tensor
from leadline.recurrence.reading.pairs import KEYS, QUERIES, Function, Scores, apply, chosen, emitted, spread, table
from leadline.recurrence.reading.rules_attention import reach, refuse_the_future, shared, weighted
from leadline.recurrence.scores import Applied, Between, Made

Rule = Callable[[Lowering, Node, Mapping[str, Any]], Value]


@dataclass(frozen=True, eq=False)
class Extended:
    """Scores of keys, and beside them those of a few more that have no position: sinks, memories.

    `more` has as many features (`count`) where the scores have keys, and stands `before` them or behind; it is left out
    once both have become weights, of which those of positions alone are read.
    """

    scores: Scores
    more: Scores | None
    count: int
    before: bool
    why = "the output is made of scores of attention"


def scored(low: Lowering, node: Node, args: Mapping[str, Any]) -> Value:
    """Apply an operation to scores; `Misfit` if attention is not made of it."""
    if any(isinstance(value, Extended) for value in args.values()):
        return _extended(low, node, args)
    rule = _rule(node.operation)
    if rule is None:
        raise Misfit("scores of attention go through something else than functions, masks and sums over keys")
    return rule(low, node, args)


def over_pairs(reads: list[Field]) -> bool:
    """Whether readings of one position axis broadcast to pairs of positions."""
    places = {len(r.dims) - d for r in reads for d, dim in enumerate(r.dims) if any(f.role == QUERIES for f in dim)}
    return len(places) > 1


def function(low: Lowering, node: Node, args: Mapping[str, Any]) -> Scores:
    """Apply an elementwise function."""
    facts = node.operation.pointwise
    same = None if facts is None else facts.identity(args)
    read = None if same is None else args[same]
    typed = same is not None and low.graph.meta(node.bound()[same]).dtype == node.meta.dtype
    if typed and isinstance(read, Scores) and read.shape == node.shape:
        return read
    values = {name: value for name, value in args.items() if isinstance(value, Field | Fixed)}
    literals = {name: value for name, value in node.bound().items() if name not in values and value is not None}
    return apply(low, Function(node.packet, facts, literals, _called(node), node.meta.dtype is torch.bool),
                 values, node.shape)  # fmt: skip


def _called(node: Node) -> Callable[[Mapping[str, Tensor]], Tensor]:
    def call(tensors: Mapping[str, Tensor]) -> Tensor:
        result: Tensor = run_node(node, no_tensor, tensors)[0]
        return result

    return call


def _kept(low: Lowering, node: Node, args: Mapping[str, Any]) -> Value:
    """Leave them as they are: dropout in evaluation mode."""
    if args.get("train"):
        raise Misfit("dropout within attention is random; call model.eval() first")
    return next(iter(args.values()))


def _reshaped(low: Lowering, node: Node, args: Mapping[str, Any]) -> Value:
    return regroup(args["self"], node.shape)


def _permuted(low: Lowering, node: Node, args: Mapping[str, Any]) -> Value:
    return permuted(args["self"], permutation(node, len(args["self"].dims)))


def _expanded(low: Lowering, node: Node, args: Mapping[str, Any]) -> Value:
    read: Scores = args["self"]
    dims = widened(read.dims, node.shape)
    return replace(read, dims=dims, channels=spread(read, dims))


def _taken(low: Lowering, node: Node, args: Mapping[str, Any]) -> Value:
    read: Scores = args["self"]
    parts: tuple[Any, ...] = rules_views.take(low, node, dict(args))  # type: ignore[assignment]
    if any(any(part.shift) or part.sizes != read.sizes for part in parts):
        raise Misfit("some of its scores are cut off")
    return parts


def _padded(low: Lowering, node: Node, args: Mapping[str, Any]) -> Value:
    """Put a number beside scores, for a few more keys; a zero makes a softmax that may add up to less than one."""
    read: Scores = args["self"]
    before, after, *rest = args["pad"]
    if not any(args["pad"]):
        return read
    if min(before, after) or max(before, after) <= 0 or any(rest) or [f.role for f in read.dims[-1]] != [KEYS]:
        raise Misfit("its scores are padded otherwise than by a few keys on one side")
    more = torch.full((before + after,), float(args.get("value") or 0.0))
    return _beside(low, read, Fixed(more, more), len(read.dims) - 1, before + after, before=before > 0)


def _triangle(low: Lowering, node: Node, args: Mapping[str, Any]) -> Value:
    """Put zeros beyond a diagonal."""
    read: Scores = args["self"]
    roles = [dim[0].role if len(dim) == 1 else None for dim in read.dims[-2:]]
    if roles != [QUERIES, KEYS]:
        raise Misfit("a triangle is cut out of other dimensions than queries by keys")
    (inside,) = run_node(node, no_tensor, {"self": torch.ones(node.shape[-2:], dtype=torch.bool)})
    return chosen(low, read, Fixed(inside, inside), 0.0)


def _across(low: Lowering, node: Node, args: Mapping[str, Any], more: Scores | None = None) -> Value:
    """Put scores together over all keys: softmax, sums, the largest."""
    read: Scores = args["self"]
    operation, dim = node.operation, _along_keys(args, read)
    shares, several = operation.kind is Kind.SOFTMAX, operation.located and operation.kind is Kind.MIXING
    level = -math.inf if shares else known.neutral(operation)
    refuse_the_future(read, level, shares=shares and more is None)
    (own, *rest) = [read] if more is None else [read, more]
    channels = read.channels.size
    count = int(args["k"]) if several else 1
    how = _how(node, args)

    def call(scores: Tensor, *beside: Tensor) -> Tensor:
        keys = scores.shape[1]
        for other in beside:
            scores = torch.cat([scores, other.reshape(len(other), channels, -1).mT.expand(len(scores), -1, -1)], 1)
        if several and keys < count:
            scores = torch.nn.functional.pad(scores, (0, 0, 0, count - keys), value=level)
        found: Tensor = run_node(node, no_tensor, {"self": scores, **how})[0]
        return found[:, :keys] if shares else found.mT.reshape(len(found), 1, -1)

    operands = tuple(Made(r.step, r.channels.reshape(-1)) for r in (own, *rest))
    literals = {name: value for name, value in args.items() if isinstance(value, int | float | bool | tuple)}
    made = Applied(
        node.packet, operands, call, channels * count, literals, across=True, single=not shares,
        more=0 if more is None else more.channels.size // channels,
    )  # fmt: skip
    how_known: dict[str, Any] = {"masked": read.masked or (more is not None and more.masked)}
    if shares:
        return shared(low, replace(read, **how_known), made)
    sizes = (read.sizes[0], 1)
    low.reaches[len(low.steps)] = reach(read, level), read.sizes[1]
    if several:
        return _several(low, made, read, dim, count, sizes, how_known), Unread("where the largest scores stand")
    kept = len(node.shape) == len(read.dims)
    dims = (*read.dims[:dim], *([()] if kept else []), *read.dims[dim + 1 :])
    first = emitted(low, made, dims, sizes, truths=node.meta.dtype is torch.bool, **how_known)
    return (first, *(Unread("where the extremes stand") for _ in node.outputs[1:]))


def _several(
    low: Lowering, made: Applied, read: Scores, dim: int, count: int, sizes: tuple[int, int], how: Mapping[str, Any]
) -> Scores:
    """Return a few numbers for each query as features in the place of its keys."""
    dims: Dims = (*read.dims[:dim], (Factor(FEATURE, count),), *read.dims[dim + 1 :])
    first = emitted(low, made, dims, sizes, **how)
    before = sum(f.role == FEATURE for d in read.dims[:dim] for f in d)
    lead = [f.size for d in read.dims for f in d if f.role == FEATURE]
    return replace(first, channels=np.moveaxis(np.arange(made.channels).reshape(*lead, count), -1, before))


def _along_keys(args: Mapping[str, Any], read: Scores) -> int:
    dim = args.get("dim")
    dims = dim if isinstance(dim, tuple) else (dim,)
    found = dims[0] % len(read.dims) if len(dims) == 1 and dims[0] is not None else -1
    if found < 0 or [f.role for f in read.dims[found]] != [KEYS]:
        raise Misfit("its scores are put together over something else than all keys")
    return found


def _how(node: Node, args: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the same function along the second of three dimensions."""
    how: dict[str, Any] = {"dim": (1,) if isinstance(args.get("dim"), tuple) else 1}
    if node.kind is Kind.REDUCTION:
        how["keepdim"] = True
    return how


def _weighed(low: Lowering, node: Node, args: Mapping[str, Any]) -> Value:
    """Multiply weights by values, which makes the attention."""
    factors = node.operation.product
    assert factors is not None
    if factors.added and args.get("beta", 1) != 0:
        raise Misfit("something is added to a product of its scores")
    scores, value = args[factors.left], args[factors.right]
    if not all(isinstance(read, Field) for read in (scores, value)) or isinstance(scores, Scores) is isinstance(
        value, Scores
    ):
        raise Misfit("scores of attention meet no values")
    if isinstance(value, Scores):
        return turned(weighted(low, turned(value), turned(scores), (*node.shape[:-2], *node.shape[:-3:-1])))
    return regroup(weighted(low, scores, value, node.shape), node.shape)


def mixed(low: Lowering, matrix: Fixed, value: Field, shape: tuple[int, ...]) -> Field:
    """Multiply a fixed matrix of positions by positions by values: (…, queries, keys) by (…, keys, features)."""
    tensor, sizes = matrix.tensor, (matrix.tensor.shape[-2], matrix.tensor.shape[-1])
    lead = ((),) * (tensor.ndim - len(value.dims)) + value.dims[:-2]
    own = tensor.shape[:-2]
    if sizes[0] > sizes[1]:
        raise Misfit("there are fewer keys than queries")
    lead = tuple(dim if n > 1 else () for dim, n in zip(lead[len(lead) - len(own) :], own, strict=True))
    dims = (*widened(lead, own), (Factor(QUERIES, sizes[0]),), (Factor(KEYS, sizes[1]),))
    values = table(tensor, dims)
    channels = math.prod(f.size for dim in dims for f in dim if f.role == FEATURE)
    step = Applied("copy", (Between(values),), torch.clone, channels)
    scores = emitted(low, step, dims, sizes, known=values.double(), masked=True)
    return weighted(low, scores, value, shape)


def _joined(low: Lowering, node: Node, args: Mapping[str, Any]) -> Value:
    """Put scores of a few more keys beside those of all positions."""
    parts = [p for p in args["tensors"] if not isinstance(p, Fixed) or p.tensor.numel()]
    main = [p for p in parts if isinstance(p, Scores) and not p.single]
    dim = args.get("dim", 0) % len(node.shape)
    if len(parts) != 2 or len(main) != 1 or [f.role for f in main[0].dims[dim]] != [KEYS]:
        raise Misfit("its scores are joined with others than those of a few more keys")
    more = next(p for p in parts if p is not main[0])
    size = more.tensor.shape[dim] if isinstance(more, Fixed) else more.shape[dim]
    return _beside(low, main[0], more, dim, size, before=parts[0] is more)


def _beside(low: Lowering, scores: Scores, more: Any, dim: int, size: int, before: bool) -> Extended:
    """Read what stands beside scores as a step with one number for all keys; its last features are the keys."""
    dims = (*scores.dims[:dim], (Factor(FEATURE, size),), *scores.dims[dim + 1 :])
    shape = [math.prod(f.size for f in d) for d in dims]
    copy = Function("copy", operation_of("aten.clone.default").pointwise, {}, lambda t: t["self"].clone())
    frame = replace(scores, dims=dims, channels=np.zeros([f.size for d in dims for f in d if f.role == FEATURE], int))
    if isinstance(more, Fixed):
        values = table(more.tensor, dims)
        step = Applied("copy", (Between(values),), torch.clone, frame.channels.size, single=True)
        read = emitted(low, step, dims, (scores.sizes[0], 1), known=known.numbers(values), masked=len(values) > 1)
    else:
        read = apply(low, copy, {"self": more}, shape)
    axis = sum(f.role == FEATURE for d in dims[:dim] for f in d)
    last = replace(read, dims=(*dims[:dim], *dims[dim + 1 :], dims[dim]), channels=np.moveaxis(
        np.array(np.broadcast_to(read.channels, frame.channels.shape)), axis, -1))  # fmt: skip
    return Extended(scores, last, size, before)


def _extended(low: Lowering, node: Node, args: Mapping[str, Any]) -> Value:
    """Do to scores and to those beside them the same; one that spans all keys makes weights of the former."""
    name, both = next((name, value) for name, value in args.items() if isinstance(value, Extended))
    operation, dim = node.operation, len(both.scores.dims) - 1
    if [f.role for f in both.scores.dims[dim]] != [KEYS]:
        raise Misfit("scores are joined along another dimension than the last")
    if operation.kind in (Kind.SOFTMAX, Kind.REDUCTION) and both.more is not None:
        found = _across(low, node, {**args, name: both.scores}, both.more)
        if operation.kind is not Kind.SOFTMAX or not isinstance(found, Scores):
            return found
        return replace(both, scores=found, more=None)
    if operation.move is Move.TAKE and args.get("dim", 0) % (dim + 1) == dim:
        return _cropped(node, both)
    if operation.kind is Kind.POINTWISE or operation.noise is Noise.DROPOUT:
        others = [v for v in args.values() if isinstance(v, Field | Fixed)]
        if all((v.shape if isinstance(v, Field) else v.tensor.shape)[-1:] in ((), (1,)) for v in others):
            more = both.more and _part(low, node, {**args, name: both.more}, both.more)
            return replace(both, scores=_part(low, node, {**args, name: both.scores}, both.scores), more=more)
    raise Misfit("scores beside those of positions go through something else than a softmax")


def _part(low: Lowering, node: Node, args: Mapping[str, Any], part: Scores) -> Scores:
    """Apply a function number by number to a part of the scores."""
    if node.operation.noise is Noise.DROPOUT:
        _kept(low, node, args)
        return part
    values = {name: value for name, value in args.items() if isinstance(value, Field | Fixed)}
    literals = {name: value for name, value in node.bound().items() if name not in values and value is not None}
    doing = Function(node.packet, node.operation.pointwise, literals, _called(node), node.meta.dtype is torch.bool)
    return apply(low, doing, values, part.shape)


def _cropped(node: Node, both: Extended) -> Value:
    """Leave the scores of positions alone."""
    keys, more = both.scores.sizes[1], both.count
    (kept,) = run_node(node, no_tensor, {"self": torch.arange(keys + more), "dim": 0})
    first = more if both.before else 0
    if kept.tolist() != list(range(first, first + keys)):
        raise Misfit("some of its scores are cut off")
    return both.scores


_BY_MOVE: Mapping[Move, Rule] = {
    Move.RESHAPE: _reshaped,
    Move.PERMUTE: _permuted,
    Move.EXPAND: _expanded,
    Move.TAKE: _taken,
    Move.TRIANGLE: _triangle,
    Move.PAD: _padded,
    Move.JOIN: _joined,
}


def _rule(operation: Operation) -> Rule | None:
    if operation.kind is Kind.VIEW:
        return _BY_MOVE.get(operation.move)
    if (operation.kind is Kind.SOFTMAX and not operation.logarithm) or operation.kind is Kind.REDUCTION:
        return _across
    if operation.kind is Kind.CONTRACTION:
        return _weighed
    if operation.kind is Kind.POINTWISE:
        return function
    if operation.kind is Kind.CUMULATIVE:
        return accumulated
    if operation.located:
        return _across
    return _kept if operation.noise is Noise.DROPOUT else None
