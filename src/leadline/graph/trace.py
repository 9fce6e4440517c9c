"""From an `nn.Module` and example inputs to an immutable `Graph`, replayed against `forward` before it is trusted."""

from __future__ import annotations

import inspect
import logging
import operator
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import fields, is_dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._decomp import get_decompositions
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind

from leadline.errors import TraceError
from leadline.graph.failure import explain
from leadline.graph.ir import Argument, Graph, Meta, Node, Ref, frozen
from leadline.graph.ops import KINDS, Kind, kind_of
from leadline.graph.replay import check_replay
from leadline.graph.user_code import hint_of_empty, users_line
from leadline.results import Place


def trace(model: nn.Module, *inputs: Any, verify: bool = True, **kwargs: Any) -> Graph:
    """Trace `model(*inputs, **kwargs)` to a graph of ATen operations.

    Recurrent layers, convolutions, attention and normalisations stay whole; operations that `graph.ops` does not know
    are decomposed where torch knows how. Non-tensor arguments are fixed as given. The model, its mode, the random state
    and global flags are left as they were.

    Parameters
    ----------
    model
        On any device; on ``meta``, or built with fake tensors, it is traced without memory for its weights.
    *inputs, **kwargs
        What `forward` takes: tensors, or lists, tuples, dicts and dataclasses of them, and literals.
    verify
        Replay the graph against `forward` on fresh inputs.

    Raises
    ------
    TraceError
        If control flow depends on values, `forward` fails, it returns no tensor, or the replay differs.

    Examples
    --------
    >>> [(node.op, node.shape) for node in trace(nn.Linear(3, 2), torch.ones(1, 3)).nodes]
    [('parameter', (2, 3)), ('parameter', (2,)), ('input', (1, 3)), ('aten.linear.default', (1, 2))]
    """
    call = Call(model, inputs, kwargs)
    with quiet(model):
        program = _export(call)
        graph = _Reader(program, call, model).graph()
        if verify and graph.values.keys() == {*graph.parameters.values(), *graph.buffers.values()} and call.real:
            graph = check_replay(graph, call)
    return graph


class Call(nn.Module):
    """A call with its literals fixed: takes the tensors alone, returns the output's tensors alone, both by name."""

    def __init__(self, model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        super().__init__()
        self.model = model
        self.training = model.training
        try:
            bound = inspect.signature(model.forward).bind(*args, **kwargs)
        except TypeError as error:
            raise TraceError(f"{type(model).__name__}.forward does not take these inputs: {error}") from error
        named = _spread(bound)
        self._args, self._kwargs = args, kwargs
        self.tensors: dict[str, Tensor] = dict(zip(named, _tensors((args, dict(kwargs))), strict=True))
        self._seen = SimpleNamespace(outputs=())  # torch.export undoes assignments to the module itself

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the last call's output tensors."""
        return tuple(self._seen.outputs)

    @property
    def real(self) -> bool:
        """Whether every input holds values."""
        return not any(isinstance(t, torch._subclasses.FakeTensor) or t.is_meta for t in self.tensors.values())

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Call the model and list the tensors of its output."""
        stream = iter(tensors)
        args, kwargs = _rebuild((self._args, dict(self._kwargs)), stream)
        named = dict(_leaves(self.model(*args, **kwargs), ""))
        if not named:
            raise TraceError(f"{type(self.model).__name__}.forward returns no tensor")
        self._seen.outputs = tuple(name or "output" for name in named)
        return tuple(named.values())


def _spread(bound: inspect.BoundArguments) -> list[str]:
    names: list[str] = []
    for name, value in bound.arguments.items():
        kind = bound.signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL and len(value) == 1:
            names += [path for path, _ in _leaves(value[0], name)]
        elif kind is inspect.Parameter.VAR_KEYWORD:
            names += [path for key, part in value.items() for path, _ in _leaves(part, key)]
        else:
            names += [path for path, _ in _leaves(value, name)]
    return names


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors within nested containers with their paths; anything else holds none."""
    if isinstance(value, Tensor):
        yield path, value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _leaves(part, f"{path}.{key}" if path else str(key))
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        for key in value._fields:
            yield from _leaves(getattr(value, key), f"{path}.{key}" if path else key)
    elif isinstance(value, list | tuple):
        for i, part in enumerate(value):
            yield from _leaves(part, f"{path}[{i}]")
    elif is_dataclass(value) and not isinstance(value, type):
        for item in fields(value):
            yield from _leaves(getattr(value, item.name), f"{path}.{item.name}" if path else item.name)


def _tensors(value: Any) -> list[Tensor]:
    return [tensor for _, tensor in _leaves(value, "")]


def _rebuild(value: Any, stream: Iterator[Tensor]) -> Any:
    """Copy nested containers with their tensors replaced, in order, from `stream`."""
    if isinstance(value, Tensor):
        return next(stream)
    if isinstance(value, Mapping):
        return type(value)(**{k: _rebuild(v, stream) for k, v in value.items()}) if value else value
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_rebuild(part, stream) for part in value))
    if isinstance(value, list | tuple):
        return type(value)(_rebuild(part, stream) for part in value)
    if is_dataclass(value) and not isinstance(value, type):
        return type(value)(**{item.name: _rebuild(getattr(value, item.name), stream) for item in fields(value)})
    return value


@contextmanager
def quiet(model: nn.Module) -> Iterator[None]:
    """Record no gradients or warnings; restore buffers, modes, the random state and global flags afterwards."""
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers() if not _hollow(buffer)}
    modes = [(module, module.training) for module in model.modules()]
    fast = torch.backends.mha.get_fastpath_enabled()
    loggers = [logging.getLogger(f"torch.{name}") for name in ("fx.experimental.symbolic_shapes", "_subclasses")]
    levels = [logger.level for logger in loggers]
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[]))
        stack.enter_context(torch.no_grad())
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        for logger in loggers:  # they repeat what our errors say
            logger.setLevel(logging.CRITICAL)
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
            torch.backends.mha.set_fastpath_enabled(fast)
            for module, mode in modes:
                module.training = mode
            for name, buffer in model.named_buffers():
                if name in buffers and not torch.equal(buffer, buffers[name]):
                    buffer.copy_(buffers[name])


def _hollow(tensor: Tensor) -> bool:
    return tensor.is_meta or isinstance(tensor, torch._subclasses.FakeTensor)


def _export(call: Call) -> ExportedProgram:
    """Export to functional ATen; operations that the op table does not know are decomposed where torch knows how."""
    try:
        program = torch.export.export(call, tuple(call.tensors.values()), strict=False)
        if _is_functional(program):
            return program
        table = torch.export.default_decompositions()
        for packet in {op.rpartition(".")[0] if op.count(".") > 1 else op for op in KINDS}:
            for overload in _overloads(packet):
                if overload in table and kind_of(str(overload)) is not Kind.OPAQUE:
                    table.pop(overload)  # type: ignore[no-untyped-call]
        # Export keeps some operations whole, such as bilinear upsampling, that torch could take apart.
        table.update(get_decompositions(_opaque(program)))  # type: ignore[no-untyped-call]
        decomposed: ExportedProgram = program.run_decompositions(table)
        hidden = get_decompositions(_opaque(decomposed))  # within composites such as grid_sample
        if hidden:
            decomposed = decomposed.run_decompositions({**table, **hidden})
        return decomposed
    except TraceError:
        raise
    except Exception as error:
        reason = explain(call.model, error) + hint_of_empty(call.tensors)
        raise TraceError(reason) from None  # a hundred frames of torch tell the user nothing


def _opaque(program: ExportedProgram) -> list[torch._ops.OpOverload]:
    """List the operations that the op table does not know; Fourier transforms come apart into ones that it knows."""
    targets = (node.target for node in program.graph.nodes if node.op == "call_function")
    opaque = [t for t in targets if isinstance(t, torch._ops.OpOverload) and kind_of(str(t)) is Kind.OPAQUE]
    return [t for t in opaque if "fft" not in str(t)]


def _is_functional(program: ExportedProgram) -> bool:
    """Whether nothing is changed in place, nested or unknown, so that there is nothing to decompose."""
    return all(
        node.target is operator.getitem
        or (
            isinstance(node.target, torch._ops.OpOverload)
            and not node.target._schema.is_mutable
            and kind_of(str(node.target)) is not Kind.OPAQUE
        )
        for node in program.graph.nodes
        if node.op == "call_function"
    )


def _overloads(packet: str) -> Iterator[Any]:
    space, _, name = packet.partition(".")
    found = getattr(getattr(torch.ops, space), name, None)
    if found is not None:
        yield from (getattr(found, overload) for overload in found.overloads())


class _Reader:
    """Turns an exported program into a `Graph`."""

    def __init__(self, program: ExportedProgram, call: Call, model: nn.Module) -> None:
        self.program, self.call, self.model = program, call, model
        self.nodes: list[Node] = []
        self.refs: dict[fx.Node, Any] = {}

    def graph(self) -> Graph:
        signature = self.program.graph_signature
        specs = {spec.arg.name: spec for spec in signature.input_specs}
        names = iter(self.call.tensors)
        leaves: dict[Kind, dict[str, int]] = {Kind.INPUT: {}, Kind.PARAMETER: {}, Kind.BUFFER: {}}
        values: dict[int, Tensor] = {}
        results: tuple[Any, ...] = ()
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                spec = specs[node.name]
                kind = _LEAF_KINDS.get(spec.kind)
                if kind is None:
                    raise TraceError(f"the model takes {spec.kind.name.lower()} {node.name}, which no rule covers")
                name = next(names) if kind is Kind.INPUT else _strip(spec.target or node.name)
                leaves[kind][name] = self._leaf(node, kind, name)
                value = None if kind is Kind.INPUT else self._value(spec.target)
                if value is not None and not _hollow(value):
                    values[leaves[kind][name]] = value.detach()
            elif node.op == "call_function":
                self._call(node)
            elif node.op == "output":
                results = tuple(self._argument(part) for part in node.args[0])
            else:
                raise TraceError(f"the trace holds {node.op} {node.target}, which no rule covers")
        outputs = [ref for spec, ref in zip(signature.output_specs, results, strict=True)
                   if spec.kind is OutputKind.USER_OUTPUT]  # fmt: skip
        mutated = {_strip(spec.target) for spec in signature.output_specs
                   if spec.kind is OutputKind.BUFFER_MUTATION and spec.target}  # fmt: skip
        return Graph(
            nodes=tuple(self.nodes),
            inputs=leaves[Kind.INPUT],
            parameters=leaves[Kind.PARAMETER],
            buffers=leaves[Kind.BUFFER],
            outputs=dict(zip(self.call.outputs, outputs, strict=True)),
            values=values,
            mutated=frozenset(mutated),
            training=self.model.training,
            verified=False,
        )

    def _value(self, target: str | None) -> Tensor | None:
        found = self.program.state_dict.get(target or "")
        if found is None:
            found = self.program.constants.get(target or "")
        return found if isinstance(found, Tensor) else None

    def _leaf(self, node: fx.Node, kind: Kind, name: str) -> int:
        index = len(self.nodes)
        module = name.rpartition(".")[0] if kind is not Kind.INPUT else ""
        self.nodes.append(Node(index, name, kind.value, kind, (), {}, (_meta(node.meta["val"]),), Place(module)))
        self.refs[node] = Ref(index)
        return index

    def _call(self, node: fx.Node) -> None:
        if node.target is operator.getitem:
            source, place = node.args
            refs = self.refs[source]  # type: ignore[index]
            self.refs[node] = refs[place]
            return
        value = node.meta.get("val")
        parts = tuple(value) if isinstance(value, list | tuple) else (value,)
        index = len(self.nodes)
        self.nodes.append(
            Node(
                index=index,
                name=node.name,
                op=str(node.target),
                kind=kind_of(str(node.target)),
                args=tuple(map(self._argument, node.args)),
                kwargs={key: self._argument(part) for key, part in node.kwargs.items()},
                outputs=tuple(map(_meta, parts)),
                place=self._place(node),
                target=node.target,  # type: ignore[arg-type]
            )
        )
        refs = [Ref(index, i) for i in range(len(parts))]
        self.refs[node] = refs if isinstance(value, list | tuple) else refs[0]

    def _argument(self, argument: Any) -> Argument:
        if isinstance(argument, fx.Node):
            found = self.refs[argument]
            return tuple(found) if isinstance(found, list) else found
        if isinstance(argument, list | tuple):
            return tuple(self._argument(part) for part in argument)
        return frozen(argument)

    def _place(self, node: fx.Node) -> Place:
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        path = _strip(stack[-1][0]) if stack else ""
        return Place(path, users_line(re.findall(r'File "([^"]+)", line (\d+)', node.meta.get("stack_trace") or "")))


_LEAF_KINDS = {
    InputKind.USER_INPUT: Kind.INPUT,
    InputKind.PARAMETER: Kind.PARAMETER,
    InputKind.BUFFER: Kind.BUFFER,
    InputKind.CONSTANT_TENSOR: Kind.BUFFER,
}


def _strip(path: str) -> str:
    """Drop the call wrapper from a module path."""
    return path.removeprefix("model").removeprefix(".") if path == "model" or path.startswith("model.") else path


_NUMBERS = {torch.SymInt: torch.int64, torch.SymFloat: torch.float64, torch.SymBool: torch.bool}


def _meta(value: Any) -> Meta | None:
    """Shape and dtype of a tensor; numbers read from one count as scalars, None and other values as nothing."""
    if not isinstance(value, Tensor):
        return Meta((), _NUMBERS[type(value)]) if type(value) in _NUMBERS else None
    if not all(isinstance(size, int) for size in value.shape):
        raise TraceError(
            f"a tensor's shape {list(value.shape)} depends on values; a graph would hold for this input only"
        )
    return Meta(tuple(value.shape), value.dtype)
