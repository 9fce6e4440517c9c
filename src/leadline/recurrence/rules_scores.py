"""Rules for attention that is written out: products of queries and keys, masked, through a softmax, times values.

A tensor of scores has two dimensions of positions, which no variable has. It is carried along as `Scores`, a
description of what has been done to the products so far; its product with the values emits the attention.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from leadline.graph import Node
from leadline.recurrence.field import Field, Misfit, permuted
from leadline.recurrence.lowering import Fixed, Lowering, Value
from leadline.recurrence.rules_attention import FORBIDDEN, attend


@dataclass(frozen=True, eq=False)
class Scores:
    """Softmax, once `normalised`, of ``scale · query · key + added`` where `seen`, over the last dimension.

    Attributes
    ----------
    query, key
        Readings whose last two dimensions are positions and features.
    scale
        Factor on the products so far.
    added
        What has been added to them, a fixed tensor that broadcasts to `shape`.
    seen
        Where nothing has been put in place of them; broadcasts to `shape`.
    shape
        The tensor's: leading dimensions, positions of queries, positions of keys.
    """

    query: Field
    key: Field
    scale: float
    added: Tensor
    seen: Tensor
    shape: tuple[int, ...]
    normalised: bool = False


def products(query: Field, key: Field, node: Node, scale: float = 1.0, added: Tensor | None = None) -> Scores:
    """Return the products of queries (…, positions, features) and keys (…, features, positions).

    Raises
    ------
    Misfit
        If these are other products of computed tensors.
    """
    swapped = permuted(key, [*range(len(key.dims) - 2), len(key.dims) - 1, len(key.dims) - 2])
    if any(len(read.dims[-2]) != 1 or read.dims[-2][0].role < 0 for read in (query, swapped)):
        raise Misfit("two computed tensors are multiplied that are no queries and keys along positions")
    nothing, everywhere = torch.zeros(()), torch.ones((), dtype=torch.bool)
    return Scores(query, swapped, scale, nothing if added is None else added, everywhere, node.shape)


def scored(low: Lowering, node: Node, args: Mapping[str, Any]) -> Value:
    """Apply an operation to scores.

    Raises
    ------
    Misfit
        If it is none that attention is made of.
    """
    rule = _RULES.get(node.op.split(".")[1])
    if rule is None:
        raise Misfit("scores of attention go through something else than scaling, masks and a softmax")
    return rule(low, node, args)


def _kept(low: Lowering, node: Node, args: Mapping[str, Any]) -> Scores:
    """Leave them as they are: copies, changes of type, dropout in evaluation mode."""
    if args.get("train"):
        raise Misfit("dropout within attention is random; call model.eval() first")
    scores: Scores = args["self"] if "self" in args else args["input"]
    return scores


def _scaled(low: Lowering, node: Node, args: Mapping[str, Any]) -> Scores:
    """Multiply or divide by one number."""
    pair = [args["self"], args["other"]]
    (scores,) = (value for value in pair if isinstance(value, Scores))
    other = next(value for value in pair if not isinstance(value, Scores))
    tensor = other.tensor if isinstance(other, Fixed) else torch.as_tensor(other)
    if tensor.numel() != 1 or scores.normalised or (node.op.startswith("aten.div") and other is pair[0]):
        raise Misfit("its scores are multiplied by something else than one number")
    factor = 1 / float(tensor) if node.op.startswith("aten.div") else float(tensor)
    return replace(scores, scale=scores.scale * factor, added=scores.added * factor)


def _shifted(low: Lowering, node: Node, args: Mapping[str, Any]) -> Scores:
    """Add a fixed tensor: a mask of large negative numbers, or a bias."""
    pair = [args["self"], args["other"]]
    (scores,) = (value for value in pair if isinstance(value, Scores)) if _one(pair) else (None,)
    other = next((value for value in pair if not isinstance(value, Scores)), None)
    if scores is None or scores.normalised or isinstance(other, Field) or args.get("alpha", 1) != 1:
        raise Misfit("something that is computed is added to its scores")
    tensor = other.tensor if isinstance(other, Fixed) else torch.as_tensor(other)
    return replace(scores, added=scores.added + tensor)


def _one(pair: list[Any]) -> bool:
    return sum(isinstance(value, Scores) for value in pair) == 1


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
    if args["dim"] % len(scores.shape) != len(scores.shape) - 1 or scores.normalised:
        raise Misfit("its softmax is not over the keys")
    return replace(scores, normalised=True)


def _reshaped(low: Lowering, node: Node, args: Mapping[str, Any]) -> Scores:
    """Regroup the leading dimensions only; masks are brought to full size first."""
    scores: Scores = args["self"]
    shape = node.shape
    if shape[-2:] != scores.shape[-2:]:
        raise Misfit("its scores are reshaped across positions")
    full = [t.expand(scores.shape).reshape(shape) if t.ndim > 2 else t for t in (scores.added, scores.seen)]
    return replace(scores, added=full[0], seen=full[1], shape=shape)


def _sliced(low: Lowering, node: Node, args: Mapping[str, Any]) -> Scores:
    scores: Scores = args["self"]
    if node.shape != scores.shape:
        raise Misfit("some of its scores are cut off")
    return scores


def _weighted(low: Lowering, node: Node, args: Mapping[str, Any]) -> Field:
    """Multiply scores by values, which makes the attention."""
    scores, value = args["self"], args["other"] if "other" in args else args["mat2"]
    if not (isinstance(scores, Scores) and scores.normalised and isinstance(value, Field)):
        raise Misfit("products of queries and keys meet no values after a softmax")
    if scores.shape[-2] != scores.shape[-1]:
        raise Misfit("queries and keys have other numbers of positions")
    hidden = torch.zeros(()).masked_fill(~scores.seen, -torch.inf)
    return attend(low, scores.query, scores.key, value, scores.scale, scores.added + hidden)


Rule = Callable[[Lowering, Node, Mapping[str, Any]], Value]

_RULES: Mapping[str, Rule] = {
    name: rule
    for rule, names in {
        _kept: """to _to_copy type_as clone contiguous alias detach lift_fresh dropout native_dropout_eval
                  feature_dropout""",
        _scaled: "mul div multiply divide true_divide",
        _shifted: "add",
        _masked: "masked_fill where",
        _normalised: "softmax _softmax",
        _reshaped: "view reshape _unsafe_view unsqueeze squeeze flatten unflatten expand",
        _sliced: "slice narrow",
        _weighted: "matmul bmm",
    }.items()
    for name in names.split()
}
