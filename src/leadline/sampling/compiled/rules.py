"""Instructions of the interpreter other than products: functions, folds, normalisations, attention, look-ups, moves.

Each works on the rows whose addresses stand in `where`, as `kernels` says. (`no_type_check` keeps the tests' run-time
checks out of what numba compiles.)
"""

import math
from typing import no_type_check

import numpy as np

from leadline.sampling.compiled.instructions import (
    AFTER,
    BASE,
    BEFORE,
    BIAS,
    CHANNELS,
    COUNT,
    FIRST,
    OP,
    OPERAND,
    P0,
    P1,
    P2,
    SLOTS,
    STEP,
    STRIDE,
    WEIGHT,
    Fold,
    Op,
)
from leadline.sampling.compiled.kernels import (
    ABS,
    COPY,
    MUL,
    SIGMOID,
    SQRT,
    SQUARE,
    TANH,
    combine,
    compiled,
    compiled_sums,
    gated,
    normalise,
    once,
    unary,
)
from leadline.sampling.compiled.lanes import get, lanes, larger, load, put, smaller, store

SELECT, LAYER_NORM, LOG_SOFTMAX = int(Op.SELECT), int(Op.LAYER_NORM), int(Op.LOG_SOFTMAX)
SUM, PRODUCT, LARGEST, SPREAD = int(Fold.SUM), int(Fold.PRODUCT), int(Fold.LARGEST), int(Fold.SPREAD)


@compiled
@no_type_check
def pointwise(memory, words, at, where, many, rows):
    """Apply an elementwise function to operands that pass through functions of their own first."""
    op, count, parameter = get(words, at + OP), get(words, at + COUNT) - 1, get(memory, get(words, at + P0))
    one, other = get(words, at + BEFORE), get(words, at + BEFORE + 1)
    if op == MUL and count == 2 and ((one == TANH and other == SIGMOID) or (one == SIGMOID and other == TANH)):
        first = many if one == TANH else 2 * many
        gate(memory, words, at, where, first, 3 * many - first, rows)
        return
    for r in range(rows):
        for c in range(0, get(words, at + P1), lanes(memory)):
            first = second = third = fourth = load(memory, get(where, many + r) + c)
            for t in range(1, count + 1):
                value = load(memory, get(where, t * many + r) + c)
                if get(words, at + BEFORE + t - 1) != COPY:
                    value = unary(get(words, at + BEFORE + t - 1), value, parameter)
                if t == 1:
                    first = value
                elif t == 2:
                    second = value
                elif t == 3:
                    third = value
                else:
                    fourth = value
            value = unary(op, first, parameter) if count == 1 else combine(op, first, second, third, fourth)
            store(memory, get(where, r) + c, value)


@once
@no_type_check
def gate(memory, words, at, where, first, second, rows):
    """Multiply the tangents of one operand with the sigmoids of another."""
    for r in range(rows):
        to, a, b = get(where, r), get(where, first + r), get(where, second + r)
        for c in range(0, get(words, at + P1), lanes(memory)):
            store(memory, to + c, gated(load(memory, a + c), load(memory, b + c)))


@compiled
@no_type_check
def grouped(memory, words, at, where, many, rows):
    """Multiply group by group: weights are (groups, taps · inputs, outputs)."""
    groups, outputs, channels = get(words, at + P1), get(words, at + P2), get(words, at + FIRST) + CHANNELS
    bias = get(words, at + BIAS)
    for r in range(rows):
        to, weight = get(where, r), get(words, at + WEIGHT)
        for g in range(groups):
            for m in range(outputs):
                put(memory, to + m, get(memory, bias + g * outputs + m))
            for t in range(1, get(words, at + COUNT)):
                each = get(words, channels + t * OPERAND) // groups
                source = get(where, t * many + r) + g * each
                for q in range(each):
                    a = get(memory, source + q)
                    for m in range(outputs):
                        put(memory, to + m, get(memory, to + m) + a * get(memory, weight + m))
                    weight += outputs
            to += outputs


@once
@no_type_check
def folded(kind, total, x):
    """Join a number to those so far; what is none stays none."""
    if kind == SUM:
        return total + x
    if kind == PRODUCT:
        return total * x
    if x != x or total != total:
        return total + x
    return larger(total, x) if kind == LARGEST else smaller(total, x)


@compiled
@no_type_check
def fold(memory, words, at, where, many, rows):
    """Fold the middle of channels laid out as (outer, length, inner), or write what there is so far beside each.

    Sums are made in float64.
    """
    outer, length, inner = get(words, at + P0), get(words, at + P1), get(words, at + P2)
    kind, before, so_far = get(words, at + BIAS), get(words, at + BEFORE), get(words, at + BEFORE + 1)
    factor = get(memory, get(words, at + WEIGHT))
    for r in range(rows):
        to, source = get(where, r), get(where, many + r)
        for part in range(outer * inner):
            first = source + part // inner * length * inner + part % inner
            end, mean = first + length * inner, 0.0
            if kind == SPREAD:
                for c in range(first, end, inner):
                    mean += get(memory, c)
                mean /= length
            total = 0.0
            for c in range(first, end, inner):
                x = get(memory, c) - mean
                if before == SQUARE or kind == SPREAD:
                    x *= x
                elif before == ABS:
                    x = abs(x)
                total = x if c == first else folded(SUM if kind == SPREAD else kind, total, x)
                if so_far:
                    put(memory, to + c - source, total)
            if not so_far:
                total *= factor
                put(memory, to + part, math.sqrt(total) if get(words, at + AFTER) == SQRT else total)


@compiled
@no_type_check
def weigh(memory, words, at, where, many, rows, scratch):
    """Softmax, or its logarithm, over the middle of channels laid out as (outer, length, inner)."""
    outer, length, inner = get(words, at + P0), get(words, at + P1), get(words, at + P2)
    for r in range(rows):
        to, source = get(where, r), get(where, many + r)
        for part in range(outer * inner):
            first = part // inner * length * inner + part % inner
            top, total = get(memory, source + first), 0.0
            for c in range(length):
                x = get(memory, source + first + c * inner)
                top = larger(top, x)
                put(memory, scratch + c, x)
            normalise(memory, scratch, length)
            if get(words, at + OP) == LOG_SOFTMAX:
                for c in range(first, first + length * inner, inner):
                    total += math.exp(get(memory, source + c) - top)
                total = top + math.log(total)
            for c in range(length):
                x = get(memory, scratch + c)
                if get(words, at + OP) == LOG_SOFTMAX:
                    x = get(memory, source + first + c * inner) - total
                put(memory, to + first + c * inner, x)


@compiled
@no_type_check
def standardise(memory, words, at, where, many, rows):
    """Layer normalisation of each part of each row, or division by the root of the mean square."""
    length, width = get(words, at + P1), get(words, get(words, at + FIRST) + CHANNELS)
    weight, bias = get(words, at + WEIGHT), get(words, at + BIAS)
    for r in range(rows):
        for part in range(0, width, length):
            source, to = get(where, many + r) + part, get(where, r) + part
            mean, variance = 0.0, 0.0
            if get(words, at + OP) == LAYER_NORM:
                for c in range(length):
                    mean += get(memory, source + c)
                mean /= length
            for c in range(length):
                apart = get(memory, source + c) - mean
                variance += apart * apart
            scale = 1.0 / np.sqrt(variance / length + get(memory, get(words, at + P2)))
            for c in range(length):
                value = (get(memory, source + c) - mean) * scale
                put(memory, to + c, value * get(memory, weight + c) + get(memory, bias + c))


@compiled_sums
@no_type_check
def attend(memory, words, at, where, many, rows, batch, place, scratch):
    """Attend from each new point to all that came before it; the first stands at `place`."""
    keys, values = get(words, at + FIRST) + 2 * OPERAND, get(words, at + FIRST) + 3 * OPERAND
    heads, window, scale = get(words, at + P0), get(words, at + P1), get(memory, get(words, at + WEIGHT))
    each, out = get(words, keys + CHANNELS) // heads, get(words, values + CHANNELS) // heads
    for r in range(rows):
        key, value, last = get(words, keys + BASE), get(words, values + BASE), place + r // batch
        key += r % batch * get(words, keys + STRIDE)
        value += r % batch * get(words, values + STRIDE)
        first = larger(0, last - window + 1) if window else 0
        for h in range(heads):
            query, to = get(where, many + r) + h * each, get(where, r) + h * out
            for s in range(first, last + 1):
                source = key + (s % get(words, keys + SLOTS)) * get(words, keys + STEP) + h * each
                total = get(memory, query) * get(memory, source)  # in the numbers' own precision
                for c in range(1, each):
                    total += get(memory, query + c) * get(memory, source + c)
                put(memory, scratch + s - first, total * scale)
            normalise(memory, scratch, last - first + 1)
            for c in range(out):
                put(memory, to + c, 0)
            for s in range(first, last + 1):
                source = value + (s % get(words, values + SLOTS)) * get(words, values + STEP) + h * out
                share = get(memory, scratch + s - first)
                for c in range(out):
                    put(memory, to + c, get(memory, to + c) + share * get(memory, source + c))


@compiled
@no_type_check
def look_up(memory, words, at, where, many, rows):
    """Copy rows of an embedding; return False for a class that has none."""
    length, classes = get(words, at + P0), get(words, at + P1)
    channels = get(words, get(words, at + FIRST) + OPERAND + CHANNELS)
    for r in range(rows):
        for c in range(channels):
            which = np.int64(get(memory, get(where, many + r) + c))
            if not 0 <= which < classes:
                return False
            to, source = get(where, r) + c * length, get(words, at + WEIGHT) + which * length
            for m in range(length):
                put(memory, to + m, get(memory, source + m))
    return True


@compiled
@no_type_check
def move(memory, words, at, where, many, rows):
    """Put rows side by side, or choose channels."""
    for r in range(rows):
        to = get(where, r)
        for t in range(1, get(words, at + COUNT)):
            source, channels = get(where, t * many + r), get(words, get(words, at + FIRST) + t * OPERAND + CHANNELS)
            for c in range(channels):
                which = get(words, get(words, at + P0) + c) if get(words, at + OP) == SELECT else c
                put(memory, to + c, get(memory, source + which))
            to += channels
