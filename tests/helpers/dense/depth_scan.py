"""Depth through recurrences, in closed form: step t is one deeper than the deepest of its input and step t - 1.

``h_t = c + max(x_t, h_(t-1))`` unrolls to ``h_t = c·t + c + max over s ≤ t of (x_s - c·s)``, a running maximum of
skewed depths; on a grid the skew is along both axes. No loop over steps.
"""

from __future__ import annotations

import torch
from helpers.dense.flow import Flow, Links
from helpers.dense.scans import Recurrence, grid_of, is_grid, recurrence_of
from torch import Tensor

from leadline.domains.engine import Lookup, NoRule
from leadline.graph.ir import Node


def scan(flow: Flow, cost: int, node: Node, links: Lookup[Links]) -> tuple[Links, ...]:
    """Follow the recurrence, `cost` for each product that must wait for another."""
    if is_grid(node):
        return _grid(flow, cost, node, links)
    recurrence = recurrence_of(node, flow.graph)
    if recurrence.packed:
        raise NoRule
    trained = flow.total([links(ref) for layer in recurrence.layers for way in layer for ref in way.weights])
    results = _cell(flow, cost, recurrence, links) if recurrence.single else _layers(flow, cost, recurrence, links)
    return tuple(
        None if meta is None or (joined := flow.all_of(result, trained)) is None else joined.expand(meta.shape)
        for result, meta in zip(results, node.outputs, strict=False)  # without an LSTM, no memory
    )


def run(x: Tensor, cost: int, axes: tuple[int, ...]) -> Tensor:
    """Run one layer along axes, from the depths of what each step reads (-inf: of nothing) to those of what it returns.

    Examples
    --------
    >>> run(torch.tensor([-torch.inf, 1.0, 1.0, 9.0]), 1, (0,)).tolist()
    [-inf, 2.0, 3.0, 10.0]
    """
    skew = torch.zeros(())
    for axis in axes:
        skew = skew + torch.arange(x.shape[axis]).reshape([-1 if d == axis else 1 for d in range(x.ndim)])
    found = x - cost * skew
    for axis in axes:
        found = found.cummax(axis).values
    return found + cost * (skew + 1)


def _deep(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, -torch.inf)


def _links(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.0)


def _grid(flow: Flow, cost: int, node: Node, links: Lookup[Links]) -> tuple[Links, ...]:
    """Each layer of a grid from the one below; the deepest cell speaks for all that is kept besides the last layer."""
    x, weights = grid_of(node)
    batch, height, width, _ = flow.shape(x)
    read = links(x)
    below = torch.zeros(batch, height, width, 1) if read is None else flow.algebra.reduce(read, [-1])
    trained = flow.total([links(ref) for ref in weights.values()])
    if trained is not None:
        below = flow.algebra.join(below, trained)
    below = _deep(below)
    for _ in range(flow.shape(weights["weight_north"])[0]):
        below = run(below, cost, (1, 2))
    out = _links(below)
    results = (out, *[out.amax()] * (len(node.outputs) - 1))
    return tuple(
        found.expand(meta.shape) for found, meta in zip(results, node.outputs, strict=True) if meta is not None
    )


def _cell(flow: Flow, cost: int, recurrence: Recurrence, links: Lookup[Links]) -> tuple[Links, ...]:
    """One step; an LSTM's own memory is not multiplied by a matrix."""
    hidden, *memory = (links(ref) for ref in recurrence.states)
    read = flow.all_of(
        *(None if part is None else flow.algebra.reduce(part, [-1]) for part in (links(recurrence.input), hidden))
    )
    step = None if read is None else torch.where(read > 0, read + cost, 0.0)
    found = flow.all_of(step, *memory)
    return found, found


def _layers(flow: Flow, cost: int, recurrence: Recurrence, links: Lookup[Links]) -> tuple[Links, ...]:
    """Return outputs, ``[time, batch, units]`` or batch first, and final states ``[layers · ways, batch, units]``."""
    *_, units = flow.shape(recurrence.states[0])
    shape = flow.shape(recurrence.input)[:-1]
    steps, batch = shape[::-1] if recurrence.batch_first else shape
    x = links(recurrence.input)
    below = torch.zeros(steps, batch, 1) if x is None else x.transpose(0, 1) if recurrence.batch_first else x
    below, finals = _deep(below), list[Tensor]()
    projected = recurrence.layers[0][0].projection is not None
    for layer in recurrence.layers:
        read, outs = flow.algebra.reduce(below, [-1]), []
        for way in range(len(layer)):
            states = [links(ref) for ref in recurrence.states]
            first = _first(flow, cost, [None if s is None else s[len(finals)] for s in states])
            ahead = read.flip(0) if way else read
            ahead = torch.cat([torch.maximum(ahead[:1], first.expand(1, batch, 1)), ahead[1:]])
            out = run(ahead, cost * (1 + projected), (0,))
            finals.append(out[-1])
            outs.append((out.flip(0) if way else out).expand(-1, -1, units))
        below = torch.cat(outs, -1)
    hidden, out = torch.stack(finals), _links(below)
    return out.transpose(0, 1) if recurrence.batch_first else out, _links(hidden), _links(hidden - cost * projected)


def _first(flow: Flow, cost: int, states: list[Links]) -> Tensor:
    """Depth of the initial states as the first step reads them; an LSTM's memory skips its first product."""
    found = torch.tensor(-torch.inf)
    for skipped, state in zip((0, cost), states, strict=False):
        if state is not None:
            found = torch.maximum(found, _deep(flow.algebra.reduce(state, [-1])) - skipped)
    return found
