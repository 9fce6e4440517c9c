"""Which keys each query of an attention may give weight, worked out once for each mask."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from jaxtyping import Bool, Int
from torch import Tensor

from leadline.domains.compact import lifted
from leadline.domains.dependence.algebra import Mask
from leadline.domains.dependence.flow import Flow
from leadline.domains.operations.attentions import Attention, allowed


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
    """Return the pairs that an attention of `ndim` axes shows."""
    queries, keys = flow.shape(att.query)[-2], flow.shape(att.key)[-2]
    facts = None if att.mask is None else flow.facts[att.mask]
    key = "shown", id(facts), att.causal, queries, keys, ndim
    return flow.once(key, lambda: Shown(lifted(allowed(att, flow.graph, flow.facts.__getitem__, flow.floor), ndim), keys))
