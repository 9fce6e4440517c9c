"""Arithmetic of the interpreter: functions of numbers, and drawing from a distribution.

All numbers stand in one array, `memory`, where the rows of points begin on lines. Whole lines are worked on: what lies
behind a row's last channel is never read as a number of the model. Nothing here assumes that numbers are finite.
An instruction stands in `words` at `at` (see `instructions`); its operand t has the address of row r in `where`, at
``t · many + r``, operand 0 being the result.
(`no_type_check` keeps the tests' run-time checks out of what numba compiles.)
"""

import math
from typing import Any, no_type_check

import numba as nb
import numpy as np

from leadline.sampling.compiled.instructions import (
    Op,
)
from leadline.sampling.compiled.lanes import (
    at_most,
    ceiling,
    choose,
    choose_less,
    equal,
    exponential,
    floor,
    fma,
    get,
    lane,
    lanes,
    larger,
    less,
    load,
    magnitude,
    maximum,
    minimum,
    nearest,
    put,
    root,
    same,
    single,
    store,
    truncated,
    unequal,
    with_lane,
)

# Plain numbers, for the compiler.
COPY, RELU, TANH, SIGMOID, SILU, GELU, GELU_TANH, EXP, NEG, SQUARE, LEAKY, ELU, SQRT, RSQRT, LOG, SOFTPLUS = map(
    int, range(Op.COPY, Op.SOFTPLUS + 1)
)
ABS, FLOOR, CEIL, ROUND, TRUNC, SIGN, SINGLE, ERF, EXPM1, LOG1P, SIN, COS = map(int, range(Op.ABS, Op.COS + 1))
ADD, SUB, RSUB, MUL, DIV, MAXIMUM, MINIMUM, LT, LE, EQ, NE, POW = map(int, range(Op.ADD, Op.POW + 1))
AFFINE, BLEND, ADDMUL, CHOOSE, MULADD = map(int, range(Op.AFFINE, Op.MULADD + 1))
# Only the interpreter is kept in the cache, with all that it calls, and only it is called from Python. Nothing is
# allocated, so that no references need counting, which would take an atomic operation for each array of each call.
_INNER: dict[str, Any] = {
    "error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True, "_nrt": False,
}  # fmt: skip
compiled = nb.njit(**_INNER, fastmath={"contract"})
inlined = nb.njit(**_INNER, fastmath={"contract"}, forceinline=True)
# For what is called from one place, and would otherwise be compiled once more within it.
once = nb.njit(**_INNER, fastmath={"contract"}, inline="always")
compiled_sums = nb.njit(**_INNER, fastmath={"contract", "reassoc", "nsz"})


@compiled
@no_type_check
def one_by_one(function, a, parameter):
    """Apply a function that has no form for lanes."""
    for c in range(lanes(a)):
        x = lane(a, c)
        if function == GELU:
            x = x * 0.5 * (1.0 + math.erf(x / math.sqrt(2.0)))
        elif function == ELU:
            x = x if not x < 0 else parameter * math.expm1(x)
        elif function == SOFTPLUS:
            x = x if x > 20.0 else math.log1p(math.exp(x))
        elif function == LOG:
            x = math.log(x)
        elif function == ERF:
            x = math.erf(x)
        elif function == EXPM1:
            x = math.expm1(x)
        elif function == LOG1P:
            x = math.log1p(x)
        else:
            x = math.sin(x) if function == SIN else math.cos(x)
        a = with_lane(a, c, x)
    return a


@once
@no_type_check
def rounded(function, a):
    """Return a function that chooses a number nearby."""
    if function == FLOOR:
        return floor(a)
    if function == CEIL:
        return ceiling(a)
    if function == ROUND:
        return nearest(a)
    if function == TRUNC:
        return truncated(a)
    if function == SINGLE:
        return single(a)
    zero = same(0.0, a)
    return less(zero, a) - less(a, zero)  # the sign


@compiled
@no_type_check
def unary(function, a, parameter):
    """Return a function of lanes; those made of an exponential share one, which is long when compiled."""
    zero = same(0.0, a)
    if function == COPY:
        return a
    if function == RELU:
        return choose_less(a, zero, zero, a)
    if function == NEG:
        return zero - a
    if function == SQUARE:
        return a * a
    if function == LEAKY:
        return choose_less(a, zero, a * parameter, a)
    if function == ABS:
        return magnitude(a)
    if function == SQRT:
        return root(a)
    if function == RSQRT:
        return 1.0 / root(a)
    if FLOOR <= function <= SINGLE:
        return rounded(function, a)
    if function == GELU or function >= ELU:
        return one_by_one(function, a, parameter)
    x = a
    if function == GELU_TANH:
        x = math.sqrt(2.0 / math.pi) * (a + 0.044715 * (a * a * a))
    if function == TANH or function == GELU_TANH:  # noqa: SIM109 - a tuple takes longer to compile
        x = x + x
    elif function != EXP:
        x = zero - a
    power = exponential(x)
    if function == EXP:
        return power
    part = 1.0 / (1.0 + power)
    if function == SIGMOID:
        return part
    if function == SILU:
        return a * part
    tanh = 1.0 - 2.0 * part
    return tanh if function == TANH else 0.5 * a * (1.0 + tanh)


@inlined
@no_type_check
def tanh(a):
    """Return the hyperbolic tangent of lanes."""
    return 1.0 - 2.0 / (1.0 + exponential(a + a))


@inlined
@no_type_check
def gated(a, b):
    """Return ``tanh(a) · sigmoid(b)``, by one division."""
    most = same(20.0, a)  # whose tangent is 1 in any precision, while its exponential is finite
    power = exponential(choose_less(most, a, most + most, a + a))
    return (power - 1.0) / ((power + 1.0) * (1.0 + exponential(same(0.0, b) - b)))


@compiled
@no_type_check
def powers(a, b):
    """Return lanes raised to the powers in others."""
    for c in range(lanes(a)):
        a = with_lane(a, c, math.pow(lane(a, c), lane(b, c)))
    return a


@once
@no_type_check
def compare(function, a, b):
    """Return 1 where a comparison holds, else 0."""
    if function == LT:
        return less(a, b)
    if function == LE:
        return at_most(a, b)
    return equal(a, b) if function == EQ else unequal(a, b)


@compiled
@no_type_check
def combine(function, a, b, c, d):
    """Return a function of two to four lanes."""
    if function == ADD:
        return a + b
    if function == SUB:
        return a - b
    if function == RSUB:
        return b - a
    if function == MUL:
        return a * b
    if function == DIV:
        return a / b
    if function == MAXIMUM:
        return maximum(a, b)
    if function == MINIMUM:
        return minimum(a, b)
    if function == AFFINE:
        return fma(a, b, c)
    if function == BLEND:
        return b + a * (c - b)
    if function == ADDMUL:
        return a + b * c
    if function == MULADD:
        return a * b + c * d
    if function == POW:
        return powers(a, b)
    if function == CHOOSE:
        return choose(a, b, c)
    return compare(function, a, b)


@compiled
@no_type_check
def normalise(memory, at, n):
    """Replace n numbers by their softmax; the rest of the last line is lost."""
    top = get(memory, at)
    for c in range(n):
        top = larger(top, get(memory, at + c))
    for c in range(0, n, lanes(memory)):
        store(memory, at + c, exponential(load(memory, at + c) - top))
    total = 0.0
    for c in range(n):
        total += get(memory, at + c)
    for c in range(0, n, lanes(memory)):
        store(memory, at + c, load(memory, at + c) / total)


@once
@no_type_check
def keep(p, n, kept, chosen):
    """Set all but the `kept` largest of n numbers to minus infinity; of equal ones the first are kept."""
    for c in range(n):
        put(chosen, c, 0)
    for _ in range(kept):
        best = -1
        for c in range(n):
            if get(chosen, c) == 0 and (best < 0 or get(p, c) > get(p, best)):
                best = c
        put(chosen, best, 1)
    for c in range(n):
        if get(chosen, c) == 0:
            put(p, c, -np.inf)


@compiled
@no_type_check
def sum_of(a):
    """Return the sum of lanes, pair by pair."""
    count = lanes(a) // 2
    total = 0.0
    for c in range(count):
        total += lane(a, c) + lane(a, c + count)
    return total


@once
@no_type_check
def draw(p, n, u, temperature, top_k, chosen):
    """Return the class whose step of the cumulative distribution holds u, as `Categorical.draw`; -1: not finite.

    `p` holds n logits in float64, and room for whole lines. Sums are made line by line.
    """
    line = lanes(p)
    for c in range(n, n + -n % line):
        put(p, c, get(p, 0))
    tops, odd = load(p, 0), load(p, 0) - load(p, 0)
    for c in range(line, n, line):
        tops, odd = maximum(tops, load(p, c)), odd + (load(p, c) - load(p, c))
    top = lane(tops, 0)
    for c in range(1, line):
        top = larger(top, lane(tops, c))
    if sum_of(odd) != 0.0:  # what is not finite leaves no zero when it is subtracted from itself
        return -1
    if temperature == 0 or top_k < n:
        keep(p, n, 1 if temperature == 0 else top_k, chosen)
    scale, total = temperature if temperature > 0 else 1.0, 0.0
    for c in range(n, n + -n % line):
        put(p, c, -np.inf)
    for c in range(0, n, line):
        share = load(p, c) - top
        if scale != 1:  # a division takes as long as all else
            share = share / scale
        share = exponential(share)
        store(p, c, share)
        total += sum_of(share)
    below, begin, beyond = 0.0, 0, sum_of(load(p, 0))
    while below + beyond <= u * total and below + beyond < total:
        below += beyond
        begin += line
        beyond = sum_of(load(p, begin))
    return within(p, begin, below, u * total)


@once
@no_type_check
def within(p, begin, below, u):
    """Return the class of a line whose step holds u: the last one that has any share, if all end before it."""
    found = -1
    for c in range(begin, begin + lanes(p)):
        if get(p, c) > 0 and (found < 0 or below <= u):
            found = c
        below += get(p, c)
    return found
