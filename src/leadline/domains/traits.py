"""TEMPORARY: what the rules ask of operations by name, until the table of operations says it."""

from __future__ import annotations

from typing import Any

from leadline.graph.ir import Node, Ref
from leadline.graph.table import Kind, Move


def logarithm(node: Node) -> bool:
    return "log" in node.op


def uninitialised(node: Node) -> bool:
    return "empty" in node.op


def drops(node: Node) -> bool:
    return "dropout" in node.op and "alpha" not in node.op


def adds(node: Node) -> bool:
    return node.packet in ("sum", "mean", "any", "count_nonzero")


def largest(node: Node) -> bool:
    return node.packet == "amax" or node.op == "aten.max.dim"


def ignores_minus_infinity(node: Node) -> bool:
    return node.packet in ("amax", "max", "logsumexp")


def statistics(node: Node) -> str:
    for name in ("batch_norm", "group_norm", "weight_norm"):
        if name in node.packet:
            return name
    return "layer_norm"


def of_the_batch(node: Node) -> bool:
    named = node.bound()
    return bool(named.get("training", named.get("train", "no_training" not in node.op)))


def per_channel(node: Node) -> bool:
    return node.packet == "prelu"


def chooses(node: Node) -> tuple[Any, Any, Any] | None:
    """Condition, what stands where it holds, what stands where it does not."""
    if node.packet == "where":
        return node.args[0], node.args[1], node.args[2]
    return (node.args[1], node.args[2], node.args[0]) if node.packet == "masked_fill" else None


def overwrites(node: Node) -> bool:
    """Whether the last tensor alone makes the result."""
    return node.packet in ("fill", "copy")


def puts_literals(node: Node) -> bool:
    """Pointwise operations whose result may be known where no argument is."""
    return node.packet in ("fill", "masked_fill", "where")


def shape_only(node: Node) -> bool:
    """Noise that reads no more than a shape."""
    return node.packet.endswith("_like") or node.packet.startswith("rand")


def data_refs(node: Node) -> frozenset[Ref] | None:
    """Return the arguments whose elements an operation moves; the others say where. None: it combines elements."""
    named = node.bound()
    if node.kind is Kind.VIEW:
        return frozenset(node.refs)
    if node.packet in ("scatter_add", "index_add", "scatter_reduce", "one_hot", "masked_scatter", "index_fill"):
        return None
    if named.get("accumulate") or isinstance(named.get("reduce"), str):
        return None
    names = ("weight",) if node.packet == "embedding" else ("self", "src", "source", "values", "value")
    return frozenset(named[name] for name in names if isinstance(named.get(name), Ref))


def writes(node: Node) -> bool:
    """Whether a view or scatter puts literals beside the elements that it moves."""
    return node.packet in ("tril", "triu", "diag_embed", "block_diag") or bool(fills(node))


def fills(node: Node) -> dict[str, float]:
    """Exchange the literal that a padding or a scatter writes by zero."""
    padding = (
        node.kind is Kind.VIEW
        and node.operation.move is Move.PAD
        and node.bound().get("mode", "constant") == "constant"
    )
    return {"value": 0.0} if padding or node.op == "aten.scatter.value" else {}


def embeds(node: Node) -> bool:
    return node.packet == "embedding"


def indexes(node: Node) -> bool:
    return node.packet in ("index", "_unsafe_index")


def selects(node: Node) -> bool:
    return node.packet == "index_select"


def one_hot(node: Node) -> bool:
    return node.packet == "one_hot"


def looks(node: Node, ndim: int) -> tuple[int, ...] | None:
    """Axes of the data along which a look-up at constant places looks."""
    if embeds(node):
        return (0,)
    if selects(node):
        return (node.bound()["dim"] % ndim,)
    if indexes(node):
        return tuple(d for d, ref in enumerate(node.bound()["indices"]) if ref is not None)
    return None


def pooled_axes(node: Node) -> int:
    return int(node.packet.split("pool")[1][0])


def adaptive(node: Node) -> bool:
    return "adaptive" in node.packet
