"""Which cells of a stack of grids may run together: the fronts of the schedule ``layer + row + column = s``.

A cell needs its north and west neighbours and the cell below it in the stack; all three lie on front ``s - 1``, so one
front after the other is a valid order (Lamport's hyperplane method) and `layers + H + W - 2` steps are enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad


@dataclass(frozen=True)
class Front:
    """The smallest rectangle of (layer, row) pairs that holds one front; the column of a pair follows from the front.

    With several layers the rectangle's corners may lie outside the grid (`full` is False); those slots read and hold
    zeros.
    """

    layers: slice
    rows: slice
    full: bool

    @property
    def shape(self) -> tuple[int, int]:
        """Number of layers and rows."""
        return self.layers.stop - self.layers.start, self.rows.stop - self.rows.start


@dataclass(frozen=True, eq=False)
class Schedule:
    """The fronts of a stack of grids, and where each cell stands when the fronts are laid one after another.

    `cells` holds for each packed slot its cell (layer-major raster index), or the number of cells where the slot is
    outside; `slots` for each cell its packed slot.

    Examples
    --------
    >>> plan = Schedule.of(layers=3, height=28, width=28)
    >>> len(plan.fronts)
    57
    """

    grid: tuple[int, int, int]
    fronts: tuple[Front, ...]
    cells: npt.NDArray[np.int64]
    slots: npt.NDArray[np.int64]

    @staticmethod
    @lru_cache(maxsize=64)
    def of(layers: int, height: int, width: int) -> Schedule:
        """Return the schedule of `layers` stacked grids of `height × width` cells."""
        size, cells, fronts = layers * height * width, [], []
        for s in range(layers + height + width - 2):
            l0, l1 = max(0, s - (height + width - 2)), min(layers, s + 1)
            r0, r1 = max(0, s - (layers - 1) - (width - 1)), min(height, s + 1)
            layer, row = np.mgrid[l0:l1, r0:r1].reshape(2, -1)
            column = s - layer - row
            inside = (column >= 0) & (column < width)
            cells.append(np.where(inside, (layer * height + row) * width + column, size))
            fronts.append(Front(slice(l0, l1), slice(r0, r1), bool(inside.all())))
        packed = np.concatenate(cells)
        slots = np.empty(size + 1, dtype=np.int64)
        slots[packed] = np.arange(len(packed))
        return Schedule((layers, height, width), tuple(fronts), packed, slots[:size])

    def pack(self, table: Float[Tensor, "l h w b m"], *, reverse: bool) -> list[Float[Tensor, "_ _ b m"]]:
        """Cut a table of cells into fronts; `reverse` turns the stack and the grid round, so the last cell is first."""
        cells = len(self.slots) - 1 - self.cells if reverse else self.cells
        flat = table.flatten(0, 2)
        if len(self.cells) > len(self.slots):
            cells = np.where(self.cells == len(self.slots), len(self.slots), cells)
            flat = pad(flat, (0, 0, 0, 0, 0, 1))  # the cell that slots outside the grid read
        packed = flat.index_select(0, torch.from_numpy(cells).to(table.device))
        pieces = torch.split(packed, [layers * rows for layers, rows in (front.shape for front in self.fronts)])
        return [piece.reshape(*front.shape, *piece.shape[1:]) for piece, front in zip(pieces, self.fronts, strict=True)]

    def unpack(self, pieces: list[Float[Tensor, "_ _ b m"]], *, reverse: bool) -> Float[Tensor, "l h w b m"]:
        """Lay fronts back into a table of cells: the inverse of `pack`."""
        slots = self.slots[::-1].copy() if reverse else self.slots
        flat = torch.cat([piece.flatten(0, 1) for piece in pieces])
        return flat.index_select(0, torch.from_numpy(slots).to(flat.device)).reshape(*self.grid, *flat.shape[1:])
