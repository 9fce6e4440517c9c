"""Rules for attention that is written out: products of queries and keys, masked, through a softmax, times values.

A tensor of scores has two dimensions of positions, which no variable has. It is carried along as `Scores`, a
description of what has been done to the products so far; its product with the values emits the attention.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor

from leadline.graph import Kind, Node
from leadline.graph.run_node import permutation
from leadline.graph.table import Form, Move, Noise, Operation
from leadline.recurrence.reading.field import Field, Misfit, axis_of, regroup, turned
from leadline.recurrence.reading.lowering import Fixed, Lowering, Value
from leadline.recurrence.reading.rules_attention import FORBIDDEN, attend


@dataclass(frozen=True, eq=False)
class Scores:
    """Softmax, once `normalised`, of ``scale · query · key + added`` where `seen`, along the positions of the keys.

    Query and key are readings whose last two dimensions are positions and features. `added` has been added to their
    products, and `seen` is where nothing has been put in place of them; both broadcast to `shape`. The positions of
    queries and of keys are its dimensions `rows` and `columns`; the others stand in the order of the query's.
    """

    query: Field
    key: Field
    scale: float
    added: Tensor
    seen: Tensor
    shape: tuple[int, ...]
    rows: int
    columns: int
    normalised: bool = False
    why = "the output is made of scores of attention"

    def moved(self, shape: tuple[int, ...], rows: int, columns: int, how: Callable[[Tensor], Tensor]) -> Scores:
        """Return the same scores in another shape."""
        added, seen = (how(t.expand(self.shape)) if t.ndim else t for t in (self.added, self.seen))
        return replace(self, added=added, seen=seen, shape=shape, rows=rows, columns=columns)


def products(query: Field, key: Field, node: Node, scale: float = 1.0, added: Tensor | None = None) -> Scores:
    """Return the products of queries (…, positions, features) and keys (…, features, positions)."""
    swapped = turned(key)
    if any(axis_of(read.dims[-2]) is None for read in (query, swapped)):
        raise Misfit("two computed tensors are multiplied that are not queries and keys along positions")
    nothing, everywhere = torch.zeros(()), torch.ones((), dtype=torch.bool)
    last = len(node.shape) - 1
    return Scores(query, swapped, scale, nothing if added is None else added, everywhere, node.shape, last - 1, last)


def scored(low: Lowering, node: Node, args: Mapping[str, Any]) -> Value:
    """Apply an operation to scores; `Misfit` if attention is not made of it."""
    rule = _rule(node.operation)
    if rule is None:
        raise Misfit("scores of attention go through something else than scaling, masks and a softmax")
    return rule(low, node, args)


def _kept(low: Lowering, node: Node, args: Mapping[str, Any]) -> Scores:
    """Leave them as they are: copies, changes of type, dropout in evaluation mode."""
    if args.get("train"):
        raise Misfit("dropout within attention is random; call model.eval() first")
    facts = node.operation.pointwise
    scores = args["input"] if facts is None else args[facts.operands[0]]
    if not isinstance(scores, Scores):
        raise Misfit("something else is put in the place of its scores")
    return scores


def _scaled(low: Lowering, node: Node, args: Mapping[str, Any]) -> Scores:
    """Multiply or divide by one number."""
    pair = [args["self"], args["other"]]
    scores, other = _one(pair)
    divides = _form(node.operation) is Form.QUOTIENT
    if isinstance(other, Field) or scores.normalised or (divides and other is pair[0]):
        raise Misfit("its scores are multiplied by something else than one number")
    tensor = other.tensor if isinstance(other, Fixed) else torch.as_tensor(other)
    if tensor.numel() != 1:
        raise Misfit("its scores are multiplied by something else than one number")
    factor = 1 / float(tensor) if divides else float(tensor)
    return replace(scores, scale=scores.scale * factor, added=scores.added * factor)


def _shifted(low: Lowering, node: Node, args: Mapping[str, Any]) -> Scores:
    """Add or subtract a fixed tensor: a mask of large negative numbers, or a bias."""
    pair = [args["self"], args["other"]]
    scores, other = _one(pair)
    subtracts = _form(node.operation) is Form.DIFFERENCE
    from_other = subtracts and other is pair[0]
    if scores.normalised or isinstance(other, Field) or args.get("alpha", 1) != 1 or from_other:
        raise Misfit("something that is computed is added to its scores")
    tensor = other.tensor if isinstance(other, Fixed) else torch.as_tensor(other)
    return replace(scores, added=scores.added - tensor if subtracts else scores.added + tensor)


def _one(pair: list[Any]) -> tuple[Scores, Any]:
    """Tell scores from what they are combined with."""
    found = [value for value in pair if isinstance(value, Scores)]
    if len(found) != 1:
        raise Misfit("scores of two attentions are combined")
    return found[0], next(value for value in pair if value is not found[0])


def _masked(low: Lowering, node: Node, args: Mapping[str, Any]) -> Scores:
    """Put one large negative number in place of scores: masked_fill, where."""
    if "mask" in args:
        scores, hidden, value = args["self"], args["mask"], args["value"]
    else:
        first = isinstance(args["self"], Scores)
        scores, value = (args["self"], args["other"]) if first else (args["other"], args["self"])
        hidden = args["condition"]
    if not (isinstance(scores, Scores) and isinstance(hidden, Fixed)) or scores.normalised:
        raise Misfit("its mask is computed from the inputs")
    level = value.tensor if isinstance(value, Fixed) else torch.as_tensor(value)
    where = hidden.tensor.bool()
    where = ~where if "condition" in args and isinstance(args["self"], Scores) else where
    if not bool((level < FORBIDDEN).all()):
        raise Misfit("its mask puts a finite number in place of scores")
    return replace(scores, seen=scores.seen & ~where)


def _normalised(low: Lowering, node: Node, args: Mapping[str, Any]) -> Scores:
    scores: Scores = args["self"]
    if args["dim"] % len(scores.shape) != scores.columns or scores.normalised:
        raise Misfit("its softmax is not over the keys")
    return replace(scores, normalised=True)


def _reshaped(low: Lowering, node: Node, args: Mapping[str, Any]) -> Scores:
    """Regroup the dimensions around the two of positions."""
    scores: Scores = args["self"]
    places = []
    for axis in (scores.rows, scores.columns):
        before, size = prod(scores.shape[:axis]), scores.shape[axis]
        found = [i for i, n in enumerate(node.shape) if n == size and prod(node.shape[:i]) == before]
        if not found:
            raise Misfit("its scores are reshaped across positions")
        places.append(found[-1])
    rows, columns = places
    return scores.moved(node.shape, rows, columns, lambda t: t.reshape(node.shape))


def _permuted(low: Lowering, node: Node, args: Mapping[str, Any]) -> Scores:
    """Move the dimensions of positions; the others keep their order."""
    scores: Scores = args["self"]
    order = permutation(node, len(scores.shape))
    others = [axis for axis in order if axis not in (scores.rows, scores.columns) and scores.shape[axis] > 1]
    if others != sorted(others):
        raise Misfit("heads or samples of its scores are put into another order")
    return scores.moved(node.shape, order.index(scores.rows), order.index(scores.columns), lambda t: t.permute(order))


def _sliced(low: Lowering, node: Node, args: Mapping[str, Any]) -> Scores:
    scores: Scores = args["self"]
    if node.shape != scores.shape:
        raise Misfit("some of its scores are cut off")
    return scores


def _weighted(low: Lowering, node: Node, args: Mapping[str, Any]) -> Field:
    """Multiply scores by values, which makes the attention."""
    factors = node.operation.product
    assert factors is not None
    if factors.added:
        raise Misfit("something is added to a product of its scores")
    scores, value = args[factors.left], args[factors.right]
    if not (isinstance(scores, Scores) and scores.normalised and isinstance(value, Field)):
        raise Misfit("products of queries and keys meet no values after a softmax")
    rank = len(scores.shape)
    if (scores.rows, scores.columns) != (rank - 2, rank - 1) or scores.shape[-2] != scores.shape[-1]:
        raise Misfit("its scores are not a square, positions of queries by positions of keys")
    hidden = torch.zeros(()).masked_fill(~scores.seen, -torch.inf)
    made = attend(low, scores.query, scores.key, value, scores.scale, scores.added + hidden)
    return regroup(made, node.shape)


Rule = Callable[[Lowering, Node, Mapping[str, Any]], Value]

_BY_FORM: Mapping[Form | None, Rule] = {
    Form.COPY: _kept,
    Form.PRODUCT: _scaled,
    Form.QUOTIENT: _scaled,
    Form.SUM: _shifted,
    Form.DIFFERENCE: _shifted,
    Form.CHOICE: _masked,
}
_BY_MOVE: Mapping[Move, Rule] = {Move.RESHAPE: _reshaped, Move.PERMUTE: _permuted, Move.TAKE: _sliced}


def _form(operation: Operation) -> Form | None:
    return None if operation.pointwise is None else operation.pointwise.form


def _rule(operation: Operation) -> Rule | None:
    if operation.kind is Kind.VIEW:
        return _BY_MOVE.get(operation.move)
    if operation.kind is Kind.SOFTMAX and not operation.logarithm:
        return _normalised
    if operation.kind is Kind.CONTRACTION:
        return _weighted
    return _kept if operation.noise is Noise.DROPOUT else _BY_FORM.get(_form(operation))
