"""Recurrent operations: which gates are read on the way to some output, and the counts of what is multiplied there.

Steps that only cropped results rest on are not read. A step's state is read by every unit of the step after it, and its
output by every unit of the layer above. The states that such an operation takes as arguments are units, given or zero:
the convention for initial states. The grid recurrence takes none: neighbours outside its grid do not exist, as padding
does not.
"""

from dataclasses import dataclass
from math import prod

import torch
from jaxtyping import Bool
from torch import Tensor

from leadline.domains.compact import place_of
from leadline.domains.operations.elements import Elements, ElementsOf, edges, paired
from leadline.domains.operations.scans import Recurrence, grid_of, is_grid, recurrence_of
from leadline.graph import Graph, Node, Ref


@dataclass(frozen=True)
class Reads:
    """What is read of one direction of one layer: gates (in the order of its weights' rows) and outputs, compact.

    Rows are those of the recurrence's input.
    """

    gates: Bool[Tensor, "*rows gates"]
    outputs: Bool[Tensor, "*rows units"]


def reads_of(recurrence: Recurrence, node: Node, graph: Graph, elements: ElementsOf) -> list[list[Reads]]:
    """Find what is read of every layer and direction; of packed sequences, all."""
    steps = graph.meta(recurrence.input).shape[1 if recurrence.batch_first else 0]
    gates = graph.meta(recurrence.layers[0][0].from_input).shape[0]
    used = [_used(node, i, elements) for i in range(len(node.outputs))]
    if recurrence.packed or all(bool(mask.all()) for mask in used):
        every = torch.ones((1,) * len(graph.meta(recurrence.input).shape), dtype=torch.bool)
        return [[Reads(every, every)] * len(layer) for layer in recurrence.layers]
    if recurrence.single:
        above = used[0].unsqueeze(0)
        finals = [torch.zeros(1, 1, 1, dtype=torch.bool), *(m.unsqueeze(0) for m in used[1:])]
    else:
        above, finals = used[0].transpose(0, 1) if recurrence.batch_first else used[0], used[1:]
        above = above.expand(steps, -1, -1)
    units = [graph.meta(state).shape[-1] for state in recurrence.states]
    found: list[list[Reads]] = []
    for depth in reversed(range(len(recurrence.layers))):
        count = len(recurrence.layers[depth])
        ways = above.chunk(count, -1) if above.shape[-1] > 1 else [above] * count
        ends = [[place_of(final, depth * count + way) for final in finals] for way in range(count)]
        layer = [
            _direction(own, end, units, gates, way == 1) for way, (own, end) in enumerate(zip(ways, ends, strict=True))
        ]
        above = torch.stack([read.gates.any(-1, keepdim=True) for read in layer]).any(0)
        found.insert(0, [_laid_out(read, recurrence) for read in layer])
    return found


def _direction(
    own: Bool[Tensor, "t b units"], ends: list[Tensor], units: list[int], gates: int, backwards: bool
) -> Reads:
    """Go from the last step to the first; `ends` are the marks of the hidden state, and an LSTM's memory, after it."""
    hidden, *memories = ends
    outputs = _with_last(own if backwards else own.flip(0), hidden)
    projected = bool(memories) and units[0] != units[1]
    gate = outputs.any(-1, keepdim=True) if projected else outputs
    memory = gate
    for mark in memories:
        memory = _with_last(memory, mark)
    # what a later step reads, all units of it do
    later = torch.nn.functional.pad(memory.any(-1, keepdim=True).cummax(0).values[:-1], (0, 0, 0, 0, 1, 0))
    outputs, gate, memory = (mask | later for mask in (outputs, gate, memory))
    rows = memory
    if memories and not (memory.shape == gate.shape and torch.equal(memory, gate)):
        wide = units[-1]
        sides = [memory] * (gates // wide - 1) + [gate]
        batch = max(mask.shape[1] for mask in sides)
        rows = torch.cat([mask.expand(-1, batch, wide) for mask in sides], -1)
    elif memory.shape[-1] > 1:
        rows = memory.repeat(1, 1, gates // units[-1])
    return Reads(rows if backwards else rows.flip(0), outputs if backwards else outputs.flip(0))


def _with_last(steps: Bool[Tensor, "t b units"], last: Bool[Tensor, "b units"]) -> Bool[Tensor, "t b units"]:
    """Mark what is read of the step that comes last, which stands first here."""
    rest = steps[1:]
    first = (steps[0] | last).unsqueeze(0)
    return torch.cat([first, rest.expand(-1, *first.shape[1:])])


def _laid_out(read: Reads, recurrence: Recurrence) -> Reads:
    """Give marks, time first, the rows of the input."""
    if recurrence.single:
        return Reads(read.gates.squeeze(0), read.outputs.squeeze(0))
    if recurrence.batch_first:
        return Reads(read.gates.transpose(0, 1), read.outputs.transpose(0, 1))
    return read


def grid_reads_of(node: Node, graph: Graph, elements: ElementsOf) -> list[Bool[Tensor, "b h w gates"]]:
    """Find the gates of each layer of a grid recurrence that are read."""
    x, weights = grid_of(node)
    layers, gates, units = graph.meta(weights["weight_north"]).shape
    _, height, width, _ = graph.meta(x).shape
    used = [_used(node, i, elements) for i in range(len(node.outputs))]
    above, found = used[0].expand(-1, height, width, -1), list[Tensor]()
    if any(bool(mask.any()) for mask in used[1:]):  # what is kept besides speaks of all cells
        above = torch.ones((), dtype=torch.bool).expand(above.shape)
    for _ in range(layers):
        own = above.any(-1, keepdim=True)
        south_east = own.flip(1, 2).cummax(1).values.cummax(2).values.flip(1, 2)
        beyond = torch.zeros_like(own)
        beyond[:, :-1] |= south_east[:, 1:]
        beyond[:, :, :-1] |= south_east[:, :, 1:]
        read = above | beyond
        found.insert(0, read.repeat(1, 1, 1, gates // units) if read.shape[-1] > 1 else read)
        above = read.any(-1, keepdim=True)
    return found


def _used(node: Node, output: int, elements: ElementsOf) -> Bool[Tensor, "..."]:
    meta = node.outputs[output]
    if meta is None or not prod(meta.shape):
        return torch.zeros((), dtype=torch.bool)
    of = elements(Ref(node.index, output))
    return torch.ones((1,) * len(meta.shape), dtype=torch.bool) if of.used is None else of.used


def scan_macs(node: Node, graph: Graph) -> int:
    """Multiply-accumulates: every weight once for each step and sample."""
    if is_grid(node):
        _, weights = grid_of(node)
        return prod(graph.meta(node.refs[0]).shape[:-1]) * sum(graph.meta(ref).numel for ref in weights.values())
    recurrence = recurrence_of(node, graph)
    weights_of = (ref for layer in recurrence.layers for direction in layer for ref in direction.weights)
    return prod(graph.meta(recurrence.input).shape[:-1]) * sum(graph.meta(ref).numel for ref in weights_of)


def scan_edges(node: Node, graph: Graph, elements: ElementsOf) -> int:
    """Edges between units that exist, into gates that are read; states are units, neighbours outside a grid are not."""
    if is_grid(node):
        return _grid_edges(node, graph, elements)
    recurrence, found = recurrence_of(node, graph), 0
    rows = graph.meta(recurrence.input).shape[:-1]
    for depth, (layer, reads) in enumerate(
        zip(recurrence.layers, reads_of(recurrence, node, graph, elements), strict=True)
    ):
        for way, read in zip(layer, reads, strict=True):
            x = None if depth else elements(recurrence.input)
            found += _edges(rows, x, elements(way.from_input), graph.meta(way.from_input).shape, read.gates)
            found += _edges(rows, None, elements(way.from_state), graph.meta(way.from_state).shape, read.gates)
            if way.projection is not None:
                shape = graph.meta(way.projection).shape
                found += _edges(rows, None, elements(way.projection), shape, read.outputs)
    return found


def _grid_edges(node: Node, graph: Graph, elements: ElementsOf) -> int:
    x, weights = grid_of(node)
    batch, height, width, _ = graph.meta(x).shape
    sizes = {name: graph.meta(ref).shape for name, ref in weights.items()}
    found = 0
    for depth, read in enumerate(grid_reads_of(node, graph, elements)):
        for name, rows, there in (
            ("weight_north", (batch, height - 1, width), read[:, 1:] if read.shape[1] > 1 else read),
            ("weight_west", (batch, height, width - 1), read[:, :, 1:] if read.shape[2] > 1 else read),
        ):
            found += _edges(rows, None, _layer(elements(weights[name]), depth), sizes[name][1:], there)
        rows = (batch, height, width)
        if depth:
            below = _layer(elements(weights["weight_below"]), depth - 1)
            found += _edges(rows, None, below, sizes["weight_below"][1:], read)
        else:
            found += _edges(rows, elements(x), elements(weights["weight_in"]), sizes["weight_in"], read)
    return found


def _layer(weights: Elements, depth: int) -> Elements:
    return weights.through(lambda mask: place_of(mask, depth))


def _edges(
    rows: tuple[int, ...],
    x: Elements | None,
    weight: Elements,
    shape: tuple[int, ...],
    read: Bool[Tensor, "*rows gates"],
) -> int:
    """Count the weights into gates that are read, for every row; without `x` all that they read are units."""
    letters = "abc"[: len(rows)]
    sizes = {**dict(zip(letters, rows, strict=True)), "g": shape[0], "f": shape[1]}

    def pairs(x: Bool[Tensor, "..."], weight: Bool[Tensor, "..."]) -> int:  # compact: an axis may have size 1
        return paired(sizes, (f"{letters}f", x), ("gf", weight), (f"{letters}g", read))

    if x is None:
        return pairs(torch.ones((1,) * (len(rows) + 1), dtype=torch.bool), weight.alive)
    return edges(x, weight, pairs)
