"""Equations rewritten for speed: fewer and larger steps with the same results, up to the order of sums.

Each rule looks at the shape of equations alone. A variable may vanish into its reader if it has no other, and if that
one reads all its channels, in order, at its own point.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from leadline.graph.table import Form, Kind, Opcode, Tally
from leadline.recurrence import ir
from leadline.recurrence.scores import Attention
from leadline.sampling.compiled.instructions import Op


@dataclass(frozen=True, eq=False)
class FusedContraction(ir.Contraction):
    """``function(bias + Σ weight · tap + Σ addend)``: the taps beyond the weights are added as they are.

    `function` names an instruction for one number.
    """

    function: str = "copy"

    @classmethod
    def of(cls, equation: ir.Contraction) -> FusedContraction:
        """Return a contraction in this form."""
        if isinstance(equation, FusedContraction):
            return equation
        return cls(equation.taps, equation.weights, equation.bias, equation.groups)

    @property
    def addends(self) -> tuple[ir.Tap, ...]:
        """What is added to the product."""
        return self.taps[len(self.weights) :]


@dataclass(frozen=True, eq=False)
class FusedPointwise(ir.Pointwise):
    """A function of operands that pass through functions of their own first: `before`, one instruction for each."""

    before: tuple[str, ...] = ()


def fused(system: ir.System, straight: bool = True) -> ir.System:
    """Rewrite equations: channels chosen by variables of their own, then products with what is done to their results.

    Taps then read consecutive channels everywhere but in a ``select`` of one tap; not `straight`, they read as before.

    Examples
    --------
    >>> from leadline.recurrence.examples import dilated
    >>> [variable.name for variable in fused(dilated(layers=2, k=2)).variables]  # nothing to do here
    ['x', 'h1', 'h2']
    """
    return _Fusion(_straightened(system) if straight else system).system


class _Fusion:
    """One pass over the variables, in order: what a rule absorbs is no longer read."""

    def __init__(self, system: ir.System) -> None:
        self._readers = Counter(tap.source for v in system.variables for tap in v.equation.taps)
        self._readers[system.output] += 1
        self._made: dict[str, ir.Variable] = {}
        for variable in system.variables:
            self._made[variable.name] = replace(variable, equation=self._rewritten(variable))
        self.system = replace(system, variables=tuple(self._made.values())).live()

    def _rewritten(self, variable: ir.Variable) -> ir.Equation:
        equation = variable.equation
        if isinstance(equation, ir.Reduction):
            return self._sum(variable, self._stacked(variable, equation)) or equation
        if not isinstance(equation, ir.Pointwise):
            return equation
        taps = tuple(operand for operand in equation.operands if isinstance(operand, ir.Tap))
        if _plain_sum(equation) and len(taps) == len(equation.operands):
            return self._sum(variable, taps) or self._function_of_functions(variable, equation)
        if instruction(equation):
            return self._function_of_product(variable, equation)
        return self._function_of_functions(variable, equation)

    def _alone(self, variable: ir.Variable, tap: ir.Tap) -> ir.Equation | None:
        """Return the equation of a tap's source if it may vanish into this variable."""
        if any(tap.offset) or self._readers[tap.source] != 1:
            return None
        source = self._made[tap.source]
        whole = np.array_equal(tap.channels, np.arange(source.channels))
        wide = all(mine <= its for mine, its in zip(variable.margin, source.margin, strict=True))
        return source.equation if whole and wide else None

    def _product(self, variable: ir.Variable, tap: ir.Tap) -> FusedContraction | None:
        """Return a tap's source if it is a product that may vanish into this variable."""
        equation = self._alone(variable, tap)
        if not isinstance(equation, ir.Contraction) or not equation.weights:
            return None
        product = FusedContraction.of(equation)
        return product if product.function == "copy" else None

    def _stacked(self, variable: ir.Variable, equation: ir.Reduction) -> tuple[ir.Tap, ...]:
        """Return the terms of a sum over what was stacked before it; none if it is another reduction."""
        joined = self._alone(variable, equation.tap)
        summed = equation.operation.kind is Kind.REDUCTION and equation.operation.tally is Tally.SUM
        if not isinstance(joined, ir.Pointwise) or joined.function != "concat" or not summed:
            return ()
        terms = tuple(operand for operand in joined.operands if isinstance(operand, ir.Tap))
        first = equation.literals.get("dim") in (0, (0,), [0])
        same = all(len(tap.channels) == variable.channels for tap in terms)
        return terms if first and same and len(terms) == len(joined.operands) == equation.shape[0] else ()

    def _sum(self, variable: ir.Variable, terms: tuple[ir.Tap, ...]) -> FusedContraction | None:
        """Turn a sum with products among its terms into one product over all their taps."""
        products = {i: p for i, tap in enumerate(terms) if (p := self._product(variable, tap)) and p.groups == 1}
        if not products:
            return None
        biases = [p.bias for p in products.values() if p.bias is not None]
        weighted = tuple(tap for p in products.values() for tap in p.taps[: len(p.weights)])
        addends = tuple(tap for p in products.values() for tap in p.addends)
        others = tuple(tap for i, tap in enumerate(terms) if i not in products)
        weights = tuple(weight for p in products.values() for weight in p.weights)
        return FusedContraction((*weighted, *addends, *others), weights, sum(biases[1:], biases[0]) if biases else None)

    def _function_of_product(self, variable: ir.Variable, equation: ir.Pointwise) -> ir.Equation:
        """Let a product's results pass through a function before they are stored."""
        (operand,) = equation.operands
        product = self._product(variable, operand) if isinstance(operand, ir.Tap) else None
        return equation if product is None or product.groups > 1 else replace(product, function=instruction(equation))

    def _function_of_functions(self, variable: ir.Variable, equation: ir.Pointwise) -> ir.Equation:
        """Let operands pass through functions as they are read."""
        facts = equation.facts
        opcode = None if facts is None else facts.opcode(equation.literals)
        if equation.function == "concat" or (facts is not None and (opcode is None or opcode.before)):
            return equation  # it has no instruction, or its operands pass through other functions already
        inner = [self._function(variable, operand) for operand in equation.operands]
        if not any(inner):
            return equation
        operands = (i.operands[0] if i else operand for i, operand in zip(inner, equation.operands, strict=True))
        before = tuple(instruction(i) if i else "copy" for i in inner)

        def call(*values: Tensor) -> Tensor:
            return equation.call(*(i.call(v) if i else v for i, v in zip(inner, values, strict=True)))

        return FusedPointwise(equation.function, tuple(operands), call, equation.literals, before=before)

    def _function(self, variable: ir.Variable, operand: ir.Operand) -> ir.Pointwise | None:
        """Return an operand's source if it is a function of one number that may vanish into this variable."""
        equation = self._alone(variable, operand) if isinstance(operand, ir.Tap) else None
        return equation if isinstance(equation, ir.Pointwise) and instruction(equation) else None


def _plain_sum(equation: ir.Pointwise) -> bool:
    summed = equation.facts is not None and equation.facts.form is Form.SUM
    return summed and len(equation.operands) == 2 and equation.literals.get("alpha", 1) == 1


def instruction(equation: ir.Pointwise) -> str:
    """Return the name of the instruction that a function of one number is by itself; nothing if it is none."""
    facts = equation.facts
    if facts is None or facts.form is not Form.FUNCTION or isinstance(equation, FusedPointwise):
        return ""
    opcode = facts.opcode(equation.literals) if len(equation.operands) == 1 else None
    alone = opcode is not None and opcode == Opcode(opcode.name) and Op[opcode.name.upper()] < Op.ADD
    return opcode.name if opcode is not None and alone else ""


def _straightened(system: ir.System) -> ir.System:
    """Let taps on scattered channels read variables that choose those channels, computed after their sources."""
    chosen: dict[str, dict[bytes, ir.Variable]] = {}

    def straight(tap: ir.Tap) -> ir.Tap:
        if (np.diff(tap.channels) == 1).all():
            return tap
        source, found = system[tap.source], chosen.setdefault(tap.source, {})
        select = ir.Pointwise("select", (replace(tap, offset=(0,) * len(tap.offset)),), lambda x: x)
        name = f"{source.name}[{len(found)}]"
        made = found.setdefault(
            tap.channels.tobytes(), replace(source, name=name, channels=len(tap.channels), equation=select)
        )
        return replace(tap, source=made.name, channels=np.arange(made.channels))

    variables = [replace(v, equation=with_taps(v.equation, straight)) for v in system.variables]
    both = (v for variable in variables for v in (variable, *chosen.get(variable.name, {}).values()))
    return replace(system, variables=tuple(both))


def with_taps(equation: ir.Equation, change: Callable[[ir.Tap], ir.Tap]) -> ir.Equation:
    """Return an equation whose taps have gone through a function."""
    if isinstance(equation, ir.Contraction):
        return replace(equation, taps=tuple(map(change, equation.taps)))
    if isinstance(equation, ir.Pointwise | ir.Rowwise):
        operands = (change(operand) if isinstance(operand, ir.Tap) else operand for operand in equation.operands)
        return replace(equation, operands=tuple(operands))
    if isinstance(equation, ir.Embedding | ir.Reduction):
        return replace(equation, tap=change(equation.tap))
    if isinstance(equation, Attention):
        return equation.with_taps(change)
    return equation


def joined(system: ir.System) -> ir.System:
    """Return a system whose inputs are one variable, in their order; one with a single input is left as it is.

    Classes stand among numbers as numbers.

    Examples
    --------
    >>> from leadline.recurrence.examples import dilated
    >>> joined(dilated(layers=1)).inputs
    ('x',)
    """
    if len(system.inputs) < 2:
        return system
    parts = [system[name] for name in system.inputs]
    before = [sum(v.channels for v in parts[:n]) for n in range(len(parts))]
    start, name = dict(zip(system.inputs, before, strict=True)), " + ".join(system.inputs)

    def moved(tap: ir.Tap) -> ir.Tap:
        return replace(tap, source=name, channels=tap.channels + start[tap.source]) if tap.source in start else tap

    classes = all(isinstance(v.equation, ir.Input) and v.equation.integer for v in parts)
    whole = replace(parts[0], name=name, channels=sum(v.channels for v in parts), equation=ir.Input(classes))
    rest = (replace(v, equation=with_taps(v.equation, moved)) for v in system.variables if v.name not in start)
    output = name if system.output in start else system.output
    return replace(system, variables=(whole, *rest), inputs=(name,), output=output)
