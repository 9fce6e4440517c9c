"""Which places the indices may name that order the elements of masked rows: those of the largest are not masked.

The first of a row's largest elements lie where no mask hides them, as many of them as surely stand. So an index that an
argmax, a top-k or a sort finds in masked scores names one of these places, and what is put down at it, or looked up,
is what stands there. For finite masks that is so as for a softmax: as long as scores do not outweigh them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from leadline.domains.compact import Shapes, described, lifted, reserve, reshaped
from leadline.domains.engine import Lookup
from leadline.domains.values.facts import UNKNOWN, Bounds, Facts, Named, Options, evaluated, one_of, partial, zero_where
from leadline.domains.values.logits import shown_in, standing
from leadline.domains.values.views import carried
from leadline.graph.ir import Node, Ref
from leadline.graph.run_node import permutation
from leadline.graph.table import Kind, Move

_MOST = 1 << 12  # places of a row that are told apart
_NOWHERE = torch.zeros((), dtype=torch.bool)


class _Row(NamedTuple):
    """Of rows along a last axis: where their largest elements lie, as many as `least` says, and which surely do."""

    shown: Tensor
    least: Tensor
    surely: Tensor


def ranked(
    node: Node, facts: Lookup[Facts], shape: Shapes, floor: float, *, weights: bool = False
) -> tuple[Facts, ...]:
    """Find the places that the indices of a row's largest elements, or least, may name.

    The `weights` of a softmax are zero where they are masked, and the largest is not.
    """
    nothing, first = (UNKNOWN,) * len(node.outputs), node.operation.first
    found, full, dim = facts(node.refs[0]), shape(node.refs[0]), node.bound().get("dim")
    meta = node.outputs[-1]
    if first is None or dim is None or meta is None or not full or full[dim] > _MOST:
        return nothing
    dim, whole = dim % len(full), len(meta.shape) == len(full)
    count, largest = meta.shape[dim] if whole else 1, first(node.bound())
    may, surely = torch.ones((), dtype=torch.bool), torch.zeros((), dtype=torch.bool)
    rank = torch.arange(count).unsqueeze(-1)
    if node.bound().get("sorted") is False:  # in any order
        rank = torch.full_like(rank, count - 1)
    for largest_first in (True, False):
        if largest_first is not largest and count < full[dim]:
            continue
        row = _weighed(found, dim, floor) if weights and largest_first else _row(found, dim, floor, largest_first)
        if row is None:
            continue
        reserve((*row.shown.shape[:-1], count, full[dim]), 1, described(node))
        place = rank if largest_first is largest else count - 1 - rank
        may = may & (row.shown.unsqueeze(-2) | (place >= row.least.unsqueeze(-1)))
        surely = surely | (row.surely & (row.shown.sum(-1, keepdim=True) <= count))
    if bool(may.all()) and not bool(surely.any()):
        return nothing
    may, surely = lifted(may, len(full) + 1), lifted(surely, len(full))
    if not whole:
        return (*nothing[:-1], Facts(named=Named(may.squeeze(-2), surely)))
    return (*nothing[:-1], Facts(named=Named(may.movedim(-2, dim), surely.unsqueeze(dim))))


def in_order(node: Node, facts: Lookup[Facts], shape: Shapes) -> Facts:
    """Order the constants of rows: the second of a row lies between the second low end and the second high one."""
    found, full, dim = facts(node.refs[0]), shape(node.refs[0]), node.bound().get("dim")
    first, meta = node.operation.first, node.outputs[0]
    ends = torch.broadcast_tensors(*found.bounds())
    if first is None or dim is None or meta is None or not full or ends[0].ndim == 0 or ends[0].shape[dim] == 1:
        return UNKNOWN
    ordered = meta.dtype.is_floating_point and node.bound().get("sorted") is not False
    if not ordered or len(meta.shape) != len(full) or bool(found.doubtful().any()):
        return UNKNOWN
    largest, count = first(node.bound()), meta.shape[dim]
    least, most = (end.sort(dim, descending=largest).values.narrow(dim, 0, count) for end in ends)
    return one_of(Options([torch.zeros((), dtype=meta.dtype)], _NOWHERE), Bounds(least, most))


def _row(found: Facts, dim: int, floor: float, largest: bool) -> _Row | None:
    """Tell the elements that are not masked from those that constants push away from the largest, or the least."""
    low, high = found.bounds() if largest else (-end for end in reversed(found.bounds()))
    bounds = Bounds(low, high)
    if high.ndim == 0 or high.shape[dim] == 1:
        return None
    shown = (shown_in(bounds, dim, floor) | lifted(found.doubtful(), high.ndim)).movedim(dim, -1)
    stands = (low if floor == -torch.inf else standing(bounds)).movedim(dim, -1)
    masked = high.movedim(dim, -1).masked_fill(shown, -torch.inf).amax(-1, keepdim=True)
    sure = shown & (stands > -torch.inf) & (masked - stands <= floor)
    return _Row(shown, sure.sum(-1, keepdim=True), sure)


def _weighed(found: Facts, dim: int, floor: float) -> _Row | None:
    """Tell weights from those that are zero; all but the largest may be so small that they are zero too."""
    zeros = found.zeros()
    if zeros.ndim == 0 or zeros.shape[dim] == 1:
        return None
    shown = ~zeros.movedim(dim, -1)
    shown = shown | ~shown.any(-1, keepdim=True)
    most = 1 if floor == -torch.inf else shown.shape[-1]
    count = shown.sum(-1, keepdim=True).clamp(max=most)
    return _Row(shown, count, shown & (shown.sum(-1, keepdim=True) == count))


def moved(node: Node, found: Facts, shape: Shapes) -> Named | None:
    """Move what indices may name to where a view moves them."""
    named, old, new = found.named, shape(node.refs[0]), node.shape
    if named is None or node.kind is not Kind.VIEW or len(node.sources) != 1 or len(node.outputs) != 1:
        return None
    move, may = node.operation.move, lifted(named.may, len(old) + 1)
    count = may.shape[-1]
    if move is Move.RESHAPE:
        may = reshaped(may, (*old, count), (*new, count), described(node))
    elif move is Move.PERMUTE:
        may = may.permute(*permutation(node, len(old)), -1)
    elif move is Move.EXPAND:
        may = lifted(may, len(new) + 1)
    else:
        may = torch.stack([_plane(node, may[..., place], shape) for place in range(count)], -1)
    return Named(may)


def _plane(node: Node, marks: Tensor, shape: Shapes) -> Tensor:
    (found,) = carried(node, lambda _: marks.float(), shape, _unfilled(node))
    assert found is not None
    return found > 0


def _unfilled(node: Node) -> dict[str, float]:
    """Let what a view writes beside indices name anything."""
    return {"value": 1.0} if node.operation.move is Move.PAD and "value" in node.bound() else {}


def evaluated_at(node: Node, facts: Lookup[Facts], dtypes: Lookup[torch.dtype]) -> Facts:
    """Find what a pointwise operation on an index and constants gives, by trying every place that may be named."""
    record = node.operation.pointwise
    copied = record is not None and record.identity(node.bound()) is not None
    indices = [ref for ref in node.sources if facts(ref).named is not None]
    if copied or len(indices) != 1 or len(node.outputs) != 1 or node.meta.dtype.is_complex:
        return UNKNOWN
    (index,) = indices
    named = facts(index).named
    if named is None or not all(ref == index or facts(ref).constant for ref in node.sources):
        return UNKNOWN
    ndim, may_be = len(node.shape), named.may
    count = may_be.shape[-1]

    def at(place: int) -> Tensor:
        index_at = torch.full((1,) * (may_be.ndim - 1), place, dtype=dtypes(index))
        return evaluated(node, lambda ref: index_at if ref == index else _value(facts(ref)))

    results = [at(place) for place in range(count)]
    made = torch.stack([lifted(part, ndim) for part in torch.broadcast_tensors(*results)], -1)
    may = lifted(may_be, ndim + 1)
    may = may.expand(torch.broadcast_shapes(made.shape, may.shape))
    numbers = made.double()
    least = numbers.masked_fill(~may, torch.inf).amin(-1)
    most = numbers.masked_fill(~may, -torch.inf).amax(-1)
    known = partial(least.nan_to_num(posinf=0.0).to(node.meta.dtype), least == most)
    made = torch.where(may, made, made.new_zeros(()))
    whole = not (node.meta.dtype.is_floating_point or node.meta.dtype is torch.bool)
    if not whole or known.constant or int(made.min()) < 0 or int(made.max()) >= _MOST:
        return known
    reserve((*may.shape, int(made.max()) + 1), 1, described(node))
    places = torch.arange(int(made.max()) + 1)
    return with_named(known, Named(((made.unsqueeze(-1) == places) & may.unsqueeze(-1)).any(-2)))


def _value(found: Facts) -> Tensor:
    assert found.value is not None
    return found.value


def classes(node: Node, facts: Lookup[Facts]) -> tuple[Facts, ...]:
    """Find zeros where no index names a class."""
    named = facts(node.refs[0]).named
    if named is None:
        return (UNKNOWN,)
    may = _fitted(named.may, node.shape[-1])
    return (UNKNOWN,) if may is None else (partial(torch.zeros((), dtype=node.meta.dtype), ~may),)


def written(node: Node, facts: Lookup[Facts], shape: Shapes) -> tuple[Facts, ...]:
    """Find what a scatter leaves, and what it puts down for certain; between them lies one or the other."""
    named = node.bound()
    index, base, dim = named["index"], facts(named["self"]), named["dim"] % max(1, len(node.shape))
    value = _literal(named.get("value", named.get("src")), facts)
    others = all(a == b for axis, (a, b) in enumerate(zip(shape(index), node.shape, strict=True)) if axis != dim)
    if not others or not node.shape or 0 in shape(index):
        return (UNKNOWN,)
    found = facts(index).named
    may = None if found is None else _fitted(found.may, node.shape[dim])
    if value is None:
        return (_beside(node, facts, shape, may, dim),)
    hit, sure = ~_NOWHERE, _NOWHERE
    if found is not None and may is not None:
        hit = may.any(dim, keepdim=True).movedim(-1, dim).squeeze(dim + 1)
        surely = None if found.surely is None else _fitted(found.surely, node.shape[dim])
        sure = sure if surely is None else surely.movedim(-1, dim).squeeze(dim + 1)
    options = base.options()
    kept = [torch.where(sure, value.to(node.meta.dtype), part.to(node.meta.dtype)) for part in options.values]
    put = torch.where(hit, value.to(node.meta.dtype), kept[-1])
    return (one_of(Options([*kept, put], sure | options.there)),)


def _beside(node: Node, facts: Lookup[Facts], shape: Shapes, may: Tensor | None, dim: int) -> Facts:
    """Keep what is zero where nothing is put down but zeros; `may` marks the places that each index may name."""
    named, base = node.bound(), facts(node.bound()["self"])
    source = named.get("src")
    if not isinstance(source, Ref) or shape(source) != shape(named["index"]):
        return UNKNOWN
    found, rank = facts(source), len(node.shape)
    places = torch.ones((1,) * (rank + 1), dtype=torch.bool) if may is None else lifted(may, rank + 1)

    def hit(zeros: Tensor) -> Tensor:
        put = places & ~lifted(zeros, rank).unsqueeze(-1)
        along = put.any(dim, keepdim=True).movedim(-1, dim).squeeze(dim + 1)
        return ~along

    return zero_where(base.zeros() & hit(found.zeros()), base.idle() & hit(found.idle()), node.meta.dtype)


def _literal(argument: object, facts: Lookup[Facts]) -> Tensor | None:
    """Return the one number that is written; None: it is not known, or there are several."""
    if isinstance(argument, bool | int | float):
        return torch.tensor(argument, dtype=torch.float64 if isinstance(argument, float) else None)
    if not isinstance(argument, Ref) or not facts(argument).constant:
        return None
    value = facts(argument).value
    return value.reshape(()) if value is not None and value.numel() == 1 else None


def _fitted(may: Tensor, count: int) -> Tensor | None:
    """Name as many places as there are: beyond those of the row there is none."""
    if may.shape[-1] in (1, count):
        return may
    if may.shape[-1] > count:
        return None
    return torch.nn.functional.pad(may, (0, count - may.shape[-1]))


def with_named(found: Facts, named: Named | None) -> Facts:
    """Say what places an index may name, if anything is known of them."""
    return found if named is None or bool(named.may.all()) else replace(found, named=named)
