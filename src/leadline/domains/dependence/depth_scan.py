"""Depth through recurrences, in closed form: step t is one deeper than the deepest of its input and step t - 1.

``h_t = c + max(x_t, h_(t-1))`` unrolls to ``h_t = c·t + c + max over s ≤ t of (x_s - c·s)``, a running maximum of
skewed depths; on a grid the skew is along both axes. No loop over steps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from leadline.domains.compact import place_of
from leadline.domains.dependence.flow import Flow, Links, present
from leadline.domains.dependence.scan import joined
from leadline.domains.engine import Lookup, NoRule
from leadline.domains.operations.scans import Recurrence, grid_of, is_grid, recurrence_of
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
    return tuple(flow.all_of(result, trained) for result in results[: len(node.outputs)])  # or without memory


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
    _, height, width, _ = flow.shape(x)
    trained = flow.total([links(ref) for ref in weights.values()])
    read = present(flow.all_of(torch.zeros(1, 1, 1, 1), flow.reduced(links(x), -1), trained))
    below = _deep(read.expand(-1, height, width, -1))
    for _ in range(flow.shape(weights["weight_north"])[0]):
        below = run(below, cost, (1, 2))
    out = _links(below)
    return (out, *[out.amax()] * (len(node.outputs) - 1))


def _cell(flow: Flow, cost: int, recurrence: Recurrence, links: Lookup[Links]) -> tuple[Links, ...]:
    """One step; an LSTM's own memory is not multiplied by a matrix."""
    hidden, *memory = (links(ref) for ref in recurrence.states)
    read = flow.all_of(flow.reduced(links(recurrence.input), -1), flow.reduced(hidden, -1))
    found = flow.all_of(flow.raised(read, cost), *memory)
    return found, found


def _layers(flow: Flow, cost: int, recurrence: Recurrence, links: Lookup[Links]) -> tuple[Links, ...]:
    """Return outputs, ``[time, batch, units]`` or batch first, and final states ``[layers · ways, batch, units]``."""
    *_, units = flow.shape(recurrence.states[0])
    steps = flow.shape(recurrence.input)[1 if recurrence.batch_first else 0]
    x = links(recurrence.input)
    below = torch.zeros(1, 1, 1) if x is None else x.transpose(0, 1) if recurrence.batch_first else x
    below, finals = _deep(below.expand(steps, -1, -1)), list[Tensor]()
    projected = recurrence.layers[0][0].projection is not None
    for layer in recurrence.layers:
        read, outs = flow.algebra.reduce(below, [-1]), []
        for way in range(len(layer)):
            states = [links(ref) for ref in recurrence.states]
            first = _first(flow, cost, [None if s is None else place_of(s, len(finals)) for s in states])
            ahead = read.flip(0) if way else read
            ahead = torch.cat(
                [torch.maximum(ahead[:1], first), ahead[1:].expand(-1, max(ahead.shape[1], first.shape[0]), -1)]
            )
            out = run(ahead, cost * (1 + projected), (0,))
            finals.append(out[-1])
            outs.append(out.flip(0) if way else out)
        below = present(joined(list(outs), -1, units))
    out = _links(below)
    hidden = present(joined([end.unsqueeze(0) for end in finals], 0, 1))
    return out.transpose(0, 1) if recurrence.batch_first else out, _links(hidden), _links(hidden - cost * projected)


def _first(flow: Flow, cost: int, states: list[Links]) -> Tensor:
    """Depth of the initial states as the first step reads them; an LSTM's memory skips its first product."""
    found = torch.full((1, 1), -torch.inf)
    for skipped, state in zip((0, cost), states, strict=False):
        if state is not None:
            found = torch.maximum(found, _deep(flow.algebra.reduce(state, [-1])) - skipped)
    return found
