"""The structural context and the reach of a gradient within it, on one map around an output."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from leadline.document import ReachMap
from leadline.jacobian import Reach

_MOST_ALONG, _MOST_ACROSS = 512, 64
"""So many cells a line has, and each side of a grid; of more, neighbours share one."""


def reach_map(found: Reach) -> ReachMap | None:
    """Draw how large the gradient is at every place around an output, and what the output sees; None for three axes.

    Places count from the output's own: -1 is the one before it. A cell that stands for several shows the largest.
    """
    if found.offsets.shape[1] not in (1, 2):
        return None
    places = -found.offsets.numpy()
    places = places if places.shape[1] == 2 else np.stack([0 * places[:, 0], places[:, 0]], axis=1)
    first, most = places.min(axis=0), places.max(axis=0)
    limit = _MOST_ALONG if found.offsets.shape[1] == 1 else _MOST_ACROSS
    step = int(np.ceil((most - first + 1).max() / limit))
    first = step * np.floor_divide(first, step)  # the output's own place begins a cell
    at = (places - first) // step
    size, seen = np.zeros(at.max(axis=0) + 1), np.zeros(at.max(axis=0) + 1, dtype=bool)
    rms = found.rms.numpy() / float(found.rms.max())
    np.maximum.at(size, tuple(at.T), rms)
    np.logical_or.at(seen, tuple(at.T), _seen(found, rms))
    axes = ", ".join(found.axes)
    merged = f"; {step} places share a cell, which shows the largest" if step > 1 else ""
    known = "what the output sees" if found.structural is not None else "where a gradient arrives"
    return ReachMap(
        size,
        seen,
        (int(first[0]), int(first[1])),
        step,
        f"How large the gradient is along {axes}, beside {known}: places count from the output's own{merged}",
    )


def _seen(found: Reach, rms: NDArray[np.float64]) -> NDArray[np.bool_]:
    return rms > 0 if found.structural is None else found.structural.numpy()
