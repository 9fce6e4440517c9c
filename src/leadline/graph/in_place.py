"""Make single operations of an exported program functional, so that the whole of it need not be traced again.

One ``add_`` or one ``diff`` would otherwise send a program through `run_decompositions`, which costs as much as the
export itself.
"""

import operator
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx
from torch._decomp import get_decompositions
from torch._guards import detect_fake_mode
from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.fx.experimental.proxy_tensor import make_fx

from leadline.graph.recurrences import meant
from leadline.graph.table import Kind, kind_of

_Memories: TypeAlias = dict[int, list[fx.Node]]
"""The values of a graph by the storage that they lie in."""

# What an operation may come apart into by itself. Contractions and recurrences are left to torch's own passes, which
# know which composites to keep whole.
_PLAIN = frozenset({Kind.CREATION, Kind.POINTWISE, Kind.VIEW, Kind.GATHER, Kind.REDUCTION, Kind.CUMULATIVE})


def is_known(node: fx.Node) -> bool:
    """Whether a call changes nothing in place, is not nested, and has a kind."""
    target: Any = node.target
    if target is operator.getitem:
        return True
    known = isinstance(target, OpOverload) and kind_of(str(meant(target))) is not Kind.OPAQUE
    return known and not target._schema.is_mutable


def make_functional(program: ExportedProgram) -> bool:
    """Rewrite the calls that are not known, one by one; return whether all are known now.

    A call that changes its argument in place becomes the one that returns the result, where nobody else reads that
    memory afterwards; an operation without a kind comes apart, where its parts are plain.
    """
    graph = program.graph_module.graph
    memories: _Memories = {}
    for node in graph.nodes:
        _remember(memories, node)
    for node in list(graph.nodes):
        if node.op != "call_function" or is_known(node):
            continue
        if not isinstance(node.target, OpOverload):
            return False
        if not (_returned_instead(node, memories) or _taken_apart(node, memories)):
            return False
    return True


def _remember(memories: _Memories, node: fx.Node) -> None:
    value = node.meta.get("val")
    for part in value if isinstance(value, list | tuple) else (value,):
        if isinstance(part, Tensor):
            memories.setdefault(part.untyped_storage()._cdata, []).append(node)


def _returned_instead(node: fx.Node, memories: _Memories) -> bool:
    """Replace ``x.f_(y)`` by ``f(x, y)``, and later uses of x by the result."""
    target: Any = node.target
    changed, functional = node.args[0] if node.args else None, returning(target)
    if functional is None or not isinstance(changed, fx.Node):
        return False
    if kind_of(str(functional)) is Kind.OPAQUE or _read_later(node, changed, memories):
        return False
    mode: Any = detect_fake_mode(node.meta["val"])
    with mode:
        result = functional(*_values(node.args), **_values(node.kwargs))
    if _form(result) != _form(node.meta["val"]):  # arithmetic with a wider type, or with other strides
        return False
    node.target = functional
    changed.replace_all_uses_with(node, delete_user_cb=lambda user: node < user)
    return True


def returning(target: OpOverload) -> OpOverload | None:
    """Return the operation that returns what this one writes into its first argument, if there is one.

    The two need not have one overload name (``pow_.Scalar`` takes a tensor to a power, ``pow.Scalar`` a number), but
    they take arguments of the same types.
    """
    name = target._schema.name.removeprefix("aten::")
    packet = getattr(torch.ops.aten, name.rstrip("_"), None) if name.endswith("_") else None
    overloads = [] if packet is None else [getattr(packet, overload) for overload in packet.overloads()]
    alike = [o for o in overloads if not o._schema.is_mutable and _types(o) == _types(target)]
    return min(alike, key=lambda o: o._overloadname != target._overloadname, default=None)


def _types(target: OpOverload) -> list[str]:
    return [str(argument.type) for argument in target._schema.arguments]


def _read_later(node: fx.Node, changed: fx.Node, memories: _Memories) -> bool:
    """Whether another value in the same memory, made before `node`, is read after it or belongs to the caller."""
    others = memories[changed.meta["val"].untyped_storage()._cdata]
    made_before = [other for other in others if other < node]
    if any(other.op == "placeholder" for other in made_before):
        return True
    return any(node < user for other in made_before if other is not changed for user in other.users)


def _taken_apart(node: fx.Node, memories: _Memories) -> bool:
    """Put an operation's decomposition in its place."""
    target: Any = node.target
    graph, value = node.graph, node.meta["val"]
    if target._schema.is_mutable or not isinstance(value, Tensor):
        return False
    nodes = list(node.all_input_nodes)
    tensors = [n.meta["val"] for n in nodes]
    if not all(isinstance(t, Tensor) for t in tensors):
        return False

    def alone(*given: Tensor) -> Any:
        by_node = dict(zip(nodes, given, strict=True))
        args, kwargs = fx.map_arg((node.args, node.kwargs), by_node.__getitem__)
        return target(*args, **kwargs)

    mode: Any = detect_fake_mode(value)
    table: Any = get_decompositions([target])
    with mode:
        parts = make_fx(alone, decomposition_table=table)(*tensors).graph
    calls = [part for part in parts.nodes if part.op not in ("placeholder", "output")]
    if not all(part.op == "call_function" and is_known(part) and kind_of(str(part.target)) in _PLAIN for part in calls):
        return False
    copies: dict[fx.Node, fx.Node] = dict(zip(parts.find_nodes(op="placeholder"), nodes, strict=True))
    with graph.inserting_before(node):
        for part in calls:
            copies[part] = graph.node_copy(part, copies.__getitem__)
            copies[part].meta = {**node.meta, "val": part.meta["val"]}
            _remember(memories, copies[part])
    (result,) = parts.output_node().all_input_nodes
    node.replace_all_uses_with(copies[result])
    graph.erase_node(node)
    return True


def _values(argument: Any) -> Any:
    return fx.map_arg(argument, lambda node: node.meta["val"])


def _form(value: Any) -> Any:
    return (value.shape, value.dtype, value.stride()) if isinstance(value, Tensor) else None
