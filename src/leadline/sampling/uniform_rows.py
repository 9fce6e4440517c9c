"""The uniforms that symbols are drawn from: one stream for each sample, whatever the batch that it is drawn in."""

import numpy as np
from numpy.typing import NDArray


def uniform_rows(seed: int, n: int, positions: int, first: int = 0) -> NDArray[np.float64]:
    """Return ``(n, positions)`` numbers in [0, 1): row i begins the stream of sample ``first + i`` under `seed`."""
    streams = (np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, first + i)))) for i in range(n))
    rows = np.empty((n, positions))
    for row, stream in zip(rows, streams, strict=True):
        stream.random(out=row)
    return rows
