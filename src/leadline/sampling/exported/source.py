"""A stream as one C file and its header: the state, the functions of its equations, how a block runs through them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from importlib.resources import files
from typing import Any

import numpy as np
import torch

from leadline.errors import NotUniform, UsageError
from leadline.recurrence import ir
from leadline.recurrence.analysis.schedule import Schedule, delays
from leadline.sampling.exported.equations import Equations, fills, number_in_c
from leadline.sampling.exported.layout import BLOCK, Layout
from leadline.sampling.fusion import fused
from leadline.sampling.plan import Plan

_REAL = {torch.float32: "float", torch.float64: "double"}
_NEXT = {
    "h": """
/* What the model says of the next position, before its input is known: it rests on those before it alone. */
void @name@_next(const @name@_state *state, @real@ *out);
""",
    "c": """
void @name@_next(const STATE *s, real *out) {
    const long t = 0;
    for (int c = 0; c < @outputs@; c++) out[c] = @out@;
}
""",
}
"""Where an output sees no input of its own position."""


@dataclass(frozen=True)
class Code:
    """The C of a stream.

    `state_bytes` is what the caller gives it to keep; `length` how many positions it takes at most (None: any number).
    `inputs` and `outputs` are the numbers of one position; a class is one ``int``. Where outputs are `ahead` of the
    input at their position, ``NAME_next`` returns the next one.
    """

    name: str
    header: str
    source: str
    real: str
    integer: bool
    ahead: bool
    inputs: int
    outputs: int
    state_bytes: int
    length: int | None
    multiply_adds: int

    @property
    def real_type(self) -> type[np.floating[Any]]:
        """The type of its numbers."""
        return np.float32 if self.real == "float" else np.float64


def c_code(plan: Plan, name: str, dtype: torch.dtype, model: str) -> Code:
    """Write the C of a plan of one axis, whose functions begin with `name`.

    Raises
    ------
    NotUniform
        Naming what no C is written for: grids, functions without an instruction, numbers other than float32 and 64.
    """
    if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
        raise UsageError(f"functions in C cannot begin with {name!r}: letters, digits and _ alone, no digit first")
    if len(plan.schedule.slope) != 1:
        raise NotUniform("C is written for one axis: a picture is drawn by the compiled sampler")
    if dtype not in _REAL:
        raise NotUniform(f"C is written for float32 and float64, and the output is {dtype}")
    system, given = fused(plan.system, straight=False), plan.schedule
    schedule = Schedule(system, given.sizes, given.slope, delays(system, given.slope))
    return _Writer(replace(plan, schedule=schedule), name, dtype, model).code()


@dataclass
class _Writer:
    plan: Plan
    name: str
    dtype: torch.dtype
    model: str

    def __post_init__(self) -> None:
        self.system, self.first = self.plan.system, self.plan.first
        self.layout = Layout(self.plan, self.dtype.itemsize)
        self.equations = Equations(self.plan, self.dtype, self.layout)
        self.number, self.length = self.layout.number, self.layout.length

    def code(self) -> Code:
        """Put the files together."""
        functions = [self.equations.function(v) for v in self.system.variables if not isinstance(v.equation, ir.Input)]
        given = self.system[self.system.inputs[0]]
        integer = isinstance(given.equation, ir.Input) and given.equation.integer
        real, ahead = _REAL[self.dtype], -self.plan.schedule.delay[self.system.output]
        words = {
            "name": self.name, "NAME": self.name.upper(), "model": self.model.replace("*/", "* /"), "real": real,
            "version": version("leadline"), "given": "int" if integer else real, "inputs": str(given.channels),
            "outputs": str(self.system[self.system.output].channels), "state": "\n".join(self.state()),
            "runtime": files(__package__).joinpath("runtime.c").read_text("utf-8"),
            "arrays": "\n".join(self.equations.arrays), "functions": "\n".join(functions),
            "widths": "\n".join(self.widths()), "block": "\n    ".join(self.block()),
            "room": "\n    ".join(self.room()), "on": "\n    ".join(self.on()), "reset": "\n    ".join(self.reset()),
            "length": "" if self.length is None else f"if (s->at + n > {self.length}) return 1;",
            "limit": "any number of positions" if self.length is None else f"at most {self.length} positions",
            "in": f"({self.layout.row(given.name, 'c')})[t]",
            "out": f"({self.layout.row(self.system.output, 'c', ahead)})[t]",
            "block_size": str(BLOCK), "first": str(-self.first),
        }  # fmt: skip
        # classes may come as the long integers of arrays, from this process
        classes = "(real)(wide ? ((const long long *)in)[i] : ((const int *)in)[i])"
        words["read"] = classes if integer else "((const real *)in)[i]"
        header, source = (
            _filled(
                files(__package__).joinpath(f"stream.{end}").read_text("utf-8"),
                words | {"next": _filled(_NEXT[end], words) if ahead > 0 else ""},
            )
            for end in "hc"
        )
        return Code(
            self.name, header, source, real, integer, ahead > 0, given.channels, int(words["outputs"]),
            self.state_bytes(), self.length, multiply_adds(self.system),
        )  # fmt: skip

    def scratch(self) -> int:
        """Return how many numbers an equation needs beside its result."""
        most = max(self.equations.most_outputs, (self.layout.length or 0) + 1 if self.plan.grown else 1)
        return -(-most // self.layout.line) * self.layout.line

    def state_bytes(self) -> int:
        """Return how many bytes `state` declares."""
        rows = sum(max(1, v.channels) * self.layout.width(v) for _, v in self.layout.kept)
        numbers = rows + max(1, self.layout.shared_rows) * BLOCK + self.scratch()
        return numbers * self.dtype.itemsize + 8 * (2 + len([*self.layout.kept]))

    def state(self) -> Iterator[str]:
        """Declare the rows of all variables, and for those that are kept the column of the next position."""
        real = _REAL[self.dtype]
        for n, v in self.layout.kept:
            yield f"    {real} v{n}[{max(1, v.channels)}][{self.layout.width(v)}]; /* {v.name.replace('*/', '* /')} */"
        yield f"    {real} b[{max(1, self.layout.shared_rows)}][{BLOCK}];"
        yield f"    {real} scratch[{self.scratch()}];"
        yield f"    long {', '.join(['front', 'at', *(f'c{n}' for n, _ in self.layout.kept)])};"

    def widths(self) -> Iterator[str]:
        for n, v in self.layout.kept:
            yield f"#define WIDTH{n} {self.layout.width(v)}"

    def block(self) -> Iterator[str]:
        """Run the equations over the columns of a block."""
        for variables, turns in self.layout.order:
            calls = [(self.number[v.name], self.plan.schedule.delay[v.name]) for v in variables]
            if not turns:
                ((n, delay),) = calls
                end = "wide" if goes_beyond(variables[0].equation) else "n"
                if delay <= self.first:
                    yield f"if ((error = f{n}(s, 0, {end}))) return error;"
                else:
                    yield f"from = after(s, {delay}, n);"
                    yield f"if (from < n && (error = f{n}(s, from, {end}))) return error;"
                continue
            yield "for (long k = 0; k < n; k++) {"
            for n, delay in calls:
                due = "" if delay <= self.first else f"s->front + k >= {delay} && "
                yield f"    if ({due}(error = f{n}(s, k, k + 1))) return error;"
            yield "}"

    def room(self) -> Iterator[str]:
        """Move what is still read to the beginning of the rows that are full."""
        for n, v in self.layout.kept:
            if v.name not in self.plan.grown:
                before = self.layout.before(v)
                yield f"if (s->c{n} + wide > WIDTH{n}) {{"
                if before:
                    yield f"    for (int c = 0; c < {v.channels}; c++)"
                    yield f"        memmove(s->v{n}[c], s->v{n}[c] + s->c{n} - {before}, {before} * sizeof(real));"
                yield f"    s->c{n} = {before};"
                yield "}"

    def on(self) -> Iterator[str]:
        for n, _ in self.layout.kept:
            yield f"s->c{n} += n;"

    def reset(self) -> Iterator[str]:
        """Fill the past with what is read there."""
        before = fills(self.system)
        for n, v in self.layout.kept:
            value = number_in_c(before.get(v.name, 0.0), 17)
            yield f"for (int c = 0; c < {v.channels}; c++)"
            yield f"    for (long t = 0; t < WIDTH{n}; t++) s->v{n}[c][t] = {value};"
            yield f"s->c{n} = {self.layout.before(v)};"
        yield "memset(s->b, 0, sizeof(s->b));"


def goes_beyond(equation: ir.Equation) -> bool:
    """Whether an equation may be computed at columns that have no inputs yet: those of no table, and without errors."""
    if isinstance(equation, ir.Pointwise):
        return not any(isinstance(operand, ir.Table) for operand in equation.operands)
    return isinstance(equation, ir.Contraction)


def multiply_adds(system: ir.System) -> int:
    """Return how many products of a weight and a number one position takes; attention apart."""
    equations = [v.equation for v in system.variables if isinstance(v.equation, ir.Contraction)]
    return sum(w.numel() for e in equations for w in e.weights)


def _filled(template: str, words: dict[str, str]) -> str:
    """Put words in place of ``@word@``."""
    return re.sub(r"@(\w+)@", lambda found: words[found[1]], template)
