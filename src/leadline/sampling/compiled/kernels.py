"""Arithmetic of the interpreter: products, functions of numbers, and drawing from a distribution.

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

from leadline.sampling.compiled.instructions import AFTER, BIAS, CHANNELS, COUNT, FIRST, OPERAND, P0, P1, P2, WEIGHT, Op
from leadline.sampling.compiled.lanes import (
    choose_less,
    exponential,
    fma,
    get,
    lane,
    lanes,
    larger,
    load,
    maximum,
    minimum,
    prefetch,
    put,
    same,
    smaller,
    spread,
    store,
    with_lane,
)

# Plain numbers, for the compiler.
COPY, RELU, TANH, SIGMOID, SILU, GELU, GELU_TANH, EXP, NEG, SQUARE, LEAKY, ELU, SQRT, RSQRT, LOG, SOFTPLUS = map(
    int, range(Op.COPY, Op.SOFTPLUS + 1)
)
ADD, SUB, RSUB, MUL, DIV, MAXIMUM, MINIMUM = map(int, range(Op.ADD, Op.MINIMUM + 1))
AFFINE, BLEND, ADDMUL, MULADD = map(int, range(Op.AFFINE, Op.MULADD + 1))
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
        else:
            x = math.sqrt(x) if function == SQRT else 1.0 / math.sqrt(x)
        a = with_lane(a, c, x)
    return a


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
    return a * b + c * d  # MULADD


@inlined
@no_type_check
def begin(memory, where, many, row, shift, bias, addends):
    """Return a bias and what else is added to one line of a product."""
    total = load(memory, bias + shift)
    for t in range(1, 1 + addends):
        total = total + load(memory, get(where, t * many + row) + shift)
    return total


@once
@no_type_check
def pass_through(memory, words, at, where, rows):
    """Let the results of a product pass through the function that follows it."""
    function, none = get(words, at + AFTER), get(memory, 0)
    for r in range(rows):
        for c in range(get(where, r), get(where, r) + get(words, at + P2) * lanes(memory), lanes(memory)):
            store(memory, c, unary(function, load(memory, c), none))


@compiled
@no_type_check
def multiply_row(memory, words, at, where, many):
    """Write the products of one row with a matrix, four lines of outputs at once.

    Weights stand in panels, one for each line of outputs: (panels, inputs, lanes). Where fewer than four panels are
    left, the last is computed again.
    """
    bias, weight = get(words, at + BIAS), get(words, at + WEIGHT)
    addends, inputs, panels = get(words, at + P0), get(words, at + P1), get(words, at + P2)
    channels = get(words, at + FIRST) + CHANNELS
    line = lanes(memory)
    for panel in range(0, panels, 4):
        s0, last = panel * line, (panels - 1) * line
        s1, s2, s3 = smaller(s0 + line, last), smaller(s0 + 2 * line, last), smaller(s0 + 3 * line, last)
        y0 = begin(memory, where, many, 0, s0, bias, addends)
        y1 = begin(memory, where, many, 0, s1, bias, addends)
        y2 = begin(memory, where, many, 0, s2, bias, addends)
        y3 = begin(memory, where, many, 0, s3, bias, addends)
        w0, w1, w2, w3 = weight + s0 * inputs, weight + s1 * inputs, weight + s2 * inputs, weight + s3 * inputs
        for t in range(1 + addends, get(words, at + COUNT)):
            x, n = get(where, t * many), get(words, channels + t * OPERAND)
            for i in range(n):
                a = spread(memory, x + i)
                y0 = fma(a, load(memory, w0 + i * line), y0)
                y1 = fma(a, load(memory, w1 + i * line), y1)
                y2 = fma(a, load(memory, w2 + i * line), y2)
                y3 = fma(a, load(memory, w3 + i * line), y3)
            w0, w1, w2, w3 = w0 + n * line, w1 + n * line, w2 + n * line, w3 + n * line
        y = get(where, 0)
        store(memory, y + s0, y0)
        store(memory, y + s1, y1)
        store(memory, y + s2, y2)
        store(memory, y + s3, y3)


@compiled
@no_type_check
def multiply_rows(memory, words, at, where, many, rows):
    """Write the products of rows with a matrix, laid out as in `multiply_row`: one line of outputs, six or four rows.

    Six rows keep all registers busy, four leave less to waste: of fewer the last is computed again, and `where` repeats
    it. A panel is asked for while the one before it is worked on.
    """
    bias, weight = get(words, at + BIAS), get(words, at + WEIGHT)
    addends, channels = get(words, at + P0), get(words, at + FIRST) + CHANNELS
    line = lanes(memory)
    size = get(words, at + P1) * line
    for panel in range(get(words, at + P2)):
        shift, r = panel * line, 0
        while r < rows:
            left = rows - r
            six = left > 4 and left != 7 and left != 8
            y0 = begin(memory, where, many, r, shift, bias, addends)
            y1 = begin(memory, where, many, r + 1, shift, bias, addends)
            y2 = begin(memory, where, many, r + 2, shift, bias, addends)
            y3 = begin(memory, where, many, r + 3, shift, bias, addends)
            y4 = y5 = y3
            if six:
                y4 = begin(memory, where, many, r + 4, shift, bias, addends)
                y5 = begin(memory, where, many, r + 5, shift, bias, addends)
            w = weight + panel * size
            for t in range(1 + addends, get(words, at + COUNT)):
                row, end = t * many + r, w + get(words, channels + t * OPERAND) * line
                x0, x1, x2, x3 = get(where, row), get(where, row + 1), get(where, row + 2), get(where, row + 3)
                if six:
                    x4, x5 = get(where, row + 4), get(where, row + 5)
                    while w < end:
                        b = load(memory, w)
                        prefetch(memory, w + size)
                        y0, y1 = fma(spread(memory, x0), b, y0), fma(spread(memory, x1), b, y1)
                        y2, y3 = fma(spread(memory, x2), b, y2), fma(spread(memory, x3), b, y3)
                        y4, y5 = fma(spread(memory, x4), b, y4), fma(spread(memory, x5), b, y5)
                        x0, x1, x2, x3, x4, x5, w = x0 + 1, x1 + 1, x2 + 1, x3 + 1, x4 + 1, x5 + 1, w + line
                while w < end:
                    b = load(memory, w)
                    prefetch(memory, w + size)
                    y0, y1 = fma(spread(memory, x0), b, y0), fma(spread(memory, x1), b, y1)
                    y2, y3 = fma(spread(memory, x2), b, y2), fma(spread(memory, x3), b, y3)
                    x0, x1, x2, x3, w = x0 + 1, x1 + 1, x2 + 1, x3 + 1, w + line
            store(memory, get(where, r) + shift, y0)
            store(memory, get(where, r + 1) + shift, y1)
            store(memory, get(where, r + 2) + shift, y2)
            store(memory, get(where, r + 3) + shift, y3)
            if six:
                store(memory, get(where, r + 4) + shift, y4)
                store(memory, get(where, r + 5) + shift, y5)
            r += 6 if six else 4


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


@once
@no_type_check
def draw(p, n, u, temperature, top_k, chosen):
    """Return the class whose step of the cumulative distribution holds u, as `Categorical.draw`; -1: not finite.

    `p` holds n logits in float64, and room for whole lines.
    """
    top = -np.inf
    for c in range(n):
        if not abs(get(p, c)) < np.inf:
            return -1
        top = larger(top, get(p, c))
    if temperature == 0 or top_k < n:
        keep(p, n, 1 if temperature == 0 else top_k, chosen)
    scale = temperature if temperature > 0 else 1.0
    for c in range(0, n, lanes(p)):
        store(p, c, exponential((load(p, c) - top) / scale))
    below = 0.0
    for c in range(n):
        below += get(p, c)
        put(p, c, below)
    c = 0
    while c < n - 1 and get(p, c) <= u * below and get(p, c) < below:
        c += 1
    return c
