"""Loops over positions that a trace has unrolled, found by comparing each iteration with the one before.

A recurrence written as ``for t in range(T): h = cell(x[:, t], h)`` is traced as T copies of its body. Two neighbouring
copies do the same operations on the same weights; they differ in the position that they pick, by one, and in the states
that they read, each of which is what the copy before has computed in its place.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

from leadline.graph import Graph, Node, Ref
from leadline.graph.table import Form, Move
from leadline.recurrence.reading.iterations import Moving, Step

SHORTEST = 3
"""How many iterations there must be: two pairs, one of which begins with the states that were given."""


@dataclass(frozen=True)
class State:
    """A read of what `new` was one iteration earlier, and was `initial` before the first one."""

    new: Ref
    initial: Ref


@dataclass(frozen=True)
class Loop:
    """One iteration, read off the last ones, and what stands for its neighbours.

    It adds `result` to the joined tensor, of which there are `length`. `body` are its nodes, in order, and `members`
    those of all iterations; `moving` and `states` are the reads in the body that differ from one iteration to the next.
    It is `early` if the result comes before the update of the states that it rests on. What is joined before all
    results is `lead`.
    """

    result: Ref
    length: int
    body: tuple[int, ...]
    moving: Mapping[Ref, Moving]
    states: Mapping[Ref, State]
    members: frozenset[int]
    early: bool = False
    lead: Ref | None = None

    def outside(self, graph: Graph) -> set[Ref]:
        """Return what the loop reads from elsewhere: weights, tensors of which it picks positions, first states."""
        read = {ref for index in self.body for ref in graph.nodes[index].refs}
        read |= {moving.source for moving in self.moving.values()}
        read -= self.moving.keys() | self.states.keys()
        starts = {state.initial for state in self.states.values()} | ({self.lead} if self.lead else set())
        return {ref for ref in read if ref.node not in self.body} | starts


def loops(graph: Graph) -> dict[int, Loop]:
    """Return the loops of a graph, by the node that joins their results.

    Examples
    --------
    >>> import torch
    >>> from leadline.graph import trace
    >>> class Sums(torch.nn.Module):
    ...     def forward(self, x):
    ...         total, out = x.new_zeros(2), []
    ...         for step in x.unbind():
    ...             total = total + step
    ...             out.append(total)
    ...         return torch.stack(out)
    >>> graph = trace(Sums(), torch.ones(5, 2))
    >>> ((joint, loop),) = loops(graph).items()
    >>> loop.length, [graph.nodes[i].op for i in loop.body], len(loop.states)
    (5, ['aten.add.Tensor'], 1)
    """
    found = {}
    for node in graph.nodes:
        results, writes = _results(graph, node)
        if len(set(results)) >= SHORTEST:
            loop = _rolled(graph, results) or _led(graph, results)
            if loop is not None:
                found[node.index] = replace(loop, members=loop.members | writes)
    return found


def _results(graph: Graph, joint: Node) -> tuple[tuple[Ref, ...], frozenset[int]]:
    """Return what a node joins along a dimension, if it is a joint, and the nodes that only help to.

    Joints are stacks, concatenations, and the last of the writes ``out[:, t] = result`` that fill a tensor from its
    first position to its last.
    """
    if joint.operation.move in (Move.STACK, Move.JOIN):
        return joint.refs, frozenset()
    results: list[Ref] = []
    helpers: set[int] = set()
    node = joint
    while node.operation.move is Move.WRITE and "index" in node.bound():
        given, size = node.bound(), len(results)
        length = graph.meta(given["self"]).shape[given["dim"]]
        if given["dim"] != joint.bound()["dim"] or given["index"] != length - 1 - size:
            break
        written = graph.nodes[given["src"].node]
        facts = written.operation.pointwise
        source = written.bound().get("src") if facts is not None and facts.form is Form.COPY else None
        if source is not None and graph.meta(source) == written.meta:
            helpers |= {written.index, written.refs[0].node}
            results.append(source)
        else:
            results.append(given["src"])
        if given["index"] == 0:
            return tuple(reversed(results)), frozenset(helpers)
        node = graph.nodes[given["self"].node]
        helpers.add(node.index)
    return (), frozenset()


def _led(graph: Graph, results: tuple[Ref, ...]) -> Loop | None:
    """Return the loop that gave all results but the first, which is what its state was before it."""
    loop = _rolled(graph, results[1:]) if len(set(results[1:])) >= SHORTEST else None
    starts = {state.initial for state in loop.states.values()} if loop else set()
    return replace(loop, lead=results[0]) if loop and results[0] in starts else None


def _rolled(graph: Graph, results: tuple[Ref, ...]) -> Loop | None:
    """Return the loop whose iterations gave these results, or None if they do not all do the same."""
    steps: list[Step] = []
    for earlier, later in pairwise(results):
        step = Step(graph)
        if not step.compare(later, earlier, first=not steps) or (steps and not step.follows(steps[-1])):
            return None
        steps.append(step)
    members = {node for step in steps for pair in step.partner.items() for node in pair}
    members |= {ref.node for step in steps for ref in step.moving}
    if steps[0].given:
        return _updating(graph, results, steps, frozenset(members))
    last, before = steps[-1], len(results) - 1
    return Loop(
        result=results[-1],
        length=len(results),
        body=tuple(sorted(last.partner)),
        moving={ref: replace(read, first=read.first - before) for ref, read in last.moving.items()},
        states={read: State(new, *_starts(read, steps)) for read, (new, _) in last.states.items()},
        members=frozenset(members),
    )


def _updating(graph: Graph, results: tuple[Ref, ...], steps: list[Step], members: frozenset[int]) -> Loop | None:
    """Return a loop whose results come before the update of the states that they rest on: ``y = f(h); h = g(x, h)``.

    Seen from its result, an iteration begins with the update of the one before, which the first one lacks. The body is
    put together from the last result but one, and from the update after it.
    """
    second = _second(steps)
    updates = {node for node, there in second.items() if there not in steps[0].partner}
    last, before, place = steps[-1], steps[-2], len(results) - 2
    body = {last.partner[node] for node in second.keys() - updates} | updates
    update = {last.partner[node]: node for node in updates}
    moving = {ref: read for ref, read in (before.moving | last.moving).items() if read.first == place}
    states: dict[Ref, State] = {}
    for ref in {ref for node in body for ref in graph.nodes[node].refs if ref.node not in body} - moving.keys():
        if ref.node in update:
            new, early = Ref(update[ref.node], ref.output), Ref(second[update[ref.node]], ref.output)
            starts = [*filter(None, [steps[0].given.get(early), steps[1].states.get(early, (new, None))[1]])]
        elif ref in before.states:
            new, starts = before.states[ref][0], _starts(ref, steps[:-1])
        elif ref.node in members:
            return None
        else:
            continue
        if len(set(starts)) != 1 or new.node not in body:
            return None
        states[ref] = State(new, starts[0])
    return Loop(
        result=results[-2],
        length=len(results),
        body=tuple(sorted(body)),
        moving={ref: replace(read, first=read.first - place) for ref, read in moving.items()},
        states=states,
        members=members,
        early=True,
    )


def _starts(read: Ref, steps: list[Step]) -> list[Ref]:
    """Return what the first iteration reads in the place of a state; nothing if it does not read it."""
    for step in reversed(steps):
        if read not in step.states:
            return []
        read = step.states[read][1]
    return [read]


def _second(steps: list[Step]) -> dict[int, int]:
    """Return for each node of the last iteration the same one in the second iteration."""
    found = {node: node for node in steps[-1].partner}
    for step in reversed(steps[1:]):
        found = {node: step.partner[there] for node, there in found.items()}
    return found
