"""Which values need a gradient, and through which operations the backward pass goes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from leadline.errors import UnknownOp
from leadline.graph import Graph, Kind, Node, Ref
from leadline.graph.ir import Passing
from leadline.graph.reading import Reading
from leadline.graph.table import LEAVES, Noise

_CONSTANT = frozenset({Kind.CREATION, Kind.EFFECT})


@dataclass(frozen=True)
class Differentiated:
    """Values that `need` a gradient: they rest on something that asks for one; and the nodes that are `passed`.

    The backward pass begins at all outputs that need one.
    """

    need: frozenset[Ref]
    passed: frozenset[int]


def differentiated(reading: Reading) -> Differentiated:
    """Follow gradients through a reading, as autograd does: from what asks for one, and back from the outputs.

    `UnknownOp` if they pass a custom function, whose backward pass no trace shows.
    """
    graph = reading.graph
    asking = _asking(reading)
    _refuse_copies(graph, asking)
    need = _need(graph, asking)
    passed: set[int] = set()
    stack = [ref for ref in graph.outputs.values() if ref in need]
    while stack:
        node = graph.nodes[stack.pop().node]
        if node.index in passed:
            continue
        passed.add(node.index)
        if node.function:
            raise UnknownOp(
                f"{node.function} at {node.place} has a backward pass of its own, which no trace shows: "
                "count without backward=True, or write it with operations that torch differentiates"
            )
        stack.extend(ref for ref in _passed(node) if ref in need)
    return Differentiated(need, frozenset(passed))


def _asking(reading: Reading) -> set[int]:
    """Return the leaves that ask for a gradient."""
    graph, own = reading.graph, dict(reading.model.named_parameters(remove_duplicate=False))
    asking = {index for name, index in graph.parameters.items() if name in own and own[name].requires_grad}
    asking |= {index for name, index in graph.inputs.items() if reading.tensors[name].requires_grad}
    computed = [node for node in graph.nodes if node.kind is Kind.PARAMETER and node.index not in
                set(graph.parameters.values())]  # fmt: skip
    if computed and len({parameter.requires_grad for parameter in own.values()}) > 1:
        raise UnknownOp(
            f"{computed[0].name} at {computed[0].place} is computed from parameters by an operation without a rule, "
            "and some parameters ask for gradients and some do not: which of them it rests on is not known"
        )
    return asking | {node.index for node in computed if all(parameter.requires_grad for parameter in own.values())}


def _need(graph: Graph, asking: Collection[int]) -> frozenset[Ref]:
    need = {Ref(index) for index in asking}
    for node in graph.nodes:
        if node.kind not in LEAVES and any(ref in need for ref in _passed(node)):
            for i, meta in enumerate(node.outputs):
                if meta is not None and (meta.dtype.is_floating_point or meta.dtype.is_complex):
                    need.add(Ref(node.index, i))
    return frozenset(need)


def _passed(node: Node) -> tuple[Ref, ...]:
    """Return the arguments that a gradient of the node passes to, if they need one."""
    unrelated = node.kind in _CONSTANT or (node.kind is Kind.RANDOM and node.operation.noise is Noise.SHAPE)
    if unrelated or node.passing is Passing.NONE:
        return ()
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
