"""A plan as arrays of numbers: the program that the interpreter runs.

One row for each variable, instruction and operand, and one array each of channel indices and of weights. The columns
are named here once; `interpreter` uses the same names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from leadline.errors import UsageError
from leadline.recurrence.ir import (
    Attention,
    Constant,
    Contraction,
    Input,
    Lookup,
    Operand,
    Pointwise,
    Reduction,
    Tap,
    Variable,
)
from leadline.sampling.plan import Plan

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Op(IntEnum):
    """Instructions."""

    CONTRACT = 0
    LOOKUP = 1
    ATTEND = 2
    SOFTMAX = 3
    LAYER_NORM = 4
    SUM = 5
    CONCAT = 6
    COPY = 10
    ADD = 11
    SUB = 12
    MUL = 13
    DIV = 14
    AFFINE = 15
    TANH = 16
    SIGMOID = 17
    RELU = 18
    GELU = 19
    SILU = 20
    EXP = 21
    NEG = 22
    MULADD = 23
    BLEND = 24
    ADDMUL = 25
    GELU_TANH = 26
    LEAKY = 27
    ELU = 28
    RSUB = 29
    SQUARE = 30


_FUNCTIONS = {
    "copy": Op.COPY, "clone": Op.COPY, "add": Op.ADD, "sub": Op.SUB, "rsub": Op.RSUB, "mul": Op.MUL, "div": Op.DIV,
    "affine": Op.AFFINE, "tanh": Op.TANH, "sigmoid": Op.SIGMOID, "relu": Op.RELU, "gelu": Op.GELU, "silu": Op.SILU,
    "exp": Op.EXP, "neg": Op.NEG, "muladd": Op.MULADD, "blend": Op.BLEND, "addmul": Op.ADDMUL, "leaky_relu": Op.LEAKY,
    "elu": Op.ELU, "square": Op.SQUARE, "concat": Op.CONCAT,
}  # fmt: skip
_BINARY = frozenset({Op.ADD, Op.SUB, Op.RSUB, Op.MUL, Op.DIV})
# Arguments that leave these functions as they are.
_NEUTRAL: dict[str, Any] = {
    "alpha": 1, "approximate": "none", "memory_format": None, "scale": 1, "input_scale": 1, "inplace": False,
}  # fmt: skip

VAR_COLUMNS = ("base", "channels", "slots", "rows", "columns", "delay", "input")
CODE_COLUMNS = ("op", "variable", "first", "count", "weight", "bias", "groups", "outputs", "p0", "p1", "p2")
TAP_COLUMNS = ("source", "di", "dj", "channels", "start", "index", "fill", "kind", "offset", "rows")


@dataclass(frozen=True, eq=False)
class Program:
    """The arrays of one program, and what it needs to run.

    Attributes
    ----------
    variables, code, taps
        Integer rows; their columns are `VAR_COLUMNS`, `CODE_COLUMNS`, `TAP_COLUMNS`.
    index
        Channels of taps that do not read consecutive ones.
    numbers
        Weights, biases, constants, tables and fills.
    slope
        The linear form of the fronts.
    state
        How many numbers all rings hold, for one sample.
    scratch
        How many numbers the widest instruction works on, for one point of one sample.
    width
        The largest number of points in a front.
    """

    variables: NDArray[np.int64]
    code: NDArray[np.int64]
    taps: NDArray[np.int64]
    index: NDArray[np.int64]
    numbers: NDArray[Any]
    slope: NDArray[np.int64]
    state: int
    scratch: int
    width: int


@dataclass(eq=False)
class _Builder:
    plan: Plan
    dtype: np.dtype[Any]
    code: list[list[int]] = field(default_factory=list)
    taps: list[list[int]] = field(default_factory=list)
    index: list[int] = field(default_factory=list)
    numbers: list[NDArray[Any]] = field(default_factory=list)
    used: int = 0
    scratch: int = 1

    def __post_init__(self) -> None:
        self.place = {v.name: i for i, v in enumerate(self.plan.system.variables)}
        self.rules: dict[type, Callable[[Variable, Any], None]] = {
            Contraction: self.contraction,
            Pointwise: self.pointwise,
            Lookup: self.lookup,
            Reduction: self.reduction,
            Attention: self.attention,
        }

    def number(self, values: Tensor | NDArray[Any]) -> int:
        """Store numbers and return where they begin."""
        flat = (
            np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values).astype(self.dtype).reshape(-1)
        )
        self.numbers.append(flat)
        self.used += len(flat)
        return self.used - len(flat)

    def operand(self, operand: Operand) -> None:
        """Add a row for a tap, a constant or a table."""
        if isinstance(operand, Tap):
            consecutive = (np.diff(operand.channels) == 1).all()
            start = int(operand.channels[0]) if consecutive and len(operand.channels) else -1
            where = len(self.index)
            if start < 0:
                self.index.extend(map(int, operand.channels))
            di, dj = (*operand.offset, 0)[:2]
            fill = self.number(np.array([operand.fill]))
            self.taps.append([self.place[operand.source], di, dj, len(operand.channels), start, where, fill, 0, 0, 0])
            return
        kind = 1 if isinstance(operand, Constant) else 2
        values = operand.values
        channels = values.shape[-1]
        rows, columns = (*values.shape[:-1], 1, 1)[:2] if kind == 2 else (0, 0)
        self.taps.append([columns, 0, 0, channels, 0, 0, 0, kind, self.number(values), rows])

    def emit(self, op: Op, variable: Variable, operands: tuple[Operand, ...], *rest: int) -> None:
        """Add an instruction."""
        first = len(self.taps)
        for operand in operands:
            self.operand(operand)
        width = sum(self.taps[i][3] for i in range(first, len(self.taps)))
        self.scratch = max(self.scratch, width, variable.channels)
        row = [int(op), self.place[variable.name], first, len(operands), *rest]
        self.code.append(row + [0] * (len(CODE_COLUMNS) - len(row)))

    def contraction(self, variable: Variable, equation: Contraction) -> None:
        """Lay weights out as (groups, taps · inputs, outputs): rows are added up, scaled by the inputs."""
        groups, outputs = equation.groups, variable.channels // equation.groups
        parts = [w.detach().reshape(groups, outputs, -1).permute(0, 2, 1) for w in equation.weights]
        weight = self.number(torch.cat(parts, 1)) if parts else 0
        bias = self.number(equation.bias) if equation.bias is not None else -1
        self.emit(Op.CONTRACT, variable, equation.taps, weight, bias, groups, outputs)

    def pointwise(self, variable: Variable, equation: Pointwise) -> None:
        """Choose the instruction of a function."""
        op = _FUNCTIONS.get(equation.function)
        literals = {k: v for k, v in equation.literals.items() if not (k in _NEUTRAL and _NEUTRAL[k] == v)}
        operands = list(equation.operands)
        parameter = 0.0
        if op in _BINARY and len(operands) == 1:
            name = "other" if "other" in literals else "self"
            value = literals.pop(name, None)
            if isinstance(value, int | float):
                constant = Constant(torch.full((variable.channels,), float(value), dtype=torch.float64))
                operands.insert(1 if name == "other" else 0, constant)
        elif op is Op.GELU and literals.pop("approximate", None) == "tanh":
            op = Op.GELU_TANH
        elif op is Op.LEAKY:
            parameter = float(literals.pop("negative_slope", 0.01))
        elif op is Op.ELU:
            parameter = float(literals.pop("alpha", 1.0))
        if op is None or literals:
            raise self.missing(variable, equation.function + (f" with {', '.join(literals)}" if literals else ""))
        self.emit(op, variable, tuple(operands), self.number(np.array([parameter])))

    def lookup(self, variable: Variable, equation: Lookup) -> None:
        """Rows are copied."""
        rows = self.number(equation.rows)
        self.emit(Op.LOOKUP, variable, (equation.tap,), rows, -1, 1, equation.rows.shape[1], len(equation.rows))

    def reduction(self, variable: Variable, equation: Reduction) -> None:
        """Read the shape as (outer, length, inner), the middle one being reduced."""
        shape, literals, rank = equation.shape, equation.literals, len(equation.shape)
        if equation.function == "layer_norm":
            length = int(np.prod(literals["normalized_shape"]))
            scale, shift = (equation.tensors.get(name) for name in ("weight", "bias"))
            weight = self.number(torch.ones(length) if scale is None else scale)
            bias = self.number(torch.zeros(length) if shift is None else shift)
            eps = self.number(np.array([literals["eps"]]))
            self.emit(Op.LAYER_NORM, variable, (equation.tap,), weight, bias, 1, length, eps)
            return
        dims = literals.get("dim")
        along = sorted(d % rank for d in (dims if isinstance(dims, tuple) else (dims,)) if d is not None)
        if equation.function not in ("sum", "mean", "softmax", "_softmax") or along != list(
            range(along[0], along[0] + len(along))
        ):
            raise self.missing(variable, equation.function)
        outer, inner = int(np.prod(shape[: along[0]])), int(np.prod(shape[along[-1] + 1 :]))
        length = int(np.prod([shape[d] for d in along]))
        if equation.function in ("sum", "mean"):
            factor = self.number(np.array([1.0 / length if equation.function == "mean" else 1.0]))
            self.emit(Op.SUM, variable, (equation.tap,), factor, -1, outer, length, inner)
        elif inner == 1:
            self.emit(Op.SOFTMAX, variable, (equation.tap,), 0, -1, 1, length)
        else:
            raise self.missing(variable, f"{equation.function} along inner features")

    def attention(self, variable: Variable, equation: Attention) -> None:
        """Lay queries, keys and values out head by head."""
        scale = self.number(np.array([equation.scale]))
        operands = (equation.query, equation.key, equation.value)
        self.scratch = max(self.scratch, self.plan.capacity)
        self.emit(Op.ATTEND, variable, operands, scale, -1, equation.heads, 0, equation.window or 0)

    def missing(self, variable: Variable, what: str) -> UsageError:
        """Return the error for a function that the interpreter lacks."""
        return UsageError(f"the numba backend has no {what} ({variable.place}); use backend='torch'")


def assemble(plan: Plan, dtype: np.dtype[Any]) -> Program:
    """Turn a plan into a program.

    Raises
    ------
    UsageError
        If the grid has more than two axes, or a function has no instruction; the message names it and its place.
    """
    rank = len(plan.schedule.slope)
    if rank > 2:
        raise UsageError("the numba backend runs grids of one or two axes; use backend='torch'")
    builder = _Builder(plan, dtype)
    rows, base = [], 0
    for variable in plan.system.variables:
        size, slots = plan.ranges[variable.name], plan.slots[variable.name]
        columns = size[1] if rank > 1 else 1
        given = isinstance(variable.equation, Input)
        rows.append([base, variable.channels, slots, size[0], columns, plan.schedule.delay[variable.name], int(given)])
        base += variable.channels * slots
        if not given:
            builder.rules[type(variable.equation)](variable, variable.equation)
    slope = np.array((*plan.schedule.slope, 1)[:2], np.int64)
    width = 1 if rank == 1 else max(len(p) for fronts in plan._fronts.values() for p in fronts.values())
    return Program(
        np.array(rows, np.int64).reshape(-1, len(VAR_COLUMNS)),
        np.array(builder.code, np.int64).reshape(-1, len(CODE_COLUMNS)),
        np.array(builder.taps, np.int64).reshape(-1, len(TAP_COLUMNS)),
        np.array(builder.index or [0], np.int64),
        np.concatenate(builder.numbers) if builder.numbers else np.zeros(1, dtype),
        slope,
        base,
        builder.scratch,
        width,
    )
