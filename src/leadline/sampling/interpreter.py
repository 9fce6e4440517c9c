"""The interpreter of programs: one loop over fronts and instructions, compiled once by numba and kept in its cache.

An instruction finds the addresses of its operands and of its result at every point that is due, and works on them
where they are; nothing is gathered or scattered. Numba's cache looks at this file alone: after a change in `kernels`,
`lanes` or `instructions`, save this one too. (`no_type_check` keeps the tests' run-time checks out of what numba
compiles.)
"""

from __future__ import annotations

from typing import no_type_check

import numba as nb
import numpy as np

from leadline.sampling.instructions import (
    BASE,
    BEFORE,
    BIAS,
    CHANNELS,
    COLUMNS,
    COUNT,
    DELAY,
    FILL,
    FIRST,
    INSTRUCTION,
    LEFT,
    OP,
    OPERAND,
    P0,
    P1,
    P2,
    ROWS,
    SLOTS,
    STEP,
    STRIDE,
    UP,
    WEIGHT,
    Op,
)  # fmt: skip
from leadline.sampling.kernels import (
    COPY,
    combine,
    compiled,
    compiled_sums,
    draw,
    inlined,
    multiply_row,
    multiply_rows,
    normalise,
    unary,
)
from leadline.sampling.lanes import lanes, load, store

CONTRACT, GROUPED, LOOKUP, ATTEND, SOFTMAX, LAYER_NORM, SUM, CONCAT, SELECT = map(int, range(Op.SELECT + 1))


@compiled
@no_type_check
def due(front, slope, rows, columns):
    """Return the first point (i, j) of a range that is due in a front, and how many are: they lie on a line.

    `slope` holds the linear form (si, sj), and the step from one point to the next.
    """
    si, sj, step = slope[0], slope[1], slope[2]
    if front < 0:
        return 0, 0, 0
    if sj == 0:
        i = front // si
        return i, 0, columns if i * si == front and i < rows else 0
    if si == 0:
        j = front // sj
        return 0, j, rows if j * sj == front and j < columns else 0
    i = max(0, (front - sj * (columns - 1) + si - 1) // si)
    last = min(rows - 1, front // si)
    while i <= last and (front - si * i) % sj != 0:
        i += 1
    return i, (front - si * i) // sj, max(0, (last - i) // step + 1)


@compiled
@no_type_check
def address(words, operand, i, j, count, slope, batch, where, at):
    """List the addresses of an operand's rows, points times batch, and return False beyond the end of a table.

    The last one is repeated up to a multiple of four.
    """
    i -= words[operand + UP]
    j -= words[operand + LEFT]
    base, step, stride = words[operand + BASE], words[operand + STEP], words[operand + STRIDE]
    rows, columns, fill = words[operand + ROWS], words[operand + COLUMNS], words[operand + FILL]
    slots = words[operand + SLOTS]
    slot, further = (i * columns + j) % slots, slope[2] * columns + slope[3]
    for _ in range(count):
        place, apart = fill, 0
        if 0 <= i < rows and 0 <= j < columns:
            place, apart = base + slot * step, stride
        elif fill < 0:
            return False
        for b in range(batch):
            where[at] = place + b * apart
            at += 1
        i += slope[2]
        j += slope[3]
        slot += further
        if slot >= slots or slot < 0:
            slot %= slots
    for _ in range(-(count * batch) % 4):
        where[at] = where[at - 1]
        at += 1
    return True


@inlined
@no_type_check
def operand_line(memory, words, at, where, many, t, r, c, parameter):
    """Return a line of an elementwise instruction's operand t after the function that it passes through first."""
    a = load(memory, where[t * many + r] + c)
    function = words[at + BEFORE + t - 1]
    return a if function == COPY else unary(function, a, memory, parameter)


@compiled
@no_type_check
def pointwise(memory, words, at, where, many, rows):
    """Apply an elementwise function."""
    op, count, parameter = words[at + OP], words[at + COUNT] - 1, memory[words[at + P0]]
    for r in range(rows):
        for c in range(0, words[at + P1], lanes(memory)):
            a = operand_line(memory, words, at, where, many, 1, r, c, parameter)
            if count == 1:
                a = unary(op, a, memory, parameter)
            else:
                b = operand_line(memory, words, at, where, many, 2, r, c, parameter)
                d, e = b, b
                if count > 2:
                    d = operand_line(memory, words, at, where, many, 3, r, c, parameter)
                if count > 3:
                    e = operand_line(memory, words, at, where, many, 4, r, c, parameter)
                a = combine(op, a, b, d, e)
            store(memory, where[r] + c, a)


@compiled
@no_type_check
def grouped(memory, words, at, where, many, rows):
    """Multiply group by group: weights are (groups, taps · inputs, outputs)."""
    groups, outputs, channels = words[at + P1], words[at + P2], words[at + FIRST] + CHANNELS
    for r in range(rows):
        to, weight = where[r], words[at + WEIGHT]
        for m in range(groups * outputs):
            memory[to + m] = memory[words[at + BIAS] + m]
        for g in range(groups):
            for t in range(1, words[at + COUNT]):
                each = words[channels + t * OPERAND] // groups
                source = where[t * many + r] + g * each
                for q in range(each):
                    a = memory[source + q]
                    for m in range(outputs):
                        memory[to + g * outputs + m] += a * memory[weight + m]
                    weight += outputs


@compiled
@no_type_check
def add_up(memory, words, at, where, many, rows):
    """Sum over the middle of channels laid out as (outer, length, inner), times a factor."""
    outer, length, inner, factor = words[at + P0], words[at + P1], words[at + P2], memory[words[at + WEIGHT]]
    for r in range(rows):
        for o in range(outer):
            to, source = where[r] + o * inner, where[many + r] + o * length * inner
            for q in range(inner):
                memory[to + q] = 0
            for s in range(length):
                for q in range(inner):
                    memory[to + q] += memory[source + s * inner + q] * factor


@compiled
@no_type_check
def standardise(memory, words, at, where, many, rows, scratch):
    """Softmax or layer normalisation of each part of each row."""
    length, width = words[at + P1], words[words[at + FIRST] + CHANNELS]
    weight, bias = words[at + WEIGHT], words[at + BIAS]
    for r in range(rows):
        for part in range(0, width, length):
            source, to = where[many + r] + part, where[r] + part
            if words[at + OP] == SOFTMAX:
                for c in range(length):
                    memory[scratch + c] = memory[source + c]
                normalise(memory, scratch, length)
                for c in range(length):
                    memory[to + c] = memory[scratch + c]
                continue
            mean, variance = 0.0, 0.0
            for c in range(length):
                mean += memory[source + c]
            mean /= length
            for c in range(length):
                variance += (memory[source + c] - mean) ** 2
            scale = 1.0 / np.sqrt(variance / length + memory[words[at + P2]])
            for c in range(length):
                memory[to + c] = (memory[source + c] - mean) * scale * memory[weight + c] + memory[bias + c]


@compiled_sums
@no_type_check
def attend(memory, words, at, where, many, batch, last, scratch):
    """Attend from one new point to all that came before it."""
    keys, values = words[at + FIRST] + 2 * OPERAND, words[at + FIRST] + 3 * OPERAND
    heads, window, scale = words[at + P0], words[at + P1], memory[words[at + WEIGHT]]
    each, out = words[keys + CHANNELS] // heads, words[values + CHANNELS] // heads
    first = max(0, last - window + 1) if window else 0
    for b in range(batch):
        key, value = words[keys + BASE] + b * words[keys + STRIDE], words[values + BASE] + b * words[values + STRIDE]
        for h in range(heads):
            query, to = where[many + b] + h * each, where[b] + h * out
            for s in range(first, last + 1):
                source = key + (s % words[keys + SLOTS]) * words[keys + STEP] + h * each
                total = memory.dtype.type(0)
                for c in range(each):
                    total += memory[query + c] * memory[source + c]
                memory[scratch + s - first] = total * scale
            normalise(memory, scratch, last - first + 1)
            for c in range(out):
                memory[to + c] = 0
            for s in range(first, last + 1):
                source = value + (s % words[values + SLOTS]) * words[values + STEP] + h * out
                for c in range(out):
                    memory[to + c] += memory[scratch + s - first] * memory[source + c]


@compiled
@no_type_check
def look_up(memory, words, at, where, many, rows):
    """Copy rows of an embedding; return False for a class that has none."""
    length, classes, channels = words[at + P0], words[at + P1], words[words[at + FIRST] + OPERAND + CHANNELS]
    for r in range(rows):
        for c in range(channels):
            which = np.int64(memory[where[many + r] + c])
            if not 0 <= which < classes:
                return False
            for m in range(length):
                memory[where[r] + c * length + m] = memory[words[at + WEIGHT] + which * length + m]
    return True


@compiled
@no_type_check
def move(memory, words, at, where, many, rows):
    """Put rows side by side, or choose channels."""
    for r in range(rows):
        to = where[r]
        for t in range(1, words[at + COUNT]):
            source, channels = where[t * many + r], words[words[at + FIRST] + t * OPERAND + CHANNELS]
            for c in range(channels):
                memory[to + c] = memory[source + (words[words[at + P0] + c] if words[at + OP] == SELECT else c)]
            to += channels


@compiled
@no_type_check
def perform(memory, words, at, where, many, rows, batch, last, scratch):
    """Carry out one instruction on rows; return False for a class without an embedding."""
    op = words[at + OP]
    if op == CONTRACT:
        if rows == 1 and words[at + P2] > 2:
            multiply_row(memory, words, at, where, many)
        else:
            multiply_rows(memory, words, at, where, many, rows)
    elif op >= COPY:
        pointwise(memory, words, at, where, many, rows)
    elif op == LOOKUP:
        return look_up(memory, words, at, where, many, rows)
    elif op == GROUPED:
        grouped(memory, words, at, where, many, rows)
    elif op == ATTEND:
        attend(memory, words, at, where, many, batch, last, scratch)
    elif op == SUM:
        add_up(memory, words, at, where, many, rows)
    elif op < CONCAT:
        standardise(memory, words, at, where, many, rows, scratch)
    else:
        move(memory, words, at, where, many, rows)
    return True


@compiled
@no_type_check
def draw_front(
    memory, words, source, target, i, j, count, slope, columns, lag, batch, symbols, kept, uniforms, temperature, top_k,
    p, chosen,
):  # fmt: skip
    """Draw the symbols of one front and store them as inputs; return the place of a logit that is not finite, or -1.

    `source` and `target` are output and input as operands. One channel is the logit of 1 against 0.
    """
    bad, classes, channels = -1, len(chosen), words[source + CHANNELS]
    for _ in range(count):
        place = i * columns + j
        read = ((i if lag else i - 1) * words[source + COLUMNS] + j) % words[source + SLOTS]
        read = words[source + BASE] + read * words[source + STEP]
        write = words[target + BASE] + (place % words[target + SLOTS]) * words[target + STEP]
        for b in range(batch):
            if not kept[b, place]:
                p[0] = 0
                for c in range(channels):
                    p[classes - channels + c] = memory[read + b * words[source + STRIDE] + c]
                drawn = draw(p, classes, uniforms[b, place], temperature, top_k, chosen)
                if drawn < 0:
                    bad = place
                else:
                    symbols[b, place] = drawn
            memory[write + b * words[target + STRIDE]] = symbols[b, place]
        i += slope[2]
        j += slope[3]
    return bad


@nb.njit(cache=True, error_model="numpy", fastmath={"contract"})
@no_type_check
def execute(
    first, last, memory, words, instructions, slope, batch, where, many, scratch, source, target, lag, rows, columns,
    symbols, kept, uniforms, temperature, top_k, p, chosen,
):  # fmt: skip
    """Run the fronts from `first` to `last`, each after drawing its symbols from a grid of rows and columns, if any.

    Returns
    -------
    status, where
        0; or 1 and the place of a logit that is not finite; or 2 and the front where a table or an embedding ended.
    """
    for front in range(first, last + 1):
        i, j, count = due(front, slope, rows, columns)
        if count > 0:
            bad = draw_front(
                memory, words, source, target, i, j, count, slope, columns, lag, batch, symbols, kept, uniforms,
                temperature, top_k, p, chosen,
            )  # fmt: skip
            if bad >= 0:
                return 1, bad
        for at in range(0, instructions * INSTRUCTION, INSTRUCTION):
            result = words[at + FIRST]
            i, j, count = due(front - words[at + DELAY], slope, words[result + ROWS], words[result + COLUMNS])
            if count <= 0:
                continue
            for t in range(words[at + COUNT]):
                if not address(words, result + t * OPERAND, i, j, count, slope, batch, where, t * many):
                    return 2, front
            if not perform(memory, words, at, where, many, count * batch, batch, i, scratch):
                return 2, front
    return 0, 0
