"""The grid recurrence and its adjoint in place: what runs wherever nothing is to be differentiated any further.

Only what must wait for the neighbours runs front by front, in as few calls as will do, since a front's arithmetic costs
little more than the calls themselves: one product with all neighbours, and the cells. The input's product, the cells'
slopes and all gradients of weights are one product or pass each, over all cells. See `columns` for the tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from leadline.grid.cells import Cell, Weights
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


class Swept(NamedTuple):
    """The last layer's outputs, all carries, and the gates that the adjoint reads again."""

    out: Float[Tensor, "b h w k"]
    carry: Float[Tensor, "d s k n"]
    gates: Float[Tensor, "d g k n"]


def forward(cell: type[Cell], x: Float[Tensor, "b h w k_in"], weights: Weights) -> Swept:
    """Run the recurrence."""
    plan, k, last = layout(x, weights), weights.units, weights.layers - 1
    carry, gates = (x.new_empty(weights.layers, n, k, plan.length) for n in (cell.states, cell.kept))
    plan.clear(carry)
    pre, frontier, scaled = gates if cell.kept else carry, Frontier.before(cell.states, k, plan, x), cell.scale(weights)
    _drive(pre.flatten(1, 2), plan, x, scaled)
    multiply, (flat, mixing, outputs) = _product(pre.flatten(1, 2), scaled.mixing(), frontier.outputs)
    fronts = zip(plan.slices, *(plan.fronts(table) for table in (pre, flat, carry)), strict=True)
    for place, front, product, moved in fronts:
        multiply(product, place.layers_of(mixing), place.rows_of(outputs), out=product)
        cell.advance(front, place.rows_of(frontier.states), moved)
        for slot, part in frontier.readers(place, moved):
            slot.copy_(part)
    return Swept(plan.restore(carry[last, 0].T, last), carry, gates)


def adjoint(
    cell: type[Cell],
    x: Float[Tensor, "b h w k_in"],
    weights: Weights,
    run: Swept,
) -> tuple[Float[Tensor, "b h w k_in"], Weights]:
    """Return the gradient of the input and the weights; `run.out` is the outputs' gradient."""
    plan, last = layout(x, weights), weights.layers - 1
    grad = torch.zeros_like(run.carry)
    grad[last, 0] = plan.gather(run.out, last).T
    plan.clear(grad)
    gates = run.gates if cell.kept else run.carry
    near = plan.neighbours(run.carry)
    delta, through = cell.slopes(gates, run.carry, near)
    plan.clear(delta)
    plan.clear(through)
    frontier = Frontier.before(cell.states, weights.units, plan, x)
    multiply, (flat, mixing, outputs) = _product(delta.flatten(1, 2), weights.mixing().mT, frontier.outputs)
    fronts = zip(plan.slices, *(plan.fronts(table) for table in (gates, through, grad, delta, flat)), strict=True)
    for place, known, passing, arrived, front, product in reversed(list(fronts)):
        for slot, part in frontier.readers(place, arrived):
            part.add_(slot)
        cell.retreat(known, passing, arrived, front, place.rows_of(frontier.states))
        moved = place.rows_of(outputs)
        multiply(moved, place.layers_of(mixing), product, beta=0, out=moved)
    return _gradients(x, weights, plan, delta.flatten(1, 2), near[:, 0])


def layout(x: Float[Tensor, "b h w k_in"], weights: Weights) -> Columns:
    """Return the tables' layout."""
    batch, height, width, _ = x.shape
    return Columns.of(weights.layers, height, width, batch)


def _gradients(
    x: Float[Tensor, "b h w k_in"],
    weights: Weights,
    plan: Columns,
    delta: Float[Tensor, "d gk n"],
    near: Float[Tensor, "d k 2 n"],
) -> tuple[Float[Tensor, "b h w k_in"], Weights]:
    """Return the gradients of the input and the weights, given all those of pre-activations."""
    mixing = torch.bmm(delta, near.flatten(1, 2).mT).reshape(*weights.weight_north.shape, 2)
    north, west = (side.clone(memory_format=torch.contiguous_format) for side in mixing.unbind(3))
    # What lies below stands in the western neighbour's column, a layer down.
    below = torch.bmm(delta[1:], near[:-1, :, 1].mT)
    g_x = plan.restore(delta[0].T @ weights.weight_in, 0)
    return g_x, Weights(delta[0] @ plan.gather(x, 0), below, north, west, delta.sum(-1))


def _drive(pre: Float[Tensor, "d gk n"], plan: Columns, x: Float[Tensor, "b h w k_in"], weights: Weights) -> None:
    """Write what pre-activations receive from outside the recurrence: the input in the first layer, and biases.

    Beside the grid they are 0, so that cells stay 0 there until the fronts have passed the grid.
    """
    torch.addmm(weights.bias[0, :, None], weights.weight_in, plan.gather(x, 0).T, out=pre[0])
    pre[1:] = weights.bias[1:, :, None]
    plan.clear(pre)


def _product(*tables: Tensor) -> tuple[Callable[..., Tensor], Iterator[Tensor]]:
    """Return the product of all layers of a front, and tables as it takes them; a single layer's is not batched."""
    multiply = torch.addmm if len(tables[0]) == 1 else torch.baddbmm
    return multiply, (table.squeeze(0) for table in tables)
