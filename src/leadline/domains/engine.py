"""The one walker: every domain is a leaf rule and one transfer per kind of operation, run over the graph in order."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, Literal, TypeAlias, TypeVar

from leadline.errors import LeadlineError, ModelError, UnknownOp, UsageError
from leadline.graph.ir import Graph, Node, Ref
from leadline.graph.table import LEAVES, Kind
from leadline.results import Coverage, Gap

V = TypeVar("V")
OnUnknown: TypeAlias = Literal["raise", "top"]
Lookup: TypeAlias = Callable[[Ref], V]
Transfer: TypeAlias = Callable[[Node, Lookup[V]], tuple[V, ...]]


class NoRule(Exception):
    """Raised by a transfer that cannot handle a node of its kind."""


@dataclass(frozen=True)
class Walk(Generic[V]):
    """What a domain says of every value of a graph, and which operations it had no rule for."""

    values: Mapping[Ref, V]
    coverage: Coverage


def walk(
    graph: Graph,
    *,
    leaf: Callable[[Node], V],
    transfers: Mapping[Kind, Transfer[V]],
    top: Transfer[V],
    on_unknown: OnUnknown = "raise",
    live: Collection[int] | None = None,
) -> Walk[V]:
    """Run a domain over the `live` nodes of a graph (default: all), in execution order.

    `leaf` gives the value of an input, parameter or buffer, `transfers` lead from the values of a node's arguments to
    those of its outputs, by kind, and `top` is the sound answer where no rule is known: with ``on_unknown="top"`` it is
    taken, and the coverage lists the node; else that is an `UnknownOp` with the operation, module path and source line.
    A rule that fails raises `UnknownOp`, and on a tensor without elements `ModelError`.
    """
    if on_unknown not in ("raise", "top"):
        raise UsageError(f"on_unknown is 'raise' or 'top', not {on_unknown!r}")
    values: dict[Ref, V] = {}
    gaps: list[Gap] = []
    visited = 0
    for node in graph.nodes:
        if (live is not None and node.index not in live) or node.kind is Kind.EFFECT:
            continue
        if node.kind in LEAVES:
            values[Ref(node.index)] = leaf(node)
            continue
        visited += 1
        try:
            transfer = transfers.get(node.kind)
            if transfer is None:
                raise NoRule
            with ruled(node, graph):
                results = transfer(node, values.__getitem__)
        except NoRule:
            if on_unknown == "raise":
                raise unknown(node) from None
            gaps.append(Gap(node.op, node.place))
            results = top(node, values.__getitem__)
        values |= {Ref(node.index, i): value for i, value in enumerate(results)}
    return Walk(values, Coverage(visited, tuple(gaps)))


@contextmanager
def ruled(node: Node, graph: Graph) -> Iterator[None]:
    """Apply a rule to a node: whatever escapes it becomes an error that says where, and what to do."""
    try:
        yield
    except (LeadlineError, NoRule):
        raise
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        what = f"{type(error).__name__}: {lines[0]}"
        raise _empty(graph, node) or UnknownOp(
            f"the rule for {node.op} at {node.place} does not fit these arguments ({what}): "
            "write it with other operations, and report it"
        ) from error


def _empty(graph: Graph, node: Node) -> ModelError | None:
    """Return the error for a node that takes or makes a tensor without elements; None for any other node."""
    taken = (graph.nodes[ref.node].outputs[ref.output] for ref in node.refs)
    for meta in (*taken, *node.outputs):
        if meta is not None and meta.numel == 0:
            at = f"{node.op} at {node.place}"
            return ModelError(
                f"{at} works on a tensor of shape {meta.shape}, which has no elements: give longer inputs"
            )
    return None


def unknown(node: Node) -> UnknownOp:
    """Return the error for a node without a rule."""
    return UnknownOp(f"no rule for {node.op} at {node.place}; on_unknown='top' goes on with the sound top element")
