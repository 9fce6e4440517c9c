"""Rows that are sorted by group, worked on group by group, and put back: the same work on rows in their own order.

Mixtures of experts sort tokens by the expert that they chose, multiply each group by its expert's matrix, and undo the
sorting. Where a row goes depends on all others; what becomes of it does not. So values in sorted order are worked out
in the order before, as long as operations act on every row by itself, and stand for what comes after the undoing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from leadline.graph.ir import Argument, Graph, Meta, Node, Ref
from leadline.graph.rewriting.rows import by_row
from leadline.graph.run_node import run_node
from leadline.graph.table import Form, Grouping, Kind, Places, Tally, operation_of


def unsorted(graph: Graph) -> Graph:
    """Return an equivalent graph in which rows that are sorted into groups stay where they are."""
    if not any(node.operation.grouping is Grouping.PRODUCT for node in graph.nodes):
        return graph
    return _Unsorting(graph).run()


@dataclass(frozen=True)
class _Sorted:
    """The rows of `base`, in the new graph, in the order of `by`: the places that a sort of the old one found."""

    by: Ref
    base: Ref


class _Unsorting:
    """Copies a graph; beside values in sorted order it puts those in the order before."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[Node] = []
        self.new: dict[Ref, Ref] = {}
        self.sorted: dict[Ref, _Sorted] = {}
        self.groups: dict[Ref, Ref] = {}  # by places of a sort: in the new graph, the group of each row
        self.inverse: dict[Ref, Ref] = {}  # that undo a sort, by the places that it found
        self.counted: dict[
            Ref, tuple[Ref, int]
        ] = {}  # rows in each group, or up to it: whose sort, and how many groups

    def run(self) -> Graph:
        for node in self.graph.nodes:
            if not self._undone(node):
                shaped = node.kind is Kind.CREATION  # which reads the shape of a tensor alone
                copy = self._put(node, self._base if shaped else self._mapped)
                self.new |= {Ref(node.index, i): Ref(copy, i) for i in range(len(node.outputs))}
                self._follow(node)
        return _without_dead(self.graph.rebuilt(self.nodes, self.new.__getitem__))

    def _put(self, node: Node, argument: Callable[[Argument], Argument], outputs: Any = None) -> int:
        index = len(self.nodes)
        name = node.name if outputs is None else f"{node.name}_unsorted_{index}"
        args = tuple(argument(part) for part in node.args)
        kwargs = {key: argument(part) for key, part in node.kwargs.items()}
        self.nodes.append(
            replace(node, index=index, name=name, args=args, kwargs=kwargs, outputs=outputs or node.outputs)
        )
        return index

    def _made(self, target: Any, args: tuple[Argument, ...], shape: tuple[int, ...], like: Node) -> Ref:
        """Add an operation that is not in the old graph."""
        op, index = str(target), len(self.nodes)
        meta, kind = Meta(shape, like.meta.dtype), operation_of(op).kind
        name = f"{like.name}_unsorted_{index}"
        self.nodes.append(Node(index, name, op, kind, args, {}, (meta,), like.place, target))
        return Ref(index)

    def _mapped(self, argument: Argument) -> Argument:
        if isinstance(argument, Ref):
            return self.new[argument]
        return tuple(map(self._mapped, argument)) if isinstance(argument, tuple) else argument

    def _base(self, argument: Argument) -> Argument:
        """Return an argument in the order before, where it is in sorted order."""
        if isinstance(argument, Ref):
            return self.sorted[argument].base if argument in self.sorted else self.new[argument]
        return tuple(map(self._base, argument)) if isinstance(argument, tuple) else argument

    def _meta(self, ref: Ref) -> Meta:
        meta = self.nodes[ref.node].outputs[ref.output]
        assert meta is not None
        return meta

    def _follow(self, node: Node) -> None:
        """Find what the outputs of a node are to a sort."""
        ref, named = Ref(node.index), node.bound()
        grouping = node.operation.grouping
        if grouping in (Grouping.SORT, Grouping.ORDER):
            self._sorts(node, named)
        elif grouping is Grouping.HISTOGRAM:
            self._histogram(ref, named)
        elif grouping is Grouping.PRODUCT:
            self._product(node, ref, named)
        elif (found := self._counts(node, named)) is not None:
            self.counted[ref] = found
        elif (by := self._inverts(node, named)) is not None:
            self.inverse[ref] = by
        elif (taken := self._taken(node, named)) is not None:
            self.sorted[ref] = taken
        elif (by := self._shared(node)) is not None and by_row(node, self.graph, self.sorted.keys()):
            index = self._put(node, self._base, node.outputs)
            for i, meta in enumerate(node.outputs):
                if meta is not None:
                    self.sorted[Ref(node.index, i)] = _Sorted(by, Ref(index, i))

    def _sorts(self, node: Node, named: Mapping[str, Any]) -> None:
        """Take the places that a sort of a list finds as an order; one of places undoes theirs."""
        source, last = named["self"], len(node.outputs) - 1
        if len(self.graph.meta(source).shape) != 1:
            return
        places = Ref(node.index, last)
        if source in self.groups and not named.get("descending", False):
            self.inverse[places] = source
            return
        (rows,) = self.graph.meta(source).shape
        counted = self._made(torch.ops.aten.arange.default, (rows,), (rows,), replace(node, outputs=node.outputs[-1:]))
        self.groups[places] = self.new[source]
        self.sorted[places] = _Sorted(places, counted)
        if last and not named.get("descending", False):
            self.sorted[Ref(node.index)] = _Sorted(places, self.new[source])

    def _histogram(self, ref: Ref, named: Mapping[str, Any]) -> None:
        """Take how often each whole number from 0 on occurs as the sizes of groups."""
        bins = named["bins"]
        whole = (named.get("min"), named.get("max")) == (0, bins - 1)
        found = self.sorted.get(named["self"])
        if found is None:
            orders = [by for by, keys in self.groups.items() if self._same(keys, self.new[named["self"]])]
            found = _Sorted(orders[0], self.new[named["self"]]) if orders else None
        if found is not None and whole and self._same(found.base, self.groups[found.by]):
            self.counted[ref] = found.by, bins

    def _same(self, a: Ref, b: Ref) -> bool:
        """Whether two lists hold the same numbers, in whatever type."""
        return _first(self.nodes, a) == _first(self.nodes, b)

    def _counts(self, node: Node, named: Mapping[str, Any]) -> tuple[Ref, int] | None:
        """Follow the sizes of groups through their sums so far, and types."""
        source = _copied(node)
        if source is None and node.kind is Kind.CUMULATIVE and node.operation.tally is Tally.SUM:
            source = named["self"]
        return self.counted.get(source) if source is not None else None

    def _inverts(self, node: Node, named: Mapping[str, Any]) -> Ref | None:
        """Recognise 0, 1, 2 … written at the places of a sort."""
        if node.kind is not Kind.SCATTER or node.operation.combines(named):
            return None
        at = _places(node, named)
        values = named.get("values", named.get("src", named.get("source")))
        whole = isinstance(values, Ref) and at in self.groups
        if not whole or len(node.shape) != 1 or not _is_count(self.graph, values, node.shape[0]):
            return None
        return at

    def _taken(self, node: Node, named: Mapping[str, Any]) -> _Sorted | None:
        """Recognise rows taken at the very places that a sort found."""
        at = _places(node, named)
        if node.kind is not Kind.GATHER or at not in self.groups:
            return None
        source, rows = named["self"], self.graph.meta(at).shape[0]
        whole = source not in self.sorted and self.graph.meta(source).shape[0] == rows
        return _Sorted(at, self.new[source]) if whole else None

    def _shared(self, node: Node) -> Ref | None:
        """Return the one sort in whose order all that is sorted among the arguments stands."""
        found = {self.sorted[ref].by for ref in node.refs if ref in self.sorted}
        return found.pop() if len(found) == 1 else None

    def _product(self, node: Node, ref: Ref, named: Mapping[str, Any]) -> None:
        """Multiply every row by the matrix of its group."""
        names = [name for name, value in named.items() if isinstance(value, Ref)]
        if len(names) != 3:
            return
        rows, weight, offsets = (named[name] for name in names)
        found, counted = self.sorted.get(rows), self.counted.get(offsets)
        shape = self.graph.meta(weight).shape
        if found is None or counted != (found.by, shape[0]) or len(shape) != 3:
            return
        count, aten = node.shape[0], torch.ops.aten
        groups = self.groups[found.by]
        chosen = self._made(aten.index.Tensor, (self.new[weight], (groups,)), (count, *shape[1:]), node)
        apart = self._made(aten.unsqueeze.default, (found.base, 1), (count, 1, shape[1]), node)
        product = self._made(aten.bmm.default, (apart, chosen), (count, 1, shape[2]), node)
        self.sorted[ref] = _Sorted(found.by, self._made(aten.squeeze.dim, (product, 1), node.shape, node))

    def _undone(self, node: Node) -> bool:
        """Let rows in their own order stand for those taken at places that undo a sort, or put where it found them."""
        named = node.bound()
        at = _places(node, named)
        if at is None or len(self.graph.meta(at).shape) != 1:
            return False
        if node.kind is Kind.GATHER:
            source = self.sorted.get(named["self"])
            if source is None or self.inverse.get(at) != source.by:
                return False
            self.new[Ref(node.index)] = source.base
            return True
        written: Any = named.get("values", named.get("source"))
        found = [self.sorted.get(ref) for ref in (at, written)]
        apart = at in self.groups or node.operation.combines(named)  # in whatever order they are written
        if None in found or len({part.by for part in found if part}) != 1 or not apart or named["self"] in self.sorted:
            return False
        self.new[Ref(node.index)] = Ref(self._put(node, self._base))
        return True


def _places(node: Node, named: Mapping[str, Any]) -> Ref | None:
    """Return the one list of places along the first axis at which an operation reads or writes; None: others too."""
    if node.operation.places not in (Places.LISTS, Places.SLICES, Places.ELEMENTS) or named.get("dim", 0) != 0:
        return None
    at = named["indices"] if "indices" in named else (named["index"],)
    rows = len(node.shape) == 1 or node.operation.places is not Places.ELEMENTS
    return at[0] if len(at) == 1 and rows else None


def _copied(node: Node) -> Ref | None:
    """Return what a pointwise operation copies, perhaps in another type."""
    record = node.operation.pointwise
    if record is None or record.form is not Form.COPY:
        return None
    source = node.bound().get("self")
    return source if isinstance(source, Ref) else None


def _first(nodes: Sequence[Node], ref: Ref) -> Ref:
    """Go back to what a value is a copy of, in whatever type."""
    while (source := _copied(nodes[ref.node])) is not None:
        ref = source
    return ref


def _is_count(graph: Graph, ref: Ref, rows: int) -> bool:
    """Whether a value is 0, 1, 2 and so on."""
    node = graph.nodes[_first(graph.nodes, ref).node]
    if node.kind is not Kind.CREATION or node.refs or node.shape != (rows,):
        return False
    (value,) = run_node(node, lambda _: None, device=torch.device("cpu"))
    return bool(torch.equal(value, torch.arange(rows)))


def _without_dead(graph: Graph) -> Graph:
    """Drop operations on which no output rests, and number what is left."""
    live = sorted({*graph.live(), *graph.inputs.values(), *graph.parameters.values(), *graph.buffers.values()})
    number = {old: i for i, old in enumerate(live)}

    def to(ref: Ref) -> Ref:
        return Ref(number[ref.node], ref.output)

    return graph.rebuilt([graph.nodes[old].moved(number[old], to) for old in live], to)
