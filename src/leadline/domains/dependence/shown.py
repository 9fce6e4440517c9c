"""Which keys each query of an attention may give weight, worked out once for each mask."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from leadline.domains.compact import lifted, shrunk
from leadline.domains.dependence.algebra import Mask
from leadline.domains.dependence.flow import Flow
from leadline.domains.operations.attentions import Attention, causal_pairs
from leadline.domains.values.facts import Facts
from leadline.domains.values.pattern import unmasked


@dataclass(frozen=True, eq=False)
class Shown:
    """Pairs that may have weight, compact, and the number of keys."""

    pairs: Bool[Tensor, "*heads queries keys"]
    keys: int

    @cached_property
    def count(self) -> Int[Tensor, "*heads queries 1"]:
        """How many keys each query sees."""
        return self.pairs.sum(-1, keepdim=True) * (self.keys if self.pairs.shape[-1] == 1 else 1)

    @cached_property
    def everything(self) -> bool:
        """Whether every query sees every key."""
        return bool(self.pairs.all())

    @cached_property
    def partners(self) -> Mask:
        """The queries that see each key, for each place of the axes before."""
        pairs = self.pairs.expand(*self.pairs.shape[:-1], self.keys).transpose(-1, -2)
        return Mask(pairs.reshape(-1, *pairs.shape[-2:]))


def shown_pairs(flow: Flow, att: Attention, ndim: int) -> Shown:
    """Return the pairs that an attention of `ndim` axes shows.

    A row masked by -inf throughout has none: the fused kernel returns zeros.
    """
    queries, keys = flow.shape(att.query)[-2], flow.shape(att.key)[-2]
    facts = None if att.mask is None else flow.facts[att.mask]
    key = "shown", id(facts), att.causal, queries, keys, ndim
    return flow.once(key, lambda: Shown(lifted(_pairs(flow, att, queries, keys), ndim), keys))


def _pairs(flow: Flow, att: Attention, queries: int, keys: int) -> Tensor:
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
