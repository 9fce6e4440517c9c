"""Dependence through pointwise work, views, reductions, softmax and normalisation."""

from __future__ import annotations

import torch
from torch import Tensor

from leadline.domains.compact import described, reserve
from leadline.domains.dependence.flow import Flow, Links, everywhere, in_full, moved, present
from leadline.domains.engine import Lookup, NoRule
from leadline.domains.values.views import axes_of
from leadline.graph.ir import Node, Ref
from leadline.graph.table import Form, Move, Noise, Statistics, Tally

BY_CHANNEL = frozenset({Statistics.BATCH, Statistics.GROUP})
"""Normalisations whose weights go with the second axis."""
_BY_ROW = frozenset({Statistics.LAYER, Statistics.SQUARES})
"""Normalisations whose statistics stand where the axes were over which they are taken."""
_LARGEST = frozenset({Tally.LARGEST, Tally.LOG_SUM_EXP})


def pointwise(flow: Flow, node: Node, links: Lookup[Links]) -> tuple[Links, ...]:
    """Each element depends on the elements at its place; a known condition chooses its branch."""
    record, named = node.operation.pointwise, node.bound()
    form = Form.FUNCTION if record is None else record.form
    if record is not None and form is Form.CHOICE:
        condition, *branches = (named[name] for name in record.operands)
        if flow.facts[condition].value is not None:
            return everywhere(node, _chosen(flow, condition, *branches, links=links))
    if form is Form.SLOPED:
        return everywhere(node, flow.all_of(links(node.refs[0]), flow.total([links(node.refs[1])])))
    same = None if record is None else record.identity(named)
    if same is not None:
        return everywhere(node, links(named[same]) if isinstance(named[same], Ref) else None)
    return everywhere(node, flow.all_of(*(links(ref) for ref in node.refs)))


def _chosen(flow: Flow, condition: Ref, a: object, b: object, *, links: Lookup[Links]) -> Links:
    facts = flow.facts[condition]
    assert facts.value is not None
    yes, sure = facts.value.bool(), facts.where_known()
    parts = (
        None if not isinstance(branch, Ref) or (found := links(branch)) is None else found * ~(sure & barred)
        for branch, barred in ((a, ~yes), (b, yes))
    )
    return flow.all_of(links(condition), *parts)


def creation(flow: Flow, node: Node, links: Lookup[Links]) -> tuple[Links, ...]:
    """Depend on numbers that were read from tensors, not on a tensor that gives only its shape."""
    like = node.bound().get("self")
    return everywhere(node, flow.total([links(ref) for ref in node.refs if ref != like]))


def noise(flow: Flow, node: Node, links: Lookup[Links]) -> tuple[Links, ...]:
    """Depend on the noise's parameters, not on a tensor that gives only its shape."""
    if node.operation.noise is Noise.SHAPE:
        return everywhere(node, None)
    joined = flow.all_of(*(links(ref) for ref in node.refs))
    return tuple(None if meta is None or meta.dtype is torch.bool else joined for meta in node.outputs)


def view(flow: Flow, node: Node, links: Lookup[Links]) -> tuple[Links, ...]:
    """Carry out the view on the dependences; what it pads with depends on nothing."""
    move = node.operation.move
    if move is Move.PAIRS_TO_COMPLEX:
        return (flow.algebra.reduce(present(links(node.refs[0])), [-1]).squeeze(-1),)
    if move is Move.COMPLEX_TO_PAIRS:
        return (present(links(node.refs[0])).unsqueeze(-1),)
    if move is Move.RETYPE:
        if flow.shape(node.refs[0]) != node.shape:
            raise NoRule
        return (links(node.refs[0]),)
    return moved(flow, node, links, frozenset(node.refs))


def reduction(flow: Flow, node: Node, links: Lookup[Links]) -> tuple[Links, ...]:
    """Depend on every element along the axes; a maximum does not depend on what is minus infinity."""
    x = present(links(node.refs[0]))
    dims = axes_of(node.bound().get("dim"), x.ndim)
    if (placed := ordered(flow, node, x)) is not None:
        return placed
    if node.operation.tally in _LARGEST and len(dims) == 1:
        shown = flow.unmasked(node.refs[0], dims[0])
        x = x if shown is None else x * shown
    reduced = flow.algebra.reduce(x, dims)
    gone = reduced.squeeze([dim % x.ndim for dim in dims]) if x.ndim else reduced
    return tuple(None if meta is None else reduced if len(meta.shape) == x.ndim else gone for meta in node.outputs)


def cumulative(flow: Flow, node: Node, links: Lookup[Links]) -> tuple[Links, ...]:
    """Depend on every element so far."""
    x = present(links(node.refs[0]))
    return everywhere(node, flow.algebra.cumulate(x, node.bound()["dim"]) if x.ndim else x)


def mixing(flow: Flow, node: Node, links: Lookup[Links]) -> tuple[Links, ...]:
    """Depend on every element along the axes, whatever their new length."""
    x = present(links(node.refs[0]))
    if (placed := ordered(flow, node, x)) is not None:
        return placed
    return everywhere(node, flow.algebra.reduce(x, axes_of(node.bound().get("dim", -1), x.ndim)))


def ordered(flow: Flow, node: Node, x: Tensor) -> tuple[Links, ...] | None:
    """Depend, in the order of a row's elements, on those that may stand there; None: on all of the row."""
    named = flow.facts[Ref(node.index, len(node.outputs) - 1)].named
    if named is None or node.operation.first is None:
        return None
    ndim = len(flow.shape(node.refs[0]))
    dim = node.bound()["dim"] % ndim
    row = in_full(flow, node, node.refs[0], x, dim).movedim(dim, -1)
    row = row.unsqueeze(dim) if len(node.shape) == ndim else row
    return everywhere(node, among(flow, node, row, named.may))


def among(flow: Flow, node: Node, row: Tensor, may: Tensor) -> Tensor:
    """Join, of the elements along a last axis, those that are marked."""
    reserve(torch.broadcast_shapes(row.shape, may.shape), 4, described(node))
    return flow.algebra.reduce(row * may, [row.ndim - 1]).squeeze(-1)


def softmax(flow: Flow, node: Node, links: Lookup[Links]) -> tuple[Links, ...]:
    """Depend on every logit of the row that is not masked; on its own, where what it is divided by cancels."""
    x, dim = present(links(node.refs[0])), node.args[1]
    if Ref(node.index) in flow.cut(node):
        return everywhere(node, x)
    shown = flow.unmasked(node.refs[0], dim)
    total = flow.algebra.reduce(x if shown is None else x * shown, axes_of(dim, x.ndim))
    return everywhere(node, flow.all_of(total, x) if node.operation.logarithm else total)


def normalisation(flow: Flow, node: Node, links: Lookup[Links]) -> tuple[Links, ...]:
    """Depend on the group that shares statistics; further outputs are such statistics."""
    x = links(node.refs[0])
    mixed = None if x is None else _statistics(flow, node, x)
    by_channel = node.operation.statistics in BY_CHANNEL
    extra = [part for ref in node.refs[1:] if (part := links(ref)) is not None]
    if by_channel:
        extra = [part.reshape(-1, *(1,) * (len(node.shape) - 2)) if part.ndim == 1 else part for part in extra]
    if node.operation.statistics in _BY_ROW:
        return (flow.all_of(mixed, *extra), *(mixed,) * (len(node.outputs) - 1))
    total = flow.total([links(ref) for ref in node.refs])
    return (flow.all_of(mixed, *extra), *(total,) * (len(node.outputs) - 1))


def _statistics(flow: Flow, node: Node, x: Tensor) -> Tensor:
    """Join what shares statistics."""
    pooled = flow.algebra.reduce(x, shared_axes(node))
    if node.operation.statistics is not Statistics.GROUP or pooled.shape[1] == 1:
        return pooled
    named = node.bound()
    groups = int(named["num_groups"] if "num_groups" in named else named["group"])
    split = torch.unflatten(pooled, 1, (groups, -1))
    return flow.algebra.reduce(split, [2]).expand_as(split).flatten(1, 2)


def shared_axes(node: Node) -> tuple[int, ...]:
    """Return the axes along which a normalisation takes its statistics; groups of channels come besides."""
    ndim, named, shares = len(node.shape), node.bound(), node.operation.statistics
    if shares is Statistics.BATCH and node.operation.frozen(named):
        return ()
    if shares in (Statistics.BATCH, Statistics.WEIGHT):
        own = 1 if shares is Statistics.BATCH else named["dim"] % ndim
        return tuple(axis for axis in range(ndim) if axis != own)
    return tuple(range(2 if shares is Statistics.GROUP else ndim - len(named["normalized_shape"]), ndim))
