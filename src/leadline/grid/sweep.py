"""Run a recurrence over a stack of grids, one front at a time.

Everything here is plain, functional torch: tangents and adjoints that are to be differentiated or batched further, to
any order. Plain training runs `kernels` instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from leadline.grid.fronts import Front, Schedule


@dataclass(frozen=True)
class Neighbours:
    """What the cells of a front read from the front before: zeros where a neighbour lies outside the grid.

    `below` is None where there is one layer only.
    """

    north: Float[Tensor, "l r b m"]
    west: Float[Tensor, "l r b m"]
    below: Float[Tensor, "l r b m"] | None

    def features(self, width: int) -> Float[Tensor, "l n s"]:
        """Return the first `width` features of all neighbours side by side, a front's cells and batch as one axis."""
        sides = [self.north, self.west] if self.below is None else [self.north, self.west, self.below]
        if self.north.shape[-1] > width:
            sides = [side[..., :width] for side in sides]
        return torch.cat(sides, -1).flatten(1, 2)


FrontStep = Callable[[Front, Neighbours, tuple[Tensor, ...]], Tensor]


def sweep(
    step: FrontStep, tables: tuple[Tensor, ...], width: int, *, keep: int | None = None, reverse: bool = False
) -> Float[Tensor, "l h w b m"]:
    """Apply `step` to every front and return what each cell carries to its neighbours, the first `keep` features of it.

    `step` is called with a front, its neighbours' carries (`width` features of each cell) and its part of each table,
    which are what the cells read besides, ``[layers, h, w, b, any]``; it returns the front's carry, ``[layers, rows, b,
    width]``. In `reverse` it runs from the last layer's south-east corner back; "north" is then south, "west" east and
    "below" above.
    """
    layers, height, columns, batch, _ = tables[0].shape
    schedule = Schedule.of(layers, height, columns)
    packed = [schedule.pack(table, reverse=reverse) for table in tables]
    inside = schedule.pack(tables[0].new_ones(layers, height, columns, 1, 1), reverse=False) if layers > 1 else None
    past, carry, carries = Front(slice(0, 1), slice(0, 1), True), tables[0].new_zeros(1, 1, batch, width), []
    for s, front in enumerate(schedule.fronts):
        carry = step(front, _neighbours(front, past, carry, layers), tuple(fronts[s] for fronts in packed))
        if inside is not None and not front.full:
            carry = carry * inside[s]
        carries.append(carry if keep is None else carry[..., :keep])
        past = front
    return schedule.unpack(carries, reverse=reverse)


def _neighbours(front: Front, past: Front, carry: Tensor, layers: int) -> Neighbours:
    """Cut the three shifted views of the front before out of its zero-padded carry."""
    above, left = front.rows.start - past.rows.start, front.layers.start - past.layers.start
    depth, rows = front.shape
    if layers == 1:
        padded = pad(carry, (0, 0, 0, 0, 1, 1))
        return Neighbours(padded[:, above : above + rows], padded[:, above + 1 : above + 1 + rows], None)
    padded = pad(carry, (0, 0, 0, 0, 1, 1, 1, 1))
    same, under = slice(left + 1, left + 1 + depth), slice(left, left + depth)
    here, over = slice(above + 1, above + 1 + rows), slice(above, above + rows)
    return Neighbours(padded[same, over], padded[same, here], padded[under, here])
