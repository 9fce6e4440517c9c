"""Dependence through fused attention."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from leadline.domains.compact import described, lifted, reserve
from leadline.domains.dependence.algebra import Mask
from leadline.domains.dependence.flow import Flow, Links, everywhere
from leadline.domains.dependence.shown import Shown, shown_pairs
from leadline.domains.engine import Lookup
from leadline.domains.operations.attentions import Attention, attention_of, by_query_heads
from leadline.graph.ir import Node


def attention(flow: Flow, node: Node, links: Lookup[Links], least: int = 2) -> tuple[Links, ...]:
    """Depend on the query, on the keys and values that its mask lets through, and on the mask's row.

    Of fewer keys than `least` the scores do not count: a single one has weight one, whatever its score.
    """
    att, ndim = attention_of(node), len(node.shape)
    shown = shown_pairs(flow, att, ndim)
    query, key, value, mask = (None if x is None else lifted(x, ndim) for x in operands(flow, att, links))
    column = None if key is None else _seen(flow, node, flow.algebra.reduce(key, [-1]).transpose(-1, -2), shown)
    row = None if mask is None else _row(flow, node, mask, shown)
    asking = flow.multiplied(node, flow.reduced(query, -1))
    weights = flow.all_of(flow.multiplied(node, column), asking)
    if weights is not None:  # a row without any key has no weights
        weights = weights * (shown.count >= least)
    if row is not None:  # whether a single one is there may be for the mask to say
        weights = flow.all_of(weights, row * ((shown.count >= least) | shown.wavering))
    values = None if value is None else _seen(flow, node, value.transpose(-1, -2), shown)
    return everywhere(node, flow.multiplied(node, flow.all_of(weights, values)))


def operands(flow: Flow, att: Attention, links: Lookup[Links]) -> tuple[Links, Links, Links, Links]:
    """Return the dependences of query, key, value and mask: of keys and values, for every query head."""
    query, key, value, mask = (None if ref is None else links(ref) for ref in (att.query, att.key, att.value, att.mask))
    key, value = (None if x is None else by_query_heads(x, att, flow.graph) for x in (key, value))
    return query, key, value, mask


def _row(flow: Flow, node: Node, mask: Tensor, shown: Shown) -> Tensor:
    """Join what each query's row of a mask depends on, ``[…, queries, keys]`` to ``[…, queries, 1]``."""
    return flow.algebra.reduce(mask * shown.pairs, [-1]) if mask.shape[-2] > 1 else _seen(flow, node, mask, shown)


def _seen(flow: Flow, node: Node, x: Tensor, shown: Shown) -> Tensor:
    """Join what stands at the keys that each query sees, ``[…, channels, keys]`` to ``[…, queries, channels]``."""
    if x.shape[-1] == 1 or shown.everything:
        joined = flow.algebra.reduce(x, [-1]).transpose(-1, -2)
        return joined if shown.everything else joined * (shown.count > 0)
    batch = torch.broadcast_shapes(x.shape[:-2], shown.pairs.shape[:-2])
    queries = shown.pairs.shape[-2]
    reserve((*batch, x.shape[-2], queries), 4, described(node))
    if prod(shown.pairs.shape[:-2]) == 1:  # all heads and samples share the mask
        found = flow.algebra.contract(x.reshape(1, -1, x.shape[-1]), shown.partners)
        return found.reshape(*x.shape[:-1], queries).transpose(-1, -2)
    pairs = shown.pairs.expand(*batch, queries, shown.keys).transpose(-1, -2).reshape(-1, shown.keys, queries)
    found = flow.algebra.contract(x.expand(*batch, *x.shape[-2:]).reshape(-1, *x.shape[-2:]), Mask(pairs))
    return found.reshape(*batch, x.shape[-2], queries).transpose(-1, -2)
