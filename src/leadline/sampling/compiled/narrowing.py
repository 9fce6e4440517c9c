"""Lanes of numbers that are stored narrower than they are worked on, as `packing` stores them."""

import platform
from typing import Any

from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import types
from numba.extending import intrinsic

from leadline.sampling.compiled.lanes import Lanes, constant, pointer_to

# Whether the processor turns float16s into float32s, as all do but some of before 2012.
HALVES = platform.machine().lower() not in ("x86_64", "amd64") or get_host_cpu_features().get("f16c", False)


def wide(builder: Any, stored: Any, bits: Any, to: Any) -> Any:
    """Return lanes of numbers from those stored: numbers, or integers whose type says what their bits mean."""
    if isinstance(stored, types.Float):
        return bits if bits.type == to else builder.fpext(bits, to)
    if stored.bitwidth == 8:
        return builder.sitofp(bits, to)
    single = ir.VectorType(ir.FloatType(), to.count)
    words = ir.VectorType(ir.IntType(32), to.count)
    if stored.signed:
        wide = _halves(builder, bits, words, single)
    else:  # the upper half of a float32
        wide = builder.bitcast(builder.shl(builder.zext(bits, words), constant(words, 16)), single)
    return wide if wide.type == to else builder.fpext(wide, to)


def _halves(builder: Any, bits: Any, words: Any, single: Any) -> Any:
    """Return float16s as float32s: by an instruction for it, else by moving exponent and mantissa where they belong."""
    if HALVES:
        return builder.fpext(builder.bitcast(bits, ir.VectorType(ir.HalfType(), single.count)), single)
    whole = builder.zext(bits, words)
    moved = builder.shl(builder.and_(whole, constant(words, 0x7FFF)), constant(words, 13))
    size = builder.fmul(builder.bitcast(moved, single), constant(single, 2.0**112))
    sign = builder.shl(builder.and_(whole, constant(words, 0x8000)), constant(words, 16))
    return builder.bitcast(builder.or_(builder.bitcast(size, words), sign), single)


@intrinsic
def widened(typingctx: Any, narrow: Any, at: Any, memory: Any) -> Any:
    """Return a line of `memory`'s numbers, from a place on among those that may be stored narrower."""
    kind = Lanes(memory.dtype)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        stored = ir.VectorType(context.get_value_type(narrow.dtype), kind.count)
        place = pointer_to(context, builder, narrow, args, stored)
        bits = builder.load(place, align=narrow.dtype.bitwidth // 8)
        return wide(builder, narrow.dtype, bits, context.get_value_type(kind))

    return kind(narrow, at, memory), generate


@intrinsic
def scaled(typingctx: Any, narrow: Any) -> Any:
    """Say whether numbers are stored such that each row has a scale: known as the code is compiled."""
    answer = is_scaled(narrow.dtype)
    return types.boolean(narrow), lambda context, builder, signature, args: context.get_constant(types.boolean, answer)


def is_scaled(stored: Any) -> bool:
    """Say whether numbers of a type are stored such that each row has a scale."""
    return bool(stored == types.int8)
