"""Fused attention: softmax(q kᵀ + mask) v, its pairs and its products."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import torch
from helpers.dense.elements import Elements, Lookup, edges, total
from helpers.dense.facts import Facts
from helpers.dense.pattern import unmasked
from jaxtyping import Bool
from torch import Tensor

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


def attention_edges(node: Node, graph: Graph, elements: Lookup, facts: Callable[[Ref], Facts]) -> int:
    """Edges of q kᵀ and of the product with the values, for unmasked pairs."""
    attention = attention_of(node)
    query, key, value = (elements(ref) for ref in (attention.query, attention.key, attention.value))
    if attention.grouped:
        key, value = (_repeated(e, query) for e in (key, value))
    used = elements(Ref(node.index)).used
    if used is not None:  # queries whose result nobody reads ask nothing
        asked = used.any(-1, keepdim=True)
        query = Elements(query.alive & asked, query.unit & asked)
    shown = allowed(attention, graph, facts)
    scores = edges(query, key, lambda q, k: int(((q.double() @ k.double().transpose(-1, -2)) * shown).sum()))
    if used is not None:
        readers = shown.double().transpose(-1, -2) @ used.double()  # [*heads, keys, d_v]
        return scores + int((readers * value.alive).sum())
    readers = total(shown.expand(*value.alive.shape[:-2], *shown.shape[-2:]), [-2])
    return scores + int((readers * total(value.alive, [-1])).sum())


def allowed(attention: Attention, graph: Graph, facts: Callable[[Ref], Facts]) -> Bool[Tensor, "*heads queries keys"]:
    """Return the pairs that a known mask lets through; ``[queries, keys]`` when all heads share them."""
    queries, keys = graph.meta(attention.query).shape[-2], graph.meta(attention.key).shape[-2]
    pairs = torch.ones(queries, keys, dtype=torch.bool)
    if attention.causal:
        return pairs.tril()
    if attention.mask is None:
        return pairs
    mask = facts(attention.mask)
    shown = mask.nonzero() if graph.meta(attention.mask).dtype is torch.bool else unmasked(mask, -1, -torch.inf)
    return pairs if shown is None else pairs & shown


def _repeated(e: Elements, like: Elements) -> Elements:
    """Give every query head the key or value head of its group."""
    times = like.alive.shape[-3] // e.alive.shape[-3]
    return Elements(*(mask.repeat_interleave(times, -3) for mask in (e.alive, e.unit)))
