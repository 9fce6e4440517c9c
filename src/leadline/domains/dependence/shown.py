"""Which keys each query of an attention may give weight, worked out once for each mask."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from leadline.domains.compact import lifted
from leadline.domains.dependence.algebra import Mask
from leadline.domains.dependence.flow import Flow
from leadline.domains.operations.attentions import Attention, allowed
from leadline.domains.values.facts import UNKNOWN


@dataclass(frozen=True, eq=False)
class Shown:
    """Pairs that may have weight, compact, the number of keys, and the queries of which a mask may hide any."""

    pairs: Bool[Tensor, "*heads queries keys"]
    keys: int
    wavering: Bool[Tensor, "*heads queries 1"]

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
    """Return the pairs that an attention of `ndim` axes shows."""
    queries, keys = flow.shape(att.query)[-2], flow.shape(att.key)[-2]
    facts = UNKNOWN if att.mask is None else flow.facts[att.mask]

    def found() -> Shown:
        pairs = lifted(allowed(att, flow.graph, flow.facts.__getitem__, flow.floor), ndim)
        truths = att.mask is not None and flow.graph.meta(att.mask).dtype is torch.bool
        hidden = ~facts.where_known() if truths else facts.bounds().low == -torch.inf
        return Shown(pairs, keys, (pairs & lifted(hidden, ndim)).any(-1, keepdim=True))

    return flow.once(("shown", id(facts), att.causal, queries, keys, ndim), found)
