"""Dependence through recurrences: each step on itself and the steps before it, in the direction of the recurrence."""

from __future__ import annotations

import torch

from leadline.domains.compact import lifted, place_of
from leadline.domains.dependence.flow import Flow, Links, present
from leadline.domains.engine import Lookup, NoRule
from leadline.domains.operations.scans import Recurrence, is_grid, recurrence_of
from leadline.graph.ir import Node


def scan(flow: Flow, node: Node, links: Lookup[Links]) -> tuple[Links, ...]:
    """Depend on the inputs so far, the initial states, and the weights."""
    if is_grid(node):
        return _grid(flow, node, links)
    recurrence = recurrence_of(node, flow.graph)
    if recurrence.packed:
        raise NoRule
    data = {recurrence.input, *recurrence.states}
    weights = flow.total([links(ref) for ref in node.refs if ref not in data])
    results = _cell(flow, node, recurrence, links) if recurrence.single else _layers(flow, node, recurrence, links)
    return tuple(flow.all_of(result, weights) for result in results)


def _grid(flow: Flow, node: Node, links: Lookup[Links]) -> tuple[Links, ...]:
    """Each cell depends on the cells to its north-west; all that is kept besides counts as one, on everything."""
    x = links(node.refs[0])
    weights = flow.total([links(ref) for ref in node.refs[1:]])
    if x is not None:
        x = flow.algebra.cumulate(flow.algebra.cumulate(flow.algebra.reduce(x, [-1]), 1), 2)
    out = flow.all_of(x, weights)
    assert out is not None
    return (out, *[flow.total([out])] * (len(node.outputs) - 1))


def _cell(flow: Flow, node: Node, recurrence: Recurrence, links: Lookup[Links]) -> tuple[Links, ...]:
    """One step: every unit sees the whole input and the whole state, and an LSTM's its own memory."""
    hidden, *memory = (links(ref) for ref in recurrence.states)
    seen = (flow.reduced(part, -1) for part in (links(recurrence.input), hidden))
    return (flow.all_of(*seen, *memory),) * len(node.outputs)


def _layers(flow: Flow, node: Node, recurrence: Recurrence, links: Lookup[Links]) -> tuple[Links, ...]:
    """Return outputs ``[time, batch, units]`` and final states ``[layers · directions, batch, units]``."""
    below, steps = links(recurrence.input), flow.shape(recurrence.input)[1 if recurrence.batch_first else 0]
    if below is not None:
        below = (below.transpose(0, 1) if recurrence.batch_first else below).expand(steps, -1, -1)
    projected = recurrence.layers[0][0].projection is not None
    finals: list[tuple[Links, ...]] = []
    for layer in recurrence.layers:
        outs = []
        for way in range(len(layer)):
            states = [None if (s := links(ref)) is None else place_of(s, len(finals)) for ref in recurrence.states]
            out, memory = _direction(flow, below, states, steps, backwards=way == 1, projected=projected)
            outs.append(out)
            finals.append((None if out is None else out[0 if way else -1], memory))
        below = joined(outs, -1, flow.shape(recurrence.states[0])[-1])
    out = below.transpose(0, 1) if below is not None and recurrence.batch_first else below
    ends = list(zip(*finals, strict=True))[: len(node.outputs) - 1]
    return (out, *(joined([None if end is None else end.unsqueeze(0) for end in kind], 0, 1) for kind in ends))


def _direction(
    flow: Flow, below: Links, states: list[Links], steps: int, *, backwards: bool, projected: bool
) -> tuple[Links, Links]:
    """One layer in one direction: its outputs, and the last of an LSTM's memories.

    Every unit sees all of the input and of the hidden state. Memory is read by its own unit at the first step, by all
    units later.
    """
    seen, hidden = flow.reduced(below, -1), flow.reduced(states[0], -1)
    run = None if seen is None else flow.algebra.cumulate(seen.flip(0) if backwards else seen, 0)
    own = states[1] if len(states) > 1 else None
    later = flow.all_of(run, hidden, flow.reduced(own, -1))
    if later is None:
        return None, None
    later = lifted(later, 3).expand(steps, -1, -1)
    memory = later[-1]
    if own is not None:
        first = lifted(present(flow.all_of(None if run is None else run[:1], hidden, own)), 3)
        memory = first[0] if steps == 1 else memory
        if not projected:
            sizes = [max(pair) for pair in zip(first.shape, later.shape, strict=True)][1:]
            later = torch.cat([first.expand(1, *sizes), later[1:].expand(-1, *sizes)])
    return (later.flip(0) if backwards else later), memory


def joined(parts: list[Links], dim: int, size: int) -> Links:
    """Put compact tensors side by side along an axis on which each takes `size` places; None stands for zeros."""
    found = [part for part in parts if part is not None]
    if not found:
        return None
    if len(parts) == 1:
        return found[0]
    sizes = [max(part.shape[axis] for part in found) for axis in range(found[0].ndim)]
    sizes[dim] = size
    return torch.cat([torch.zeros(sizes) if part is None else part.expand(sizes) for part in parts], dim)
