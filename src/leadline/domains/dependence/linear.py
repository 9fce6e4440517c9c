"""Dependence through matrix products and fused attention."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from leadline.domains.compact import described, lifted, reserve, shrunk
from leadline.domains.dependence.flow import Flow, Links, everywhere
from leadline.domains.engine import Lookup
from leadline.domains.operations.attentions import Attention, attention_of, by_query_heads, causal_pairs
from leadline.domains.operations.products import product_of
from leadline.domains.values.facts import Facts
from leadline.domains.values.pattern import unmasked
from leadline.graph.ir import Node


def contraction(flow: Flow, node: Node, links: Lookup[Links]) -> tuple[Links, ...]:
    """Depend, through each factor, on the elements whose partner in the product may differ from zero."""
    product = product_of(node, flow.graph)
    sizes = product.sizes(flow.graph)
    left, right = (product.left, product.left_axes), (product.right, product.right_axes)
    parts = []
    for (mine, axes), (other, other_axes) in ((left, right), (right, left)):
        found = links(mine)
        if found is not None:
            nonzero = flow.facts[other].nonzero()
            partner = torch.ones((1,) * len(other_axes), dtype=torch.bool) if nonzero is None else nonzero
            parts.append(_through(flow, node, found, axes, partner, other_axes, product.out_axes, sizes))
    added = None if product.added is None else links(product.added)
    return (flow.all_of(flow.multiplied(node, flow.joined(parts)), added),)


def _through(
    flow: Flow,
    node: Node,
    x: Tensor,
    axes: str,
    partner: Tensor,
    partner_axes: str,
    out_axes: str,
    sizes: dict[str, int],
) -> Tensor:
    """Join, for each element of the product, one factor's elements whose partners are marked.

    Axes that are summed and along which the partner's marks do not vary are joined first; what is left is a matrix
    under a mask, for each place of the axes that both factors have.
    """
    summed = [axis for axis in axes if axis not in out_axes]
    varying = [axis for axis in summed if partner.shape[partner_axes.index(axis)] > 1]
    x = flow.algebra.reduce(x, [axes.index(axis) for axis in summed if axis not in varying])
    shared = [axis for axis in axes if axis in out_axes and axis in partner_axes]
    kept = [axis for axis in axes if axis in out_axes and axis not in shared]
    gained = [axis for axis in partner_axes if axis not in axes]
    x = _ordered(x, axes, [*shared, *kept, *varying])
    partner = _ordered(partner, partner_axes, [*shared, *varying, *gained])
    if varying:
        batch = torch.broadcast_shapes(x.shape[: len(shared)], partner.shape[: len(shared)])  # type: ignore[no-untyped-call]
        length = tuple(sizes[axis] for axis in varying)
        x, partner = (
            x.expand(*batch, *x.shape[len(shared) : len(shared) + len(kept)], *length),
            partner.expand(*batch, *length, *partner.shape[len(shared) + len(varying) :]),
        )
        matrix = x.reshape(prod(batch), -1, prod(length))
        reserve((*matrix.shape[:2], prod(partner.shape[len(shared) + len(varying) :])), 4, described(node))
        out = flow.algebra.contract(matrix, partner.reshape(prod(batch), prod(length), -1))
        out = out.reshape(*batch, *x.shape[len(shared) : len(shared) + len(kept)],
                          *partner.shape[len(shared) + len(varying) :])  # fmt: skip
    else:
        lone = x.reshape(*x.shape, *(1,) * len(gained))
        marks = partner.reshape(*partner.shape[: len(shared)], *(1,) * len(kept), *partner.shape[len(shared) :])
        out = lone * marks if not bool(marks.all()) else lone
    there = [*shared, *kept, *gained]
    out = out.permute([there.index(axis) for axis in out_axes if axis in there])
    places = iter(out.shape)
    return out.reshape([next(places) if axis in there else 1 for axis in out_axes])


def _ordered(x: Tensor, axes: str, order: list[str]) -> Tensor:
    """Keep some axes, in this order; the others have been joined."""
    gone = [i for i, axis in enumerate(axes) if axis not in order]
    rest = [axis for axis in axes if axis in order]
    return (
        x.squeeze(gone).permute([rest.index(axis) for axis in order])
        if gone
        else x.permute([rest.index(axis) for axis in order])
    )


def attention(flow: Flow, node: Node, links: Lookup[Links]) -> tuple[Links, ...]:
    """Depend on the query, on the keys and values that its mask lets through, and on the mask's row."""
    att = attention_of(node)
    *_, queries, _ = flow.shape(att.query)
    keys = flow.shape(att.key)[-2]
    ndim = len(node.shape)
    query, key, value, mask = (
        None if ref is None or (found := links(ref)) is None else lifted(found, ndim)
        for ref in (att.query, att.key, att.value, att.mask)
    )
    key, value = (None if x is None else by_query_heads(x, att, flow.graph) for x in (key, value))
    shown = lifted(shown_pairs(flow, att, queries, keys), ndim)
    reduce = flow.algebra.reduce
    column = None if key is None else reduce(key, [-1]).transpose(-1, -2)
    scores = flow.multiplied(node, _looked_up(flow, node, column, shown, keys))
    rows = flow.multiplied(node, None if query is None else reduce(query, [-1]))
    weights = flow.all_of(scores, rows, _looked_up(flow, node, mask, shown, keys))
    if weights is not None:  # a single key has weight one, whatever its score; a row without any has no weights
        weights = weights * (marked(shown, keys) > 1)
    values = None
    if value is not None:
        values = _looked_up(flow, node, value.transpose(-1, -2), shown, keys, by_channel=True)
    return everywhere(node, flow.multiplied(node, flow.all_of(weights, values)))


def marked(shown: Tensor, keys: int) -> Tensor:
    """Count the keys that each query sees."""
    return shown.sum(-1, keepdim=True) * (keys if shown.shape[-1] == 1 else 1)


def _looked_up(flow: Flow, node: Node, x: Links, shown: Tensor, keys: int, *, by_channel: bool = False) -> Links:
    """Join what stands at the keys that each query sees: ``[…, rows, keys]`` to ``[…, queries, rows]``.

    With one row for each query (a mask) each joins its own; with one for each channel, all queries join all channels.
    """
    if x is None:
        return None
    if not by_channel and x.shape[-2] > 1:
        return flow.algebra.reduce(x * shown, [-1])
    if x.shape[-1] == 1 or bool(shown.all()):
        joined = flow.algebra.reduce(x, [-1]).transpose(-1, -2)
        seen = marked(shown, keys) > 0
        return joined if bool(seen.all()) else joined * seen
    batch = torch.broadcast_shapes(x.shape[:-2], shown.shape[:-2])  # type: ignore[no-untyped-call]
    x, partners = x.expand(*batch, *x.shape[-2:]), shown.transpose(-1, -2)
    partners = partners.expand(*batch, keys, partners.shape[-1])
    reserve((*batch, x.shape[-2], partners.shape[-1]), 4, described(node))
    found = flow.algebra.contract(x.reshape(-1, *x.shape[-2:]), partners.reshape(-1, *partners.shape[-2:]))
    return found.reshape(*batch, x.shape[-2], -1).transpose(-1, -2)


def shown_pairs(flow: Flow, att: Attention, queries: int, keys: int) -> Tensor:
    """Pairs that may have weight, compact. A row masked by -inf throughout has none: the fused kernel returns zeros."""
    shown = causal_pairs(queries, keys) if att.causal else torch.ones(1, 1, dtype=torch.bool)
    if att.mask is None:
        return shown
    facts = flow.facts[att.mask]
    if flow.graph.meta(att.mask).dtype is torch.bool:
        return shown if facts.value is None else shrunk(shown & ~(~facts.value & facts.where_known()))
    added = facts.offset()
    if added is None:
        return shown
    offset = added.masked_fill(~shown, -torch.inf) if att.causal else added
    found, open_ = unmasked(Facts(bias=offset), -1, flow.floor), offset != -torch.inf
    return shrunk(open_ if found is None else found & open_)
