"""A context as a map: what one output position sees, and what it is blind to."""

from __future__ import annotations

import torch

from leadline.document import GridMap
from leadline.domains._context import Context

_LEGEND = (
    ("·", "not earlier, not seen"),
    ("#", "seen"),
    ("o", "blind"),
    ("x", "blind in any stack of copies"),
    ("@", "the output's position"),
)


def context_map(context: Context) -> GridMap | None:
    """Draw the map of the first input with one or two axes; None if it has another number."""
    name, seen = next(iter(context.seen.items()))
    if seen.ndim not in (1, 2):
        return None
    cells = seen.long()
    if name in context.blind:
        cells[context.blind[name]] = 2
        always = context.always_blind[name]
        if always is not None:
            cells[always] = 3
    axes = context.axes[name]
    if set(axes) <= set(context.position):
        here = tuple(context.position[axis] for axis in axes)
        if not bool(seen[here]):
            cells[here] = 4
    used = sorted(set(cells.flatten().tolist()))
    cells = torch.searchsorted(torch.tensor(used), cells)
    place = ", ".join(f"{axis} = {index}" for axis, index in context.position.items())
    return GridMap(
        cells.reshape(1, -1).numpy() if cells.ndim == 1 else cells.numpy(),
        tuple(_LEGEND[value] for value in used),
        f"What the output at {place} sees of {name}",
    )
