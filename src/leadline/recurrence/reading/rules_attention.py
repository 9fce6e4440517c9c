"""Rules for causal attention: torch's own, and the sum over all keys that ends one which is written out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leadline.graph import Node
from leadline.graph.table import operation_of
from leadline.recurrence.reading import known
from leadline.recurrence.reading.decays import decayed
from leadline.recurrence.reading.field import (
    BATCH,
    FEATURE,
    Factor,
    Field,
    Misfit,
    axis_of,
    broadcast,
    features,
    of_features,
    widened,
)
from leadline.recurrence.reading.lowering import Fixed, Lowering, Value
from leadline.recurrence.reading.pairs import (
    KEYS,
    QUERIES,
    Function,
    Scores,
    apply,
    at_keys,
    chosen,
    column,
    emitted,
    for_rows,
    key_tap,
    multiplied,
    spread,
)
from leadline.recurrence.scores import Applied, Attention, Made, Products, Step


def attention(low: Lowering, node: Node, args: dict[str, Any]) -> Value:
    """Read `scaled_dot_product_attention` along the only position axis."""
    query, key, value, mask = args["query"], args["key"], args["value"], args.get("attn_mask")
    if args.get("dropout_p"):
        raise Misfit("dropout within attention is random; call model.eval() first")
    if not all(isinstance(read, Field) for read in (query, key, value)):
        raise Misfit("its queries, keys or values are fixed")
    if low.rank != 1:
        raise Misfit("attention is read along one position axis, not over a grid")
    if args.get("enable_gqa"):
        key, value = (_repeated(read, query.shape[-3]) for read in (key, value))
    shape = (*torch.broadcast_shapes(query.shape[:-2], key.shape[:-2]), query.shape[-2], key.shape[-2])
    scores = scaled(low, multiplied(low, query, key, shape), args.get("scale") or 1 / math.sqrt(query.shape[-1]))
    if args.get("is_causal"):
        seen = torch.ones(shape[-2:], dtype=torch.bool).tril()
        scores = replace(chosen(low, scores, Fixed(seen, seen), -math.inf), masked=False)
    elif mask is None:
        raise Misfit("attention without a mask reads the whole future")
    else:
        truths = mask.tensor.dtype is torch.bool if isinstance(mask, Fixed) else getattr(mask, "truths", False)
        scores = chosen(low, scores, mask, -math.inf) if truths else added(low, scores, mask)
    return weighted(low, softmax(low, scores), value, node.shape)


def _repeated(read: Field, heads: int) -> Field:
    """Repeat grouped heads, which stand before positions and features, each as often as queries share it."""
    sizes = [f.size for dim in read.dims[:-3] for f in dim if f.role == FEATURE]
    own = math.prod(f.size for f in read.dims[-3])
    if any(f.role != FEATURE for f in read.dims[-3]) or heads % own:
        raise Misfit("heads of queries and keys do not fit")
    flat = read.channels.reshape(*sizes, own, -1)
    dims = (*read.dims[:-3], (Factor(FEATURE, heads),), *read.dims[-2:])
    return replace(read, dims=dims, channels=np.repeat(flat, heads // own, len(sizes)).reshape(features(dims)))


def scaled(low: Lowering, scores: Scores, factor: float) -> Scores:
    """Multiply scores by a number."""
    facts = operation_of("aten.mul.Tensor").pointwise
    product = Function("mul", facts, {"other": factor}, lambda t: t["self"] * factor)
    return scores if factor == 1 else apply(low, product, {"self": scores}, scores.shape)


def added(low: Lowering, scores: Scores, other: Any) -> Scores:
    """Add a mask or a bias to scores."""
    facts = operation_of("aten.add.Tensor").pointwise
    total = Function("add", facts, {"alpha": 1}, lambda t: t["self"] + t["other"])
    return apply(low, total, {"self": scores, "other": other}, scores.shape)


def softmax(low: Lowering, scores: Scores) -> Scores:
    """Return the softmax of scores over all keys; `Misfit` where they see later ones, or none at all."""
    refuse_the_future(scores, -math.inf, shares=True)
    operand = Made(scores.step, scores.channels.reshape(-1))
    return shared(low, scores, Applied("softmax", (operand,), _softmax, scores.channels.size, across=True))


def _softmax(scores: Tensor) -> Tensor:
    return scores.softmax(1)


def shared(low: Lowering, scores: Scores, step: Applied) -> Scores:
    """Add a softmax of scores."""
    zero = torch.where(scores.selected == -math.inf, 0.0, math.nan)
    low.reaches[len(low.steps)] = reach(scores, -math.inf), scores.sizes[1]
    plain = None if step.more or scores.plain is None else (scores.plain[0], scores.plain[1], True)
    return emitted(low, step, scores.dims, (scores.sizes[0], scores.sizes[1]), known=known.shrunk(zero), plain=plain,
                   masked=scores.masked)  # fmt: skip


def refuse_the_future(scores: Scores, level: float, *, shares: bool = False) -> None:
    """See that nothing is made of later positions over all keys, and that a softmax has something to weigh."""
    there = scores.selected == level
    if not bool((there | ~known.beyond(*scores.sizes)).all()):
        hidden = bool((there & known.beyond(*scores.sizes)).any())
        raise Misfit("its mask lets a position see later ones" if hidden else
                     "attention without a mask reads the whole future")  # fmt: skip
    if shares and bool(there.expand(-1, scores.sizes[1], -1).all(1).any()):
        raise Misfit("its mask hides every position from some")


def weighted(low: Lowering, scores: Scores, value: Field, shape: tuple[int, ...]) -> Field:
    """Emit the sum of values (…, keys, features), weighted by scores (…, queries, keys)."""
    rows, columns = ([f.role for f in dim] for dim in scores.dims[-2:])
    meet = rows.count(QUERIES) == 1 and BATCH not in rows and columns == [KEYS] and len(value.dims) > 1
    if not meet or axis_of(value.dims[-2]) != 0 or not of_features(value.dims[-1]):
        raise Misfit("its weights and values do not meet along the positions of the keys")
    if value.sizes[0] != scores.sizes[1]:
        raise Misfit("keys and values do not have the same number of positions")
    refuse_the_future(scores, 0.0)
    value = at_keys(column(low, value))
    lead = widened(broadcast([scores.dims[:-2], value.dims[:-2]]), shape[:-2])
    width = math.prod(f.size for f in value.dims[-1])
    channels = for_rows(spread(value, (*lead, *value.dims[-2:])).reshape(-1, width), scores.dims[-2])
    heads = spread(scores, (*lead, *scores.dims[-2:])).reshape(-1)
    tap = key_tap(low, value, channels, scores.sizes[1] - scores.sizes[0])
    dims = (*lead, scores.dims[-2], *value.dims[-1:])
    if (carried := decayed(low, scores, Made(scores.step, heads), tap, dims)) is not None:
        return carried
    found = _attention(low, scores, Made(scores.step, heads), tap)
    return low.emit(found, dims, (scores.sizes[0],), "attention")


def summed(low: Lowering, scores: Scores) -> Field:
    """Emit what has been summed up over all keys, one number for each query, as a variable."""
    found = _attention(low, scores, Made(scores.step, scores.channels.reshape(-1)), None)
    return low.emit(found, scores.dims, (scores.sizes[0],), "scores")


def _attention(low: Lowering, scores: Scores, weights: Made, value: Any) -> Attention:
    """Return the equation of all steps that weights rest on; of one product, masked, and its softmax, the plain one."""
    needed = _needed(low.steps, weights.step)
    spans = [low.reaches[n] for n in needed if n in low.reaches]
    width, even = (1, True) if scores.single else _band(scores)
    keys = max([scores.sizes[1], *(keys for _, keys in spans)])
    lead = keys - scores.sizes[0]
    if scores.plain is not None and scores.plain[2] and even and not lead and value is not None:
        steps = _plain(low.steps, scores.plain, weights)
        whole = Made(1, np.arange(len(weights.channels)))
        return Attention(steps, whole, value, None if width >= keys else width, masked=scores.masked)
    widest = max([width, *(width for width, _ in spans)])
    number = {old: new for new, old in enumerate(needed)}
    steps = tuple(_numbered(low.steps[n], number) for n in needed)
    uneven = not scores.single and (not even or widest != width)
    made = Made(number[weights.step], weights.channels)
    return Attention(steps, made, value, None if widest >= keys else widest, lead, uneven, scores.masked)


def reach(scores: Scores, level: float) -> int:
    """Return how many of the latest keys hold anything else than a number of which nothing is made."""
    queries, keys = scores.sizes
    seen = (scores.selected != level).any(2).expand(queries, keys)
    distance = torch.arange(queries)[:, None] + (keys - queries) - torch.arange(keys)
    return max(1, int(distance[seen].max()) + 1) if bool(seen.any()) else 1


def _band(scores: Scores) -> tuple[int, bool]:
    """Return how many of the latest keys have weights, and whether all of these have, at every query."""
    queries, keys = scores.sizes
    width = reach(scores, 0.0)
    distance = torch.arange(queries)[:, None] + (keys - queries) - torch.arange(keys)
    inside = ((distance >= 0) & (distance < width)).unsqueeze(-1)
    return width, bool(((scores.selected != 0) == inside).all())


def _needed(steps: list[Step], last: int) -> list[int]:
    """Return the numbers of the steps that one rests on, in order."""
    found, waiting = set[int](), [last]
    while waiting:
        n = waiting.pop()
        if n not in found:
            found.add(n)
            waiting += [place.step for place in steps[n].operands if isinstance(place, Made)]
    return sorted(found)


def _numbered(step: Step, number: Mapping[int, int]) -> Step:
    if isinstance(step, Products):
        return step
    operands: Iterable[Any] = (
        replace(place, step=number[place.step]) if isinstance(place, Made) else place for place in step.operands
    )
    return replace(step, operands=tuple(operands))


def _plain(steps: list[Step], plain: tuple[int, float, bool], weights: Made) -> tuple[Step, ...]:
    """Return a product whose heads stand in the order of the weights, with its scale, and the softmax."""
    source, scale, _ = plain
    channels, at = weights.channels, weights.step
    while at != source:
        (made,) = (place for place in steps[at].operands if isinstance(place, Made))
        channels, at = made.channels[channels], made.step
    products = steps[source]
    assert isinstance(products, Products), "what is plain begins with a product"
    query, key = (
        replace(tap, channels=np.ascontiguousarray(tap.channels.reshape(products.heads, -1)[channels]).reshape(-1))
        for tap in (products.query, products.key)
    )
    whole = Made(0, np.arange(len(channels)))
    return Products(query, key, len(channels), scale), Applied(
        "softmax", (whole,), _softmax, len(channels), across=True
    )
