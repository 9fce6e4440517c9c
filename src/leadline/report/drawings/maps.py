"""Maps of what outputs see of inputs."""

from __future__ import annotations

import math
from itertools import product

import torch
from jaxtyping import Int
from torch import Tensor

from leadline.audit.audited import Audit, Unavailable
from leadline.document import ContextMaps, GridMap, InputMaps
from leadline.domains._context import Context, context_of
from leadline.domains.engine import OnUnknown
from leadline.graph.proposals import with_likeliest_axes
from leadline.graph.reading import Reading

LEGEND = (
    ("·", "not earlier, not seen"),
    ("#", "seen"),
    ("o", "blind"),
    ("x", "blind in any stack of copies"),
    ("@", "the output's position"),
)
_MOST_OUTPUTS, _FEWEST_OUTPUTS, _WORK = 64, 9, 6000
"""How many outputs' maps a page holds: fewer of larger models, which need as many operations for each."""


def cells_of(context: Context, name: str) -> Int[Tensor, "..."]:
    """Return the map of an input as numbers of the legend."""
    cells = context.seen[name].long()
    if name in context.blind:
        cells[context.blind[name]] = 2
        always = context.always_blind[name]
        if always is not None:
            cells[always] = 3
    axes = context.axes[name]
    if axes and set(axes) <= set(context.position):
        here = tuple(context.position[axis] for axis in axes)
        if not bool(context.seen[name][here]):
            cells[here] = 4
    return cells


def context_map(context: Context) -> GridMap | None:
    """Draw the map of the first input with one or two axes; None if it has another number."""
    name, seen = next(iter(context.seen.items()))
    if seen.ndim not in (1, 2):
        return None
    cells = cells_of(context, name)
    used = sorted(set(cells.flatten().tolist()))
    cells = torch.searchsorted(torch.tensor(used), cells)
    place = ", ".join(f"{axis} = {index}" for axis, index in context.position.items())
    return GridMap(
        cells.reshape(1, -1).numpy() if cells.ndim == 1 else cells.numpy(),
        tuple(LEGEND[value] for value in used),
        f"What the output at {place} sees of {name}",
    )


def context_maps(reading: Reading, context: Context, *, on_unknown: OnUnknown = "raise") -> ContextMaps | None:
    """Map what outputs all over a line or a grid see, the one of `context` among them; None for other outputs."""
    axes = tuple(context.position)
    inputs = [name for name, seen in context.seen.items() if seen.ndim and seen.numel()]
    if len(axes) == 2:
        inputs = [name for name in inputs[:1] if context.axes[name] == axes]
    if len(axes) not in (1, 2) or not inputs:
        return None
    lengths = dict(zip(reading.output_axes, reading.output_shape, strict=True))
    sizes = tuple(lengths[axis] for axis in axes)
    positions = _spread(tuple(context.position.values()), sizes, len(reading.graph.nodes))
    found = [context_of(reading, place, longer=False, on_unknown=on_unknown) for place in positions]
    maps = {name: torch.stack([cells_of(each, name) for each in found]) for name in inputs}
    used = sorted({0, *(int(value) for cells in maps.values() for value in cells.unique())})
    names, mark = torch.tensor(used), "a circle" if len(axes) == 2 else "its lane"
    return ContextMaps(
        axes,
        sizes,
        positions,
        positions.index(tuple(context.position.values())),
        tuple(InputMaps(name, context.axes[name], torch.searchsorted(names, maps[name]).numpy()) for name in inputs),
        tuple(LEGEND[value] for value in used),
        f"What the chosen output sees: choose another by a click on {mark}, or by the keys on a slider",
    )


def maps_of(reading: Reading, audit: Audit, *, on_unknown: OnUnknown = "raise") -> ContextMaps | None:
    """Return the maps that a page holds of an audit; None where its context is not known."""
    found = audit.context
    if isinstance(found, Unavailable):
        return None
    if audit.assumed:  # nobody said how to read the axes
        reading, _ = with_likeliest_axes(reading)
    return context_maps(reading, found, on_unknown=on_unknown)


def _spread(at: tuple[int, ...], sizes: tuple[int, ...], operations: int) -> tuple[tuple[int, ...], ...]:
    """Return positions at equal distances along each axis, `at` among them."""
    most = max(_FEWEST_OUTPUTS, min(_MOST_OUTPUTS, _WORK // max(1, operations)))
    along = most if len(sizes) == 1 else math.isqrt(most)
    steps = [-(-length // along) for length in sizes]
    places = [range(place % step, length, step) for place, length, step in zip(at, sizes, steps, strict=True)]
    return tuple(product(*places))
