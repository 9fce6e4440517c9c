"""The grid recurrence and its adjoint in place: what runs wherever nothing is to be differentiated any further.

Only what must wait for the neighbours runs front by front: the recurrent products and the cells. The input's product
and all gradients of weights are one product each, over all cells. See `columns` for the tables.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from leadline.ops.cells import Cell
from leadline.ops.columns import Columns
from leadline.ops.weights import Weights


class Run(NamedTuple):
    """The last layer's outputs, all carries, and the gates that the adjoint reads again."""

    out: Float[Tensor, "b h w k"]
    carry: Float[Tensor, "d s k n"]
    gates: Float[Tensor, "d g k n"]


def forward(cell: type[Cell], x: Float[Tensor, "b h w k_in"], weights: Weights) -> Run:
    """Run the recurrence."""
    plan, k, last = layout(x, weights), weights.units, weights.layers - 1
    carry, gates = (x.new_empty(weights.layers, n, k, plan.length) for n in (cell.states, cell.kept))
    pre = gates if cell.kept else carry
    flat, h, sides, mask = pre.flatten(1, 2), carry[:, 0], weights.sides(), plan.mask(x)
    torch.addmm(weights.bias[0, :, None], weights.weight_in, plan.gather(x, 0).T, out=flat[0])
    flat[1:] = weights.bias[1:, :, None]
    for place in plan.places:
        for side, ((layers, here), (past, there)) in place.links.items():
            flat[layers, :, here].baddbmm_(sides[side][layers], h[past, :, there])
        cell.advance(pre, carry, place)
        if not place.full:
            carry[place.layers, :, :, place.columns].mul_(mask[place.layers, :, :, place.columns])
        if place.layers != slice(0, last + 1):  # layers that are not on this front hold nothing in its columns
            for idle in (slice(0, place.layers.start), slice(place.layers.stop, last + 1)):
                carry[idle, :, :, place.columns] = 0
    return Run(plan.restore(h[last].T, last), carry, gates)


def adjoint(
    cell: type[Cell],
    x: Float[Tensor, "b h w k_in"],
    weights: Weights,
    run: Run,
    g_carry: Float[Tensor, "d s k n"] | None,
) -> tuple[Float[Tensor, "b h w k_in"], Weights]:
    """Return the gradient of the input and the weights; `run.out` is the outputs' gradient, `g_carry` the carries'."""
    plan, last, mask = layout(x, weights), weights.layers - 1, layout(x, weights).mask(x)
    grad = torch.zeros_like(run.carry) if g_carry is None else g_carry.clone()
    grad[last, 0] += plan.gather(run.out, last).T
    gates = run.gates if cell.kept else run.carry
    delta = torch.zeros_like(gates)
    flat, sides = delta.flatten(1, 2), {side: weight.mT for side, weight in weights.sides().items()}
    for place in reversed(plan.places):
        if not place.full:
            grad[place.layers, :, :, place.columns].mul_(mask[place.layers, :, :, place.columns])
        cell.retreat(gates, run.carry, grad, delta, place)
        for side, ((layers, here), (past, there)) in place.links.items():
            grad[past, 0, :, there].baddbmm_(sides[side][layers], flat[layers, :, here])
    north, west = (plan.shifted(run.carry[:, 0], side).mT for side in (plan.north, plan.west))
    return plan.restore(flat[0].T @ weights.weight_in, 0), Weights(
        flat[0] @ plan.gather(x, 0),
        torch.bmm(flat[1:], west[:-1]),
        torch.bmm(flat, north),
        torch.bmm(flat, west),
        flat.sum(-1),
    )


def layout(x: Float[Tensor, "b h w k_in"], weights: Weights) -> Columns:
    """Return the tables' layout."""
    batch, height, width, _ = x.shape
    return Columns.of(weights.layers, height, width, batch)
