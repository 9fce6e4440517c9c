"""Dependence through pointwise work, views, reductions, softmax and normalisation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

import torch
from helpers.dense.flow import Flow, Links, carried, present, shaped
from helpers.dense.pattern import unmasked
from torch import Tensor

from leadline.domains.engine import Lookup, NoRule
from leadline.graph.ir import Node, Ref


def pointwise(flow: Flow, node: Node, links: Lookup[Links]) -> tuple[Links, ...]:
    """Each element depends on the elements at its place; a known condition chooses its branch."""
    packet = node.op.split(".")[1]
    if packet in ("where", "masked_fill"):
        condition, a, b = node.args if packet == "where" else (node.args[1], node.args[2], node.args[0])
        facts = flow.facts[condition]
        if facts.value is not None:
            yes, sure = facts.value.bool(), facts.where_known(flow.shape(condition))
            chosen = [
                None if part is None else part.expand(node.shape) * ~(sure & barred)
                for part, barred in ((_links(a, links), ~yes), (_links(b, links), yes))
            ]
            return shaped(node, flow.all_of(links(condition), *chosen))
    if packet in ("fill", "copy"):
        return shaped(node, links(node.refs[-1]) if len(node.refs) > 1 else None)
    if packet == "prelu":
        weight = links(node.refs[1])
        return shaped(node, flow.all_of(links(node.refs[0]), flow.total([weight])))
    return shaped(node, flow.all_of(*(links(ref) for ref in node.refs)))


def _links(argument: object, links: Lookup[Links]) -> Links:
    return links(argument) if isinstance(argument, Ref) else None


def creation(flow: Flow, node: Node, links: Lookup[Links]) -> tuple[Links, ...]:
    """Depend on numbers that were read from tensors, not on a tensor that gives only its shape."""
    like = node.bound().get("self")
    return shaped(node, flow.total([links(ref) for ref in node.refs if ref != like]))


def noise(flow: Flow, node: Node, links: Lookup[Links]) -> tuple[Links, ...]:
    """Depend on the noise's parameters, not on a tensor that gives only its shape."""
    if node.op.split(".")[1].endswith("_like") or node.op.split(".")[1].startswith("rand"):
        return (None,) * len(node.outputs)
    joined = flow.all_of(*(links(ref) for ref in node.refs))
    return tuple(
        None if joined is None or meta is None or meta.dtype is torch.bool else joined.expand(meta.shape)
        for meta in node.outputs
    )


def view(flow: Flow, node: Node, links: Lookup[Links]) -> tuple[Links, ...]:
    """Carry out the view on the dependences; what it pads with depends on nothing."""
    packet = node.op.split(".")[1]
    if packet == "view_as_complex":
        return shaped(node, flow.algebra.reduce(present(links(node.refs[0])), [-1]).squeeze(-1))
    if packet == "view_as_real":
        return shaped(node, present(links(node.refs[0])).unsqueeze(-1))
    if node.op == "aten.view.dtype":  # the same bytes read as another type
        if flow.shape(node.refs[0]) != node.shape:
            raise NoRule
        return shaped(node, links(node.refs[0]))
    return carried(flow, node, links, frozenset(node.refs))


def reduction(flow: Flow, node: Node, links: Lookup[Links]) -> tuple[Links, ...]:
    """Depend on every element along the axes; a maximum does not depend on what is minus infinity."""
    x = present(links(node.refs[0]))
    dims = _dims(node.bound().get("dim"), x.ndim)
    if node.op.split(".")[1] in ("amax", "max", "logsumexp") and len(dims) == 1:
        shown = unmasked(flow.facts[node.refs[0]], dims[0], flow.floor)
        x = x if shown is None else x * shown
    reduced = flow.algebra.reduce(x, dims)
    return tuple(None if meta is None else reduced.reshape(meta.shape) for meta in node.outputs)


def _dims(dim: int | tuple[int, ...] | None, ndim: int) -> tuple[int, ...]:
    if dim is None or dim == ():
        return tuple(range(ndim))
    return (dim,) if isinstance(dim, int) else dim


def cumulative(flow: Flow, node: Node, links: Lookup[Links]) -> tuple[Links, ...]:
    """Depend on every element so far."""
    return shaped(node, flow.algebra.cumulate(present(links(node.refs[0])), node.bound()["dim"]))


def mixing(flow: Flow, node: Node, links: Lookup[Links]) -> tuple[Links, ...]:
    """Depend on every element along the axes, whatever their new length."""
    x = present(links(node.refs[0]))
    return shaped(node, flow.algebra.reduce(x, _dims(node.bound().get("dim", -1), x.ndim)))


def softmax(flow: Flow, node: Node, links: Lookup[Links]) -> tuple[Links, ...]:
    """Depend on every logit of the row that is not masked."""
    x, dim = present(links(node.refs[0])), node.args[1]
    shown = unmasked(flow.facts[node.refs[0]], dim, flow.floor)
    total = flow.algebra.reduce(x if shown is None else x * shown, [dim])
    return shaped(node, flow.all_of(total, x) if "log" in node.op else total)


def normalisation(flow: Flow, node: Node, links: Lookup[Links]) -> tuple[Links, ...]:
    """Depend on the group that shares statistics; further outputs are such statistics."""
    named = node.bound()
    x = links(node.refs[0])
    groups = _statistics(flow, node, named)
    mixed = None if x is None else groups(x)
    channelwise = "layer_norm" not in node.op and "rms_norm" not in node.op and "weight_norm" not in node.op
    extra = []
    for ref in node.refs[1:]:
        part = links(ref)
        if part is not None:
            extra.append(part.reshape(-1, *(1,) * (len(node.shape) - 2)) if channelwise and part.ndim == 1 else part)
    out = flow.all_of(None if mixed is None else mixed.expand(node.shape), *extra)
    total = flow.total([links(ref) for ref in node.refs])
    rest = (None if m is None or total is None else total.expand(m.shape) for m in node.outputs[1:])
    return (None if out is None else out.expand(node.shape), *rest)


def _statistics(flow: Flow, node: Node, named: Mapping[str, object]) -> Callable[[Tensor], Tensor]:
    reduce, packet = flow.algebra.reduce, node.op.split(".")[1]
    if "batch_norm" in packet:
        training = named.get("training", named.get("train", "no_training" not in packet))
        return lambda x: reduce(x, [d for d in range(x.ndim) if d != 1]) if training else x
    if "group_norm" in packet:
        groups = named.get("num_groups", named.get("group"))
        assert isinstance(groups, int)
        n = node.shape[0]
        return lambda x: (
            reduce(x.reshape(n, groups, -1), [2]).expand(n, groups, prod(node.shape) // n // groups).reshape(node.shape)
        )
    if "weight_norm" in packet:
        kept = named["dim"]
        assert isinstance(kept, int)
        return lambda x: reduce(x, [d for d in range(x.ndim) if d != kept % x.ndim])
    shape = named["normalized_shape"]
    assert isinstance(shape, tuple)
    return lambda x: reduce(x, range(x.ndim - len(shape), x.ndim))
