"""The axis along which symbols follow one another within a point, and where each symbol stands in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from leadline.graph.layout import BATCH
from leadline.graph.reading import Reading

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST = 16
"""So many symbols a point may have: each has variables of its own."""


@dataclass(frozen=True)
class Inside:
    """An axis of `size` positions that follow one another within a point; the `positions` are those of all symbols.

    In the output of the reading it is a channel of another name, `output`.
    """

    axis: str
    output: str
    size: int
    positions: tuple[str, ...]

    def channels(self, reading: Reading, name: str | None) -> list[NDArray[np.int64]]:
        """Return the channels of each symbol, in the input of a name or, without one, in the output."""
        if name is None:
            axes, own, shape = reading.output_axes, self.output, tuple(reading.output_shape)
        else:
            axes, own, shape = reading.input_axes[name], self.axis, reading.input_shape(name)
        free = {a: n for a, n in zip(axes, shape, strict=True) if a not in (BATCH, *reading.layout.positions)}
        channels = np.arange(int(np.prod(list(free.values())))).reshape(tuple(free.values()))
        return list(np.moveaxis(channels, list(free).index(own), 0).reshape(self.size, -1))
