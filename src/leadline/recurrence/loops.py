"""Loops over positions that a trace has unrolled, found by comparing each iteration with the one before.

A recurrence written as ``for t in range(T): h = cell(x[:, t], h)`` is traced as T copies of its body. Two neighbouring
copies do the same operations on the same weights; they differ in the position that they pick, by one, and in the states
that they read, each of which is what the copy before has computed in its place.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise

from leadline.graph import Graph, Node, Ref
from leadline.graph.ir import Argument
from leadline.graph.ops import LEAVES

SHORTEST = 3
"""How many iterations there must be: two pairs, one of which begins with the states that were given."""

_JOINTS = frozenset(["stack", "cat", "concat", "concatenate"])
_PIECES = frozenset(["unbind", "unbind_copy", "split", "split_copy", "split_with_sizes", "unsafe_split", "chunk"])


@dataclass(frozen=True)
class Moving:
    """A read of one position of ``source`` along its dimension `dim`, which iteration t takes at ``first + t``.

    `kept` says whether the dimension stays, with size 1.
    """

    source: Ref
    dim: int
    first: int
    kept: bool


@dataclass(frozen=True)
class State:
    """A read of what `new` was one iteration earlier, and was `initial` before the first one."""

    new: Ref
    initial: Ref


@dataclass(frozen=True)
class Loop:
    """One iteration, read off the last one, and what stands for its neighbours.

    Attributes
    ----------
    result
        What each iteration adds to the joined tensor.
    length
        How many iterations there are.
    body
        The nodes of the last iteration, in order.
    moving, states
        The reads in the body that differ from one iteration to the next.
    members
        The nodes of all iterations.
    """

    result: Ref
    length: int
    body: tuple[int, ...]
    moving: Mapping[Ref, Moving]
    states: Mapping[Ref, State]
    members: frozenset[int]

    def outside(self, graph: Graph) -> set[Ref]:
        """Return what the loop reads from elsewhere: weights, tensors of which it picks positions, first states."""
        read = {ref for index in self.body for ref in graph.nodes[index].refs}
        read |= {moving.source for moving in self.moving.values()}
        read -= self.moving.keys() | self.states.keys()
        return {ref for ref in read if ref.node not in self.body} | {state.initial for state in self.states.values()}


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
            loop = _rolled(graph, results)
            if loop is not None:
                found[node.index] = replace(loop, members=loop.members | writes)
    return found


def _results(graph: Graph, joint: Node) -> tuple[tuple[Ref, ...], frozenset[int]]:
    """Return what a node joins along a dimension, if it is a joint, and the nodes that only help to.

    Joints are stacks, concatenations, and the last of the writes ``out[:, t] = result`` that fill a tensor from its
    first position to its last.
    """
    if joint.kind not in LEAVES and _name(joint) in _JOINTS:
        return joint.refs, frozenset()
    results: list[Ref] = []
    helpers: set[int] = set()
    node = joint
    while node.op.startswith("aten.select_scatter"):
        given, size = node.bound(), len(results)
        length = graph.meta(given["self"]).shape[given["dim"]]
        if given["dim"] != joint.bound()["dim"] or given["index"] != length - 1 - size:
            break
        written = graph.nodes[given["src"].node]
        if written.op == "aten.copy.default" and graph.meta(written.bound()["src"]) == written.meta:
            helpers |= {written.index, written.refs[0].node}
            results.append(written.bound()["src"])
        else:
            results.append(given["src"])
        if given["index"] == 0:
            return tuple(reversed(results)), frozenset(helpers | {joint.index}) - {joint.index}
        node = graph.nodes[given["self"].node]
        helpers.add(node.index)
    return (), frozenset()


def _rolled(graph: Graph, results: tuple[Ref, ...]) -> Loop | None:
    """Return the loop whose iterations gave these results, or None if they do not all do the same."""
    steps: list[_Step] = []
    for earlier, later in pairwise(results):
        step = _Step(graph)
        if not step.compare(later, earlier) or (steps and not step.follows(steps[-1])):
            return None
        steps.append(step)
    last, before = steps[-1], len(results) - 1
    initial = {read: read for read in last.states}
    for step in reversed(steps):
        initial = {read: step.states[there][1] for read, there in initial.items()}
    members = {node for step in steps for pair in step.partner.items() for node in pair}
    return Loop(
        result=results[-1],
        length=len(results),
        body=tuple(sorted(last.partner)),
        moving={ref: replace(read, first=read.first - before) for ref, read in last.moving.items()},
        states={read: State(new, initial[read]) for read, (new, _) in last.states.items()},
        members=frozenset(members | {ref.node for step in steps for ref in step.moving}),
    )


@dataclass
class _Step:
    """What an iteration computes, compared with the one before.

    Attributes
    ----------
    partner
        For each node of the iteration, the same node of the one before.
    moving
        Reads of a position; `Moving.first` is the one read in this very iteration.
    states
        For each read of a state: what becomes of it in this iteration, and what the one before reads in its place.
    """

    graph: Graph
    partner: dict[int, int] = field(default_factory=dict)
    moving: dict[Ref, Moving] = field(default_factory=dict)
    states: dict[Ref, tuple[Ref, Ref]] = field(default_factory=dict)
    _open: list[tuple[int, int, Ref, Ref]] = field(default_factory=list)

    def compare(self, later: Ref, earlier: Ref) -> bool:
        """Walk both iterations from their results backwards, latest nodes first; return whether they do the same.

        So every node of an iteration comes before all those of the one before it, and a node that is met there again
        is a state.
        """
        self._push(later, earlier)
        origin: dict[int, int] = {}
        while self._open:
            _, _, a, b = heapq.heappop(self._open)
            if a.node in origin:
                new = Ref(origin[a.node], a.output)
                if self.states.setdefault(a, (new, b)) != (new, b):
                    return False
            elif a.node in self.partner:
                if self.partner[a.node] != b.node or a.output != b.output:
                    return False
            elif not self._piece(a, b):
                if a.output != b.output or not self._same(a.node, b.node):
                    return False
                self.partner[a.node] = b.node
                origin[b.node] = a.node
        return not any(node in origin for node in self.partner)

    def follows(self, before: _Step) -> bool:
        """Return whether the iteration before, as seen from here, is what it was when it was compared itself."""
        reads = {read for _, read in self.states.values()}
        return (
            set(self.partner.values()) == set(before.partner)
            and reads == set(before.states)
            and all(before.states[b][0] == a for a, (_, b) in self.states.items())
        )

    def _push(self, a: Ref, b: Ref) -> None:
        if a != b:
            heapq.heappush(self._open, (-a.node, a.output, a, b))

    def _piece(self, a: Ref, b: Ref) -> bool:
        """Compare two neighbouring pieces of one tensor that was taken apart."""
        node = self.graph.nodes[a.node]
        if a.node != b.node or a.output != b.output + 1 or _name(node) not in _PIECES:
            return False
        dim = node.bound().get("dim", 0) % len(self.graph.meta(node.refs[0]).shape)
        kept = not _name(node).startswith("unbind")
        if kept and self.graph.meta(a).shape[dim] != 1:
            return False
        self.moving[a] = Moving(node.refs[0], dim, a.output, kept)
        return True

    def _same(self, later: int, earlier: int) -> bool:
        """Compare two nodes, and put what they read on the list."""
        a, b = self.graph.nodes[later], self.graph.nodes[earlier]
        if a.op != b.op or a.outputs != b.outputs or a.kind in LEAVES:
            return False
        given, taken = a.bound(), b.bound()
        moved = _moved(a, given, taken)
        if moved is not None:
            self.moving[Ref(later)] = moved
            given, taken = {"self": given["self"]}, {"self": taken["self"]}
        return given.keys() == taken.keys() and all(self._alike(given[name], taken[name]) for name in given)

    def _alike(self, a: Argument, b: Argument) -> bool:
        if isinstance(a, Ref) and isinstance(b, Ref):
            self._push(a, b)
            return True
        if isinstance(a, tuple) and isinstance(b, tuple):
            return len(a) == len(b) and all(map(self._alike, a, b))
        return type(a) is type(b) and bool(a == b)


def _name(node: Node) -> str:
    return node.op.split(".")[1]


def _moved(node: Node, given: Mapping[str, Argument], taken: Mapping[str, Argument]) -> Moving | None:
    """Return the read of a position that an iteration makes one further than the one before, if it is one."""
    name = _name(node)
    if name in ("select", "select_copy"):
        first, before, kept = given["index"], taken["index"], False
    elif name in ("slice", "slice_copy") and given["step"] == 1 and given["end"] == (given["start"] or 0) + 1:
        first, before, kept = given["start"] or 0, taken["start"] or 0, True
    elif name in ("narrow", "narrow_copy") and given["length"] == 1:
        first, before, kept = given["start"], taken["start"], True
    else:
        return None
    if given["dim"] != taken["dim"] or first != before + 1 or before < 0:
        return None
    return Moving(given["self"], given["dim"], first, kept)
