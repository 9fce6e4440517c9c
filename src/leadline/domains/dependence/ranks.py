"""The rank domain: the latest input, in an order, that each element may depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Int
from torch import Tensor

from leadline.domains.compact import shrunk
from leadline.domains.dependence.flow import Flow, Links
from leadline.domains.dependence.rules import walk_by
from leadline.domains.engine import OnUnknown, Walk
from leadline.errors import LayoutError
from leadline.graph.ir import Node, Ref
from leadline.graph.reading import Reading
from leadline.graph.table import Kind
from leadline.results import Coverage

_EXACT = 1 << 24  # float32 holds integers up to here


@dataclass(frozen=True)
class Latest:
    """What one walk found: for each element of the output the latest rank that it may see, -1 for none; compact."""

    ranks: Int[Tensor, "..."]
    links: Mapping[Ref, Links]
    coverage: Coverage


@dataclass(frozen=True)
class Search:
    """A reading, the rules to walk its graph by (over the algebra `Ranks`), and what to do without a rule."""

    reading: Reading
    flow: Flow
    on_unknown: OnUnknown

    def latest(self, *orders: Mapping[str, Int[Tensor, "..."]]) -> tuple[Latest, ...]:
        """Carry nonnegative ranks from the inputs, by name, to the output; inputs left out are visible to all.

        One walk finds what several orders ask for, one result for each.

        Raises
        ------
        LayoutError
            If there are too many ranks to be told apart.
        """
        if any(rank.numel() and int(rank.max()) >= _EXACT - 1 for ranks in orders for rank in ranks.values()):
            raise LayoutError(f"ranks go up to {_EXACT - 2}: give fewer positions, or a coarser order")

        leaves = [partial(_one_more, ranks) for ranks in orders]
        walks = walk_by(self.flow, *leaves, on_unknown=self.on_unknown, output=self.reading.output)
        return tuple(map(self._found, walks))

    def _found(self, walked: Walk[Links]) -> Latest:
        links = walked.values[self.reading.graph.outputs[self.reading.output]]
        known = torch.zeros((1,) * len(self.reading.output_shape)) if links is None else links
        return Latest(known.to(torch.int64) - 1, walked.values, walked.coverage)


def _one_more(ranks: Mapping[str, Int[Tensor, "..."]], node: Node) -> Links:
    """Return one more than the rank of an input's elements: zero is no dependence."""
    if node.kind is not Kind.INPUT or node.name not in ranks:
        return None
    return (shrunk(ranks[node.name]) + 1).to(torch.float32)
