"""What follows what: while training all inputs are there at once; while generating, each is drawn from an output."""

from __future__ import annotations

from dataclasses import replace

from leadline.errors import NotUniform
from leadline.recurrence.ir import Edge, System


def training_edges(system: System) -> tuple[Edge, ...]:
    """Return the dependences of a forward pass on known inputs, each with the cost of its reader."""
    return tuple(dict.fromkeys(system.edges))


def generation_edges(system: System, lag: int = 1) -> tuple[Edge, ...]:
    """Return the dependences of generation: the input at p is drawn from the output at p, or at p - 1 for a lag of 0.

    Density models have a lag of 1, their output p being the distribution of the input p; language models, whose output
    is that of the next input, 0. Raises `NotUniform` for a lag of 0 on a grid of several axes.
    """
    return training_edges(system) + _draws(system, lag, 0)


def drawing_edges(system: System, lag: int = 1) -> tuple[Edge, ...]:
    """Return the dependences of generation where only a drawing costs anything: the longest path counts fronts."""
    return tuple(replace(edge, cost=0) for edge in training_edges(system)) + _draws(system, lag, 1)


def _draws(system: System, lag: int, cost: int) -> tuple[Edge, ...]:
    if lag < 1 and len(system.axes) > 1:
        raise NotUniform(
            f"the next position after a row's end is the start of the next row, which no constant offset along "
            f"{', '.join(system.axes)} reaches; use a model whose output is the distribution at its own position"
        )
    offset = (1,) if lag < 1 else (0,) * len(system.axes)
    return tuple(Edge(name, system.output, offset, cost) for name in system.inputs)


def recurrent_variables(system: System) -> frozenset[str]:
    """Return the variables that rest on themselves: those between the ends of a tap on a later variable."""
    order = [v.name for v in system.variables]
    place = {name: i for i, name in enumerate(order)}
    loops: set[str] = set()
    for edge in system.edges:
        loops.update(order[place[edge.reader] : place[edge.source] + 1])
    return frozenset(loops)
