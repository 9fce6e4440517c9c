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
    AFTER,
    BASE,
    BATCH,
    BEFORE,
    BEGIN,
    BIAS,
    CHANNELS,
    COLUMNS,
    COUNT,
    DELAY,
    END,
    FILL,
    FIRST,
    FURTHER,
    HEIGHT,
    INPUT,
    INSTRUCTION,
    INSTRUCTIONS,
    LAG,
    LEFT,
    MANY,
    OP,
    OPERAND,
    ORIGIN,
    OUTPUT,
    P0,
    P1,
    P2,
    ROWS,
    SCRATCH,
    SLOPE_I,
    SLOPE_J,
    SLOTS,
    STEP,
    STEP_I,
    STEP_J,
    STRIDE,
    TOP_K,
    UP,
    WEIGHT,
    WIDTH,
    Op,
)
from leadline.sampling.kernels import (
    COPY,
    combine,
    compiled,
    compiled_sums,
    draw,
    multiply_row,
    multiply_rows,
    normalise,
    once,
    pass_through,
    unary,
)
from leadline.sampling.lanes import lanes, load, store

CONTRACT, GROUPED, LOOKUP, ATTEND, SOFTMAX, LAYER_NORM, SUM, CONCAT, SELECT = map(int, range(Op.SELECT + 1))


@compiled
@no_type_check
def due(frame, front, rows, columns):
    """Return the first point (i, j) of a range that is due in a front, and how many are: they lie on a line."""
    si, sj, step = frame[SLOPE_I], frame[SLOPE_J], frame[STEP_I]
    if front < 0:
        return 0, 0, 0
    if sj == 0:
        i = front // si
        return i, 0, columns if i * si == front and i < rows else 0
    if si == 0:
        j = front // sj
        return 0, j, rows if j * sj == front and j < columns else 0
    beyond = front - sj * (columns - 1)
    i = (beyond + si - 1) // si if beyond > 0 else 0
    last = min(rows - 1, front // si)
    if sj == 1:
        return i, front - si * i, max(0, last - i + 1)
    while i <= last and (front - si * i) % sj != 0:
        i += 1
    return i, (front - si * i) // sj, max(0, (last - i) // step + 1)


@compiled
@no_type_check
def locate(frame, words, at, i, j, count, where):
    """List the addresses of an instruction's operands, points times batch; return False beyond the end of a table.

    The last address of each is repeated up to a multiple of four.
    """
    di, dj, batch = frame[STEP_I], frame[STEP_J], frame[BATCH]
    for t in range(words[at + COUNT]):
        operand, to = words[at + FIRST] + t * OPERAND, t * frame[MANY]
        rows, columns, fill = words[operand + ROWS], words[operand + COLUMNS], words[operand + FILL]
        base, step, stride = words[operand + BASE], words[operand + STEP], words[operand + STRIDE]
        y, x, whole = i - words[operand + UP], j - words[operand + LEFT], words[operand + SLOTS] * step
        place, further = (y * columns + x) * step, words[operand + FURTHER] * step
        if not 0 <= place < whole and whole > 0:
            place %= whole
        below, right = y + (count - 1) * di, x + (count - 1) * dj
        inside = 0 <= y < rows and 0 <= x < columns and 0 <= below < rows and 0 <= right < columns
        if fill < 0 and not inside:
            return False
        for _ in range(count):
            address, apart = base + place, stride
            if not inside and not (0 <= y < rows and 0 <= x < columns):
                address, apart = fill, 0
            for _ in range(batch):
                where[to] = address
                address += apart
                to += 1
            y += di
            x += dj
            place += further
            if place >= whole:
                place -= whole
        for _ in range(-(count * batch) % 4):
            where[to] = where[to - 1]
            to += 1
    return True


@compiled
@no_type_check
def pointwise(memory, words, at, where, many, rows):
    """Apply an elementwise function to operands that pass through functions of their own first."""
    op, count, parameter = words[at + OP], words[at + COUNT] - 1, memory[words[at + P0]]
    for r in range(rows):
        for c in range(0, words[at + P1], lanes(memory)):
            first = second = third = fourth = load(memory, where[many + r] + c)
            for t in range(1, count + 1):
                value = load(memory, where[t * many + r] + c)
                if words[at + BEFORE + t - 1] != COPY:
                    value = unary(words[at + BEFORE + t - 1], value, parameter)
                if t == 1:
                    first = value
                elif t == 2:
                    second = value
                elif t == 3:
                    third = value
                else:
                    fourth = value
            value = unary(op, first, parameter) if count == 1 else combine(op, first, second, third, fourth)
            store(memory, where[r] + c, value)


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
                variance += (memory[source + c] - mean) * (memory[source + c] - mean)
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


@once
@no_type_check
def perform(frame, memory, words, at, where, rows, last):
    """Carry out one instruction on rows; return False for a class without an embedding."""
    op, many = words[at + OP], frame[MANY]
    if op == CONTRACT:
        if rows == 1 and words[at + P2] > 2:
            multiply_row(memory, words, at, where, many)
        else:
            multiply_rows(memory, words, at, where, many, rows)
        if words[at + AFTER] != COPY:
            pass_through(memory, words, at, where, rows)
    elif op >= COPY:
        pointwise(memory, words, at, where, many, rows)
    elif op == LOOKUP:
        return look_up(memory, words, at, where, many, rows)
    elif op == GROUPED:
        grouped(memory, words, at, where, many, rows)
    elif op == ATTEND:
        attend(memory, words, at, where, many, frame[BATCH], last, frame[SCRATCH])
    elif op == SUM:
        add_up(memory, words, at, where, many, rows)
    elif op < CONCAT:
        standardise(memory, words, at, where, many, rows, frame[SCRATCH])
    else:
        move(memory, words, at, where, many, rows)
    return True


@compiled
@no_type_check
def draw_front(
    frame, memory, words, i, j, count, symbols, kept, uniforms, temperature, p, chosen
):  # fmt: skip
    """Draw the symbols of one front and store them as inputs; return the place of a logit that is not finite, or -1.

    One channel is the logit of 1 against 0.
    """
    source, target = frame[OUTPUT], frame[INPUT]
    bad, classes, channels = -1, len(chosen), words[source + CHANNELS]
    for _ in range(count):
        place = i * frame[WIDTH] + j
        read = ((i - 1 + frame[LAG]) * words[source + COLUMNS] + j) % words[source + SLOTS]
        read = words[source + BASE] + read * words[source + STEP]
        write = words[target + BASE] + (place % words[target + SLOTS]) * words[target + STEP]
        for b in range(frame[BATCH]):
            if not kept[b, place]:
                p[0] = 0
                for c in range(channels):
                    p[classes - channels + c] = memory[read + b * words[source + STRIDE] + c]
                drawn = draw(p, classes, uniforms[b, place], temperature, frame[TOP_K], chosen)
                if drawn < 0:
                    bad = place
                else:
                    symbols[b, place] = drawn
            memory[write + b * words[target + STRIDE]] = symbols[b, place]
        i += frame[STEP_I]
        j += frame[STEP_J]
    return bad


@compiled
@no_type_check
def exchange(frame, memory, words, operand, i, j, count, values):
    """Copy a front's inputs from `values` (places from the origin on, batch, channels), or its outputs into them."""
    for _ in range(count):
        place, number = i * frame[WIDTH] + j - frame[ORIGIN], i * words[operand + COLUMNS] + j
        at = words[operand + BASE] + (number % words[operand + SLOTS]) * words[operand + STEP]
        for b in range(frame[BATCH]):
            for c in range(words[operand + CHANNELS]):
                if operand == frame[INPUT]:
                    memory[at + c] = values[place, b, c]
                else:
                    values[place, b, c] = memory[at + c]
            at += words[operand + STRIDE]
        i += frame[STEP_I]
        j += frame[STEP_J]


@nb.njit(cache=True, error_model="numpy", fastmath={"contract"}, no_cfunc_wrapper=True, _nrt=False)
@no_type_check
def execute(frame, memory, words, where, symbols, kept, uniforms, temperature, p, chosen, given, found):
    """Run the fronts of a frame (its words: see `instructions`).

    Before each one the inputs of its points are copied from `given`, and after it their outputs into `found`, if these
    hold any; else their symbols are drawn and stored as inputs. A grid without points has none.

    Returns
    -------
    status, where
        0; or 1 and the place of a logit that is not finite; or 2 and the front where a table or an embedding ended.
    """
    for front in range(frame[BEGIN], frame[END] + 1):
        i, j, count = due(frame, front, frame[HEIGHT], frame[WIDTH])
        if count > 0 and len(given):
            exchange(frame, memory, words, frame[INPUT], i, j, count, given)
        elif count > 0:
            bad = draw_front(frame, memory, words, i, j, count, symbols, kept, uniforms, temperature, p, chosen)
            if bad >= 0:
                return 1, bad
        for at in range(0, frame[INSTRUCTIONS] * INSTRUCTION, INSTRUCTION):
            result = words[at + FIRST]
            y, x, points = due(frame, front - words[at + DELAY], words[result + ROWS], words[result + COLUMNS])
            if points <= 0:
                continue
            if not locate(frame, words, at, y, x, points, where):
                return 2, front
            if not perform(frame, memory, words, at, where, points * frame[BATCH], y):
                return 2, front
        if count > 0 and len(given):
            exchange(frame, memory, words, frame[OUTPUT], i, j, count, found)
    return 0, 0
