"""A loop over positions as equations: its body once, at every position; its states as reads one position back."""

from collections import ChainMap
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch

from leadline.graph import Node, Ref
from leadline.graph.table import Move
from leadline.recurrence.ir import Pointwise, Table, Variable
from leadline.recurrence.reading.field import Dims, Factor, Field, Misfit, axis_of, canonical, taken
from leadline.recurrence.reading.iterations import Moving
from leadline.recurrence.reading.loops import Loop
from leadline.recurrence.reading.lowering import Fixed, Lowering, Value, copied
from leadline.recurrence.reading.rules_positions import beside

Apply: TypeAlias = Callable[[Lowering, Node, MutableMapping[Ref, Value]], None]


class Elsewhere(Exception):
    """A loop along something else than the positions: what it has unrolled to is read as it stands."""


@dataclass(eq=False)
class Body:
    """The body of a loop, to be lowered at all positions at once.

    Its tensors have no dimension of positions: they are fields whose position moves with the reader.
    """

    low: Lowering
    loop: Loop
    outer: MutableMapping[Ref, Value]
    apply: Apply
    axis: int | None = None

    def lowered(self, states: Mapping[Ref, Field]) -> dict[Ref, Value]:
        """Emit the body's variables; states that are not given are read as they were before the first iteration."""
        inner: dict[Ref, Value] = {}
        values = ChainMap(inner, self.outer)
        for read, state in self.loop.states.items():
            known = state.new in states
            inner[read] = self._past(states[state.new], state.initial) if known else self.outer[state.initial]
        for ref, moving in self.loop.moving.items():
            if ref.node not in self.loop.body:
                inner[ref] = self._picked(self.outer[moving.source], moving)
        for index in self.loop.body:
            moved = self.loop.moving.get(Ref(index))
            if moved is not None:
                inner[Ref(index)] = self._picked(values[moved.source], moved)
            else:
                self.apply(self.low, self.low.graph.nodes[index], values)
        if self.axis is None:
            raise Elsewhere
        return inner

    def _picked(self, read: Value, moving: Moving) -> Field:
        """Return a tensor at the position of the reader."""
        if not isinstance(read, Field):
            raise Elsewhere
        dim = moving.dim % len(read.dims)
        axis = axis_of(read.dims[dim])
        if axis is None:
            raise Elsewhere
        if self.axis not in (None, axis):
            raise Misfit("a loop goes along two position axes at once")
        self.axis = axis
        along = taken(read, dim, range(moving.first, moving.first + self.loop.length))
        return replace(along, dims=(*along.dims[:dim], *[()] * moving.kept, *along.dims[dim + 1 :]))

    def _past(self, state: Field, initial: Ref) -> Field:
        """Return what a state was one position earlier: beyond the first one, its fill, or what a table adds there."""
        start = self.outer[initial]
        if not isinstance(start, Fixed) or not start.tensor.numel():
            raise Misfit("a loop begins with a state that is computed")
        step = tuple(int(a == self.axis) for a in range(self.low.rank))
        fill = self.low.fill_of(start.tensor, state.dims, state.sizes)
        if fill is not None:
            return replace(state, shift=step, fill=fill)
        if self.loop.early:  # the table would be needed before the state that it is added to
            raise Misfit("a loop whose results come before the update begins with a state of different numbers")
        given = self.low.constant(start.tensor, state.dims, state.sizes).values.expand(*state.sizes, -1)
        table = torch.zeros_like(given)
        where = tuple(0 if a == self.axis else slice(None) for a in range(self.low.rank))
        table[where] = given[where]
        operands = (self.low.tap(replace(state, shift=step)), Table(table))
        return self.low.emit(Pointwise("add", operands, torch.add), state.dims, state.sizes, "start")


def rolled(low: Lowering, loop: Loop, joint: Node, values: MutableMapping[Ref, Value], apply: Apply) -> Field:
    """Return the joined results of a loop; `Elsewhere` if it does not go along a position axis.

    Which dimensions of a state are the batch and which are features is what the body makes of it: it is lowered with
    the states of before the first iteration until all are known.
    """
    body = Body(low, loop, values, apply)
    wanted = sorted({state.new for state in loop.states.values()}, key=lambda ref: (ref.node, ref.output))
    known: dict[Ref, tuple[Dims, tuple[int, ...]]] = {}
    while True:
        start, low.node = len(low.variables), joint
        states = {ref: low.state(*known[ref], "state") for ref in wanted if ref in known}
        low.in_loop = True
        try:
            inner = body.lowered(states)
        finally:
            low.in_loop = False
        found = {ref: (value.dims, value.sizes) for ref in wanted if isinstance(value := inner[ref], Field)}
        if found == known:
            break
        if not known.keys() < found.keys():
            raise Misfit("the states of a loop do not settle")
        del low.variables[start:]
        known = found
    if len(known) < len(wanted):
        raise Misfit("a state of a loop rests on no input")
    for ref, state in states.items():
        # all of them are fields: `found` holds no others, and is as long as `wanted`
        low.close(state, copied(low.tap(inner[ref])))  # type: ignore[arg-type]
    low.variables[start:] = _states_first(low.variables[start:], {state.variable for state in states.values()})
    joined = _joined(inner[loop.result], joint, body.axis, loop.length)
    low.looped = True
    return joined if loop.lead is None else _after(low, joined, values[loop.lead], joint)


def _after(low: Lowering, joined: Field, lead: Value, joint: Node) -> Field:
    """Put what a state was before the loop in front of the results."""
    dim = joint.bound().get("dim", 0) % len(joint.shape)
    axis = axis_of(joined.dims[dim])
    if not isinstance(lead, Fixed) or axis is None:
        raise Misfit("a loop begins with a state that is computed")
    if joint.operation.move is not Move.JOIN:
        lead = Fixed(lead.tensor.unsqueeze(dim), lead.generic.unsqueeze(dim))
    return beside(low, [lead, joined], dim, axis)


def _states_first(variables: list[Variable], states: set[str]) -> list[Variable]:
    """Put what no state rests on last: what reads a state one position back can then follow it within a front."""
    needed = set(states)
    for _ in variables:
        needed |= {tap.source for v in variables if v.name in needed for tap in v.equation.taps}
    return sorted(variables, key=lambda v: v.name not in needed)


def _joined(read: Any, joint: Node, axis: int | None, length: int) -> Field:
    """Give the result of a loop its dimension of positions."""
    if not isinstance(read, Field) or axis is None:
        raise Elsewhere
    dim = joint.bound().get("dim", 0) % len(joint.shape)
    new = joint.operation.move is not Move.JOIN  # a concatenation joins along a dimension that is there
    if not new and read.dims[dim]:
        raise Misfit("a loop joins pieces that are longer than one position")
    return canonical(replace(read, dims=(*read.dims[:dim], (Factor(axis, length),), *read.dims[dim + (not new) :])))
