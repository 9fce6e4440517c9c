"""The likeliest reading of a model's axes, where the shapes alone leave several open: by the first and last product.

A convolution takes and gives its channels before the positions, a linear layer, recurrence or attention after them.
"""

from __future__ import annotations

from typing import Any

from leadline.errors import LayoutError
from leadline.graph.ir import Graph, Node
from leadline.graph.layout import BATCH, Axes, Layout, fitting, usual_readings
from leadline.graph.reading import Reading
from leadline.graph.table import MULTIPLYING, Kind


def with_likeliest_axes(reading: Reading) -> tuple[Reading, str]:
    """Return a reading whose axes are settled, and what was assumed for that; nothing where they were given or clear.

    `LayoutError` if what was given does not fit, or no usual reading does.

    Examples
    --------
    >>> import torch
    >>> reading = Reading(torch.nn.Conv1d(8, 8, 3, padding=1), (torch.zeros(2, 8, 8),))
    >>> with_likeliest_axes(reading)[1]
    "axes taken for 'b c t -> b v t', the likeliest of 2 readings that fit"
    """
    try:
        reading.layout.fit({})
        return reading, ""
    except LayoutError as error:
        if reading.given_layout is not None:
            raise
        refusal = error
    outputs = reading.outputs
    name = reading.given_output or next((n for n, t in outputs.items() if t.is_floating_point()), next(iter(outputs)))
    ranked = _ranked(reading, name)
    if not ranked:
        raise refusal
    said = f"axes taken for '{ranked[0]}'"
    if len(ranked) > 1:
        said += f", the likeliest of {len(ranked)} readings that fit"
    if name != reading.given_output and len(outputs) > 1:
        said += f"; the output is {name}, of {', '.join(outputs)}"
    axes: dict[str, Any] = {"order": reading.order, "output": name}
    return reading.read_as(ranked[0].named(list(reading.tensors), [name]), **axes), said


def _ranked(reading: Reading, name: str) -> list[Layout]:
    """Return the readings that fit and have positions, the likeliest first."""
    inputs, output = reading.tensors, reading.outputs[name]
    found = usual_readings(inputs, output)
    if not found:
        usual = fitting(inputs, output)
        found = [] if usual is None or not usual.positions else [usual]
    if isinstance(reading.order, str):
        found = [layout for layout in found if set(reading.order.split()) == set(layout.positions)]
    live = reading.graph.live()
    products = [node for node in reading.graph.nodes if node.kind in MULTIPLYING and node.index in live]
    first, last = ((products[i].kind is Kind.CONVOLUTION) if products else None for i in (0, -1))
    vector = bool(products) and not first and _takes(products[0], reading.graph, next(iter(inputs.values())).shape[-1:])
    # stable: the usual ones stand first
    return sorted(found, key=lambda layout: -_likeness(layout, first, last) if layout.positions else 1 - 2 * vector)


def _takes(product: Node, graph: Graph, length: tuple[int, ...]) -> bool:
    """Whether a product takes a vector so long: then its elements are features, else a series that is cut first."""
    shapes = [graph.meta(ref).shape for ref in product.refs]
    return any(shape[-1:] == length for shape in shapes if len(shape) > 1)


def _likeness(layout: Layout, first: bool | None, last: bool | None) -> int:
    """Count the sides whose features stand where the product beside them has its channels."""
    sides = [*((axes, first) for axes in layout.inputs.values()), *((axes, last) for axes in layout.outputs.values())]
    return sum(_channels_first(axes, layout.positions) == convolves for axes, convolves in sides if axes is not None)


def _channels_first(axes: Axes, positions: Axes) -> bool | None:
    """Whether features or channels stand before the positions; None where there are none of either."""
    rest = [axis for axis in axes if axis != BATCH]
    if not rest or all(axis in positions for axis in rest):
        return None
    return rest[0] not in positions
