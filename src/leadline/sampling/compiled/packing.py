"""How weights are stored that are multiplied wider: as float32, float16, bfloat16, or int8 with a scale for each row.

Numba has no numbers of 16 bits on the processor. Arrays of integers hold the bits, and the type of the array says what
they mean (`STORED`, `narrowing`): the interpreter is compiled once more for each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from leadline.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Weights = Literal["float64", "float32", "bfloat16", "float16", "int8"]
STORED: dict[str, Any] = {
    "float64": np.float64, "float32": np.float32, "float16": np.int16, "bfloat16": np.uint16, "int8": np.int8,
}  # fmt: skip
_ROUNDED = {"float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Packing:
    """How the weights of products are stored."""

    weights: Weights

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the array that holds them."""
        found: np.dtype[Any] = np.dtype(STORED[self.weights])
        return found

    @property
    def scaled(self) -> bool:
        """Whether each row is multiplied by a scale of its own."""
        return self.weights == "int8"

    def packed(self, rows: Tensor, place: str) -> tuple[NDArray[Any], Tensor]:
        """Return rows of a matrix as they are stored, and what each is multiplied by.

        Examples
        --------
        >>> found, scales = Packing("int8").packed(torch.tensor([[0.5, -2.0]]), "here")
        >>> found.tolist(), [round(scale, 4) for scale in scales.tolist()]
        ([[32, -127]], [0.0157])
        """
        ones = rows.new_ones(len(rows))
        if self.scaled:
            largest = rows.abs().amax(1) if rows.shape[1] else ones
            scales = torch.where(largest > 0, largest / 127, ones)
            return (rows / scales[:, None]).round().to(torch.int8).numpy(), scales
        if self.weights not in _ROUNDED:
            return rows.numpy().astype(self.dtype), ones
        narrow = rows.to(_ROUNDED[self.weights])
        if bool((narrow.isinf() & ~rows.isinf()).any()):
            raise UsageError(f"{self.weights} holds no number as large as a weight of {place}: store it as bfloat16")
        return narrow.view(torch.int16).numpy().view(self.dtype), ones
