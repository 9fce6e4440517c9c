"""Which values need a gradient, and through which operations the backward pass goes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from leadline.domains.own_backwards import OwnBackward, own_backwards
from leadline.errors import UnknownOp
from leadline.graph import Graph, Kind, Node, Ref
from leadline.graph.ir import Part, Passing, Role
from leadline.graph.reading import Reading
from leadline.graph.table import LEAVES, Noise

_CONSTANT = frozenset({Kind.CREATION, Kind.EFFECT})


@dataclass(frozen=True)
class Differentiated:
    """Values that `need` a gradient: they rest on something that asks for one; and the nodes that are `passed`.

    The backward pass begins at all outputs that need one. Of custom functions that it comes to, `own` has what they do
    backwards, by a node of each; none of theirs is among those that are passed. `computed` are the leaves among these
    that an operation without a rule made of parameters.
    """

    need: frozenset[Ref]
    passed: frozenset[int]
    own: Mapping[int, OwnBackward]
    computed: tuple[int, ...]


def differentiated(reading: Reading) -> Differentiated:
    """Follow gradients through a reading, as autograd does: from what asks for one, and back from the outputs.

    `UnknownOp` if they pass a custom function that hands a gradient to something on which no output rests.
    """
    graph = reading.graph
    asking = _asking(reading)
    _refuse_copies(graph, asking)
    functions = _Functions(reading) if asking else None
    need = _need(graph, asking, functions)
    passed: set[int] = set()
    own: dict[int, OwnBackward] = {}
    stack = [ref for ref in graph.outputs.values() if ref in need]
    while stack:
        node = graph.nodes[stack.pop().node]
        if node.part is None and node.index not in passed:
            passed.add(node.index)
            stack.extend(ref for ref in _passed(node, graph) if ref in need)
        elif node.part is not None and functions is not None and functions.come_to(node.part):
            own[node.index] = functions.backward(node)
            stack.extend(ref for ref in functions.handed(node) if ref in need)
    computed = tuple(sorted(passed & graph.behind.keys()))
    return Differentiated(need, frozenset(passed), own, computed)


class _Functions:
    """The custom functions that a model calls, on the way of its gradients."""

    def __init__(self, reading: Reading) -> None:
        graph, live = reading.graph, reading.graph.live()
        parts = [(node, node.part) for node in graph.nodes if node.part is not None and node.index in live]
        self._calls = own_backwards(reading) if parts else ()
        self._arguments = {(part.call, part.place): node for node, part in parts if part.role is Role.ARGUMENT}
        self._seen: set[int] = set()
        for node, part in parts:
            if part.call >= len(self._calls) or self._calls[part.call].name != part.function:
                raise UnknownOp(
                    f"{part.function} at {node.place} is not called in the same order when gradients are recorded: "
                    "count without backward=True"
                )

    def needing(self, part: Part) -> bool:
        """Whether a part of a function, as it is read outside of it, has a gradient."""
        call = self._calls[part.call]
        return call.results[part.place] if part.role is Role.RESULT else call.written

    def come_to(self, part: Part) -> bool:
        """Whether the backward pass comes to a function for the first time."""
        new = part.call not in self._seen
        self._seen.add(part.call)
        return new

    def backward(self, node: Node) -> OwnBackward:
        """Return what the function of a node does backwards."""
        assert node.part is not None
        return self._calls[node.part.call]

    def handed(self, node: Node) -> Iterator[Ref]:
        """Yield what the function of a node hands a gradient to."""
        assert node.part is not None
        for place in sorted(self.backward(node).handed):
            found = self._arguments.get((node.part.call, place))
            if found is None:
                raise UnknownOp(
                    f"{node.part.function} at {node.place} hands a gradient to its argument {place}, on which no "
                    "output rests, so that nothing is known of what lies behind it: count without backward=True, or "
                    "use the argument in the function's forward pass"
                )
            yield from found.sources


def _asking(reading: Reading) -> set[int]:
    """Return the leaves that ask for a gradient."""
    graph, own = reading.graph, dict(reading.model.named_parameters(remove_duplicate=False))
    asking = {index for name, index in graph.parameters.items() if name in own and own[name].requires_grad}
    asking |= {index for name, index in graph.inputs.items() if reading.tensors[name].requires_grad}
    return asking


def _need(graph: Graph, asking: Collection[int], functions: _Functions | None) -> frozenset[Ref]:
    need = {Ref(index) for index in asking}
    live = graph.live()
    for node in graph.nodes:
        if node.part is not None:
            if functions is not None and node.index in live and functions.needing(node.part):
                need |= {Ref(node.index, i) for i in range(len(node.outputs))}
        elif any(ref in need for ref in _passed(node, graph)):
            for i, meta in enumerate(node.outputs):
                if meta is not None and (meta.dtype.is_floating_point or meta.dtype.is_complex):
                    need.add(Ref(node.index, i))
    return frozenset(need)


def _passed(node: Node, graph: Graph) -> tuple[Ref, ...]:
    """Return the arguments that a gradient of the node passes to, if they need one; or what a leaf was made of."""
    unrelated = node.kind in _CONSTANT or (node.kind is Kind.RANDOM and node.operation.noise is Noise.SHAPE)
    if unrelated or node.passing is Passing.NONE:
        return ()
    if node.kind in LEAVES:
        return graph.behind.get(node.index, ())
    return node.refs[:1] if node.passing is Passing.FIRST else node.sources


def _refuse_copies(graph: Graph, asking: Collection[int]) -> None:
    """Refuse what may take the place of a parameter, to which it hands its gradient on, or has one of its own."""
    metas, live = {graph.nodes[index].meta for index in asking}, graph.live()
    for node in graph.nodes:
        if node.copied and node.index in live and (node.passing is not Passing.NONE or node.meta in metas):
            raise UnknownOp(
                f"forward copies what {node.op} at {node.place} gives into a tensor while gradients are off, which may "
                "be a parameter: which gradients are asked for then is not known; count without backward=True, or put "
                "the result in that place instead of copying it"
            )
