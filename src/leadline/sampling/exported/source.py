"""A stream as one C file and its header: the state, the functions of its equations, how a block runs through them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from typing import Any

import numpy as np
import torch

from leadline.errors import NotUniform, UsageError
from leadline.recurrence import ir
from leadline.sampling.exported.equations import Equations, fills, number_in_c
from leadline.sampling.exported.parts import parts
from leadline.sampling.plan import Plan

BLOCK = 64  # positions that are computed together
_REAL = {torch.float32: "float", torch.float64: "double"}
ENDLESS_LENGTH = 2**40
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
    return _Writer(plan, name, dtype, model).code()


@dataclass
class _Writer:
    plan: Plan
    name: str
    dtype: torch.dtype
    model: str

    def __post_init__(self) -> None:
        self.system = self.plan.system
        self.equations = Equations(self.plan, self.dtype)
        self.number = self.equations.number
        self.length = None if self.plan.reaches(ENDLESS_LENGTH) else self.plan.capacity
        self.lifetimes = self.plan.schedule.lifetimes()
        self.first = self.plan.first

    def code(self) -> Code:
        """Put the files together."""
        functions = [self.equations.function(v) for v in self.system.variables if not isinstance(v.equation, ir.Input)]
        given = self.system[self.system.inputs[0]]
        integer = isinstance(given.equation, ir.Input) and given.equation.integer
        real, ahead = _REAL[self.dtype], -self.plan.schedule.delay[self.system.output]
        numbers = sum(v.channels * self.width(v) for v in self.system.variables) + self.scratch()
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
            "in": f"(s->v{self.number[given.name]}[c])[s->c{self.number[given.name]} + t]",
            "out": f"(s->v{self.number[self.system.output]}[c])[s->c{self.number[self.system.output]} - {ahead} + t]",
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
            numbers * self.dtype.itemsize + 8 * (len(self.number) + 2), self.length, multiply_adds(self.system),
        )  # fmt: skip

    def history(self, variable: ir.Variable) -> int:
        """Return how many columns before a block are read."""
        if variable.name in self.plan.grown:
            return 0
        ahead = -self.plan.schedule.delay[variable.name] if variable.name == self.system.output else 0
        return max(
            self.lifetimes[variable.name], ahead
        )  # an output that sees no input of its own place comes before it

    def width(self, variable: ir.Variable) -> int:
        """Return the columns of a variable: what is read of the past, and room for blocks, so that moves are rare."""
        if variable.name in self.plan.grown:
            assert self.length is not None
            return self.length - self.first + max(0, *self.plan.schedule.delay.values()) + 1
        history = self.history(variable)
        return history + BLOCK * max(1, min(8, -(-history // BLOCK)))

    def scratch(self) -> int:
        """Return how many numbers an equation needs beside its result."""
        return max(self.equations.most_outputs, (self.length or 0) + 1 if self.plan.grown else 1)

    def state(self) -> Iterator[str]:
        """Declare the rows, and the column of the next position, of every variable."""
        for v in self.system.variables:
            n, size = self.number[v.name], f"[{max(1, v.channels)}][{self.width(v)}]"
            yield f"    {_REAL[self.dtype]} v{n}{size}; /* {v.name.replace('*/', '* /')} */"
            yield f"    long c{n};"
        yield f"    {_REAL[self.dtype]} scratch[{self.scratch()}];"

    def widths(self) -> Iterator[str]:
        for v in self.system.variables:
            yield f"#define WIDTH{self.number[v.name]} {self.width(v)}"

    def block(self) -> Iterator[str]:
        """Run the equations over the columns of a block."""
        for variables, turns in parts(self.system):
            calls = [(self.number[v.name], self.plan.schedule.delay[v.name]) for v in variables]
            if not turns:
                ((n, delay),) = calls
                yield f"if ((error = f{n}(s, after(s, {delay}, n), n))) return error;"
                continue
            yield "for (long k = 0; k < n; k++) {"
            for n, delay in calls:
                due = "" if delay <= self.first else f"s->front + k >= {delay} && "
                yield f"    if ({due}(error = f{n}(s, k, k + 1))) return error;"
            yield "}"

    def room(self) -> Iterator[str]:
        """Move what is still read to the beginning of the rows that are full."""
        for v in self.system.variables:
            if v.name not in self.plan.grown:
                n, history = self.number[v.name], self.history(v)
                yield f"if (s->c{n} + n > {self.width(v)}) {{"
                if history:
                    yield f"    for (int c = 0; c < {v.channels}; c++)"
                    yield f"        memmove(s->v{n}[c], s->v{n}[c] + s->c{n} - {history}, {history} * sizeof(real));"
                yield f"    s->c{n} = {history};"
                yield "}"

    def on(self) -> Iterator[str]:
        for n in self.number.values():
            yield f"s->c{n} += n;"

    def reset(self) -> Iterator[str]:
        """Fill the past with what is read there, and compute what is due before the first input."""
        before = fills(self.system)
        for v in self.system.variables:
            n, value = self.number[v.name], before.get(v.name, 0.0)
            yield f"for (int c = 0; c < {v.channels}; c++)"
            yield f"    for (long t = 0; t < WIDTH{n}; t++) s->v{n}[c][t] = {number_in_c(value, 17)};"
            yield f"s->c{n} = {self.history(v)};"


def multiply_adds(system: ir.System) -> int:
    """Return how many products of a weight and a number one position takes; attention apart."""
    equations = [v.equation for v in system.variables if isinstance(v.equation, ir.Contraction)]
    return sum(w.numel() for e in equations for w in e.weights)


def _filled(template: str, words: dict[str, str]) -> str:
    """Put words in place of ``@word@``."""
    return re.sub(r"@(\w+)@", lambda found: words[found[1]], template)
