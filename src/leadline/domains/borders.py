"""Where a map of what an output sees stops at a border only, and the length of input that shows it whole.

The outputs that are farthest from a border tell how far a map reaches. Where even they see the border, the model is
traced with longer inputs, until they do not; or until something is found that spans any length.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

import torch
from jaxtyping import Bool
from torch import Tensor

from leadline.domains.operations.attentions import attention_of
from leadline.domains.operations.convolutions import convolution_of
from leadline.domains.operations.products import product_of
from leadline.domains.operations.scans import grid_of, is_grid, recurrence_of
from leadline.domains.values.facts import Facts
from leadline.errors import LeadlineError
from leadline.graph import Graph, Kind, Node, Ref
from leadline.graph.reading import Reading
from leadline.graph.table import Form, Move, Statistics

Seen: TypeAlias = 'Bool[Tensor, "..."]'

_MOST_MASKED = 1 << 11
"""Beyond this masks, which are tables over pairs of places, are not laid out to look for their ends."""
_MOST_NODES, _MOST_ELEMENTS, _MOST_PLACES, _DOUBLINGS = 300, 1 << 17, 1 << 15, 5
"""Beyond these longer inputs are not tried: what a model that is traced again may cost."""


@dataclass(frozen=True)
class Border:
    """A border that cuts a map: the least length that shows the map whole, or why none is named."""

    length: int | None
    reason: str = ""

    def __str__(self) -> str:
        return self.reason if self.length is None else f"a length of {self.length} shows its end"


@runtime_checkable
class Look(Protocol):
    """Looks back from one output position of a reading."""

    def seen(self, reading: Reading, place: Mapping[str, int]) -> Seen:
        """Map what it sees of the first input."""
        ...

    def marked(self, reading: Reading, place: Mapping[str, int]) -> Mapping[Ref, Seen]:
        """Return the elements of all values that it rests on, compact."""
        ...

    def facts(self, reading: Reading) -> Mapping[Ref, Facts]:
        """Return what is known of all values."""
        ...


def borders(reading: Reading, place: Mapping[str, int], look: Look, *, longer: bool) -> dict[str, Border]:
    """Find the axes along which the map of one output position stops at a border, where more may be hidden.

    Only if they may be `longer` are other inputs than those of the reading tried.
    """
    found: dict[str, Border] = {}
    for axis in reading.layout.positions:
        reach: tuple[int, int] | Border | None = _reach(reading, place, axis, look)
        if reach is None:
            tried = _in_longer(reading, place, axis, look) if longer else None
            reach = tried or Border(None, "longer inputs may show its end")
        if isinstance(reach, Border):
            found[axis] = reach
        elif reach[0] > place[axis] or reach[1] > reading.sizes[axis] - 1 - place[axis]:
            found[axis] = Border(_least(*reach))
    return found


def _reach(reading: Reading, place: Mapping[str, int], axis: str, look: Look) -> tuple[int, int] | None:
    """Return how far a map reaches before and after the output; None if even the farthest output sees a border.

    None too where windows with gaps reach beyond a border, which they may do without the place beside it.
    """
    if _gaps(reading, place, look):
        return None
    last, number = reading.sizes[axis] - 1, reading.layout.positions.index(axis)
    reach = [0, 0]
    for side, (border, far) in enumerate(((0, last), (last, 0))):
        at = place[axis]
        ends = _ends(look.seen(reading, place), number)
        if ends is not None and ends[side] == border:
            at = far
            ends = _ends(look.seen(reading, {**place, axis: far}), number)
            if ends is None or ends[side] == border:
                return None
        reach[side] = 0 if ends is None else abs(at - ends[side])
    return reach[0], reach[1]


def _ends(seen: Seen, number: int) -> tuple[int, int] | None:
    """Return the first and last place seen along one axis."""
    rest = [i for i in range(seen.ndim) if i != number]
    hits = (seen.any(dim=rest) if rest else seen).nonzero()
    return (int(hits[0]), int(hits[-1])) if len(hits) else None


def _least(before: int, after: int) -> int:
    """Return the least length whose middle is as far from both borders as it reaches."""
    length = 1
    while length // 2 < before or length - 1 - length // 2 < after:
        length += 1
    return length


def _in_longer(reading: Reading, place: Mapping[str, int], axis: str, look: Look) -> tuple[int, int] | Border:
    """Trace the model with longer inputs until a map is seen whole; say where it ends, or why that is not known."""
    tried, number = reading.sizes[axis], reading.layout.positions.index(axis)
    for length in _lengths(reading, axis):
        longer = reading.on({name: _extended(reading, name, axis, length) for name in reading.input_axes})
        middle = {**place, axis: length // 2}
        try:
            if longer.sizes[axis] != length:
                break
            marked = look.marked(longer, middle)
            ends = _ends(look.seen(longer, middle), number)
            if ends is None or (ends[0] > 0 and ends[1] < length - 1 and not _outside(reading, longer, marked)):
                return (0, 0) if ends is None else (max(0, length // 2 - ends[0]), max(0, ends[1] - length // 2))
            reach = _reach(longer, middle, axis, look)
            spanning = None if reach is not None else _spanning(reading, longer, marked, look.facts(longer))
        except LeadlineError:
            break
        if reach is not None:
            return reach
        if spanning is not None:
            return Border(None, f"no length shows its end, since {spanning.op} at {spanning.place} spans any")
        tried = length
    return Border(None, f"inputs longer than {tried} may show its end")


def _lengths(reading: Reading, axis: str) -> Iterator[int]:
    """Yield lengths to try, multiples of the present one: one that stacked windows cannot fill, and its doubles.

    What is no window is tried at one length alone, and a mask that compares places at two more: one that the largest
    number in it cannot fill, and its double.
    """
    size, nodes = reading.sizes[axis], reading.graph.nodes
    if len(nodes) > _MOST_NODES:
        return
    elements = sum(math.prod(reading.input_shape(name)) for name in reading.input_axes)
    windows = 2 * sum(_window(node, reading.graph) for node in nodes)
    others = any(node.kind in _SPANNING for node in nodes)
    first = max(4 if others else 2, 1 + -(-windows // size))
    each = [first << i for i in range(1 if others else _DOUBLINGS)]
    compared = max((_compared(node, reading.graph) for node in nodes), default=0)
    if others and (enough := 1 + -(-(windows + 2 * compared) // size)) > first:
        each += [times for times in (enough, 2 * enough) if times * size <= _MOST_MASKED]
    for times in each:
        if times * elements > _MOST_ELEMENTS or times * size > _MOST_PLACES:
            return
        yield times * size


def _window(node: Node, graph: Graph) -> int:
    """Return how far a convolution reaches along the axis along which it reaches farthest; 0 for all else."""
    if node.kind is not Kind.CONVOLUTION:
        return 0
    conv = convolution_of(node, graph)
    return max((taps - 1) * dilation for taps, dilation in zip(conv.taps, conv.dilation, strict=True))


def _compared(node: Node, graph: Graph) -> int:
    """Return the largest whole number that places are compared with, or moved by: so far a mask may reach."""
    record = node.operation
    triangle = node.kind is Kind.VIEW and record.move is Move.TRIANGLE
    if not triangle:
        if record.pointwise is None or not node.refs or graph.meta(node.refs[0]).dtype.is_floating_point:
            return 0
        if node.meta.dtype is not torch.bool and record.pointwise.form not in (
            Form.SUM,
            Form.DIFFERENCE,
            Form.REVERSED,
        ):
            return 0
    literals = (value for value in node.bound().values() if isinstance(value, int | float))
    return max((abs(int(value)) for value in literals if value == value // 1), default=0)


def _extended(reading: Reading, name: str, axis: str, length: int) -> Tensor:
    """Repeat an input along an axis."""
    tensor, axes = reading.tensors[name], reading.input_axes[name]
    if axis not in axes:
        return tensor
    place = axes.index(axis)
    return torch.cat([tensor] * math.ceil(length / tensor.shape[place]), place).narrow(place, 0, length)


def _gaps(reading: Reading, place: Mapping[str, int], look: Look) -> bool:
    """Whether windows may pass over the last place before a border: some have gaps, and some reach beyond."""
    graph = reading.graph
    convolutions = (convolution_of(node, graph) for node in graph.nodes if node.kind is Kind.CONVOLUTION)
    if not any(max(conv.dilation) > 1 for conv in convolutions):
        return False
    marked = look.marked(reading, place)
    return any(_beyond(graph.nodes[ref.node], graph, mark, None) for ref, mark in marked.items())


def _outside(short: Reading, longer: Reading, marked: Mapping[Ref, Seen]) -> bool:
    """Whether some window reaches beyond a border along the axes that have grown with the inputs."""
    before = {node.name: node for node in short.graph.nodes}
    for ref, mark in marked.items():
        node = longer.graph.nodes[ref.node]
        earlier = before.get(node.name)
        same = earlier is not None and earlier.op == node.op and earlier.outputs[0] is not None
        shape = earlier.shape if same and earlier is not None else None
        if _beyond(node, longer.graph, mark, shape):
            return True
    return False


def _beyond(node: Node, graph: Graph, mark: Seen, before: tuple[int, ...] | None) -> bool:
    """Whether marked elements read beyond a border, along axes that have another size than `before`."""
    if node.kind is Kind.CONVOLUTION:
        conv = convolution_of(node, graph)
        first = len(node.shape) - conv.axes
        tables = {
            first + axis: (conv.places(axis, size, node.shape[first + axis]) == size).any(1)
            for axis, size in enumerate(graph.meta(conv.input).shape[-conv.axes :])
        }
    elif node.kind is Kind.VIEW and node.operation.move is Move.PAD:
        pads, shape = node.bound()["pad"], node.shape
        tables = {}
        for i in range(len(pads) // 2):
            places = torch.arange(size := shape[-1 - i])
            tables[len(shape) - 1 - i] = (places < pads[2 * i]) | (places >= size - pads[2 * i + 1])
    else:
        return False
    axes = (axis for axis in tables if before is None or before[axis] != node.shape[axis])
    return any(bool((_along_axis(mark, axis) & tables[axis]).any()) for axis in axes)


def _along_axis(mark: Seen, axis: int) -> Seen:
    """Return the places along one axis where anything is marked; compact."""
    rest = [i for i in range(mark.ndim) if i != axis]
    return mark.any(dim=rest) if rest else mark


def _spanning(short: Reading, longer: Reading, marked: Mapping[Ref, Seen], facts: Mapping[Ref, Facts]) -> Node | None:
    """Find an operation that joins all places of an axis, however long it is: one that has grown with the inputs."""
    before = {node.name: node for node in short.graph.nodes}
    for node in (longer.graph.nodes[ref.node] for ref in marked):
        earlier, rule = before.get(node.name), _SPANNING.get(node.kind)
        if earlier is None or rule is None or earlier.op != node.op:
            continue
        joined, joined_before = rule(node, longer.graph, facts), rule(earlier, short.graph, facts)
        if joined and joined != joined_before:
            return node
    return None


def _steps(node: Node, graph: Graph, facts: Mapping[Ref, Facts]) -> tuple[int, ...]:
    """Return the sizes of the axes that a recurrence runs along."""
    del facts
    if is_grid(node):
        return graph.meta(grid_of(node)[0]).shape[1:-1]
    recurrence = recurrence_of(node, graph)
    shape = graph.meta(recurrence.input).shape
    return () if recurrence.single else shape[:1] if recurrence.packed else (shape[recurrence.batch_first],)


def _keys(node: Node, graph: Graph, facts: Mapping[Ref, Facts]) -> tuple[int, ...]:
    """Return the number of keys, where no mask may hide those that are far away."""
    del facts
    attention = attention_of(node)
    return () if attention.mask is not None else (graph.meta(attention.key).shape[-2],)


def _summed(node: Node, graph: Graph, facts: Mapping[Ref, Facts]) -> tuple[int, ...]:
    """Return the sizes of the axes that a product sums over, where no zeros are known that may be a window's."""
    product = product_of(node, graph)
    if any(ref in facts and facts[ref].nonzero() is not None for ref in (product.left, product.right)):
        return ()
    return tuple(product.sizes(graph)[letter] for letter in product.summed)


def _along(node: Node, graph: Graph, facts: Mapping[Ref, Facts]) -> tuple[int, ...]:
    """Return the sizes of the axes that a reduction, a running sum or a transform goes along."""
    del facts
    named, shape = node.bound(), graph.meta(node.refs[0]).shape
    if "dim" not in named:
        return shape
    dims = named["dim"]
    each = range(len(shape)) if dims is None or dims == () else (dims,) if isinstance(dims, int) else dims
    return tuple(shape[dim] for dim in each)


def _statistics(node: Node, graph: Graph, facts: Mapping[Ref, Facts]) -> tuple[int, ...]:
    """Return the sizes of the axes over which a normalisation takes its statistics, channels left out."""
    del facts
    operation = node.operation
    positions = operation.statistics in (Statistics.BATCH, Statistics.GROUP) and not operation.frozen(node.bound())
    return graph.meta(node.refs[0]).shape[2:] if positions else ()


_SPANNING: dict[Kind, Callable[[Node, Graph, Mapping[Ref, Facts]], tuple[int, ...]]] = {
    Kind.SCAN: _steps,
    Kind.ATTENTION: _keys,
    Kind.CONTRACTION: _summed,
    Kind.REDUCTION: _along,
    Kind.CUMULATIVE: _along,
    Kind.MIXING: _along,
    Kind.NORMALISATION: _statistics,
}
"""The sizes of the axes whose places an operation joins, all of them or all up to each; none where that is not sure."""
