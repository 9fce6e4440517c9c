"""What follows what: while training all inputs are there at once; while generating, each is drawn from an output."""

from __future__ import annotations

from dataclasses import replace

from leadline.errors import NotUniform
from leadline.recurrence.analysis.affine import Step
from leadline.recurrence.ir import System


def training_steps_of(system: System) -> tuple[Step, ...]:
    """Return the dependences of a forward pass on known inputs, each with the cost of its reader."""
    steps = (Step(e.reader, e.source, e.offset, e.cost, e.growing, e.first) for e in system.edges)
    return tuple(dict.fromkeys(steps))


def generation_steps_of(system: System, lag: int = 1, *, draw: int = 0) -> tuple[Step, ...]:
    """Return the dependences of generation: the input at p is drawn from the output at p, or at p - 1 for a lag of 0.

    Parameters
    ----------
    system
        The equations of the model.
    lag
        1 for density models, whose output p is the distribution of the input p; 0 for language models, where it is that
        of the next input.
    draw
        What a drawing costs. With 1 for it and 0 for all else, the longest path counts fronts.

    Raises
    ------
    NotUniform
        If the lag is 0 on a grid of several axes: what is next then jumps from one row's end to the next one's start.
    """
    if lag < 1 and len(system.axes) > 1:
        raise NotUniform(
            f"the next position after a row's end is the start of the next row, which no constant offset along "
            f"{', '.join(system.axes)} reaches; use a model whose output is the distribution at its own position"
        )
    offset = (1,) if lag < 1 else (0,) * len(system.axes)
    draws = tuple(Step(name, system.output, offset, draw) for name in system.inputs)
    return training_steps_of(system) + draws


def without_costs(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Return the same dependences at no cost."""
    return tuple(replace(step, cost=0) for step in steps)


def recurrent_variables(system: System) -> frozenset[str]:
    """Return the variables that rest on themselves: those between the ends of a tap on a later variable."""
    order = [v.name for v in system.variables]
    place = {name: i for i, name in enumerate(order)}
    loops: set[str] = set()
    for edge in system.edges:
        loops.update(order[place[edge.reader] : place[edge.source] + 1])
    return frozenset(loops)
