"""Fused attention: softmax(q kᵀ + mask) v, its pairs and its products."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor

from leadline.domains.compact import lifted, reserve, shrunk
from leadline.domains.operations.elements import ElementsOf, edges, paired
from leadline.domains.values.facts import Bounds, Facts
from leadline.domains.values.logits import unmasked
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


def attention_macs(node: Node, graph: Graph) -> tuple[int, int]:
    """Multiply-accumulates of the scores, and of the product with the values, masked pairs included."""
    attention = attention_of(node)
    query, key, value = (graph.meta(ref).shape for ref in (attention.query, attention.key, attention.value))
    pairs = prod(query[:-1]) * key[-2]
    return pairs * query[-1], pairs * value[-1]


def attention_terms(
    node: Node, graph: Graph, facts: Callable[[Ref], Facts], floor: float = -torch.inf
) -> tuple[int, int]:
    """Multiply-accumulates of both products for unmasked pairs alone; logits pushed down by `floor` are masked."""
    attention = attention_of(node)
    heads, sizes = attention_axes(attention, graph)
    shown = lifted(allowed(attention, graph, facts, floor), len(heads) + 2)
    pairs = paired(sizes, (f"{heads}qk", shown))
    return pairs * sizes["d"], pairs * sizes["v"]


def attention_edges(node: Node, graph: Graph, elements: ElementsOf, facts: Callable[[Ref], Facts]) -> int:
    """Edges of q kᵀ and of the product with the values, for unmasked pairs."""
    attention = attention_of(node)
    heads, sizes = attention_axes(attention, graph)
    query, key, value = (elements(ref) for ref in (attention.query, attention.key, attention.value))
    key, value = (e.through(lambda m: by_query_heads(m, attention, graph)) for e in (key, value))
    used = elements(Ref(node.index)).used
    if used is not None:  # queries whose result nobody reads ask nothing
        asked = used.any(-1, keepdim=True)
        query = query.through(lambda m: m & asked)
    shown = lifted(allowed(attention, graph, facts), len(heads) + 2)
    pairs = f"{heads}qk", shown
    scores = edges(query, key, lambda q, k: paired(sizes, (f"{heads}qd", q), (f"{heads}kd", k), pairs))
    read = [] if used is None else [(f"{heads}qv", used)]
    return scores + paired(sizes, pairs, *read, (f"{heads}kv", value.alive))


def attention_axes(attention: Attention, graph: Graph) -> tuple[str, dict[str, int]]:
    """Name the axes that all operands share, and give the size of every axis: queries, keys, their and the values'."""
    query, key, value = (graph.meta(ref).shape for ref in (attention.query, attention.key, attention.value))
    heads = "abcdefgh"[: len(query) - 2].replace("d", "z")
    sizes = dict(zip(heads, query, strict=False))
    return heads, {**sizes, "q": query[-2], "d": query[-1], "k": key[-2], "v": value[-1]}


def allowed(
    attention: Attention, graph: Graph, facts: Callable[[Ref], Facts], floor: float = -torch.inf
) -> Bool[Tensor, "*heads queries keys"]:
    """Return the pairs that may have weight, compact.

    A row masked by -inf throughout has none: the fused kernel returns zeros.
    """
    every = torch.ones(1, 1, dtype=torch.bool)
    if attention.causal:
        every = causal_pairs(graph.meta(attention.query).shape[-2], graph.meta(attention.key).shape[-2])
    if attention.mask is None:
        return every
    mask = facts(attention.mask)
    if graph.meta(attention.mask).dtype is torch.bool:
        return shrunk(every & ~mask.zeros())
    low, high = (end.masked_fill(~every, -torch.inf) if attention.causal else end for end in mask.bounds())
    shown = unmasked(Bounds(low, high), -1, floor)
    return shrunk(every & (high > -torch.inf) & (True if shown is None else shown))


def causal_pairs(queries: int, keys: int) -> Bool[Tensor, "queries keys"]:
    """Return the pairs of a query and the keys up to its own place."""
    reserve((queries, keys), 1, "a causal mask")
    return torch.arange(queries).unsqueeze(1) >= torch.arange(keys)


def by_query_heads(x: Shaped[Tensor, "..."], attention: Attention, graph: Graph) -> Shaped[Tensor, "..."]:
    """Give every query head what is known of the key or value head of its group."""
    if not attention.grouped or x.shape[-3] == 1:
        return x
    return x.repeat_interleave(graph.meta(attention.query).shape[-3] // graph.meta(attention.key).shape[-3], -3)
