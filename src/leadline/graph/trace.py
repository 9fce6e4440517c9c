"""From an `nn.Module` and example inputs to an immutable `Graph`, replayed against `forward` before it is trusted."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, suppress
from functools import cache
from io import StringIO
from types import MappingProxyType
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx, nn
from torch._decomp import get_decompositions
from torch._higher_order_ops.effects import with_effects
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind

from leadline.errors import LeadlineError, TraceError, UnknownOp
from leadline.graph.answers.settled import settle
from leadline.graph.assignments import traced_assignments
from leadline.graph.call import Call
from leadline.graph.containers import hollow
from leadline.graph.failure import explain
from leadline.graph.given import module_of
from leadline.graph.gradients_off import copied, gradients_followed, part_of, passing
from leadline.graph.hints import branches_at_once, errors_caught, masks_as_given
from leadline.graph.in_place import make_functional
from leadline.graph.ir import Argument, Graph, Meta, Node, Ref, frozen
from leadline.graph.recurrences import WholeRecurrences, meant
from leadline.graph.replay import check_replay
from leadline.graph.restoring.undisturbed import restored, undisturbed
from leadline.graph.rewriting.computed_weights import with_computed_weights
from leadline.graph.rewriting.decompositions import DECOMPOSITIONS
from leadline.graph.rewriting.factors import solved_whole
from leadline.graph.rewriting.put_back import put_back
from leadline.graph.rewriting.unsorted import unsorted
from leadline.graph.sparse import refuse_sparse, sparse_aside
from leadline.graph.table import MULTIPLYING, OPERATIONS, Kind, kind_of
from leadline.graph.user_code import foreseen, hint_of_empty, users_line
from leadline.results import Gap, Place

Symbols: TypeAlias = "Mapping[str, tuple[bool, ...]]"
"""For inputs by name, which of their axes have symbols for sizes."""


@foreseen("trace")
def trace(model: nn.Module, *inputs: Any, verify: bool = True, **kwargs: Any) -> Graph:
    """Trace `model(*inputs, **kwargs)` to a graph of ATen operations.

    Recurrent layers, convolutions, attention and normalisations stay whole; operations that `graph.table` does not know
    are decomposed where torch knows how. Inputs are tensors, or lists, tuples, dicts and dataclasses of them, and
    literals, which are fixed as given. The model, its mode, the random state and global flags are left as they were; on
    ``meta``, or built with fake tensors, it is traced without memory for its weights. With `verify` the graph is
    replayed against `forward` on fresh inputs.

    `TraceError` if control flow depends on values, `forward` fails, it returns no tensor, or the replay differs.

    Examples
    --------
    >>> [(node.op, node.shape) for node in trace(nn.Linear(3, 2), torch.ones(1, 3)).nodes]
    [('parameter', (2, 3)), ('parameter', (2,)), ('input', (1, 3)), ('aten.linear.default', (1, 2))]
    """
    return trace_call(Call(module_of(model, inputs, kwargs), inputs, kwargs), verify=verify)


def trace_call(call: Call, *, verify: bool = True) -> Graph:
    """Trace a call; see `trace`."""
    refuse_sparse(call.tensors)
    exporter()
    with _explained(call), undisturbed(call.model, call.given, lazily=True):  # an export writes no real tensor
        call.training = call.model.training
        with _explained(call):
            program, left_out = export(call)
            graph = _Reader(program, call, call.model).graph(left_out)
            graph = put_back(unsorted(with_computed_weights(solved_whole(graph))))
        with _explained(call):  # what forward refuses on real tensors, but not on the trace's
            return check_replay(graph, call) if verify and call.real and graph.has_values else graph


@contextmanager
def _explained(call: Call) -> Iterator[None]:
    """Say whatever is raised in a sentence: a hundred frames of torch tell the user nothing."""
    try:
        yield
    except LeadlineError:
        raise
    except (Exception, SystemExit, GeneratorExit) as error:
        raise TraceError(explain(call, error) + hint_of_empty(call.tensors)) from None


@cache
def exporter() -> Callable[..., ExportedProgram]:
    """Load torch's export with its compiler, as slow as torch itself: before a model runs in a state to take back."""
    from torch.export._trace import _export

    found: Callable[..., ExportedProgram] = _export  # typed here because torch leaves it untyped
    return found


def export(call: Call, symbols: Symbols = MappingProxyType({})) -> tuple[ExportedProgram, list[fx.Node]]:
    """Export to functional ATen, and list the products that are left out on the way, since nothing reads them.

    Operations that the op table does not know are decomposed where torch knows how. The sizes of axes that are marked
    in `symbols`, by input, are symbols; where they must be numbers, torch's choice.
    """
    program = _exported(call, symbols)
    if make_functional(program):
        return program, []
    left_out = _unread(program.graph)
    program.graph_module.recompile()
    table = torch.export.default_decompositions()
    for packet in {op.rpartition(".")[0] if op.count(".") > 1 else op for op in OPERATIONS}:
        for overload in _overloads(packet):
            if overload in table and kind_of(str(overload)) is not Kind.OPAQUE:
                table.pop(overload)
    # Export keeps some operations whole, such as bilinear upsampling, that torch could take apart.
    table.update({**get_decompositions(_opaque(program)), **DECOMPOSITIONS})
    with _named_by_its_functions(program, call):
        decomposed: ExportedProgram = program.run_decompositions(table)
    hidden = get_decompositions(_opaque(decomposed))  # within composites such as grid_sample
    return (decomposed.run_decompositions({**table, **hidden}) if hidden else decomposed), left_out


@contextmanager
def _named_by_its_functions(program: ExportedProgram, call: Call) -> Iterator[None]:
    """Say which operation that takes functions stands in a program that does not come apart."""
    try:
        yield
    except Exception:
        for node in program.graph.nodes:
            if isinstance(node.target, torch._ops.HigherOrderOperator) and node.target is not with_effects:
                raise _of_functions(node, _Reader(program, call, call.model)) from None
        raise


def _of_functions(node: fx.Node, reader: _Reader) -> UnknownOp:
    return UnknownOp(
        f"no rule for {node.target.name()} at {reader.place(node)}, which takes functions: write what it does "  # type: ignore[union-attr]
        "out with tensor operations, or in a Python loop or branch on constants"
    )


def _unread(graph: fx.Graph) -> list[fx.Node]:
    """List the operations that multiply and on which no output rests, nor anything that is written."""
    read: set[fx.Node] = set()
    for node in reversed(graph.nodes):
        target: Any = node.target
        written = isinstance(target, torch._ops.OpOverload) and target._schema.is_mutable
        if written or node.op == "output" or node in read:
            read.update(node.all_input_nodes)
    called = (node for node in graph.nodes if node.op == "call_function" and node not in read)
    return [node for node in called if kind_of(str(meant(node.target))) in MULTIPLYING]


def _exported(call: Call, symbols: Symbols) -> ExportedProgram:
    """Export a call; one that transforms functions (`torch.vmap`) is traced beneath the transforms.

    Above them torch's trace holds their beginnings and ends, which nothing but running it again takes apart.
    """
    try:
        program = _exported_once(call, symbols, above=True)
        graphs = [part.graph for part in program.graph_module.modules() if isinstance(part, fx.GraphModule)]
        if any(getattr(node.target, "__module__", "") == _TRANSFORMS for graph in graphs for node in graph.nodes):
            program = _exported_once(call, symbols, above=False)
    except LeadlineError:
        raise
    except Exception:
        with suppress(Exception):
            return _exported_once(call, symbols, above=False)
        raise
    return program


def _exported_once(call: Call, symbols: Symbols, *, above: bool) -> ExportedProgram:
    given = tuple(tensor.detach() for tensor in call.tensors.values())  # one that is given twice stands for two inputs
    with ExitStack() as stack:
        stack.enter_context(restored(call.model, call.given))
        for mode in (
            sparse_aside(call.model),
            WholeRecurrences(),
            masks_as_given(),
            branches_at_once(),
            errors_caught(),
            call.traced(),
            traced_assignments(),
            gradients_followed(call),
        ):
            stack.enter_context(mode)
        stack.enter_context(redirect_stderr(StringIO()))  # where torch prints a graph that it cannot finish
        program = exporter()(call, given, dynamic_shapes=_dynamic(call, symbols), strict=False, pre_dispatch=above)
    _without_failures(program.graph_module.graph)
    _without_detached_creations(program.graph_module.graph)
    _without_examples_of_types(program.graph_module.graph)
    settle(program, call.decided)
    return program


def _dynamic(call: Call, symbols: Symbols) -> Any:
    """Mark axes in the words of torch's export, for the one argument that stands for all tensors."""
    if not symbols:
        return None
    marked = [symbols.get(name, ()) for name in call.tensors]
    return (tuple({axis: Dim.AUTO for axis, is_symbol in enumerate(axes) if is_symbol} for axes in marked),)


def _without_failures(graph: fx.Graph) -> None:
    """Drop operations that failed, so that the model went another way: they have no result."""
    for node in reversed(graph.nodes):
        called = isinstance(node.target, torch._ops.OpOverload) and node.target._schema.returns
        if called and not node.users and node.meta.get("val") is None:
            graph.erase_node(node)


def _without_detached_creations(graph: fx.Graph) -> None:
    """Let a new tensor stand for its detached self, which torch adds to some: later writes into it are not cut off."""
    for node in graph.find_nodes(op="call_function", target=torch.ops.aten.detach.default):
        if kind_of(str(node.args[0].target)) is Kind.CREATION:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)


def _without_examples_of_types(graph: fx.Graph) -> None:
    """Name the type where a tensor, of any shape, is read for its type alone."""
    for node in graph.find_nodes(op="call_function", target=torch.ops.aten.type_as.default):
        x, like = node.args
        with graph.inserting_before(node):
            typed = graph.call_function(torch.ops.aten.to.dtype, (x, like.meta["val"].dtype))
        typed.meta = node.meta
        node.replace_all_uses_with(typed)
        graph.erase_node(node)


def _opaque(program: ExportedProgram) -> list[torch._ops.OpOverload]:
    """List the operations that the op table does not know; Fourier transforms come apart into ones that it knows."""
    targets = (node.target for node in program.graph.nodes if node.op == "call_function")
    opaque = [t for t in targets if isinstance(t, torch._ops.OpOverload) and kind_of(str(meant(t))) is Kind.OPAQUE]
    return [t for t in opaque if "fft" not in str(t)]


def _overloads(packet: str) -> Iterator[Any]:
    space, _, name = packet.partition(".")
    found = getattr(getattr(torch.ops, space), name, None)
    if found is not None:
        yield from (getattr(found, overload) for overload in found.overloads())


_TRANSFORMS = "torch._functorch.predispatch"


class _Reader:
    """Turns an exported program into a `Graph`."""

    def __init__(self, program: ExportedProgram, call: Call, model: nn.Module) -> None:
        self.program, self.call, self.model = program, call, model
        self.nodes: list[Node] = []
        self.refs: dict[fx.Node, Any] = {}

    def graph(self, left_out: Sequence[fx.Node] = ()) -> Graph:
        signature = self.program.graph_signature
        specs = {spec.arg.name: spec for spec in signature.input_specs}
        names = iter(self.call.tensors)
        leaves: dict[Kind, dict[str, int]] = {Kind.INPUT: {}, Kind.PARAMETER: {}, Kind.BUFFER: {}}
        values: dict[int, Tensor] = {}
        results: tuple[Any, ...] = ()
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                spec = specs[node.name]
                if spec.kind is InputKind.TOKEN:  # orders checks, which have no value
                    self.refs[node] = None
                    continue
                kind = _LEAF_KINDS.get(spec.kind)
                if kind is None:
                    raise TraceError(f"the model takes {spec.kind.name.lower()} {node.name}, which no rule covers")
                name = next(names) if kind is Kind.INPUT else _strip(spec.target or node.name)
                leaves[kind][name] = self._leaf(node, kind, name)
                value = None if kind is Kind.INPUT else self._value(spec.target)
                if value is not None and not hollow(value):
                    values[leaves[kind][name]] = value.detach()
            elif node.op == "call_function":
                self._call(node)
            elif node.op == "get_attr":  # a function that an operation takes
                continue
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
            decided=self.call.decided,
            left_out=tuple(map(self._gap, left_out)),
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
        self.nodes.append(
            Node(index, name, kind.value, kind, (), {}, (self._meta(node.meta["val"], node),), Place(module))
        )
        self.refs[node] = Ref(index)
        return index

    def _call(self, node: fx.Node) -> None:
        if node.target is with_effects:
            self.refs[node] = [None]
            return
        if node.target is operator.getitem:
            source, place = node.args
            refs = self.refs[source]  # type: ignore[index]
            self.refs[node] = refs[place]
            return
        if isinstance(node.target, torch._ops.HigherOrderOperator):
            raise _of_functions(node, self)
        value = node.meta.get("val")
        parts = tuple(value) if isinstance(value, list | tuple) else (value,)
        index, target = len(self.nodes), meant(node.target)
        op = str(target) if isinstance(target, torch._ops.OpOverload) else f"number.{target.__name__}"
        self.nodes.append(
            Node(
                index=index,
                name=node.name,
                op=op,
                kind=kind_of(op),
                args=tuple(map(self._argument, node.args)),
                kwargs={key: self._argument(part) for key, part in node.kwargs.items()},
                outputs=tuple(self._meta(part, node) for part in parts),
                place=self.place(node),
                target=target,
                passing=passing(node.meta),
                copied=copied(node.meta),
                part=part_of(node.meta),
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

    def _meta(self, value: Any, node: fx.Node) -> Meta | None:
        """Shape and dtype of a tensor; numbers read from one count as scalars, None and other values as nothing."""
        if not isinstance(value, Tensor):
            return Meta((), _NUMBERS[type(value)]) if type(value) in _NUMBERS else None
        if not all(isinstance(size, int) for size in value.shape):
            raise TraceError(
                f"the shape {list(value.shape)} of what {node.target} at {self.place(node)} gives depends on values"
                f"{self.call.blamed(str(value.shape))}: a graph would hold for this input only; "
                "keep all rows, with zeros for those that are not chosen"
            )
        return Meta(tuple(value.shape), value.dtype)

    def _gap(self, node: fx.Node) -> Gap:
        return Gap(str(meant(node.target)), self.place(node))

    def place(self, node: fx.Node) -> Place:
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
