"""Dependence through recurrences: each step on itself and the steps before it, in the direction of the recurrence."""

from __future__ import annotations

import torch
from helpers.dense.flow import Flow, Links
from helpers.dense.scans import Recurrence, is_grid, recurrence_of

from leadline.domains.engine import Lookup, NoRule
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
    return tuple(
        None if (joined := flow.all_of(result, weights)) is None or meta is None else joined.expand(meta.shape)
        for result, meta in zip(results, node.outputs, strict=True)
    )


def _grid(flow: Flow, node: Node, links: Lookup[Links]) -> tuple[Links, ...]:
    """Each cell depends on the cells to its north-west; all that is kept besides counts as one, on everything."""
    x = links(node.refs[0])
    weights = flow.total([links(ref) for ref in node.refs[1:]])
    if x is not None:
        x = flow.algebra.cumulate(flow.algebra.cumulate(flow.algebra.reduce(x, [-1]), 1), 2)
    out = flow.all_of(x, weights)
    assert out is not None
    whole = flow.total([out])
    assert whole is not None
    results = (out, *[whole] * (len(node.outputs) - 1))
    return tuple(
        found.expand(meta.shape) for found, meta in zip(results, node.outputs, strict=True) if meta is not None
    )


def _cell(flow: Flow, node: Node, recurrence: Recurrence, links: Lookup[Links]) -> tuple[Links, ...]:
    """One step: every unit sees the whole input and the whole state, and an LSTM's its own memory."""
    hidden, *memory = (links(ref) for ref in recurrence.states)
    seen = [None if part is None else flow.algebra.reduce(part, [-1]) for part in (links(recurrence.input), hidden)]
    return (flow.all_of(*seen, *memory),) * len(node.outputs)


def _layers(flow: Flow, node: Node, recurrence: Recurrence, links: Lookup[Links]) -> tuple[Links, ...]:
    """Return outputs ``[time, batch, units]`` and final states ``[layers · directions, batch, units]``."""
    below = links(recurrence.input)
    if below is not None and recurrence.batch_first:
        below = below.transpose(0, 1)
    steps = flow.shape(recurrence.input)[1 if recurrence.batch_first else 0]
    projected = recurrence.layers[0][0].projection is not None
    finals: list[tuple[Links, ...]] = []
    for layer in recurrence.layers:
        outs = []
        for way in range(len(layer)):
            states = [None if (s := links(ref)) is None else s[len(finals)] for ref in recurrence.states]
            out, memory = _direction(flow, below, states, steps, backwards=way == 1, projected=projected)
            outs.append(None if out is None else out.expand(steps, out.shape[1], flow.shape(recurrence.states[0])[-1]))
            finals.append((None if out is None else out[0 if way else -1], memory))
        below = _joined(outs, -1)
    out = below.transpose(0, 1) if below is not None and recurrence.batch_first else below
    ends = []
    for i, meta in enumerate(node.outputs[1:]):
        assert meta is not None
        # the condition asks f[i] itself, which mypy does not carry to its second use
        ends.append(_joined([None if f[i] is None else f[i].expand(meta.shape[1:]).unsqueeze(0) for f in finals], 0))  # type: ignore[union-attr]
    return (out, *ends)


def _direction(
    flow: Flow, below: Links, states: list[Links], steps: int, *, backwards: bool, projected: bool
) -> tuple[Links, Links]:
    """One layer in one direction: its outputs, and the last of an LSTM's memories.

    Every unit sees all of the input and of the hidden state. Memory is read by its own unit at the first step, by all
    units later.
    """
    reduce = flow.algebra.reduce
    run = None
    if below is not None:
        seen = reduce(below, [-1])
        run = flow.algebra.cumulate(seen.flip(0) if backwards else seen, 0)
    hidden = None if states[0] is None else reduce(states[0], [-1])
    own = states[1] if len(states) > 1 else None
    mixed = None if own is None else reduce(own, [-1])
    later = flow.all_of(run, hidden, mixed)
    if later is None:
        return None, None
    later = later if later.ndim == 3 else later.unsqueeze(0).expand(steps, -1, -1)
    memory = later[-1]
    if own is not None:
        first = flow.all_of(None if run is None else run[:1], hidden, own)
        assert first is not None
        first = first if first.ndim == 3 else first.unsqueeze(0)
        memory = first[0] if steps == 1 else memory
        if not projected:
            later = torch.cat([first, later[1:].expand(-1, -1, first.shape[-1])])
    return (later.flip(0) if backwards else later), memory


def _joined(parts: list[Links], dim: int) -> Links:
    found = [part for part in parts if part is not None]
    if not found:
        return None
    return torch.cat([torch.zeros_like(found[0]) if part is None else part for part in parts], dim)
