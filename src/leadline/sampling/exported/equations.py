"""Each equation of a system as the body of a C function, which computes one variable at some columns of a block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leadline.errors import NotUniform
from leadline.graph.table import Kind, Statistics, Tally
from leadline.recurrence import ir
from leadline.recurrence.scores import Attention
from leadline.sampling.compiled.instructions import Op
from leadline.sampling.compiled.program import resolved
from leadline.sampling.exported.layout import Layout
from leadline.sampling.fusion import FusedContraction, FusedPointwise
from leadline.sampling.plan import Plan

_ALONE = frozenset(op.name.lower() for op in Op if Op.COPY <= op < Op.ADD)
_SEVERAL = {op.name.lower(): 2 + (op >= Op.AFFINE) + (op is Op.MULADD) for op in Op if op >= Op.ADD}
"""Instructions of one operand, and how many others take."""


@dataclass
class Equations:
    """Writes the functions of a plan's variables, and gathers the arrays that they read.

    `layout` knows where rows stand. What was computed in front f stands in the column of f, so that a tap reads
    ``late`` columns back.
    """

    plan: Plan
    dtype: torch.dtype
    layout: Layout
    arrays: list[str] = field(default_factory=list)
    most_outputs: int = 1

    def __post_init__(self) -> None:
        self.write: dict[type, Callable[[ir.Variable, Any], Iterator[str]]] = {
            ir.Contraction: self.contraction,
            FusedContraction: self.contraction,
            ir.Pointwise: self.pointwise,
            FusedPointwise: self.pointwise,
            ir.Embedding: self.embedding,
            ir.Reduction: self.reduction,
            ir.Rowwise: self.rowwise,
            Attention: self.attention,
        }

    def function(self, variable: ir.Variable) -> str:
        """Return the function that computes a variable at columns ``from`` to ``to``; it returns 0, or an error."""
        n, equation = self.layout.number[variable.name], variable.equation
        body = "\n    ".join(self.write[type(equation)](variable, equation))
        where = str(variable.place).replace("*/", "* /")
        return f"/* {where} */\nstatic int f{n}(STATE *s, long from, long to) {{\n    {body}\n    return 0;\n}}\n"

    # -- what equations read -----------------------------------------------------------------------------------------

    def array(self, values: Tensor | np.ndarray, kind: str = "real") -> str:
        """Store numbers, and return the name of the array."""
        flat = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values).reshape(-1)
        digits = 9 if self.dtype is torch.float32 else 17
        texts = [str(int(x)) for x in flat] if kind == "int" else [number_in_c(float(x), digits) for x in flat]
        lines = [", ".join(texts[i : i + 12]) for i in range(0, len(texts), 12)]
        name = f"k{len(self.arrays)}"
        self.arrays.append(f"static const {kind} {name}[] = {{\n" + ",\n".join(lines or ["0"]) + "\n};")
        return name

    def late(self, reader: ir.Variable, tap: ir.Tap) -> int:
        """Return how many fronts before its reader's a value was computed."""
        delay = self.plan.schedule.delay
        return delay[reader.name] + tap.offset[0] - delay[tap.source]

    def row(self, reader: ir.Variable, tap: ir.Tap, channel: str) -> str:
        """Return the place of a channel of a tap at the block's first column; `channel` counts those of the tap."""
        first = int(tap.channels[0]) if len(tap.channels) else 0
        if (np.diff(tap.channels) == 1).all():
            which = f"{first} + {channel}" if first else channel
        else:
            which = f"{self.array(tap.channels, 'int')}[{channel}]"
        return self.layout.row(tap.source, which, self.late(reader, tap))

    def result(self, variable: ir.Variable, channel: str) -> str:
        """Return the place of a channel of a variable itself at the block's first column."""
        return self.layout.row(variable.name, channel)

    # -- equations ---------------------------------------------------------------------------------------------------

    def contraction(self, variable: ir.Variable, equation: ir.Contraction) -> Iterator[str]:
        """Lay weights out as (groups, inputs of all taps, outputs)."""
        product, groups = FusedContraction.of(equation), equation.groups
        out, taps = variable.channels // groups, equation.taps[: len(equation.weights)]
        weights = [w.detach().reshape(groups, out, -1).permute(0, 2, 1) for w in equation.weights]
        matrix = torch.cat([torch.zeros(groups, 0, out), *weights], 1)
        bias = torch.zeros(variable.channels) if equation.bias is None else equation.bias
        each, added = matrix.shape[1], len(product.addends)
        self.most_outputs = max(self.most_outputs, out)
        yield f"const real *x[{max(1, each * groups)}]{f', *add[{added * out}]' if added else ''};"
        yield from self.pointers(variable, "x", taps, groups)
        yield from self.pointers(variable, "add", product.addends, 1)
        indent = "    " if groups > 1 else ""

        def of(size: int) -> str:
            return f" + g * {size}L" if groups > 1 else ""

        if groups > 1:
            yield f"for (int g = 0; g < {groups}; g++) {{"
        yield (
            f"{indent}const product_of p = {{{self.result(variable, f'g * {out}' if groups > 1 else '0')}, "
            f"{self.layout.apart(variable.name)}, x{of(each)}, {each}, {'add' if added else 'x'}, {added}, "
            f"{self.array(matrix)}{of(each * out)}, {self.array(bias)}{of(out)}, {out}}};"
        )
        yield f"{indent}product(&p, from, to, s->scratch);"
        if groups > 1:
            yield "}"
        if product.function != "copy":
            yield from self.each(variable, f"f_{product.function}(y[t], 0)")

    def pointers(self, variable: ir.Variable, name: str, taps: Sequence[ir.Tap], groups: int) -> Iterator[str]:
        """Write down where a product reads: group by group, all taps one after another."""
        sizes = [len(tap.channels) // groups for tap in taps]
        for n, (tap, size) in enumerate(zip(taps, sizes, strict=True)):
            channel, at = ("g * {size} + c", "g * {each} + ") if groups > 1 else ("c", "")
            place = at.format(each=sum(sizes)) + (f"{sum(sizes[:n])} + c" if n else "c")
            row = self.row(variable, tap, channel.format(size=size))
            over = f"for (int g = 0; g < {groups}; g++) " if groups > 1 else ""
            yield f"{over}for (int c = 0; c < {size}; c++) {name}[{place}] = {row};"

    def each(self, variable: ir.Variable, value: str, *operands: str) -> Iterator[str]:
        """Write a value to all columns of all channels; operands are declared for a channel c."""
        yield f"for (int c = 0; c < {variable.channels}; c++) {{"
        yield f"    real *y = {self.result(variable, 'c')};"
        yield from (f"    {operand}" for operand in operands)
        yield f"    ANY_ORDER for (long t = from; t < to; t++) y[t] = {value};"
        yield "}"

    def pointwise(self, variable: ir.Variable, equation: ir.Pointwise) -> Iterator[str]:
        """Apply a function number by number, or move channels."""
        if Op.__members__.get(equation.function.upper()) in (Op.SELECT, Op.CONCAT):
            yield from self.moves(variable, equation)
            return
        opcode, operands, before = resolved(equation, variable.channels)
        alone = len(operands) == 1
        known = opcode is not None and (opcode.name in _ALONE if alone else _SEVERAL.get(opcode.name) == len(operands))
        if opcode is None or not known or not {*before} <= _ALONE:
            what = ", ".join(f"{name}={value}" for name, value in equation.literals.items())
            raise self.missing(variable, equation.function + (f" with {what}" if what else ""))
        parameter = number_in_c(opcode.parameter, 17)
        arguments, declared = [], []
        for n, (operand, function) in enumerate(zip(operands, before, strict=True)):
            text, value = self.operand(variable, operand, variable.channels, f"a{n}")
            declared.append(text)
            arguments.append(value if function == "copy" else f"f_{function}({value}, {parameter})")
        called = f"f_{opcode.name}({arguments[0]}, {parameter})"
        called = called if alone else f"g_{opcode.name}({', '.join(arguments)})"
        yield from self.each(variable, called, *declared)

    def moves(self, variable: ir.Variable, equation: ir.Pointwise) -> Iterator[str]:
        """Put the channels of operands side by side."""
        start = 0
        for operand in equation.operands:
            size = self.channels(operand)
            place = self.result(variable, f"{start} + c" if start else "c")
            yield f"for (int c = 0; c < {size}; c++) {{"
            yield f"    real *y = {place};"
            declared, value = self.operand(variable, operand, size, "a")
            yield f"    {declared}"
            yield f"    ANY_ORDER for (long t = from; t < to; t++) y[t] = {value};"
            yield "}"
            start += size

    def operand(self, variable: ir.Variable, operand: ir.Operand, channels: int, name: str) -> tuple[str, str]:
        """Return the declaration of an operand at a channel c, and its value at a column t."""
        if isinstance(operand, ir.Tap):
            return f"const real *{name} = {self.row(variable, operand, 'c')};", f"{name}[t]"
        if isinstance(operand, ir.Constant):
            values = operand.values.detach().expand(channels)
            return f"const real {name} = {self.array(values)}[c];", name
        values = operand.values.detach().expand(-1, channels)
        position = f"s->front + t - ({self.plan.schedule.delay[variable.name]})"
        return f"const real *{name} = {self.array(values)} + c;", f"{name}[({position}) * {channels}L]"

    @staticmethod
    def channels(operand: ir.Operand) -> int:
        """Return how many channels an operand has."""
        return len(operand.channels) if isinstance(operand, ir.Tap) else operand.values.shape[-1]

    def embedding(self, variable: ir.Variable, equation: ir.Embedding) -> Iterator[str]:
        """Copy rows; a class that has none is an error."""
        classes, length = equation.rows.shape
        rows = self.array(equation.rows)
        yield f"for (int c = 0; c < {len(equation.tap.channels)}; c++) {{"
        yield f"    const real *x = {self.row(variable, equation.tap, 'c')};"
        yield "    for (long t = from; t < to; t++) {"
        yield "        const long which = (long)x[t];"
        yield f"        if (which < 0 || which >= {classes}) return 2;"
        yield f"        for (int m = 0; m < {length}; m++)"
        yield f"            ({self.result(variable, f'c * {length} + m')})[t] = {rows}[which * {length} + m];"
        yield "    }"
        yield "}"

    def reduction(self, variable: ir.Variable, equation: ir.Reduction) -> Iterator[str]:
        """Read the shape as (outer, length, inner), the middle one being reduced."""
        shape, along, operation = equation.shape, sorted(equation.along), equation.operation
        layer = operation.statistics is Statistics.LAYER
        softmax = operation.kind is Kind.SOFTMAX and not operation.logarithm
        sums = operation.kind is Kind.REDUCTION and operation.tally in (Tally.SUM, Tally.MEAN)
        if layer:
            length = int(np.prod(equation.literals["normalized_shape"]))
            outer, inner = int(np.prod(shape)) // length, 1
        elif (softmax or sums) and along == list(range(along[0], along[0] + len(along))):
            outer, inner = int(np.prod(shape[: along[0]])), int(np.prod(shape[along[-1] + 1 :]))
            length = int(np.prod([shape[d] for d in along]))
        else:
            raise self.missing(variable, equation.function)
        into, away = (f"(long){self.layout.apart(name)}" for name in (variable.name, equation.tap.source))
        if not (np.diff(equation.tap.channels) == 1).all():
            raise self.missing(variable, f"{equation.function} of scattered channels")
        yield f"for (int o = 0; o < {outer}; o++) for (int q = 0; q < {inner}; q++) for (long t = from; t < to; t++) {{"
        yield f"    const real *x = {self.row(variable, equation.tap, f'(o * {length * inner} + q)')} + t;"
        step = f"c * {inner} * {away}"
        if sums:
            factor = 1.0 / length if operation.tally is Tally.MEAN else 1.0
            yield "    real total = 0;"
            yield f"    for (int c = 0; c < {length}; c++) total += x[{step}];"
            yield f"    ({self.result(variable, f'o * {inner} + q')})[t] = total * (real){number_in_c(factor, 17)};"
        elif softmax:
            y = self.result(variable, f"(o * {length * inner} + q)")
            yield f"    softmax({y} + t, {inner} * {into}, x, {inner} * {away}, {length});"
        else:
            yield from self.normalised(variable, equation, length, step)
        yield "}"

    def normalised(self, variable: ir.Variable, equation: ir.Reduction, length: int, step: str) -> Iterator[str]:
        """Write a layer normalisation of `length` numbers at one column."""
        scale, shift = (equation.tensors.get(name) for name in ("weight", "bias"))
        weight = self.array(torch.ones(length) if scale is None else scale)
        bias = self.array(torch.zeros(length) if shift is None else shift)
        yield "    real mean = 0, variance = 0;"
        yield f"    for (int c = 0; c < {length}; c++) mean += x[{step}];"
        yield f"    mean /= {length};"
        yield f"    for (int c = 0; c < {length}; c++) variance += (x[{step}] - mean) * (x[{step}] - mean);"
        eps = number_in_c(equation.literals["eps"], 17)
        yield f"    const real scale = (real)(1 / sqrt(variance / {length} + {eps}));"
        yield f"    real *y = {self.result(variable, f'o * {length}')} + t;"
        yield (
            f"    for (int c = 0; c < {length}; c++) "
            f"y[c * (long){self.layout.apart(variable.name)}] = (x[{step}] - mean) * scale * {weight}[c] + {bias}[c];"
        )

    def attention(self, variable: ir.Variable, equation: Attention) -> Iterator[str]:
        """Attend from each new position to all before it, or to the last few."""
        plain, heads, window = equation.plain, equation.heads, equation.window
        if plain is None or equation.value is None:
            raise self.missing(variable, "attention whose scores go through more than masks and a softmax")
        keys, values = len(plain.key.channels) // heads, len(equation.value.channels) // heads
        delay = self.plan.schedule.delay[variable.name]
        yield "for (long t = from; t < to; t++) {"
        yield f"    const long now = s->front + t - ({delay});"
        yield f"    const long first = {f'now >= {window} ? now - {window - 1} : 0' if window else '0'};"
        yield f"    for (int h = 0; h < {heads}; h++) {{"
        yield "        real *score = s->scratch;"
        yield "        for (long p = first; p <= now; p++) score[p - first] = 0;"
        yield f"        for (int c = 0; c < {keys}; c++) {{"
        yield f"            const real q = ({self.row(variable, plain.query, f'(h * {keys} + c)')})[t];"
        yield f"            const real *k = {self.row(variable, plain.key, f'(h * {keys} + c)')} + t - now;"
        yield "            for (long p = first; p <= now; p++) score[p - first] += q * k[p];"
        yield "        }"
        scale = number_in_c(plain.scale, 17)
        yield f"        for (long p = first; p <= now; p++) score[p - first] *= (real){scale};"
        yield "        softmax(score, 1, score, 1, (int)(now - first + 1));"
        yield f"        for (int c = 0; c < {values}; c++) {{"
        yield f"            const real *v = {self.row(variable, equation.value, f'(h * {values} + c)')} + t - now;"
        yield "            real total = 0;"
        yield "            for (long p = first; p <= now; p++) total += score[p - first] * v[p];"
        yield f"            ({self.result(variable, f'h * {values} + c')})[t] = total;"
        yield "        }"
        yield "    }"
        yield "}"

    def rowwise(self, variable: ir.Variable, equation: ir.Rowwise) -> Iterator[str]:
        """Refuse it."""
        raise self.missing(variable, equation.function)

    def missing(self, variable: ir.Variable, what: str) -> NotUniform:
        """Return the error for a function that C is not written for."""
        return NotUniform(f"no C is written for {what} ({variable.place}) yet: stream it from Python")


def number_in_c(value: float, digits: int) -> str:
    """Write a number as C reads it, with so many digits."""
    if value != value or value in (np.inf, -np.inf):
        return "NAN" if value != value else "INFINITY" if value > 0 else "-INFINITY"
    return f"{value:.{digits}g}" + ("" if any(c in f"{value:.{digits}g}" for c in ".e") else ".0")


def fills(system: ir.System) -> dict[str, float]:
    """Return for each variable what is read before its first point; `NotUniform` where its readers differ in that."""
    found: dict[str, Any] = {}
    for variable in system.variables:
        for tap in variable.equation.taps:
            if tap.offset[0] > 0 and isinstance(tap.fill, Tensor):
                raise NotUniform(f"no C is written for states that begin with different numbers, as {tap.source} does")
            if tap.offset[0] > 0 and found.setdefault(tap.source, tap.fill) != tap.fill:
                raise NotUniform(f"what {tap.source} is before its first position is not the same for all its readers")
    return found
