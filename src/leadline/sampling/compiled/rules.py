"""Instructions of the interpreter other than products: functions, sums, normalisations, attention, look-ups, moves.

Each works on the rows whose addresses stand in `where`, as `kernels` says. (`no_type_check` keeps the tests' run-time
checks out of what numba compiles.)
"""

from typing import no_type_check

import numpy as np

from leadline.sampling.compiled.instructions import (
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
    WEIGHT,
    Op,
)
from leadline.sampling.compiled.kernels import COPY, combine, compiled, normalise, unary
from leadline.sampling.compiled.lanes import get, lanes, load, put, store

SELECT, SOFTMAX = int(Op.SELECT), int(Op.SOFTMAX)


@compiled
@no_type_check
def pointwise(memory, words, at, where, many, rows):
    """Apply an elementwise function to operands that pass through functions of their own first."""
    op, count, parameter = get(words, at + OP), get(words, at + COUNT) - 1, get(memory, get(words, at + P0))
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


@compiled
@no_type_check
def add_up(memory, words, at, where, many, rows):
    """Sum over the middle of channels laid out as (outer, length, inner), times a factor."""
    outer, length, inner = get(words, at + P0), get(words, at + P1), get(words, at + P2)
    factor = get(memory, get(words, at + WEIGHT))
    for r in range(rows):
        to, source = get(where, r), get(where, many + r)
        for _ in range(outer):
            for q in range(inner):
                put(memory, to + q, 0)
            for _ in range(length):
                for q in range(inner):
                    put(memory, to + q, get(memory, to + q) + get(memory, source + q) * factor)
                source += inner
            to += inner


@compiled
@no_type_check
def standardise(memory, words, at, where, many, rows, scratch):
    """Softmax or layer normalisation of each part of each row."""
    length, width = get(words, at + P1), get(words, get(words, at + FIRST) + CHANNELS)
    weight, bias = get(words, at + WEIGHT), get(words, at + BIAS)
    for r in range(rows):
        for part in range(0, width, length):
            source, to = get(where, many + r) + part, get(where, r) + part
            if get(words, at + OP) == SOFTMAX:
                for c in range(length):
                    put(memory, scratch + c, get(memory, source + c))
                normalise(memory, scratch, length)
                for c in range(length):
                    put(memory, to + c, get(memory, scratch + c))
                continue
            mean, variance = 0.0, 0.0
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
