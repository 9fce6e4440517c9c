"""Where the kernels keep their cells: tables whose last axis runs through the fronts, one after another.

A front holds the cells with ``layer + row + column = s``. A cell needs its north and west neighbours and the cell below
it in the stack; all three lie on front ``s - 1``, so one front after the other is a valid order (Lamport's hyperplane
method) and ``layers + h + w - 2`` steps are enough.

A table is ``[layers, vectors, units, columns · batch]``. A front's rows are neighbouring columns, the same for all
layers, so that a front is a slice, a gate of it a few long runs, and what need not wait for the neighbours one product.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

Size: TypeAlias = int | torch.SymInt
"""A size, or a symbol for one."""


@dataclass(frozen=True)
class FrontSlice:
    """One front: its layers (None: all of them), its first row · batch, and its rows · batch."""

    layers: slice | None
    start: int
    length: int

    def layers_of(self, table: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return the part of the front's layers."""
        return table if self.layers is None else table[self.layers]

    def rows_of(self, table: Float[Tensor, "*v n"], shift: int = 0) -> Float[Tensor, "*w m"]:
        """Return the part of the front's layers and rows; all is moved by `shift` rows · batch."""
        return self.layers_of(table.narrow(-1, self.start + shift, self.length))


@dataclass(frozen=True, eq=False)
class Columns:
    """Where the fronts of a stack of grids stand in its tables; `slices` in the order in which they run.

    `cells` holds for each layer and column its cell (raster index, 0 where there is none) and `inside` whether there is
    one; `columns` for each layer and cell its column. `north` and `west` are for each column those of its neighbours,
    or one past the last; what lies below stands in the column of the western neighbour, a layer down. The arrays are
    numpy's, since a layout is kept: tensors made while a model is traced would be fake from then on.
    """

    grid: tuple[int, int, int]
    batch: int
    slices: tuple[FrontSlice, ...]
    cells: Int[np.ndarray, "d c"]
    inside: Bool[np.ndarray, "d c"]
    columns: Int[np.ndarray, "d hw"]
    north: Int[np.ndarray, " c"]
    west: Int[np.ndarray, " c"]

    @property
    def length(self) -> int:
        """Length of a table's last axis."""
        return self.count * self.batch

    @property
    def count(self) -> int:
        """Number of columns."""
        return int(self.cells.shape[1])

    @staticmethod
    def number(layers: Size, height: Size, width: Size) -> Size:
        """Return the number of columns of a layout: every row stands in ``layers + width - 1`` neighbouring fronts.

        Examples
        --------
        >>> Columns.number(3, 4, 5), Columns.of(3, 4, 5, batch=1).count
        (28, 28)
        """
        return height * (layers + width - 1)

    @staticmethod
    @lru_cache(maxsize=64)
    def of(layers: int, height: int, width: int, batch: int) -> Columns:
        """Return the layout for `layers` stacked grids and a batch."""
        fronts = [_front(s, layers, height, width) for s in range(layers + height + width - 2)]
        row = np.concatenate([np.arange(rows.start, rows.stop) for _, rows in fronts])
        step = np.repeat(np.arange(len(fronts)), [rows.stop - rows.start for _, rows in fronts])
        column = step - np.arange(layers)[:, None] - row
        inside = (column >= 0) & (column < width)
        cells = np.where(inside, row * width + column, 0)
        columns = np.empty((layers, height * width), dtype=np.int64)
        for layer in range(layers):
            columns[layer, cells[layer, inside[layer]]] = np.flatnonzero(inside[layer])
        place = dict(zip(zip(step.tolist(), row.tolist(), strict=True), range(len(row)), strict=True))
        north, west = ([place.get((s - 1, i - up), len(row)) for s, i in place] for up in (1, 0))
        return Columns(
            (layers, height, width),
            batch,
            tuple(_slice(front, layers, batch) for front in fronts),
            cells,
            inside,
            columns,
            np.array(north),
            np.array(west),
        )

    def fronts(self, table: Float[Tensor, "*v n"]) -> list[Float[Tensor, "*w _"]]:
        """Cut a table into its fronts."""
        pieces = torch.split(table, [part.length for part in self.slices], -1)
        return [part.layers_of(piece) for piece, part in zip(pieces, self.slices, strict=True)]

    def gather(self, grid: Float[Tensor, "b h w m"], layer: int) -> Float[Tensor, "n m"]:
        """Lay out the cells of one layer, features last; outside the grid some cell's."""
        cells = grid.permute(1, 2, 0, 3).flatten(0, 1)
        return cells.index_select(0, _index(self.cells[layer], grid)).flatten(0, 1)

    def restore(self, table: Float[Tensor, "n m"], layer: int) -> Float[Tensor, "b h w m"]:
        """Lay the cells of one layer back into their grid."""
        _, height, width = self.grid
        rows = self.columns[layer] * self.batch + np.arange(self.batch)[:, None]
        cells = table.contiguous().index_select(0, _index(rows.reshape(-1), table))
        return cells.reshape(self.batch, height, width, table.shape[1])

    def neighbours(self, table: Float[Tensor, "d v k n"]) -> Float[Tensor, "d v k 2 n"]:
        """Give each column what its northern and western neighbours hold, zeros where there is none."""
        columns = pad(table, (0, self.batch)).reshape(*table.shape[:3], self.count + 1, self.batch)
        found = columns.index_select(3, _index(np.concatenate([self.north, self.west]), table))
        return found.reshape(*table.shape[:3], 2, self.length)

    def clear(self, table: Float[Tensor, "d *v n"]) -> None:
        """Write zeros where there is no cell."""
        for layer, inside in zip(table, self.inside, strict=True):
            columns = np.flatnonzero(~inside)[:, None] * self.batch + np.arange(self.batch)
            layer.index_fill_(-1, _index(columns.reshape(-1), table), 0)


def _index(places: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(places).to(like.device)


def _front(s: int, layers: int, height: int, width: int) -> tuple[slice, slice]:
    """Return the smallest rectangle of layers and rows that holds all cells with ``layer + row + column = s``."""
    return (
        slice(max(0, s - (height + width - 2)), min(layers, s + 1)),
        slice(max(0, s - (layers - 1) - (width - 1)), min(height, s + 1)),
    )


def _slice(front: tuple[slice, slice], layers: int, batch: int) -> FrontSlice:
    part, rows = front
    whole = part.stop - part.start == layers
    return FrontSlice(None if whole else part, rows.start * batch, (rows.stop - rows.start) * batch)
