"""A plan as arrays of numbers: the program that the interpreter runs.

One row for each instruction and each operand, whose columns `instructions` names, an array of the weights of products,
as they are stored, and one of everything else: biases, constants, tables and fills. All begin on a line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from leadline.graph.table import Opcode, Statistics
from leadline.recurrence import ir
from leadline.recurrence.scores import Attention
from leadline.sampling.compiled import instructions as word
from leadline.sampling.compiled.instructions import Op
from leadline.sampling.compiled.kept import LINE, on_a_line
from leadline.sampling.compiled.packing import Packing
from leadline.sampling.compiled.shapes import Lacking, folding, parted
from leadline.sampling.compiled.sharing import rectified, share
from leadline.sampling.exported.parts import parts
from leadline.sampling.fusion import FusedContraction, FusedPointwise
from leadline.sampling.plan import ENDLESS, Plan

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHUNK = 256  # inputs of one product: its part of the weights should fit the nearest cache


@dataclass(frozen=True, eq=False)
class Program:
    """The arrays of one program, and what it needs to run.

    The `words` are so many `instructions`, their operands, and channels that are chosen one by one; the module
    `instructions` says what they mean. The `weights` are those of products; the `numbers` are biases, constants, tables
    and fills; rings follow them in memory. `ends` says where in the words the output and the input stand as operands;
    `inside` how many symbols a point has, and where their delays stand.
    `rings` has for each variable its address, how many slots it has, and how many numbers a slot takes for one sample;
    they take so much `room`, of which `state` holds what is read of earlier fronts, and the rest lets a block of fronts
    run at once. `most` has how many lists of addresses there are at a time, and the largest number of points in a front
    and of channels. What torch computes is `called`, with what has no instruction there.
    """

    words: NDArray[np.int64]
    instructions: int
    weights: NDArray[Any]
    numbers: NDArray[Any]
    ends: tuple[int, int]
    inside: tuple[int, int]
    rings: dict[str, tuple[int, int, int]]
    room: int
    state: int
    most: tuple[int, int, int]
    called: tuple[tuple[ir.Variable, str], ...]


@dataclass(eq=False)
class _Builder:
    plan: Plan
    dtype: np.dtype[Any]
    batch: int
    packing: Packing
    block: int
    code: list[list[int]] = field(default_factory=list)
    operands: list[list[int]] = field(default_factory=list)
    index: list[int] = field(default_factory=list)
    numbers: list[NDArray[Any]] = field(default_factory=list)
    weights: list[NDArray[Any]] = field(default_factory=list)
    fills: dict[float, int] = field(default_factory=dict)
    called: list[tuple[ir.Variable, str]] = field(default_factory=list)
    rectified: dict[str, ir.Variable] = field(default_factory=dict)
    used: int = 0
    stored: int = 0

    def __post_init__(self) -> None:
        self.line = LINE // self.dtype.itemsize
        self.widest = max(v.channels for v in self.plan.system.variables) + self.line
        self.number(np.zeros(self.line))  # the spare line
        self.rings: dict[str, tuple[int, int, int]] = {}
        self.room = self.state = 0
        for v in self.plan.system.variables:
            width, kept = self.padded(v.channels), self.plan.slots[v.name]
            slots = kept if v.name in self.plan.grown else kept + self.block - 1
            self.rings[v.name] = self.room, slots, width
            self.room += width * slots
            self.state += width * kept
        self.rules: dict[type, Callable[[ir.Variable, Any], None]] = {
            ir.Contraction: self.contraction,
            FusedContraction: self.contraction,
            ir.Pointwise: self.pointwise,
            FusedPointwise: self.pointwise,
            ir.Embedding: self.lookup,
            ir.Reduction: self.reduction,
            Attention: self.attention,
        }

    # -- numbers -----------------------------------------------------------------------------------------------------

    def padded(self, channels: int) -> int:
        """Return how many numbers whole lines take."""
        return -(-channels // self.line) * self.line

    def number(self, values: Tensor | NDArray[Any]) -> int:
        """Store numbers from the beginning of a line on, and return where."""
        flat = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values, self.dtype).reshape(-1)
        self.numbers.append(np.pad(flat, (0, self.padded(len(flat)) - len(flat))))
        self.used += len(self.numbers[-1])
        return self.used - len(self.numbers[-1])

    def fill(self, value: float | Tensor) -> int:
        """Return where a row of one number stands, or of several."""
        if isinstance(value, Tensor):
            return self.number(value)
        if value not in self.fills:
            self.fills[value] = self.number(np.full(self.widest, value))
        return self.fills[value]

    # -- operands ----------------------------------------------------------------------------------------------------

    def operand(self, operand: ir.Operand, reader: ir.Variable) -> list[int]:
        """Return the row of a tap, a constant or a table."""
        if isinstance(operand, ir.Tap):
            first = int(operand.channels[0]) if len(operand.channels) else 0
            return self.ring(operand.source, first, operand.offset, self.fill(operand.fill), len(operand.channels))
        channels = operand.values.shape[-1]
        columns = self.sizes(reader.name)[1]
        if isinstance(operand, ir.Constant):
            return [self.number(operand.values), 0, 0, ENDLESS, ENDLESS, columns, 0, 0, -1, channels, 0, -1, 1]
        assert isinstance(operand, ir.Table)
        rows, columns = (*operand.values.shape[:-1], 1)[:2]
        values = operand.values.detach().reshape(rows * columns, channels)
        width = self.padded(channels)
        at = self.number(torch.nn.functional.pad(values, (0, width - channels)))
        return [at, width, 0, rows * columns, rows, columns, 0, 0, -1, channels, 0, -1, 1]

    def ring(self, name: str, first: int, offset: tuple[int, ...], fill: int, channels: int) -> list[int]:
        """Return the row of an operand in a ring; `Program` knows where rings begin."""
        base, slots, width = self.rings[name]
        di, dj = (*offset, 0)[:2]
        rows, columns = self.sizes(name)
        return [
            base * self.batch + first, width * self.batch, width, slots, rows, columns, di, dj, fill, channels, 0, -1, 1
        ]  # fmt: skip

    def sizes(self, name: str) -> tuple[int, int]:
        """Return the rows and columns of a variable's range."""
        rows, columns = (*self.plan.ranges[name], 1)[:2]
        return rows, columns

    # -- instructions ------------------------------------------------------------------------------------------------

    def result(self, variable: ir.Variable) -> int:
        """Add an operand for a variable at the point itself; return which."""
        here = (0,) * len(self.plan.schedule.slope)
        self.operands.append(self.ring(variable.name, 0, here, 0, variable.channels))
        return len(self.operands) - 1

    def emit(
        self,
        op: Op,
        variable: ir.Variable,
        operands: Sequence[ir.Operand],
        p: Sequence[int] = (),
        *,
        weight: int = 0,
        bias: int = 0,
        scale: int = 0,
        after: int = Op.COPY,
        before: Sequence[int] = (),
        also: ir.Variable | None = None,
    ) -> None:
        """Add an instruction; its rule says what it needs beside operands, the last of which is `also` written."""
        first = self.result(variable)
        self.operands.extend(self.operand(operand, variable) for operand in operands)
        other = 0 if also is None else self.result(also) - first
        row = [int(Op.COPY)] * word.INSTRUCTION
        row[: word.P0] = [
            int(op), self.plan.schedule.delay[variable.name], first, 1 + len(operands), 0, int(after), other, 0,
            weight, bias, scale,
        ]  # fmt: skip
        row[word.P0 : word.BEFORE] = [*p, 0, 0, 0][: word.BEFORE - word.P0]
        through = max((i for i, f in enumerate(before, 1) if f is not Op.COPY), default=0)  # of many, no more is told
        row[word.BEFORE : word.BEFORE + through] = map(int, before[:through])
        self.code.append(row)

    def variable(self, variable: ir.Variable) -> None:
        """Add the instructions of a variable; torch computes what has none."""
        try:
            rule = self.rules.get(type(variable.equation))
            if rule is None:
                name = type(variable.equation).__name__.lower()
                raise Lacking(getattr(variable.equation, "function", name))
            rule(variable, variable.equation)
        except Lacking as lacking:
            self.emit(Op.CALL, variable, (), (len(self.called),))
            self.called.append((variable, str(lacking)))

    def contraction(self, variable: ir.Variable, equation: ir.Contraction) -> None:
        """Lay weights out panel by panel: (lines of outputs, inputs, one line); long sums go on where they stopped."""
        bias = self.fill(0.0) if equation.bias is None else self.number(equation.bias)
        if equation.groups > 1:
            self.grouped(variable, equation, bias)
            return
        product = FusedContraction.of(equation)
        addends, function = product.addends, Op[product.function.upper()]
        panels = self.padded(variable.channels) // self.line
        chunks = list(_chunks(equation))
        for n, (taps, weights) in enumerate(chunks):
            last = n == len(chunks) - 1
            inputs = sum(w.shape[1] for w in weights)
            matrix = torch.cat(
                [torch.zeros(variable.channels, 0, dtype=torch.float64), *(w.detach().double() for w in weights)], 1
            )
            weight, scale = self.matrix(matrix, panels, variable)
            self.emit(
                Op.CONTRACT, variable, (*addends, *taps), (len(addends), inputs, panels), weight=weight, bias=bias,
                scale=scale, after=function if last else Op.COPY,
                also=self.rectified.get(variable.name) if last else None,
            )  # fmt: skip
            here = (0,) * len(self.plan.schedule.slope)
            addends, bias = (ir.Tap(variable.name, here, np.arange(variable.channels)),), self.fill(0.0)

    def matrix(self, rows: Tensor, panels: int, variable: ir.Variable) -> tuple[int, int]:
        """Store the weights of a product; return where they stand, and where the scales of its rows."""
        packed, scales = self.packing.packed(rows.cpu(), str(variable.place))
        full = np.zeros((panels * self.line, rows.shape[1]), packed.dtype)
        full[: len(packed)] = packed
        self.weights.append(full.reshape(panels, self.line, -1).transpose(0, 2, 1).reshape(-1))
        self.stored += full.size
        scale = self.number(np.pad(scales.numpy(), (0, panels * self.line - len(scales)), constant_values=1.0))
        return self.stored - full.size, scale

    def grouped(self, variable: ir.Variable, equation: ir.Contraction, bias: int) -> None:
        """Lay weights out as (groups, taps · inputs, outputs)."""
        groups, outputs = equation.groups, variable.channels // equation.groups
        parts = [w.detach().reshape(groups, outputs, -1).permute(0, 2, 1) for w in equation.weights]
        weight = self.number(torch.cat(parts, 1))
        self.emit(Op.GROUPED, variable, equation.taps, (0, groups, outputs), weight=weight, bias=bias)

    def pointwise(self, variable: ir.Variable, equation: ir.Pointwise) -> None:
        """Choose the instruction of a function."""
        if equation.function == "select":
            (tap,) = equation.taps
            self.index.extend(map(int, tap.channels))
            whole = replace(tap, channels=np.arange(len(tap.channels)))
            self.emit(Op.SELECT, variable, (whole,), (len(self.index) - len(tap.channels),))
            return
        opcode, operands, before = resolved(equation, variable.channels)
        op = None if opcode is None else Op[opcode.name.upper()]
        if opcode is None or op is None or (op >= Op.COPY and (op >= Op.ADD) is (len(operands) == 1)):
            raise Lacking(equation.function)
        p = self.number(np.array([opcode.parameter])), variable.channels
        inner = [Op[name.upper()] for name in before] if op >= Op.COPY else []  # rows are moved as they are
        self.emit(op, variable, operands, p, before=inner)

    def lookup(self, variable: ir.Variable, equation: ir.Embedding) -> None:
        """Rows are copied."""
        rows = self.number(equation.rows)
        self.emit(Op.LOOKUP, variable, (equation.tap,), (equation.rows.shape[1], len(equation.rows)), weight=rows)

    def reduction(self, variable: ir.Variable, equation: ir.Reduction) -> None:
        """Choose the normalisation or the fold that a function is."""
        statistics, literals = equation.operation.statistics, equation.literals
        if statistics in (Statistics.LAYER, Statistics.SQUARES):
            length = int(np.prod(literals["normalized_shape"]))
            scale, shift = (equation.tensors.get(name) for name in ("weight", "bias"))
            weight = self.number(torch.ones(length) if scale is None else scale)
            bias = self.number(torch.zeros(length) if shift is None else shift)
            given = literals.get("eps")
            eps = self.number(np.array([np.finfo(self.dtype).eps if given is None else given]))
            op = Op.LAYER_NORM if statistics is Statistics.LAYER else Op.RMS_NORM
            self.emit(op, variable, (equation.tap,), (0, length, eps), weight=weight, bias=bias)
            return
        shape = parted(equation)
        if (fold := folding(equation, shape[1])) is None:
            op = Op.LOG_SOFTMAX if equation.operation.logarithm else Op.SOFTMAX
            self.emit(op, variable, (equation.tap,), shape)
            return
        self.emit(
            Op.FOLD, variable, (equation.tap,), shape, weight=self.number(np.array([fold.factor])), bias=fold.kind,
            after=fold.after, before=(fold.before, fold.so_far),
        )  # fmt: skip

    def attention(self, variable: ir.Variable, equation: Attention) -> None:
        """Lay queries, keys and values out head by head; what is more than a softmax of products, torch computes."""
        plain = equation.plain
        if plain is None or equation.value is None:
            raise Lacking("attention whose scores go through more than a softmax")
        scale = self.number(np.array([plain.scale]))
        operands = (plain.query, plain.key, equation.value)
        self.emit(Op.ATTEND, variable, operands, (equation.heads, equation.window or 0), weight=scale)


def assemble(plan: Plan, dtype: np.dtype[Any], batch: int, packing: Packing | None = None, block: int = 1) -> Program:
    """Turn a plan into a program for a batch, with weights stored as `packing` says, for blocks of fronts."""
    packing = Packing("float32" if dtype == np.float32 else "float64") if packing is None else packing
    builder = _Builder(plan, dtype, batch, packing, block)
    found = list(parts(plan.system))
    builder.rectified = rectified(plan, found)
    beside = {v.name for v in builder.rectified.values()}
    for variables, turns in found:
        first = len(builder.code)
        for variable in variables:
            if variable.name not in beside:
                builder.variable(variable)
        if turns:
            builder.code[first][word.UNTIL] = len(builder.code) * word.INSTRUCTION
    draws = plan.draws or {plan.system.inputs[0]: plan.system.output}
    output, *_ = [builder.result(plan.system[name]) for name in draws.values()]
    given, *_ = [builder.result(plan.system[name]) for name in draws]
    delays = np.array([plan.schedule.delay[name] for name in draws], np.int64)
    code = np.array(builder.code, np.int64).reshape(-1, word.INSTRUCTION)
    operands = np.array(builder.operands, np.int64).reshape(-1, word.OPERAND)
    operands[operands[:, word.STRIDE] > 0, word.BASE] += builder.used
    down, right = plan.step
    operands[:, word.FURTHER] = (down * operands[:, word.COLUMNS] + right) % operands[:, word.SLOTS]
    most = int((code[:, word.COUNT] + (code[:, word.ALSO] > 0)).max(initial=1))
    patterns = share(code, operands, most)
    code[:, word.FIRST] = code.size + code[:, word.FIRST] * word.OPERAND
    code[code[:, word.OP] == Op.SELECT, word.P0] += code.size + operands.size
    weights = on_a_line(builder.stored + builder.line, packing.dtype)  # a line more, that there always is one
    weights[: builder.stored] = np.concatenate([*builder.weights, weights[:0]])
    return Program(
        np.concatenate([code.reshape(-1), operands.reshape(-1), np.array(builder.index, np.int64), delays]),
        len(code),
        weights,
        np.concatenate(builder.numbers),
        (code.size + output * word.OPERAND, code.size + given * word.OPERAND),
        (len(draws), code.size + operands.size + len(builder.index)),
        {name: (builder.used + base * batch, slots, width) for name, (base, slots, width) in builder.rings.items()},
        builder.room,
        builder.state,
        (most + patterns, plan.width, builder.widest),
        tuple(builder.called),
    )


def resolved(equation: ir.Pointwise, channels: int) -> tuple[Opcode | None, list[ir.Operand], list[str]]:
    """Return the instruction of a function, if it has one, its operands, and what each passes through first.

    Numbers among the literals become constants, in their places among the operands.
    """
    opcode, operands = _opcode(equation), list(equation.operands)
    before = list(equation.before) if isinstance(equation, FusedPointwise) else ["copy"] * len(operands)
    names = () if equation.facts is None else equation.facts.operands
    for place, name in enumerate(names if len(names) > 1 else ()):
        if isinstance(value := equation.literals.get(name), int | float):
            operands.insert(place, ir.Constant(torch.full((channels,), float(value), dtype=torch.float64)))
            before.insert(place, "copy")
    if opcode is not None and opcode.before and len(operands) == 1:
        operands, before = operands * len(opcode.before), list(opcode.before)
    return opcode, operands, before


def _opcode(equation: ir.Pointwise) -> Opcode | None:
    """Return the instruction of a function: what the table says, or one that only systems have, by its name."""
    if equation.facts is not None:
        return equation.facts.opcode(equation.literals)
    name = equation.function
    return Opcode(name) if name.upper() in Op.__members__ else None


def _chunks(equation: ir.Contraction) -> Iterator[tuple[list[ir.Tap], list[Tensor]]]:
    """Divide the taps of a product, and taps of many channels, such that no part has more inputs than a chunk."""
    taps: list[ir.Tap] = []
    weights: list[Tensor] = []
    inputs = 0
    for tap, weight in zip(equation.taps, equation.weights, strict=False):  # what follows the weights are addends
        for start in range(0, weight.shape[1], CHUNK):
            part = weight[:, start : start + CHUNK]
            if inputs + part.shape[1] > CHUNK:
                yield taps, weights
                taps, weights, inputs = [], [], 0
            taps.append(tap.part(start, start + CHUNK))
            weights.append(part)
            inputs += part.shape[1]
    yield taps, weights
