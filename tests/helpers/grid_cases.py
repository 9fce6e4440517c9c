"""Random grid recurrences: the op, its cell-by-cell oracle, and arguments of any size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from helpers import grid_reference as reference
from hypothesis import strategies as st
from torch import Tensor

from leadline.grid import grid_lstm, grid_rnn

NAMES = ("x", "weight_in", "weight_below", "weight_north", "weight_west", "bias")


@dataclass(frozen=True)
class Case:
    """One cell kind at one size."""

    cell: str
    layers: int
    batch: int
    height: int
    width: int
    inputs: int = 2
    units: int = 3

    @property
    def op(self) -> Callable[..., Tensor]:
        return {"tanh": grid_rnn, "lstm": grid_lstm}[self.cell]

    @property
    def oracle(self) -> Callable[..., Tensor]:
        return {"tanh": reference.grid_rnn, "lstm": reference.grid_lstm}[self.cell]

    def arguments(self, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
        """Draw an input and weights from the global random state."""
        gates, d, k = {"tanh": 1, "lstm": 5}[self.cell], self.layers, self.units
        square = (d, gates * k, k)
        shapes = [(self.batch, self.height, self.width, self.inputs), (gates * k, self.inputs), (d - 1, *square[1:])]
        shapes += [square, square, (d, gates * k)]
        return tuple(0.7 * torch.randn(shape, dtype=dtype) for shape in shapes)


CASES = st.builds(
    Case,
    cell=st.sampled_from(["tanh", "lstm"]),
    layers=st.integers(1, 4),
    batch=st.integers(1, 3),
    height=st.integers(1, 5),
    width=st.integers(1, 5),
    inputs=st.integers(1, 4),
    units=st.integers(1, 4),
)
