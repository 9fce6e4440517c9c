"""The immutable graph that every analysis reads: nodes with ops, literals, references, shapes and places."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Any, TypeAlias

import torch
from torch import Tensor

from leadline.graph.table import Kind, Operation, operation_of
from leadline.results import Gap, Place


@dataclass(frozen=True, slots=True)
class Ref:
    """One output of one node."""

    node: int
    output: int = 0


@dataclass(frozen=True, slots=True)
class Meta:
    """Shape and dtype of a tensor."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def numel(self) -> int:
        """Number of elements."""
        return torch.Size(self.shape).numel()


# int, float, bool, str, None, dtype, device …, Ref, and tuples of these.
Argument: TypeAlias = Any


class Passing(StrEnum):
    """Which arguments of an operation gradients pass to, as far as forward says."""

    ALL = "all"
    NONE = "none"  # gradients are switched off
    FIRST = "first"  # the same, but it writes into its first argument, whose own gradients go on


class Role(StrEnum):
    """What an operation is to the call of a custom autograd function that it is part of."""

    WITHIN = "within"  # what its forward pass does, unseen by autograd
    ARGUMENT = "argument"  # a tensor that it was called with, as it enters
    RESULT = "result"  # one that it returns, as it leaves


@dataclass(frozen=True)
class Part:
    """A part of the call of a custom autograd function, whose backward pass is its own.

    The `call` is its number among the calls of such functions, those within others left out; `place` is that of an
    argument or result among all of these.
    """

    function: str
    call: int
    role: Role = Role.WITHIN
    place: int = 0


@dataclass(frozen=True)
class Node:
    """One operation, or one leaf (input, parameter, buffer, constant).

    Its `index` is its place in `Graph.nodes`; arguments (literals, `Ref` and tuples of these) refer to smaller indices
    only. The `name` is unique within the graph: of a leaf, the name in the model (``"h.0.attn.bias"``) or of the
    argument. `op` is the ATen overload, ``"aten.add.Tensor"`` (of a leaf, the kind), `kind` says how domains treat it,
    and `target` computes it (None for leaves). `outputs` has None for those that are not tensors; `place` is the module
    path and source line. `passing` says which arguments gradients pass to, `copied` whether the result is copied into
    another tensor without gradients, and `part` what it is of a custom autograd function, if it is one's.
    """

    index: int
    name: str
    op: str
    kind: Kind
    args: tuple[Argument, ...]
    kwargs: Mapping[str, Argument]
    outputs: tuple[Meta | None, ...]
    place: Place
    target: Callable[..., Any] | None = field(default=None, compare=False, repr=False)
    passing: Passing = Passing.ALL
    copied: bool = False
    part: Part | None = None

    @property
    def packet(self) -> str:
        """The operation's name without namespace and overload, ``"add"``; for leaves, the kind."""
        return self.operation.packet

    @property
    def operation(self) -> Operation:
        """What the table says of the operation."""
        return operation_of(self.op)

    @property
    def draws(self) -> bool:
        """Whether it may give something else the next time: it draws, reads unwritten memory, or might."""
        operation = self.operation
        if self.kind is Kind.RANDOM or torch.Tag.nondeterministic_seeded in getattr(self.target, "tags", ()):
            return not operation.quiet(self.bound())
        foreign = self.kind is Kind.OPAQUE and getattr(self.target, "namespace", None) != "aten"  # these tag nothing
        return operation.unwritten or foreign

    @cached_property
    def refs(self) -> tuple[Ref, ...]:
        """Every reference among the arguments, in order."""
        return tuple(_refs((*self.args, *self.kwargs.values())))

    @cached_property
    def sources(self) -> tuple[Ref, ...]:
        """The references among the arguments, each once."""
        return tuple(dict.fromkeys(self.refs))

    @cached_property
    def skeleton(self) -> Hashable:
        """What it does, whatever its place in the graph: operation, literals, and numbers for references."""
        numbers = {ref: i for i, ref in enumerate(self.sources)}
        keywords = tuple((key, _numbered(value, numbers)) for key, value in self.kwargs.items())
        return self.op, _numbered(self.args, numbers), keywords, self.outputs

    @property
    def meta(self) -> Meta:
        """The first output's shape and dtype."""
        meta = self.outputs[0]
        assert meta is not None, f"{self.op} has no tensor output"
        return meta

    @property
    def shape(self) -> tuple[int, ...]:
        """The first output's shape."""
        return self.meta.shape

    def moved(self, index: int, to: Callable[[Ref], Ref]) -> Node:
        """Return the node at another place; `to` leads from each reference to where its value stands there."""
        args, kwargs = frozen(substitute(self.args, to)), frozen(substitute(tuple(self.kwargs.values()), to))
        return replace(self, index=index, args=args, kwargs=dict(zip(self.kwargs, kwargs, strict=True)))

    def bound(self) -> dict[str, Argument]:
        """Arguments by the names of the operator's schema, in its order, defaults filled in."""
        return dict(self._bound)

    @cached_property
    def _bound(self) -> dict[str, Argument]:
        schema = getattr(self.target, "_schema", None)
        if schema is None:
            return {**{str(i): value for i, value in enumerate(self.args)}, **self.kwargs}
        given = {**{a.name: value for a, value in zip(schema.arguments, self.args, strict=False)}, **self.kwargs}
        known = [a for a in schema.arguments if a.name in given or a.has_default_value()]
        return {a.name: given[a.name] if a.name in given else frozen(a.default_value) for a in known}


def frozen(argument: Argument) -> Argument:
    """Turn nested lists into tuples."""
    return tuple(map(frozen, argument)) if isinstance(argument, list | tuple) else argument


def _refs(argument: Argument) -> Iterator[Ref]:
    if isinstance(argument, Ref):
        yield argument
    elif isinstance(argument, tuple):
        for part in argument:
            yield from _refs(part)


def _numbered(argument: Argument, numbers: Mapping[Ref, int]) -> Hashable:
    """Replace references by their numbers; a literal stands with its type, since True and 1 are equal."""
    if isinstance(argument, Ref):
        return "%", numbers[argument]
    if isinstance(argument, tuple):
        return tuple(_numbered(part, numbers) for part in argument)
    return type(argument), argument


def substitute(argument: Argument, values: Callable[[Ref], Any]) -> Any:
    """Replace every reference in an argument by its value; tuples become lists, as ATen calls want them."""
    if isinstance(argument, Ref):
        return values(argument)
    if isinstance(argument, tuple):
        return [substitute(part, values) for part in argument]
    return argument


@dataclass(frozen=True)
class Graph:
    """A model's forward pass for one set of input shapes.

    The `nodes` stand in execution order. `inputs`, `parameters` and `buffers` (with lifted constants) lead from names
    to their indices, `outputs` from pytree paths (``"logits"``, ``"hidden[0]"``, ``"output"`` when there is one) to
    references. `values` holds the tensors of parameters and buffers by node index, but none on the meta device;
    `mutated` names the buffers that this forward pass changes, `decided` the parameters whose values decide, now,
    which way it goes; `left_out` lists operations that multiply and that the trace has dropped, since nothing reads
    them. `verified` says whether the graph was replayed against `forward` on fresh inputs (impossible
    without memory for the weights). Of leaves that a rewriting put down, `behind` says what they were made of.
    """

    nodes: tuple[Node, ...]
    inputs: Mapping[str, int]
    parameters: Mapping[str, int]
    buffers: Mapping[str, int]
    outputs: Mapping[str, Ref]
    values: Mapping[int, Tensor]
    mutated: frozenset[str]
    decided: frozenset[str]
    left_out: tuple[Gap, ...]
    training: bool
    verified: bool
    behind: Mapping[int, tuple[Ref, ...]] = field(default_factory=dict)

    def meta(self, ref: Ref) -> Meta:
        """Shape and dtype of what `ref` points to."""
        meta = self.nodes[ref.node].outputs[ref.output]
        assert meta is not None, f"output {ref.output} of {self.nodes[ref.node].op} is not a tensor"
        return meta

    @property
    def has_values(self) -> bool:
        """Whether every parameter and buffer has its values here."""
        return self.values.keys() >= {*self.parameters.values(), *self.buffers.values()}

    def live(self, *outputs: str) -> frozenset[int]:
        """Return the indices of the nodes on which the named outputs (default: all) rest."""
        stack = [self.outputs[name].node for name in outputs or self.outputs]
        seen: set[int] = set()
        while stack:
            index = stack.pop()
            if index not in seen:
                seen.add(index)
                stack.extend(ref.node for ref in (*self.nodes[index].refs, *self.behind.get(index, ())))
        return frozenset(seen)

    def rebuilt(self, nodes: Iterable[Node], to: Callable[[Ref], Ref]) -> Graph:
        """Return the graph made of other nodes; `to` leads from leaves and outputs to where they stand among these."""

        def placed(leaves: Mapping[str, int]) -> dict[str, int]:
            return {name: to(Ref(index)).node for name, index in leaves.items()}

        return replace(
            self,
            nodes=tuple(nodes),
            inputs=placed(self.inputs),
            parameters=placed(self.parameters),
            buffers=placed(self.buffers),
            outputs={name: to(ref) for name, ref in self.outputs.items()},
            values={to(Ref(index)).node: value for index, value in self.values.items()},
            behind={to(Ref(index)).node: tuple(map(to, refs)) for index, refs in self.behind.items()},
        )

    def __str__(self) -> str:
        return "\n".join(_line(node) for node in self.nodes)


def _line(node: Node) -> str:
    shapes = ", ".join("-" if meta is None else "×".join(map(str, meta.shape)) or "scalar" for meta in node.outputs)
    refs = ", ".join(f"%{ref.node}" + (f".{ref.output}" if ref.output else "") for ref in node.refs)
    return f"%{node.index} {node.op}({refs}) : {shapes}  [{node.place}]"
