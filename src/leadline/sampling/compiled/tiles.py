"""Products of a few rows with one or two panels of a matrix, whose sums all stay in registers.

Numba knows no number of rows before it runs, and a loop over sums keeps them in memory. So a tile is written as LLVM's
own code, once for each number of rows: what is loaded serves all sums that need it, and there are as many sums as hide
the time that a multiply-add takes.
"""

import platform
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from leadline.sampling.compiled.instructions import (
    AFTER,
    ALSO,
    BIAS,
    CHANNELS,
    COUNT,
    FIRST,
    OPERAND,
    P0,
    P1,
    SCALE,
    WEIGHT,
    Op,
)
from leadline.sampling.compiled.lanes import Lanes, broadcast, constant, multiply_add
from leadline.sampling.compiled.narrowing import is_scaled, wide

_INTEL = platform.machine().lower() in ("x86_64", "amd64")
_MANY_REGISTERS = _INTEL and bool(get_host_cpu_features().get("avx512f", False))  # 32, each of a whole line
TILE = 8 if _MANY_REGISTERS else 6  # the most rows
PANELS = 2 if _MANY_REGISTERS else 1  # the most panels
_UNDER_WAY = 8  # multiply-adds at a time: two begin in a cycle, and each takes four
_WORD = ir.IntType(64)

_Values = list[Any]


@dataclass(eq=False)
class _Tile:
    """One tile of an instruction at `at`, as code: so many panels from `panel` on, of rows from `row` on.

    Arrays are pointers; the other values are whole numbers that are known when the code runs.
    """

    builder: Any
    stored: Any
    vector: Any
    panels: int
    memory: Any
    narrow: Any
    words: Any
    at: Any
    where: Any
    many: Any
    panel: Any
    row: Any

    def __post_init__(self) -> None:
        """Read the instruction."""
        said = {name: self.number(self.words, self.add(self.at, name)) for name in (P0, P1, FIRST, COUNT, AFTER, ALSO)}
        self.addends, self.first, self.count = said[P0], said[FIRST], said[COUNT]
        self.after, self.also = said[AFTER], said[ALSO]
        self.size = self.times(said[P1], self.vector.count)
        self.shifts = [self.times(self.add(self.panel, p), self.vector.count) for p in range(self.panels)]

    # -- numbers -----------------------------------------------------------------------------------------------------

    def add(self, a: Any, b: Any) -> Any:
        """Add a whole number, known now or later."""
        return self.builder.add(a, b if isinstance(b, ir.Value) else _WORD(b))

    def times(self, a: Any, b: Any) -> Any:
        """Multiply whole numbers."""
        return self.builder.mul(a, b if isinstance(b, ir.Value) else _WORD(b))

    def number(self, array: Any, at: Any) -> Any:
        """Return one number of an array."""
        return self.builder.load(self.builder.gep(array, [at]))

    def line(self, at: Any) -> Any:
        """Return a line of `memory`."""
        return self.builder.load(self.place(self.memory, at, self.vector), align=_bytes(self.vector.element))

    def place(self, array: Any, at: Any, to: Any) -> Any:
        """Return a place in an array, as one of another type."""
        return self.builder.bitcast(self.builder.gep(array, [at]), to.as_pointer())

    def addresses(self, operand: Any, rows: int) -> _Values:
        """Return where the rows of an operand stand."""
        first = self.add(self.times(operand, self.many), self.row)
        return [self.number(self.where, self.add(first, k)) for k in range(rows)]

    # -- steps -------------------------------------------------------------------------------------------------------

    def loop(self, begin: Any, end: Any, step: int, held: _Values, body: Callable[[Any, _Values], _Values]) -> _Values:
        """Write a loop over a whole number, which hands values from one turn to the next; return the last ones."""
        builder, before = self.builder, self.builder.block
        head, inside, beyond = (builder.append_basic_block(name) for name in ("head", "inside", "beyond"))
        builder.branch(head)
        builder.position_at_end(head)
        i, *now = (builder.phi(value.type) for value in (begin, *held))
        for phi, value in zip((i, *now), (begin, *held), strict=True):
            phi.add_incoming(value, before)
        builder.cbranch(builder.icmp_signed("<", i, end), inside, beyond)
        builder.position_at_end(inside)
        for phi, value in zip((*now, i), (*body(i, now), self.add(i, step)), strict=True):
            phi.add_incoming(value, builder.block)
        builder.branch(head)
        builder.position_at_end(beyond)
        return now

    def multiply(self, x: _Values, i: Any, w: Any, sums: _Values) -> _Values:
        """Multiply one input of each row with its line in each panel."""
        bits = ir.VectorType(_type_of(self.stored), self.vector.count)
        weights = []
        for p in range(self.panels):
            place = self.place(self.narrow, self.add(w, self.times(self.size, p)), bits)
            loaded = self.builder.load(place, align=_bytes(bits.element))
            weights.append(wide(self.builder, self.stored, loaded, self.vector))
        for p in range(self.panels) if len(x) > 1 else ():  # one row reads weights as fast as they come
            self.ask(self.add(w, self.times(self.size, self.panels + p)))
        numbers = [broadcast(self.builder, self.vector, self.number(self.memory, self.add(at, i))) for at in x]
        pairs = [(a, b) for a in numbers for b in weights]
        return [multiply_add(self.builder, a, b, c) for (a, b), c in zip(pairs, sums, strict=True)]

    def ask(self, at: Any) -> None:
        """Ask for the weights of the next tile, while these are worked on."""
        pointer, flag = self.place(self.narrow, at, ir.IntType(8)), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, flag, flag, flag])
        function = cgutils.get_or_insert_function(self.builder.module, kind, "llvm.prefetch.p0")
        self.builder.call(function, [pointer, flag(0), flag(3), flag(1)])  # a read, to be kept, of data

    def products(self, rows: int) -> _Values:
        """Return the sums of products of all rows, panel by panel, over all operands behind the addends."""
        width = rows * self.panels
        under_way = _UNDER_WAY if rows > 1 else _UNDER_WAY // 2  # of one row the weights come no faster
        turns = max(n for n in (1, 2, 4) if n == 1 or n * width <= under_way)  # inputs at a time, each with own sums
        none = constant(self.vector, 0.0)

        def operand(t: Any, held: _Values) -> _Values:
            w, *sums = held
            x = self.addresses(t, rows)
            n = self.number(self.words, self.add(self.times(t, OPERAND), self.add(self.first, CHANNELS)))

            def several(i: Any, sums: _Values) -> _Values:
                at = self.add(w, self.times(i, self.vector.count))
                parts = (sums[m * width : (m + 1) * width] for m in range(turns))
                made = [self.multiply(x, self.add(i, m), self.add(at, m * self.vector.count), part)
                        for m, part in enumerate(parts)]  # fmt: skip
                return [total for part in made for total in part]

            def one(i: Any, sums: _Values) -> _Values:
                at = self.add(w, self.times(i, self.vector.count))
                return [*self.multiply(x, i, at, sums[:width]), *sums[width:]]

            whole = self.builder.and_(n, _WORD(-turns))
            sums = self.loop(_WORD(0), whole, turns, sums, several)
            if turns > 1:
                sums = self.loop(whole, n, 1, sums, one)
            return [self.add(w, self.times(n, self.vector.count)), *sums]

        w = self.add(self.number(self.words, self.add(self.at, WEIGHT)), self.times(self.panel, self.size))
        _, *sums = self.loop(self.add(self.addends, 1), self.count, 1, [w, *[none] * (turns * width)], operand)
        while len(sums) > width:
            half = len(sums) // 2
            sums = [self.builder.fadd(a, b) for a, b in zip(sums[:half], sums[half:], strict=True)]
        return sums

    def write(self, rows: int) -> None:
        """Write products with what is added to them, through a rectifier if one follows; also rectified elsewhere."""
        sums, builder = self.products(rows), self.builder
        if is_scaled(self.stored):
            sums = [builder.fmul(*pair) for pair in zip(sums, self.told(SCALE) * rows, strict=True)]
        sums = [builder.fadd(*pair) for pair in zip(sums, self.told(BIAS) * rows, strict=True)]

        def addend(t: Any, sums: _Values) -> _Values:
            places = [self.add(at, shift) for at in self.addresses(t, rows) for shift in self.shifts]
            return [builder.fadd(total, self.line(at)) for total, at in zip(sums, places, strict=True)]

        sums = self.loop(_WORD(1), self.add(self.addends, 1), 1, sums, addend)
        none, least = constant(self.vector, 0.0), constant(self.vector, float("-inf"))
        floor = builder.select(builder.icmp_signed("==", self.after, _WORD(Op.RELU)), none, least)
        self.store(_WORD(0), rows, [self.at_least(floor, total) for total in sums])
        with builder.if_then(builder.icmp_signed("!=", self.also, _WORD(0))):
            self.store(self.also, rows, [self.at_least(none, total) for total in sums])

    def told(self, name: int) -> _Values:
        """Return a line for each panel, from where a word says."""
        begin = self.number(self.words, self.add(self.at, name))
        return [self.line(self.add(begin, shift)) for shift in self.shifts]

    def at_least(self, floor: Any, value: Any) -> Any:
        """Return the larger of two, and what is not a number as it is."""
        return self.builder.select(self.builder.fcmp_ordered("<", value, floor), floor, value)

    def store(self, operand: Any, rows: int, values: _Values) -> None:
        """Write lines to the rows of an operand."""
        places = [self.add(at, shift) for at in self.addresses(operand, rows) for shift in self.shifts]
        for at, value in zip(places, values, strict=True):
            self.builder.store(value, self.place(self.memory, at, self.vector), align=_bytes(self.vector.element))


def _bytes(element: Any) -> int:
    return element.width // 8 if isinstance(element, ir.IntType) else 8 if isinstance(element, ir.DoubleType) else 4


def _type_of(stored: Any) -> Any:
    if isinstance(stored, types.Float):
        return ir.DoubleType() if stored.bitwidth == 64 else ir.FloatType()
    return ir.IntType(stored.bitwidth)


def _tile(panels: int, most: int) -> Any:
    """Make the product of up to so many rows with so many panels."""

    def multiply(
        typingctx: Any, memory: Any, narrow: Any, words: Any, at: Any, where: Any, many: Any, panel: Any, row: Any,
        rows: Any,
    ) -> Any:  # fmt: skip
        """Write the products of `rows` rows, from `row` on, with panels from `panel` on, and what is added to them.

        `where` has the addresses of operand t from ``t · many`` on: first the addends, then what is multiplied.
        """
        kind, word = Lanes(memory.dtype), types.int64

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            *values, count = args
            cases = [builder.append_basic_block(f"rows{n}") for n in range(1, most + 1)]
            done, switch = builder.append_basic_block("done"), builder.switch(count, cases[-1])
            for n, case in enumerate(cases, 1):
                switch.add_case(_WORD(n), case)
                builder.position_at_end(case)
                _Tile(builder, narrow.dtype, context.get_value_type(kind), panels, *values).write(n)
                builder.branch(done)
            builder.position_at_end(done)
            return context.get_dummy_value()

        return types.void(memory, narrow, words, word, where, word, word, word, word), generate

    return intrinsic(multiply)


one_panel, two_panels, four_panels = _tile(1, TILE), _tile(2, TILE), _tile(4, 1)
