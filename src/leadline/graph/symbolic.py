"""For which sizes a trace holds: the same call is traced once more, with symbols for the sizes of some axes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jaxtyping
import sympy
import torch
from torch import Tensor, fx
from torch._guards import detect_fake_mode
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from leadline.errors import LeadlineError
from leadline.graph.call import Call
from leadline.graph.recurrences import meant
from leadline.graph.restoring.undisturbed import undisturbed
from leadline.graph.table import Kind, Move, kind_of, operation_of
from leadline.graph.trace import export, exporter

Axes = tuple[str | None, ...]
"""A letter for each axis that has a symbol, None for the others."""


@dataclass(frozen=True)
class Sizes:
    """Sizes, by axis, for which a model does what it was traced to do: from `least` to `most`, where that is known.

    A `doubt` says in words why it is not: what the model asks of its sizes, or constants that differ by place.
    """

    least: Mapping[str, int]
    most: Mapping[str, int]
    doubt: str = ""


def sizes_of_trace(call: Call, axes: Mapping[str, Axes]) -> Sizes:
    """Trace with symbols for the sizes of the axes that have a letter, and read off for which sizes the trace holds.

    Tensors that are not in `axes` keep their sizes. Sizes of 1 are never among those that hold, since an axis of one
    place is broadcast.

    Examples
    --------
    >>> class Short(torch.nn.Module):
    ...     def forward(self, x):
    ...         return x.cumsum(1) if x.shape[1] <= 16 else x
    >>> sizes_of_trace(Call(Short(), (torch.zeros(1, 9),), {}), {"x": (None, "t")})
    Sizes(least={'t': 2}, most={'t': 16}, doubt='')
    """
    letters = {letter for given in axes.values() for letter in given if letter}
    exporter()
    try:
        with undisturbed(call.model, call.given, lazily=True), _without_shape_checks():
            program, _ = export(call, {name: tuple(map(bool, given)) for name, given in axes.items()})
        return _Reader(program, call, axes).sizes()
    except LeadlineError as error:
        doubt = f"it cannot be traced with symbols for its sizes: {error}"
    except Exception as error:  # torch's symbols know less than its tensors do
        doubt = f"it cannot be traced with symbols for its sizes: {type(error).__name__}"
    return Sizes(dict.fromkeys(letters, 1), {}, doubt)


@contextmanager
def _without_shape_checks() -> Iterator[None]:
    """Leave out checks of annotations at run time, to which a symbol is not a size."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)


_BY_PLACE = frozenset(
    {Kind.CUMULATIVE, Kind.MIXING, Kind.MATRICES, Kind.SCAN, Kind.SCATTER, Kind.CONTRACTION, Kind.OPAQUE}
)


class _Reader:
    """What an exported program with symbols says of its sizes."""

    def __init__(self, program: ExportedProgram, call: Call, axes: Mapping[str, Axes]) -> None:
        self.program, self.names, self.axes = program, tuple(call.tensors), axes
        values = [node.meta.get("val") for node in program.graph.nodes]
        mode = detect_fake_mode([value for value in values if isinstance(value, Tensor)])
        assert mode is not None
        assert mode.shape_env is not None
        self.environment: ShapeEnv = mode.shape_env
        self.least: dict[str, int] = {}
        self.most: dict[str, int] = {}
        self.letters: dict[sympy.Symbol, sympy.Symbol] = {}

    def sizes(self) -> Sizes:
        doubts = (*self._symbols(), *self._guards(), *self._uneven(), *self._alone())
        return Sizes(self.least, self.most, next(iter(doubts), ""))

    def _symbols(self) -> Iterator[str]:
        """Name the symbols after the axes, with their ranges; yield axes that were given a number."""
        given = [node for node in self.program.graph.nodes if node.op == "placeholder"]
        specs = {spec.arg.name: spec.kind for spec in self.program.graph_signature.input_specs}
        inputs = [node for node in given if specs.get(node.name) is InputKind.USER_INPUT]
        for name, node in zip(self.names, inputs, strict=True):
            for letter, size in zip(self.axes.get(name, ()), node.meta["val"].shape, strict=False):
                if letter is None:
                    continue
                if not isinstance(size, torch.SymInt) or not size.node.expr.is_Symbol:
                    yield f"it holds for {letter} = {size} alone"
                    continue
                symbol = size.node.expr
                self.letters[symbol] = sympy.Symbol(letter, integer=True, positive=True)
                found = self.environment.var_to_range[symbol]
                self.least[letter] = max(self.least.get(letter, 1), int(found.lower))
                if found.upper.is_number and found.upper < 2**31:
                    self.most[letter] = min(self.most.get(letter, 2**31), int(found.upper))

    def _alone(self) -> Iterator[str]:
        """Yield axes of which one size is left."""
        alone = [letter for letter, least in self.least.items() if self.most.get(letter) == least]
        yield from (f"it holds for {letter} = {self.least[letter]} alone" for letter in alone)

    def _guards(self) -> Iterator[str]:
        """Take what the model asked of its sizes as limits; yield what is more than a limit."""
        for guard in self.environment.guards:
            asked = sympy.simplify(guard.expr.xreplace(self.letters))
            if asked in (sympy.true, True):
                continue
            free = sorted(asked.free_symbols, key=str)
            if len(free) != 1 or str(free[0]) not in self.least or not self._limits(asked, free[0]):
                yield f"it asks whether {asked}"

    def _limits(self, asked: sympy.Basic, symbol: sympy.Symbol) -> bool:
        """Narrow the range of one size by an inequality that is linear in it; False where it is none."""
        if not isinstance(asked, sympy.core.relational.Relational):
            return False
        difference = sympy.expand(asked.lhs - asked.rhs)
        if not difference.is_polynomial(symbol) or sympy.degree(difference, symbol) != 1:
            return False
        slope, letter = difference.coeff(symbol, 1), str(symbol)
        edge = -difference.coeff(symbol, 0) / slope
        if isinstance(asked, sympy.Ne):
            return self._other_than(letter, edge)
        if isinstance(asked, sympy.Eq):
            return False
        strict = isinstance(asked, sympy.StrictLessThan | sympy.StrictGreaterThan)
        above = isinstance(asked, sympy.StrictGreaterThan | sympy.GreaterThan) == bool(slope > 0)
        if above:
            first = sympy.floor(edge) + 1 if strict else sympy.ceiling(edge)
            self.least[letter] = max(self.least[letter], int(first))
        else:
            last = sympy.ceiling(edge) - 1 if strict else sympy.floor(edge)
            self.most[letter] = min(self.most.get(letter, 2**31), int(last))
        return True

    def _other_than(self, letter: str, edge: sympy.Rational) -> bool:
        """Leave out one size at an end of the range; False where it lies within."""
        least, most = self.least[letter], self.most.get(letter, 2**31)
        if edge == least:
            self.least[letter] += 1
        elif edge == most:
            self.most[letter] = most - 1
        return not (edge.is_integer and least < edge < most)

    def _uneven(self) -> Iterator[str]:
        """Yield sizes that do not grow evenly, and constants along the axes that differ by place."""
        moving = self._moving()
        for node in self.program.graph.nodes:
            for size in _numbers(node):
                expression = size.node.expr
                free = expression.free_symbols & self.letters.keys()
                if free and not expression.is_polynomial(*free):
                    yield f"a size is {expression.xreplace(self.letters)}"
            if node.op == "call_function" and not _is_size(node) and self._placed(node, constant=node not in moving):
                yield f"{node.target} makes constants that differ by place"

    def _moving(self) -> set[fx.Node]:
        """Return the nodes that depend on what the model is called with."""
        found: set[fx.Node] = set()
        specs = {spec.arg.name: spec.kind for spec in self.program.graph_signature.input_specs}
        for node in self.program.graph.nodes:
            comes_in = specs.get(node.name) is InputKind.USER_INPUT or found.intersection(node.all_input_nodes)
            if comes_in and not _is_size(node):
                found.add(node)
        return found

    def _placed(self, node: fx.Node, *, constant: bool) -> bool:
        """Whether a node makes, or cuts out of a table, constants along a symbolic axis that may differ by place.

        A triangle's edge is known for all sizes if it lies within the size that was traced. What is summed up so far,
        sorted or chosen of constants differs by place, even if they are all ones.
        """
        sizes = [int(size.node.hint) for size in _numbers(node)]
        if not sizes:
            return False
        kind, op = kind_of(str(meant(node.target))), operation_of(str(node.target))
        if constant and kind in _BY_PLACE:
            return True
        named = {argument.name for argument in getattr(getattr(node.target, "_schema", None), "arguments", ())}
        if kind is Kind.CREATION:
            return not named & {"size", "self"}
        if op.move is Move.TRIANGLE:
            edge = node.args[1] if len(node.args) > 1 else node.kwargs.get("diagonal", 0)
            return not isinstance(edge, int) or abs(edge) > min(sizes) - 2
        return kind in (Kind.VIEW, Kind.GATHER) and any(map(_is_table, node.all_input_nodes))


def _numbers(node: fx.Node) -> Iterator[torch.SymInt]:
    """Yield the symbolic numbers among a node's results and their sizes."""
    found = node.meta.get("val")
    for value in found if isinstance(found, list | tuple) else (found,):
        if isinstance(value, torch.SymInt):
            yield value
        elif isinstance(value, Tensor):
            sizes: tuple[Any, ...] = tuple(value.shape)
            yield from (size for size in sizes if isinstance(size, torch.SymInt))


def _is_size(node: fx.Node) -> bool:
    """Whether a node is a number of places, as that of an axis, which is not a value at any of them."""
    return isinstance(node.meta.get("val"), torch.SymInt)


def _is_table(node: fx.Node) -> bool:
    """Whether a node is a buffer or a constant of the model."""
    return node.op == "placeholder" and node.name.startswith(("b_", "c_"))
