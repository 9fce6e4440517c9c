"""Fused attention: softmax(q kᵀ + mask) v, its pairs and its products."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from jaxtyping import Bool
from torch import Tensor

from leadline.domains.elements import Elements, Lookup, edges
from leadline.graph import Graph, Node, Ref


@dataclass(frozen=True)
class Attention:
    """Operands ``[…, queries, d]``, ``[…, keys, d]``, ``[…, keys, d_v]`` and an optional mask, boolean or added."""

    query: Ref
    key: Ref
    value: Ref
    mask: Ref | None
    causal: bool
    grouped: bool


def attention_of(node: Node) -> Attention:
    """Read a node of kind `attention`."""
    named = node.bound()
    return Attention(
        query=named["query"],
        key=named["key"],
        value=named["value"],
        mask=named["attn_mask"],
        causal=named["is_causal"],
        grouped=bool(named.get("enable_gqa", False)),
    )


def attention_macs(node: Node, graph: Graph) -> int:
    """Multiply-accumulates of both products, masked pairs included."""
    attention = attention_of(node)
    query, key, value = (graph.meta(ref).shape for ref in (attention.query, attention.key, attention.value))
    return prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def attention_edges(node: Node, graph: Graph, elements: Lookup) -> int:
    """Edges of q kᵀ in full, and those of the product with the values for unmasked pairs."""
    attention = attention_of(node)
    query, key, value = (elements(ref) for ref in (attention.query, attention.key, attention.value))
    if attention.grouped:
        key, value = (_repeated(e, query) for e in (key, value))
    scores = edges(query, key, lambda q, k: int((q.sum(-2) * k.sum(-2)).sum()))
    pairs = allowed(attention, graph, elements)
    heads = value.alive.shape[:-2]
    shown = pairs.expand(*heads, *pairs.shape[-2:])
    return scores + int((shown.sum(-2) * (value.alive).sum(-1)).sum())


def allowed(attention: Attention, graph: Graph, elements: Lookup) -> Bool[Tensor, "... queries keys"]:
    """Pairs that the mask lets through, as far as the mask is known."""
    queries, keys = graph.meta(attention.query).shape[-2], graph.meta(attention.key).shape[-2]
    pairs = torch.ones(queries, keys, dtype=torch.bool)
    if attention.causal:
        pairs = pairs.tril()
    return pairs


def _repeated(e: Elements, like: Elements) -> Elements:
    """Give every query head the key or value head of its group."""
    times = like.alive.shape[-3] // e.alive.shape[-3]
    return Elements(*(mask.repeat_interleave(times, -3) for mask in (e.alive, e.unit)))
