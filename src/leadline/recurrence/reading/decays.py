"""Sums over what lies between two positions, and the recurrences that weights made of them are.

What decays as it goes on is weighed by ``exp(a[j+1] + … + a[i])`` at position i for what entered at j. Models that
compute this in chunks write the sums out for all pairs: each number is repeated over the keys, those up to the key are
set to zero, and the rest is summed along the queries. That is the difference of two running sums; and a sum of values
so weighed is ``s[i] = exp(a[i]) s[i-1] + v[i]`` (Dao & Gu 2024, section 6).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leadline.graph import Node
from leadline.graph.run_node import run_node
from leadline.graph.table import Form, Tally
from leadline.recurrence.ir import Pointwise, Tap
from leadline.recurrence.reading import known
from leadline.recurrence.reading.field import FEATURE, Dims, Factor, Field, Misfit, axis_of, spread, widened
from leadline.recurrence.reading.lowering import Fixed, Lowering, no_tensor
from leadline.recurrence.reading.pairs import KEYS, QUERIES, Scores, chosen, emitted
from leadline.recurrence.scores import Applied, AtKeys, AtQuery, Made

# What joins a new element to those so far, and what that leaves as it is.
_JOINED: dict[Tally, tuple[str, Callable[..., Tensor], float]] = {
    Tally.SUM: ("add", torch.add, 0.0),
    Tally.PRODUCT: ("mul", torch.mul, 1.0),
    Tally.LARGEST: ("maximum", torch.maximum, -math.inf),
    Tally.LEAST: ("minimum", torch.minimum, math.inf),
    Tally.LOG_SUM_EXP: ("logaddexp", torch.logaddexp, -math.inf),
}


def running(low: Lowering, read: Field, axis: int, tally: Tally) -> Field:
    """Join along a position axis what is new to what there was so far."""
    step = tuple(int(a == axis) for a in range(low.rank))
    function, call, neutral = _JOINED[tally]
    new = low.tap(read)
    own = low.emit(Pointwise(function, (new,), lambda x: x), read.dims, read.sizes)
    past = replace(low.tap(own, np.arange(own.channels.size), step), fill=neutral)
    low.close(own, Pointwise(function, (new, past), call))
    return own


def in_pairs(low: Lowering, node: Node, values: Mapping[str, Field | Fixed]) -> Scores | None:
    """Read what is repeated as often as there are positions, and cut to a triangle, as pairs of query and key.

    None where a function of one reading and one fixed tensor does something else. What is left stands at the query from
    the key on, or from the position after it (`Scores.since`), and is zero before.
    """
    if len(values) != 2 or low.rank != 1:
        return None
    name, read = next((n, v) for n, v in values.items() if isinstance(v, Field))
    other, mask = next(((n, v) for n, v in values.items() if isinstance(v, Fixed)), ("", None))
    if read.shape != node.shape and not isinstance(read, Scores):
        dims = widened(read.dims, node.shape)
        read = replace(read, dims=dims, channels=spread(read, dims))
    at = _repeated(read)
    if at is None or not isinstance(mask, Fixed) or mask.tensor.numel() != read.sizes[0] ** 2 or read.sizes[0] < 2:
        return None
    keys = at[1]
    shape = [n if d in at else 1 for d, n in enumerate(read.shape)]
    if tuple(mask.tensor.shape) != tuple(shape[len(shape) - mask.tensor.ndim :]):
        return None
    noise = torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 1
    made = run_node(node, no_tensor, {name: noise, other: mask.tensor})[0].double()
    dims = (*read.dims[:keys], (Factor(KEYS, read.sizes[0]),), *read.dims[keys + 1 :])
    for since in (0, 1):
        inside = _triangle(dims, read.sizes[0], since)
        if torch.allclose(made, torch.where(inside.tensor, noise, 0.0), rtol=1e-6, atol=0):
            place = sum(f.role == FEATURE for dim in read.dims[:keys] for f in dim)
            channels = read.channels.take(0, axis=place)
            step = Applied("copy", (AtQuery(low.tap(read, channels)),), torch.clone, channels.size)
            whole = emitted(low, step, dims, (read.sizes[0], read.sizes[0]))
            return replace(chosen(low, whole, inside, 0.0), since=since)
    return None


def _repeated(read: Field) -> tuple[int, int] | None:
    """Return the dimension of positions, and one of as many features that are all the same."""
    queries = next((d for d, dim in enumerate(read.dims) if axis_of(dim) == QUERIES), None)
    for d, dim in enumerate(read.dims):
        if queries is not None and len(dim) == 1 and dim[0] == Factor(FEATURE, read.sizes[0]):
            place = sum(f.role == FEATURE for other in read.dims[:d] for f in other)
            if bool((read.channels == read.channels.take([0], axis=place)).all()):
                return queries, d
    return None


def _triangle(dims: Dims, size: int, since: int) -> Fixed:
    """Return which queries stand at least so many positions after a key, for scores of these dimensions."""
    roles = [dim[0].role if len(dim) == 1 else FEATURE for dim in dims]
    inside = torch.ones(size, size, dtype=torch.bool).tril(-since)
    inside = inside if roles.index(QUERIES) < roles.index(KEYS) else inside.mT
    shaped = inside.reshape([size if role in (QUERIES, KEYS) else 1 for role in roles])
    return Fixed(shaped, shaped)


def accumulated(low: Lowering, node: Node, args: Mapping[str, Any]) -> Scores:
    """Sum along the queries what stands there since each key: the difference of two running sums."""
    read: Scores = args["self"]
    roles = [f.role for f in read.dims[args["dim"] % len(read.dims)]]
    if read.since is None or roles != [QUERIES] or node.operation.tally is not Tally.SUM:
        raise Misfit("its scores are summed up along something else than what stands at the queries since each key")
    dims = tuple(() if axis_of(dim) == KEYS else dim for dim in read.dims)
    tap = _at_query(low, read)
    own = Field(dims, tap.source, tap.channels.reshape(read.channels.shape), tap.offset, (read.sizes[0],), tap.fill)
    total = running(low, own, QUERIES, Tally.SUM)
    before = low.tap(total, offset=(1 - read.since,))
    step = Applied("sub", (AtQuery(low.tap(total)), AtKeys(before)), torch.sub, total.channels.size)
    between = emitted(low, step, read.dims, (read.sizes[0], read.sizes[0]))
    seen = _triangle(read.dims, read.sizes[0], 0)  # at the key itself the difference is zero anyway
    return chosen(low, between, seen, 0.0)


def _at_query(low: Lowering, read: Scores) -> Tap:
    """Return what stands at the query, for the channels of a reading."""
    step, channels = low.steps[read.step], read.channels.reshape(-1)
    while not isinstance(step.operands[-1], AtQuery):
        made = next(place for place in step.operands if isinstance(place, Made))
        step, channels = low.steps[made.step], made.channels[channels]
    tap = step.operands[-1].tap
    return replace(tap, channels=tap.channels[channels], fill=tap.fill)


def decayed(low: Lowering, scores: Scores, weights: Made, value: Tap, dims: Dims) -> Field | None:
    """Return values that are summed up with weights ``exp(c[query] - c[key])`` as a recurrence; None: other weights.

    Every position multiplies what there was by ``exp(c[p] - c[p-1])``, and adds its own. On a uniform grid, whose laws
    count what the model does, it stays the sum over all keys that the model computes.
    """
    taps = _difference(low, scores, weights) if low.rated else None
    if taps is None:
        return None
    width = len(value.channels) // len(weights.channels)
    grown = _growth(low, *taps)
    each: Dims = ((Factor(FEATURE, len(weights.channels)),),)
    sizes = (scores.sizes[0],)
    factor = low.emit(Pointwise("exp", (grown,), torch.exp), each, sizes, "decay")
    state = low.state(dims, sizes, "decayed")
    past = low.tap(state, np.arange(len(value.channels)), (1,))
    operands = (value, low.tap(factor, np.repeat(factor.channels, width)), past)
    low.close(state, Pointwise("addmul", operands, lambda new, share, old: new + share * old))
    return state


def _difference(low: Lowering, scores: Scores, weights: Made) -> tuple[Tap, Tap] | None:
    """Return what weights are the exponential of, at the query and at the key: the same thing at both."""
    last = low.steps[weights.step]
    hidden = scores.selected == 0
    if scores.sizes[0] != scores.sizes[1] or not bool((hidden == known.beyond(*scores.sizes)).all()):
        return None
    if not isinstance(last, Applied) or not isinstance(made := last.operands[0], Made):
        return None
    if last.facts is None or not last.facts.exponential:
        return None
    inner, channels = low.steps[made.step], made.channels[weights.channels]
    if not isinstance(inner, Applied) or inner.facts is None or inner.facts.form is not Form.DIFFERENCE:
        return None
    if inner.literals.get("alpha", 1) != 1:
        return None
    first, second = inner.operands
    if not isinstance(first, AtQuery) or not isinstance(second, AtKeys) or len(first.tap.channels) != inner.channels:
        return None
    taps = [replace(place.tap, channels=place.tap.channels[channels]) for place in (first, second)]
    same = taps[0].source == taps[1].source and not any(taps[0].offset) and not any(taps[1].offset)
    return (taps[0], taps[1]) if same and np.array_equal(taps[0].channels, taps[1].channels) else None


def _growth(low: Lowering, here: Tap, before: Tap) -> Tap:
    """Return by how much a variable differs from what it was one position earlier; of a running sum: what is added."""
    equation = next(v for v in low.variables if v.name == here.source).equation
    if isinstance(equation, Pointwise) and equation.function == "add" and len(equation.taps) == 2:
        new, past = equation.taps
        if past.source == here.source and past.offset == (1,) and past.fill == 0 and len(equation.operands) == 2:
            return replace(new, channels=new.channels[here.channels])
    # before the first position nothing has been summed up: what the weight there is does not matter, but infinity
    earlier = replace(before, offset=(1,), fill=math.inf)
    dims: Dims = ((Factor(FEATURE, len(here.channels)),),)
    return low.tap(low.emit(Pointwise("sub", (here, earlier), torch.sub), dims, low.range_of(here.source), "growth"))
