"""What the cells of the last front hand on to those of the next, by layer and row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from leadline.grid.columns import Columns, FrontSlice


@dataclass(frozen=True)
class Frontier:
    """One slot for each layer, row and neighbour that is read, kept where the reader stands.

    The neighbours of the cell in row i are the cell that its own row reached last (west), the one that row i - 1
    reached last (north), and the one that row i of the layer below reached last. Slots of neighbours outside the grid
    are never written and stay 0. The adjoint runs the other way.

    `outputs` are ``[layers, sides · units, (rows + 1) · batch]``, the sides being north, west and, with several layers,
    below; `states` ``[layers, further states · sides, units, (rows + 1) · batch]``, the sides of one state after
    another. `north`, `west` and `below` are the slots of one side: of the outputs, then of each further state (below:
    of the outputs only).
    """

    outputs: Float[Tensor, "d sk n"]
    states: Float[Tensor, "d t k n"]
    north: Float[Tensor, "d s k n"]
    west: Float[Tensor, "d s k n"]
    below: Float[Tensor, "d-1 k n"] | None
    batch: int

    @staticmethod
    def before(states: int, units: int, plan: Columns, like: Tensor) -> Frontier:
        """Return the frontier before the first front: nothing but zeros."""
        layers, height, _ = plan.grid
        sides = 2 if layers == 1 else 3
        table = like.new_zeros(layers, states * sides, units, (height + 1) * plan.batch)
        return Frontier(
            table[:, :sides].flatten(1, 2),
            table[:, sides:],
            table[:, 0::sides],
            table[:, 1::sides],
            None if layers == 1 else table[1:, 2],
            plan.batch,
        )

    def readers(self, place: FrontSlice, carry: Float[Tensor, "l s k n"]) -> Iterator[tuple[Tensor, Tensor]]:
        """Return the slots in which a front's cells are read by later ones, each beside the part of their carry."""
        yield place.rows_of(self.north, self.batch), carry
        yield place.rows_of(self.west), carry
        if self.below is not None:
            above = place.rows_of(self.below)
            yield above, carry[: len(above), 0]
