"""Short vectors for compiled code: one cache line of neighbouring numbers, on which arithmetic works lane by lane.

Numba has no type for them, and keeps in memory the sums that belong in registers. `Lanes` is LLVM's own vector type,
64 bytes of it: LLVM makes of it as many registers as the processor's width asks for. `get` and `put` read and write
single numbers without asking whether a place is counted from the end, which halves what there is to compile.
Numbers that are stored narrower than they are worked on are read by `narrowing`.
"""

import math
import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

LINE = 64  # bytes
WORDS = 8  # whole numbers that fill one


class Lanes(types.Type):
    """As many numbers of one floating-point type as fill a line."""

    def __init__(self, real: types.Float) -> None:
        self.real, self.bits = real, real.bitwidth
        self.count = LINE * 8 // real.bitwidth
        super().__init__(name=f"Lanes({real})")

    @property
    def mantissa(self) -> int:
        """Bits after the leading one."""
        return 23 if self.bits == 32 else 52

    @property
    def integers(self) -> ir.Type:
        """Integers of the same width."""
        return ir.VectorType(ir.IntType(self.bits), self.count)


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Lanes) -> None:
        super().__init__(manager, kind, ir.VectorType(manager.lookup(kind.real).get_value_type(), kind.count))


def pointer_to(context: Any, builder: Any, array: Any, args: Any, to: Any) -> Any:
    """Return where an array's number stands, as the place of another type."""
    data = args[0]
    if isinstance(array, types.Array):
        data = cgutils.create_struct_proxy(array)(context, builder, data).data
    return builder.bitcast(builder.gep(data, [args[1]]), to.as_pointer())


def broadcast(builder: Any, vector: Any, number: Any) -> Any:
    """Return a vector of one number."""
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), number, ir.IntType(32)(0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), None)
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), zeros)


def constant(vector: Any, value: float) -> Any:
    """Return a constant in all lanes."""
    return ir.Constant(vector, [value] * vector.count)


def multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a product and what is added to it, rounded once where the processor can."""
    name = f"llvm.fmuladd.v{a.type.count}f{LINE * 8 // a.type.count}"
    kind = ir.FunctionType(a.type, [a.type] * 3)
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [a, b, c])


@intrinsic
def numbers(typingctx: Any, array: Any) -> Any:
    """Return where an array's numbers stand, as `get`, `put`, `load` and `store` take it: one word, not seven."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return cgutils.create_struct_proxy(array)(context, builder, args[0]).data

    return types.CPointer(array.dtype)(array), generate


@intrinsic
def load(typingctx: Any, memory: Any, at: Any) -> Any:
    """Return the numbers of an array from a place on."""
    kind = Lanes(memory.dtype)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = pointer_to(context, builder, memory, args, context.get_value_type(kind))
        return builder.load(pointer, align=kind.bits // 8)

    return kind(memory, at), generate


@intrinsic
def store(typingctx: Any, memory: Any, at: Any, value: Any) -> Any:
    """Write numbers into an array from a place on."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], pointer_to(context, builder, memory, args, args[2].type), align=value.bits // 8)
        return context.get_dummy_value()

    return types.void(memory, at, value), generate


@intrinsic
def call_back(typingctx: Any, address: Any, which: Any, i: Any, j: Any, count: Any) -> Any:
    """Call a function of four integers, which returns one, at an address."""
    word = types.int64

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits = ir.IntType(64)
        function = builder.inttoptr(args[0], ir.FunctionType(bits, [bits] * 4).as_pointer())
        return builder.call(function, args[1:])

    return word(word, word, word, word, word), generate


@intrinsic
def prefetch(typingctx: Any, memory: Any, at: Any) -> Any:
    """Ask for the line at a place, which may lie beyond the array."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        flag = ir.IntType(32)
        pointer = pointer_to(context, builder, memory, args, ir.IntType(8))
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, flag, flag, flag])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [pointer, flag(0), flag(3), flag(1)])  # a read, to be kept, of data
        return context.get_dummy_value()

    return types.void(memory, at), generate


@intrinsic
def get(typingctx: Any, memory: Any, at: Any) -> Any:
    """Return one number of an array, at a place that is not negative."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = context.get_data_type(memory.dtype)
        return builder.load(pointer_to(context, builder, memory, args, kind))

    return memory.dtype(memory, at), generate


@intrinsic
def put(typingctx: Any, memory: Any, at: Any, value: Any) -> Any:
    """Write one number into an array, at a place that is not negative."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = context.get_data_type(memory.dtype)
        number = context.cast(builder, args[2], value, memory.dtype)
        builder.store(number, pointer_to(context, builder, memory, args, kind))
        return context.get_dummy_value()

    return types.void(memory, at, value), generate


@intrinsic
def place_words(typingctx: Any, array: Any, to: Any, source: Any, base: Any, fill: Any) -> Any:
    """Copy a line of whole numbers within an array, a base being added to each; what is negative becomes `fill`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data, at, of, start, other = args
        vector = ir.VectorType(ir.IntType(64), WORDS)
        found = builder.load(builder.bitcast(builder.gep(data, [of]), vector.as_pointer()), align=8)
        moved = builder.add(found, broadcast(builder, vector, start))
        inside = builder.icmp_signed(">=", found, ir.Constant(vector, None))
        value = builder.select(inside, moved, broadcast(builder, vector, other))
        builder.store(value, builder.bitcast(builder.gep(data, [at]), vector.as_pointer()), align=8)
        return context.get_dummy_value()

    word = types.int64
    return types.void(array, word, word, word, word), generate


@intrinsic
def spread(typingctx: Any, memory: Any, at: Any) -> Any:
    """Return one number of an array in all lanes."""
    kind = Lanes(memory.dtype)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = context.get_value_type(kind)
        return broadcast(builder, vector, builder.load(pointer_to(context, builder, memory, args, vector.element)))

    return kind(memory, at), generate


@intrinsic
def lane(typingctx: Any, a: Any, which: Any) -> Any:
    """Return the number in one lane."""
    return a.real(a, which), lambda context, builder, signature, args: builder.extract_element(*args)


@intrinsic
def with_lane(typingctx: Any, a: Any, which: Any, number: Any) -> Any:
    """Return lanes with another number in one of them."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = context.cast(builder, args[2], number, a.real)
        return builder.insert_element(args[0], value, args[1])

    return a(a, which, number), generate


@intrinsic
def same(typingctx: Any, number: Any, like: Any) -> Any:
    """Return a number in all lanes, in the type of other ones."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return broadcast(builder, args[1].type, context.cast(builder, args[0], number, like.real))

    return like(number, like), generate


@intrinsic
def fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """Return ``a · b + c``, rounded once where the processor can."""
    return a(a, b, c), lambda context, builder, signature, args: multiply_add(builder, *args)


def _comparison(symbol: str) -> Any:
    """Make a function that returns 1 in the lanes where a comparison holds, else 0; it holds for no NaN, but for !=."""

    def choose(typingctx: Any, a: Any, b: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            compare = builder.fcmp_unordered if symbol == "!=" else builder.fcmp_ordered
            return builder.uitofp(compare(symbol, *args), args[0].type)

        return a(a, b), generate

    return intrinsic(choose)


less, at_most, equal, unequal = map(_comparison, ("<", "<=", "==", "!="))


@intrinsic
def choose_less(typingctx: Any, a: Any, b: Any, yes: Any, no: Any) -> Any:
    """Return `yes` in the lanes where a < b, else `no`; nothing is less than what is not a number."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered("<", args[0], args[1]), args[2], args[3])

    return a(a, b, yes, no), generate


@intrinsic
def choose(typingctx: Any, a: Any, yes: Any, no: Any) -> Any:
    """Return `yes` in the lanes where a number is not zero, else `no`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        holds = builder.fcmp_unordered("!=", args[0], ir.Constant(args[0].type, None))
        return builder.select(holds, args[1], args[2])

    return a(a, yes, no), generate


def _extreme(name: str) -> Any:
    """Make a function that returns the larger or smaller number in every lane, and NaN if one of the two is NaN."""

    def choose(typingctx: Any, a: Any, b: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            kind = ir.FunctionType(args[0].type, [args[0].type] * 2)
            function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{a.count}f{a.bits}")
            return builder.call(function, args)

        return a(a, b), generate

    return intrinsic(choose)


maximum, minimum = _extreme("maximum"), _extreme("minimum")


def _rounding(name: str) -> Any:
    """Make a function of lanes that LLVM has by a name."""

    def choose(typingctx: Any, a: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            kind = ir.FunctionType(args[0].type, [args[0].type])
            function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{a.count}f{a.bits}")
            return builder.call(function, args)

        return a(a), generate

    return intrinsic(choose)


floor = _rounding("floor")
ceiling = _rounding("ceil")
truncated = _rounding("trunc")
nearest = _rounding("rint")
root = _rounding("sqrt")
magnitude = _rounding("fabs")


@intrinsic
def single(typingctx: Any, a: Any) -> Any:
    """Return lanes rounded to float32."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if a.bits == 32:
            return args[0]
        rounded = builder.fptrunc(args[0], ir.VectorType(ir.FloatType(), a.count))
        return builder.fpext(rounded, args[0].type)

    return a(a), generate


@intrinsic
def exponential(typingctx: Any, x: Any) -> Any:
    """Return the exponential of lanes: exactly 0 and infinite where it cannot be told from them."""
    # Written in one piece: a function of functions would be compiled by itself first, for each type of number.
    shift, low, high = (1.5 * 2**23, -87.0, 88.37) if x.bits == 32 else (1.5 * 2**52, -708.0, 709.43)
    # ln 2 in two parts: the upper one has few bits, so that its multiples are exact
    upper, lower, log2e = 0.693359375, -0.00021219444005469057, 1 / math.log(2)
    terms = 7 if x.bits == 32 else 13  # of the series, as many as the type can tell apart where |r| ≤ ln 2 / 2

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        (a,), vector, bits = args, args[0].type, x.integers
        shifted = multiply_add(builder, a, constant(vector, log2e), constant(vector, shift))
        m = builder.fsub(shifted, constant(vector, shift))
        r = multiply_add(builder, m, constant(vector, -lower), multiply_add(builder, m, constant(vector, -upper), a))
        total = constant(vector, 1 / math.factorial(terms))
        for n in range(terms - 1, -1, -1):
            total = multiply_add(builder, total, r, constant(vector, 1 / math.factorial(n)))
        # 2^m for whole m, given 1.5 · 2^mantissa + m, whose lowest bits are m: moved into the exponent
        moved = builder.shl(builder.bitcast(shifted, bits), constant(bits, x.mantissa))
        biased = builder.add(moved, constant(bits, (2 ** (x.bits - 2 - x.mantissa) - 1) << x.mantissa))
        value = builder.fmul(total, builder.bitcast(biased, vector))
        none, infinite = constant(vector, 0.0), constant(vector, math.inf)
        value = builder.select(builder.fcmp_ordered("<", a, constant(vector, low)), none, value)
        return builder.select(builder.fcmp_ordered(">", a, constant(vector, high)), infinite, value)

    return x(x), generate


@intrinsic
def lanes(typingctx: Any, memory: Any) -> Any:
    """Return how many numbers of an array make a line, or how many there are in one."""
    count = memory.count if isinstance(memory, Lanes) else Lanes(memory.dtype).count
    return types.intp(memory), lambda context, builder, signature, args: context.get_constant(types.intp, count)


def _either(comparison: str) -> Any:
    """Make a function that returns the one of two numbers for which a comparison holds, the second if for none."""

    def choose(typingctx: Any, a: Any, b: Any) -> Any:
        kind = types.unliteral(a)

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            compare = builder.fcmp_ordered if isinstance(kind, types.Float) else builder.icmp_signed
            x, y = (context.cast(builder, v, t, kind) for v, t in zip(args, (a, b), strict=True))
            return builder.select(compare(comparison, x, y), x, y)

        return kind(a, b), generate

    return intrinsic(choose)


larger, smaller = _either(">"), _either("<")


class _Lanewise(AbstractTemplate):
    """The type of an operator on lanes, or on lanes and a number."""

    def generic(self, args: Any, kws: Any) -> Any:
        found = [kind for kind in args if isinstance(kind, Lanes)]
        both = len(args) == 2 and all(isinstance(kind, Lanes | types.Number) for kind in args)
        return signature(found[0], *args) if found and both else None


def _arithmetic(python: Callable[..., Any], instruction: str) -> None:
    """Give lanes an operator."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector, real = context.get_value_type(sig.return_type), sig.return_type.real
        vectors = (
            value if isinstance(kind, Lanes) else broadcast(builder, vector, context.cast(builder, value, kind, real))
            for kind, value in zip(sig.args, args, strict=True)
        )
        return getattr(builder, instruction)(*vectors)

    infer_global(python)(type(f"_{instruction}", (_Lanewise,), {}))
    for kinds in ((Lanes, Lanes), (Lanes, types.Number), (types.Number, Lanes)):
        lower_builtin(python, *kinds)(generate)


_arithmetic(operator.add, "fadd")
_arithmetic(operator.sub, "fsub")
_arithmetic(operator.mul, "fmul")
_arithmetic(operator.truediv, "fdiv")
