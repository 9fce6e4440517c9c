"""Constants in the place of what a program asks of values that rest on no input: traced anew, it would ask again."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, fx
from torch._guards import detect_fake_mode
from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, InputSpec, TensorArgument

from leadline.graph.answers.questions import PLACES, asked, begin_leaf, indexes, masks
from leadline.graph.answers.record import Record
from leadline.graph.table import Kind, kind_of


def settle(program: ExportedProgram, decided: Collection[str]) -> None:
    """Work out what rests on constants and has no rule, and what asks for values of `decided` parameters.

    Values that nobody reads, the trace having been told, are no longer asked for.
    """
    graph, record = program.graph_module.graph, Record(decided)
    specs = {spec.arg.name: spec for spec in program.graph_signature.input_specs}
    for node in reversed(list(graph.nodes)):
        if not node.users and asked(node.target, _values(node)) is not None:
            graph.erase_node(node)
    for node in list(graph.nodes):
        if node.op == "placeholder":
            _begin(record, program, specs[node.name], node.meta.get("val"))
        for step in _steps(graph, node, record) if node.op == "call_function" else ():
            if not _settled(program, step, record):
                record.note(step.target, _values(step), step.meta.get("val"))
    _drop_unread(program)


def _steps(graph: fx.Graph, node: fx.Node, record: Record) -> list[fx.Node]:
    """Return an operation; of repetitions whose numbers rest on no input, what looks up the places of elements."""
    aten: Any = torch.ops.aten
    if node.target is not aten.repeat_interleave.self_Tensor:
        return [node]
    arguments: Any = node.args
    (x, repeats, *rest), made = arguments, node.meta["val"]
    if not record.decided(record.rests(repeats.meta["val"])) or repeats.meta["val"].numel() == 1:
        return [node]
    dim: Any = rest[0] if rest else node.kwargs.get("dim")
    steps: list[fx.Node] = []
    with graph.inserting_before(node):
        if dim is None:
            flat = graph.call_function(aten.reshape.default, (x, [-1]))
            flat.meta = {**node.meta, "val": x.meta["val"].reshape(-1)}
            steps, x, dim = [flat], flat, 0
        places = graph.call_function(aten.repeat_interleave.Tensor, (repeats,))
        places.meta = {**node.meta, "val": repeats.meta["val"].new_empty(made.shape[dim], dtype=torch.int64)}
        found = graph.call_function(aten.index_select.default, (x, dim, places))
    found.meta = node.meta
    node.replace_all_uses_with(found)
    graph.erase_node(node)
    return [*steps, places, found]


def _drop_unread(program: ExportedProgram) -> None:
    """Drop constants that were put in only for others to be worked out from."""
    graph, signature = program.graph_module.graph, program.graph_signature
    for leaf in list(graph.find_nodes(op="placeholder")):
        copies = list(leaf.users)
        if leaf.name in program.constants and copies and not any(copy.users for copy in copies):
            for node in (*copies, leaf):
                graph.erase_node(node)
            program.constants.pop(leaf.name)
            signature.input_specs[:] = [spec for spec in signature.input_specs if spec.arg.name != leaf.name]


def _begin(record: Record, program: ExportedProgram, spec: InputSpec, value: Any) -> None:
    if not isinstance(value, Tensor):
        return
    if spec.kind is InputKind.USER_INPUT:
        record.begin(value, spec.arg.name)
        return
    name = spec.target or ""
    real = program.state_dict.get(name, program.constants.get(name))
    constant = spec.kind is not InputKind.PARAMETER
    begin_leaf(
        record, value, name.removeprefix("model."), real if isinstance(real, Tensor) else None, constant=constant
    )


def _values(node: fx.Node) -> Any:
    return fx.map_arg((node.args, node.kwargs), lambda argument: argument.meta.get("val"))


def _settled(program: ExportedProgram, node: fx.Node, record: Record) -> bool:
    """Put constants in the place of a node, or of masks among its indices; return whether the node is gone."""
    target: Any = node.target
    if not isinstance(target, OpOverload) or target._schema.is_mutable:
        return False
    arguments = _values(node)
    if indexes(target):
        if (found := masks(arguments[0][1])) and record.decided(record.rests(found)):
            _numbered(program, node, record)
        return False
    rests = record.rests(arguments)
    known = kind_of(str(target)) is not Kind.OPAQUE or torch.Tag.nondeterministic_seeded in target.tags
    if known or not record.decided(rests) or (rests and asked(target, arguments) is None):
        return False
    results = record.computed(target, arguments)
    if isinstance(results, Tensor):
        node.replace_all_uses_with(_constant(program, node, results, record))
    else:
        for user in list(node.users):
            user.replace_all_uses_with(_constant(program, user, results[user.args[1]], record))
            program.graph_module.graph.erase_node(user)
    program.graph_module.graph.erase_node(node)
    return True


def _numbered(program: ExportedProgram, node: fx.Node, record: Record) -> None:
    """Let numbers of places stand for masks among indices."""
    source, indices, *rest = node.args
    numbered: list[Any] = []
    for index in indices:  # type: ignore[union-attr]  # the schema says a list
        value = index.meta["val"] if isinstance(index, fx.Node) else None
        if masks([value]):
            numbered += [_constant(program, node, p, record) for p in record.computed(PLACES, ((value,), {}))]
        else:
            numbered.append(index)
    node.args = (source, numbered, *rest)


def _constant(program: ExportedProgram, node: fx.Node, real: Tensor, record: Record) -> fx.Node:
    """Add a constant to a program, and return a copy of it before a node, which later steps may write into."""
    graph, name = program.graph_module.graph, f"constant_{node.name}_{len(program.constants)}"
    mode: Any = detect_fake_mode(node.meta["val"])
    with mode:
        value = torch.empty_strided(real.shape, real.stride(), dtype=real.dtype, device=node.meta["val"].device)
    with graph.inserting_before(next(iter(graph.nodes))):
        leaf = graph.placeholder(name)
    with graph.inserting_before(node):
        copy: fx.Node = graph.call_function(torch.ops.aten.clone.default, (leaf,))
    leaf.meta, copy.meta = {"val": value}, {**node.meta, "val": value}
    signature = program.graph_signature
    signature.input_specs.insert(0, InputSpec(InputKind.CONSTANT_TENSOR, TensorArgument(leaf.name), leaf.name))
    program.constants[leaf.name] = real.clone()
    record.begin(value, None, real)
    return copy
