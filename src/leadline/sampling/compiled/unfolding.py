"""Functions of numbers written in those that have an instruction, as the table's recipes say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from leadline.graph.table import Expression
from leadline.recurrence import ir
from leadline.sampling.compiled.instructions import Op
from leadline.sampling.compiled.program import resolved


def unfolded(system: ir.System) -> ir.System:
    """Give each function without an instruction of its own the equations of its recipe, if there is one.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from leadline.recurrence.examples import dilated
    >>> system = dilated(layers=1, k=1)
    >>> tap = ir.Tap("h1", (0,), system["h1"].equation.taps[0].channels)
    >>> mish = ir.Variable("y", 1, ir.Pointwise("mish", (tap,), torch.nn.functional.mish), (0,))
    >>> system = replace(system, variables=(*system.variables, mish), output="y")
    >>> [getattr(v.equation, "function", "") for v in unfolded(system).variables]
    ['', '', 'softplus', 'tanh', 'mul']
    """
    return replace(system, variables=tuple(made for v in system.variables for made in _unfolded(v)))


def _unfolded(variable: ir.Variable) -> Iterator[ir.Variable]:
    equation = variable.equation
    if isinstance(equation, ir.Pointwise) and (expression := recipe_of(equation, variable.channels)):
        yield from _Steps(variable, equation).function(variable.name, expression)
    else:
        yield variable


def recipe_of(equation: ir.Pointwise, channels: int) -> Expression | None:
    """Return what a function is made of, where it has no instruction by itself."""
    if equation.facts is None:
        return None
    opcode, operands, _ = resolved(equation, channels)
    several = opcode is not None and Op[opcode.name.upper()] >= Op.ADD
    if opcode is not None and several is (len(operands) > 1):
        return None
    return equation.facts.recipe(_given(equation))


def _given(equation: ir.Pointwise) -> dict[str, Any]:
    boolean = bool(equation.types) and all(dtype is torch.bool for dtype in equation.types)
    return {**equation.literals, **{name: name for name in _names(equation)}, "boolean": boolean}


def _names(equation: ir.Pointwise) -> tuple[str, ...]:
    assert equation.facts is not None
    return equation.names or equation.facts.operands[: len(equation.operands)]


@dataclass(frozen=True)
class _Steps:
    """Makes the variables of one function's recipe, the last of which has the function's own name."""

    variable: ir.Variable
    equation: ir.Pointwise

    @cached_property
    def operands(self) -> dict[str, ir.Operand]:
        """The operands by the names of their arguments."""
        return dict(zip(_names(self.equation), self.equation.operands, strict=True))

    def function(self, name: str, expression: Expression) -> Iterator[ir.Variable]:
        """Yield a variable for each function within an expression, and for itself."""
        function, *arguments = expression
        operands: list[ir.Operand] = []
        for argument in arguments:
            if isinstance(argument, tuple):
                inner = f"{name}.{len(operands)}"
                yield from self.function(inner, argument)
                operands.append(self._read(inner))
            else:
                operands.append(self._operand(argument))
        yield replace(self.variable, name=name, equation=ir.Pointwise(function, tuple(operands), _not_called))

    def _read(self, name: str) -> ir.Tap:
        here = (0,) * len(self.variable.margin)
        return ir.Tap(name, here, torch.arange(self.variable.channels).numpy())

    def _operand(self, argument: Any) -> ir.Operand:
        given = self.equation.literals.get(argument, argument) if isinstance(argument, str) else argument
        if isinstance(given, str):
            return self.operands[given]
        return ir.Constant(torch.full((self.variable.channels,), float(given), dtype=torch.float64))


def _not_called(*_: Tensor) -> Tensor:
    raise AssertionError("what is unfolded runs as instructions")
