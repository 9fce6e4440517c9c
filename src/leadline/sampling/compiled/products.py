"""Products of rows with a matrix, whose weights stand in panels: one for each line of outputs, (panels, inputs, lanes).

Weights stand in an array of their own, `narrow`, whose type says how they are stored (see `narrowing`); everything else
is as in `kernels`. (`no_type_check` keeps the tests' run-time checks out of what numba compiles.)
"""

from typing import no_type_check

from leadline.sampling.compiled.instructions import (
    AFTER,
    BIAS,
    CHANNELS,
    COUNT,
    FIRST,
    OPERAND,
    P0,
    P1,
    P2,
    SCALE,
    WEIGHT,
)
from leadline.sampling.compiled.kernels import compiled, inlined, once, unary
from leadline.sampling.compiled.lanes import fma, get, lanes, load, prefetch, smaller, spread, store
from leadline.sampling.compiled.narrowing import scaled, widened


@inlined
@no_type_check
def begin(memory, where, many, row, shift, bias, addends):
    """Return a bias and what else is added to one line of a product."""
    total = load(memory, bias + shift)
    for t in range(1, 1 + addends):
        total = total + load(memory, get(where, t * many + row) + shift)
    return total


@inlined
@no_type_check
def opened(memory, narrow, scale, where, many, row, shift, bias, addends):
    """Return what one line of a product begins with, in units of its rows' scales."""
    # what is added may stand where the result will, and be read for a row that is worked out again: not after a store
    total = begin(memory, where, many, row, shift, bias, addends)
    return total / load(memory, scale + shift) if scaled(narrow) else total


@inlined
@no_type_check
def closed(memory, narrow, scale, at, shift, total):
    """Write one line of a product to a row."""
    store(memory, at + shift, total * load(memory, scale + shift) if scaled(narrow) else total)


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
def multiply_row(memory, narrow, words, at, where, many):
    """Write the products of one row with a matrix, four lines of outputs at once.

    Weights stand in panels, one for each line of outputs: (panels, inputs, lanes). Where fewer than four panels are
    left, the last is computed again.
    """
    bias, weight, scale = get(words, at + BIAS), get(words, at + WEIGHT), get(words, at + SCALE)
    addends, inputs, panels = get(words, at + P0), get(words, at + P1), get(words, at + P2)
    channels = get(words, at + FIRST) + CHANNELS
    line = lanes(memory)
    for panel in range(0, panels, 4):
        s0, last = panel * line, (panels - 1) * line
        s1, s2, s3 = smaller(s0 + line, last), smaller(s0 + 2 * line, last), smaller(s0 + 3 * line, last)
        y0 = opened(memory, narrow, scale, where, many, 0, s0, bias, addends)
        y1 = opened(memory, narrow, scale, where, many, 0, s1, bias, addends)
        y2 = opened(memory, narrow, scale, where, many, 0, s2, bias, addends)
        y3 = opened(memory, narrow, scale, where, many, 0, s3, bias, addends)
        w0, w1, w2, w3 = weight + s0 * inputs, weight + s1 * inputs, weight + s2 * inputs, weight + s3 * inputs
        for t in range(1 + addends, get(words, at + COUNT)):
            x, n = get(where, t * many), get(words, channels + t * OPERAND)
            for i in range(n):
                a = spread(memory, x + i)
                y0 = fma(a, widened(narrow, w0 + i * line, memory), y0)
                y1 = fma(a, widened(narrow, w1 + i * line, memory), y1)
                y2 = fma(a, widened(narrow, w2 + i * line, memory), y2)
                y3 = fma(a, widened(narrow, w3 + i * line, memory), y3)
            w0, w1, w2, w3 = w0 + n * line, w1 + n * line, w2 + n * line, w3 + n * line
        y = get(where, 0)
        closed(memory, narrow, scale, y, s0, y0)
        closed(memory, narrow, scale, y, s1, y1)
        closed(memory, narrow, scale, y, s2, y2)
        closed(memory, narrow, scale, y, s3, y3)


@compiled
@no_type_check
def multiply_rows(memory, narrow, words, at, where, many, rows):
    """Write the products of rows with a matrix, laid out as in `multiply_row`: one line of outputs, six or four rows.

    Six rows keep all registers busy, four leave less to waste: of fewer the last is computed again, and `where` repeats
    it. A panel is asked for while the one before it is worked on.
    """
    bias, weight, scale = get(words, at + BIAS), get(words, at + WEIGHT), get(words, at + SCALE)
    addends, channels = get(words, at + P0), get(words, at + FIRST) + CHANNELS
    line = lanes(memory)
    size = get(words, at + P1) * line
    for panel in range(get(words, at + P2)):
        shift, r = panel * line, 0
        while r < rows:
            left = rows - r
            six = left > 4 and left != 7 and left != 8
            y0 = opened(memory, narrow, scale, where, many, r, shift, bias, addends)
            y1 = opened(memory, narrow, scale, where, many, r + 1, shift, bias, addends)
            y2 = opened(memory, narrow, scale, where, many, r + 2, shift, bias, addends)
            y3 = opened(memory, narrow, scale, where, many, r + 3, shift, bias, addends)
            y4 = y5 = y3
            if six:
                y4 = opened(memory, narrow, scale, where, many, r + 4, shift, bias, addends)
                y5 = opened(memory, narrow, scale, where, many, r + 5, shift, bias, addends)
            w = weight + panel * size
            for t in range(1 + addends, get(words, at + COUNT)):
                row, end = t * many + r, w + get(words, channels + t * OPERAND) * line
                x0, x1, x2, x3 = get(where, row), get(where, row + 1), get(where, row + 2), get(where, row + 3)
                if six:
                    x4, x5 = get(where, row + 4), get(where, row + 5)
                    while w < end:
                        b = widened(narrow, w, memory)
                        prefetch(narrow, w + size)
                        y0, y1 = fma(spread(memory, x0), b, y0), fma(spread(memory, x1), b, y1)
                        y2, y3 = fma(spread(memory, x2), b, y2), fma(spread(memory, x3), b, y3)
                        y4, y5 = fma(spread(memory, x4), b, y4), fma(spread(memory, x5), b, y5)
                        x0, x1, x2, x3, x4, x5, w = x0 + 1, x1 + 1, x2 + 1, x3 + 1, x4 + 1, x5 + 1, w + line
                while w < end:
                    b = widened(narrow, w, memory)
                    prefetch(narrow, w + size)
                    y0, y1 = fma(spread(memory, x0), b, y0), fma(spread(memory, x1), b, y1)
                    y2, y3 = fma(spread(memory, x2), b, y2), fma(spread(memory, x3), b, y3)
                    x0, x1, x2, x3, w = x0 + 1, x1 + 1, x2 + 1, x3 + 1, w + line
            closed(memory, narrow, scale, get(where, r), shift, y0)
            closed(memory, narrow, scale, get(where, r + 1), shift, y1)
            closed(memory, narrow, scale, get(where, r + 2), shift, y2)
            closed(memory, narrow, scale, get(where, r + 3), shift, y3)
            if six:
                closed(memory, narrow, scale, get(where, r + 4), shift, y4)
                closed(memory, narrow, scale, get(where, r + 5), shift, y5)
            r += 6 if six else 4
