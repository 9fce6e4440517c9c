"""The rank domain: the latest input, in an order, that each element may depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from leadline.domains.compact import shrunk
from leadline.domains.dependence.flow import Flow, Links
from leadline.domains.dependence.rules import walk_by
from leadline.domains.engine import OnUnknown
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

    def latest(self, ranks: Mapping[str, Int[Tensor, "..."]]) -> Latest:
        """Carry nonnegative ranks from the inputs, by name, to the output; inputs left out are visible to all.

        Raises
        ------
        LayoutError
            If there are too many ranks to be told apart.
        """
        if any(rank.numel() and int(rank.max()) >= _EXACT - 1 for rank in ranks.values()):
            raise LayoutError(f"ranks go up to {_EXACT - 2}: give fewer positions, or a coarser order")

        def leaf(node: Node) -> Links:
            if node.kind is not Kind.INPUT or node.name not in ranks:
                return None
            return (shrunk(ranks[node.name]) + 1).to(torch.float32)

        name = self.reading.output
        found = walk_by(self.flow, leaf, on_unknown=self.on_unknown, output=name)
        links = found.values[self.reading.graph.outputs[name]]
        known = torch.zeros((1,) * len(self.reading.output_shape)) if links is None else links
        return Latest(known.to(torch.int64) - 1, found.values, found.coverage)
