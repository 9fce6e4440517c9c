"""The uniforms that samples are drawn from: each sample has its own stream, whatever the batch it is drawn in."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from leadline.errors import UsageError


def uniforms(seed: int, n: int, positions: int, first: int = 0) -> Float[Tensor, "n p"]:
    """Return float64 numbers in [0, 1): row i is the beginning of the stream of sample ``first + i`` under `seed`.

    Entry r of a row decides the symbol of rank r in the generation order, so a longer sample begins like a shorter one.

    Examples
    --------
    >>> alone, among = uniforms(0, 1, 3, first=2), uniforms(0, 4, 5)
    >>> torch.equal(alone[0], among[2, :3])
    True
    """
    if seed < 0 or first < 0:
        raise UsageError(f"seed and number of a sample must be at least 0, got {seed} and {first}")
    streams = (np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, first + i)))) for i in range(n))
    rows = [torch.from_numpy(stream.random(positions)) for stream in streams]
    return torch.stack(rows) if rows else torch.zeros(0, positions, dtype=torch.float64)
