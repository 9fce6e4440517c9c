"""Two neighbouring iterations of an unrolled loop, compared: what is the same, what moves, and what is a state."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field

from leadline.graph import Graph, Node, Ref
from leadline.graph.ir import Argument
from leadline.graph.table import LEAVES, Move


@dataclass(frozen=True)
class Moving:
    """A read of one position of ``source`` along its dimension `dim`, which iteration t takes at ``first + t``.

    `kept` says whether the dimension stays, with size 1.
    """

    source: Ref
    dim: int
    first: int
    kept: bool


@dataclass
class Step:
    """What an iteration computes, compared with the one before.

    `partner` gives for each node of the iteration the same node of the one before, `moving` the reads of a position
    (`Moving.first` is the one read in this very iteration), and `states` for each read of a state what becomes of it in
    this iteration, and what the one before reads in its place. In the second iteration, `given` is what it has computed
    where the first one reads what it was given.
    """

    graph: Graph
    partner: dict[int, int] = field(default_factory=dict)
    moving: dict[Ref, Moving] = field(default_factory=dict)
    states: dict[Ref, tuple[Ref, Ref]] = field(default_factory=dict)
    given: dict[Ref, Ref] = field(default_factory=dict)
    _open: list[tuple[int, int, int, int]] = field(default_factory=list)

    def compare(self, later: Ref, earlier: Ref, first: bool) -> bool:
        """Walk both iterations from their results backwards, latest nodes first; return whether they do the same.

        So every node of an iteration comes before all those of the one before it, and a node that is met there again
        is a state. The earlier iteration may be the first one, which is given what others compute.
        """
        self._push(later, earlier)
        origin: dict[int, int] = {}
        while self._open:
            node, output, *other = heapq.heappop(self._open)
            a, b = Ref(-node, output), Ref(*other)
            if a.node in origin:
                new = Ref(origin[a.node], a.output)
                if self.states.setdefault(a, (new, b)) != (new, b):
                    return False
            elif a.node in self.partner:
                if self.partner[a.node] != b.node or a.output != b.output:
                    return False
            elif not self._piece(a, b):
                if a.output == b.output and self._same(a.node, b.node):
                    self.partner[a.node] = b.node
                    origin[b.node] = a.node
                elif first and self.partner and self.given.setdefault(a, b) == b:
                    continue
                else:
                    return False
        return not any(node in origin for node in self.partner)

    def follows(self, before: Step) -> bool:
        """Return whether the iteration before, as seen from here, is what it was when it was compared itself."""
        reads, there = {read for _, read in self.states.values()}, set(self.partner.values())
        if before.given:
            updates = there - before.partner.keys()
            whole = before.partner.keys() < there and {ref.node for ref in before.given} <= updates
            whole = whole and before.states.keys() <= reads
        else:
            whole = there == before.partner.keys() and reads == before.states.keys()
        return whole and all(before.states[b][0] == a for a, (_, b) in self.states.items() if b in before.states)

    def _push(self, a: Ref, b: Ref) -> None:
        if a != b:
            heapq.heappush(self._open, (-a.node, a.output, b.node, b.output))

    def _piece(self, a: Ref, b: Ref) -> bool:
        """Compare two neighbouring pieces of one tensor that was taken apart."""
        node = self.graph.nodes[a.node]
        if a.node != b.node or a.output != b.output + 1 or node.operation.move is not Move.TAKE:
            return False
        rank = len(self.graph.meta(node.refs[0]).shape)
        dim, kept = node.bound().get("dim", 0) % rank, len(self.graph.meta(a).shape) == rank
        if kept and self.graph.meta(a).shape[dim] != 1:
            return False
        self.moving[a] = Moving(node.refs[0], dim, a.output, kept)
        return True

    def _same(self, later: int, earlier: int) -> bool:
        """Compare two nodes; if they are the same, put what they read on the list."""
        a, b = self.graph.nodes[later], self.graph.nodes[earlier]
        if a.op != b.op or a.outputs != b.outputs or a.kind in LEAVES:
            return False
        given, taken = a.bound(), b.bound()
        moved = _moved(a, given, taken)
        if moved is not None:
            self.moving[Ref(later)] = moved
            given, taken = {"self": given["self"]}, {"self": taken["self"]}
        if given.keys() != taken.keys() or not all(_alike(given[name], taken[name]) for name in given):
            return False
        for x, y in zip(a.refs, b.refs, strict=True):
            self._push(x, y)
        return True


def _alike(a: Argument, b: Argument) -> bool:
    """Return whether two arguments are the same but for what they refer to."""
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(_alike, a, b))
    return type(a) is type(b) and (isinstance(a, Ref) or bool(a == b))


def _moved(node: Node, given: Mapping[str, Argument], taken: Mapping[str, Argument]) -> Moving | None:
    """Return the read of a position that an iteration makes one further than the one before, if it is one."""
    if node.operation.move is not Move.TAKE:
        return None
    if "index" in given:  # select
        first, before, kept = given["index"], taken["index"], False
    elif "end" in given and given["step"] == 1 and given["end"] == (given["start"] or 0) + 1:  # slice
        first, before, kept = given["start"] or 0, taken["start"] or 0, True
    elif given.get("length") == 1:  # narrow
        first, before, kept = given["start"], taken["start"], True
    else:
        return None
    if given["dim"] != taken["dim"] or first != before + 1 or before < 0:
        return None
    return Moving(given["self"], given["dim"], first, kept)
