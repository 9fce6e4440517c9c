"""Which gates of a recurrence are read on the way to some output: steps that only cropped results rest on are not.

A step's state is read by every unit of the step after it, and its output by every unit of the layer above.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from helpers.dense.elements import Lookup, compact
from helpers.dense.scans import Recurrence, grid_of
from jaxtyping import Bool
from torch import Tensor

from leadline.graph import Graph, Node, Ref


@dataclass(frozen=True)
class Reads:
    """What is read of one direction of one layer: gates (in the order of its weights' rows) and outputs.

    Rows are those of the recurrence's input.
    """

    gates: Bool[Tensor, "*rows gates"]
    outputs: Bool[Tensor, "*rows units"]


def reads_of(recurrence: Recurrence, node: Node, graph: Graph, elements: Lookup) -> list[list[Reads]]:
    """Find what is read of every layer and direction; of packed sequences, all."""
    rows = graph.meta(recurrence.input).shape[:-1]
    widths = [graph.meta(state).shape[-1] for state in recurrence.states]
    gates = graph.meta(recurrence.layers[0][0].from_input).shape[0]
    used = [_used(node, i, elements) for i in range(len(node.outputs))]
    if recurrence.packed or all(bool(compact(mask).all()) for mask in used):
        every = torch.ones((), dtype=torch.bool)
        all_of_it = Reads(every.expand(*rows, gates), every.expand(*rows, widths[0]))
        return [[all_of_it] * len(layer) for layer in recurrence.layers]
    if recurrence.single:
        above, finals = (
            used[0].unsqueeze(0),
            [torch.zeros_like(used[0]).unsqueeze(0), *(m.unsqueeze(0) for m in used[1:])],
        )
    else:
        above, finals = used[0].transpose(0, 1) if recurrence.batch_first else used[0], used[1:]
    found: list[list[Reads]] = []
    for depth in reversed(range(len(recurrence.layers))):
        ways = above.chunk(len(recurrence.layers[depth]), -1)
        ends = [[final[depth * len(ways) + way] for final in finals] for way in range(len(ways))]
        layer = [_direction(own, end, gates, way == 1) for way, (own, end) in enumerate(zip(ways, ends, strict=True))]
        above = torch.stack([read.gates.any(-1, keepdim=True) for read in layer]).any(0)
        above = above.expand(*above.shape[:-1], widths[0] * len(ways))
        found.insert(0, [_laid_out(read, recurrence) for read in layer])
    return found


def _direction(own: Bool[Tensor, "t b units"], ends: list[Tensor], gates: int, backwards: bool) -> Reads:
    """Go from the last step to the first; `ends` are the marks of the hidden state, and an LSTM's memory, after it."""
    hidden, *memories = ends
    outputs = (own if backwards else own.flip(0)).clone()
    outputs[0] |= hidden
    wide = outputs if not memories or memories[0].shape == hidden.shape else outputs.any(-1, keepdim=True)
    memory = wide.expand(*wide.shape[:-1], (memories[0] if memories else hidden).shape[-1]).clone()
    gate = memory.clone()
    for mark in memories:
        memory[0] |= mark
    later = memory.any(-1, keepdim=True).cummax(0).values[:-1]  # what a later step reads, all units of it do
    for mask in (outputs, gate, memory):
        mask[1:] |= later
    units = memory.shape[-1]
    rows = torch.cat([memory] * (gates // units - 1) + [gate], -1) if memories else memory.repeat(1, 1, gates // units)
    return Reads(rows if backwards else rows.flip(0), outputs if backwards else outputs.flip(0))


def _laid_out(read: Reads, recurrence: Recurrence) -> Reads:
    """Give marks, time first, the rows of the input."""
    if recurrence.single:
        return Reads(read.gates.squeeze(0), read.outputs.squeeze(0))
    if recurrence.batch_first:
        return Reads(read.gates.transpose(0, 1), read.outputs.transpose(0, 1))
    return read


def grid_reads_of(node: Node, graph: Graph, elements: Lookup) -> list[Bool[Tensor, "b h w gates"]]:
    """Find the gates of each layer of a grid recurrence that are read."""
    _, weights = grid_of(node)
    layers, gates, units = graph.meta(weights["weight_north"]).shape
    used = [_used(node, i, elements) for i in range(len(node.outputs))]
    above, found = used[0], list[Tensor]()
    if any(bool(mask.any()) for mask in used[1:]):  # what is kept besides speaks of all cells
        above = torch.ones((), dtype=torch.bool).expand(above.shape)
    for _ in range(layers):
        own = above.any(-1, keepdim=True)
        south_east = own.flip(1, 2).cummax(1).values.cummax(2).values.flip(1, 2)
        beyond = torch.zeros_like(own)
        beyond[:, :-1] |= south_east[:, 1:]
        beyond[:, :, :-1] |= south_east[:, :, 1:]
        read = above | beyond
        found.insert(0, read.repeat(1, 1, 1, gates // units))
        above = read.any(-1, keepdim=True).expand(above.shape)
    return found


def _used(node: Node, output: int, elements: Lookup) -> Bool[Tensor, "..."]:
    meta = node.outputs[output]
    if meta is None or not prod(meta.shape):
        return torch.zeros((), dtype=torch.bool)
    of = elements(Ref(node.index, output))
    return torch.ones((), dtype=torch.bool).expand(of.alive.shape) if of.used is None else of.used
