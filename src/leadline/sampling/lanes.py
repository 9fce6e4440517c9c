"""Short vectors for compiled code: one cache line of neighbouring numbers, on which arithmetic works lane by lane.

Numba has no type for them, and keeps in memory the sums that belong in registers. `Lanes` is LLVM's own vector type,
64 bytes of it: LLVM makes of it as many registers as the processor's width asks for. `get` and `put` read and write
single numbers without asking whether a place is counted from the end, which halves what there is to compile.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, no_type_check

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, overload, register_model

LINE = 64  # bytes


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


def _pointer(context: Any, builder: Any, array: Any, args: Any, to: Any) -> Any:
    data = cgutils.create_struct_proxy(array)(context, builder, args[0]).data
    return builder.bitcast(builder.gep(data, [args[1]]), to.as_pointer())


def _all(builder: Any, vector: Any, number: Any) -> Any:
    """Return a vector of one number."""
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), number, ir.IntType(32)(0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), None)
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), zeros)


def _constant(vector: Any, value: float) -> Any:
    return ir.Constant(vector, [value] * vector.count)


def _multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    name = f"llvm.fmuladd.v{a.type.count}f{LINE * 8 // a.type.count}"
    kind = ir.FunctionType(a.type, [a.type] * 3)
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [a, b, c])


@intrinsic
def load(typingctx: Any, memory: Any, at: Any) -> Any:
    """Return the numbers of an array from a place on."""
    kind = Lanes(memory.dtype)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, memory, args, context.get_value_type(kind))
        return builder.load(pointer, align=kind.bits // 8)

    return kind(memory, at), generate


@intrinsic
def store(typingctx: Any, memory: Any, at: Any, value: Any) -> Any:
    """Write numbers into an array from a place on."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _pointer(context, builder, memory, args, args[2].type), align=value.bits // 8)
        return context.get_dummy_value()

    return types.void(memory, at, value), generate


@intrinsic
def prefetch(typingctx: Any, memory: Any, at: Any) -> Any:
    """Ask for the line at a place, which may lie beyond the array."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        flag = ir.IntType(32)
        pointer = _pointer(context, builder, memory, args, ir.IntType(8))
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
        return builder.load(_pointer(context, builder, memory, args, kind))

    return memory.dtype(memory, at), generate


@intrinsic
def put(typingctx: Any, memory: Any, at: Any, value: Any) -> Any:
    """Write one number into an array, at a place that is not negative."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = context.get_data_type(memory.dtype)
        number = context.cast(builder, args[2], value, memory.dtype)
        builder.store(number, _pointer(context, builder, memory, args, kind))
        return context.get_dummy_value()

    return types.void(memory, at, value), generate


@intrinsic
def spread(typingctx: Any, memory: Any, at: Any) -> Any:
    """Return one number of an array in all lanes."""
    kind = Lanes(memory.dtype)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = context.get_value_type(kind)
        return _all(builder, vector, builder.load(_pointer(context, builder, memory, args, vector.element)))

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
        return _all(builder, args[1].type, context.cast(builder, args[0], number, like.real))

    return like(number, like), generate


@intrinsic
def fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """Return ``a · b + c``, rounded once where the processor can."""
    return a(a, b, c), lambda context, builder, signature, args: _multiply_add(builder, *args)


@intrinsic
def choose_less(typingctx: Any, a: Any, b: Any, yes: Any, no: Any) -> Any:
    """Return `yes` in the lanes where a < b, else `no`; nothing is less than what is not a number."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered("<", args[0], args[1]), args[2], args[3])

    return a(a, b, yes, no), generate


@intrinsic
def _two_to(typingctx: Any, shifted: Any) -> Any:
    """Return 2^m for whole m, given ``1.5 · 2^mantissa + m``, whose lowest bits are m: moved into the exponent."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits, exponent = shifted.integers, shifted.bits - 2 - shifted.mantissa
        moved = builder.shl(builder.bitcast(args[0], bits), _constant(bits, shifted.mantissa))
        biased = builder.add(moved, _constant(bits, (2**exponent - 1) << shifted.mantissa))
        return builder.bitcast(biased, args[0].type)

    return shifted(shifted), generate


@intrinsic
def _series(typingctx: Any, r: Any) -> Any:
    """Return the exponential of |r| ≤ ln 2 / 2: as many terms of its series as its type can tell apart."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        last = 7 if r.bits == 32 else 13
        total = _constant(args[0].type, 1 / math.factorial(last))
        for n in range(last - 1, -1, -1):
            total = _multiply_add(builder, total, args[0], _constant(args[0].type, 1 / math.factorial(n)))
        return total

    return r(r), generate


def exponential(x: Any) -> Any:
    """Return the exponential of lanes: exactly 0 and infinite where it cannot be told from them."""
    raise NotImplementedError("for compiled code")


@overload(exponential)
@no_type_check
def _exponential(x):
    shift, low, high = (1.5 * 2**23, -87.0, 88.37) if x.bits == 32 else (1.5 * 2**52, -708.0, 709.43)
    # ln 2 in two parts: the upper one has few bits, so that its multiples are exact
    upper, lower, log2e, infinite = 0.693359375, -0.00021219444005469057, 1 / math.log(2), math.inf

    @no_type_check
    def run(x):
        shifted = fma(x, same(log2e, x), same(shift, x))
        m = shifted - shift
        r = (x - m * upper) - m * lower
        value = _series(r) * _two_to(shifted)
        value = choose_less(x, same(low, x), same(0.0, x), value)
        return choose_less(same(high, x), x, same(infinite, x), value)

    return run


def lanes(memory: Any) -> int:
    """Return how many numbers of an array make a line, or how many there are in one."""
    return LINE // int(memory.itemsize)


@overload(lanes)
@no_type_check
def _lanes(memory):
    count = memory.count if isinstance(memory, Lanes) else Lanes(memory.dtype).count
    return lambda memory: count


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
            value if isinstance(kind, Lanes) else _all(builder, vector, context.cast(builder, value, kind, real))
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
