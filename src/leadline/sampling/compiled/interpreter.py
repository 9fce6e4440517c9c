"""The interpreter of programs: one loop over fronts and instructions, compiled once by numba and kept in its cache.

An instruction finds the addresses of its operands and of its result at every point that is due, and works on them
where they stand: nothing is gathered or scattered. What is due, and how operands lie, is found once for instructions
that follow one another (`sharing`, `locating`). On a line, what is in no circle is worked out for a block of points at
once. Numba's cache looks at this file alone: after a change in another module of the compiled path, save this one too.
(`no_type_check` keeps the tests' run-time checks out of what numba compiles.)
"""

from typing import no_type_check

import numba as nb

from leadline.sampling.compiled.instructions import (
    AFTER,
    BASE,
    BATCH,
    BEGIN,
    BLOCK,
    CALLED,
    CHANNELS,
    CLASSES,
    COLUMNS,
    DELAY,
    DELAYS,
    DUE,
    DUE_I,
    DUE_J,
    END,
    FED,
    FIRST,
    FRESH,
    HEIGHT,
    INPUT,
    INSIDE,
    INSTRUCTION,
    INSTRUCTIONS,
    LAG,
    MANY,
    OP,
    OPERAND,
    ORIGIN,
    OUTPUT,
    P0,
    P2,
    ROWS,
    SCRATCH,
    SLOTS,
    STEP,
    STEP_I,
    STEP_J,
    STRIDE,
    TOP_K,
    UNTIL,
    WIDTH,
    Op,
)
from leadline.sampling.compiled.keeping import kept
from leadline.sampling.compiled.kernels import COPY, RELU, compiled, draw, once
from leadline.sampling.compiled.lanes import call_back, get, larger, numbers, put, smaller
from leadline.sampling.compiled.locating import due, locate
from leadline.sampling.compiled.products import multiply_row, multiply_rows, pass_through
from leadline.sampling.compiled.rules import attend, fold, grouped, look_up, move, pointwise, standardise, weigh

CONTRACT, GROUPED, LOOKUP, ATTEND, LOG_SOFTMAX, RMS_NORM, FOLD, CALL = map(
    int, (Op.CONTRACT, Op.GROUPED, Op.LOOKUP, Op.ATTEND, Op.LOG_SOFTMAX, Op.RMS_NORM, Op.FOLD, Op.CALL)
)


@once
@no_type_check
def perform(frame, memory, narrow, words, at, where, rows, place):
    """Carry out one instruction on rows; return False for a class without an embedding."""
    op, many = get(words, at + OP), get(frame, MANY)
    if op == CONTRACT:
        if rows == 1 and get(words, at + P2) > 2:
            multiply_row(memory, narrow, words, at, where, many)
        else:
            multiply_rows(memory, narrow, words, at, where, many, rows)
        if get(words, at + AFTER) > RELU:
            pass_through(memory, words, at, where, rows)
    elif op >= COPY:
        pointwise(memory, words, at, where, many, rows)
    elif op == LOOKUP:
        return look_up(memory, words, at, where, many, rows)
    elif op == GROUPED:
        grouped(memory, words, at, where, many, rows)
    elif op == ATTEND:
        attend(memory, words, at, where, many, rows, get(frame, BATCH), place, get(frame, SCRATCH))
    elif op == FOLD:
        fold(memory, words, at, where, many, rows)
    elif op <= LOG_SOFTMAX:
        weigh(memory, words, at, where, many, rows, get(frame, SCRATCH))
    elif op <= RMS_NORM:
        standardise(memory, words, at, where, many, rows)
    else:
        move(memory, words, at, where, many, rows)
    return True


@once
@no_type_check
def carry_out(frame, memory, narrow, words, at, front, last, where):
    """Carry out one instruction at the points that are due in fronts; return what `execute` does."""
    result, delay = get(words, at + FIRST), get(words, at + DELAY)
    if get(words, at + FRESH):
        i, j, count = due(frame, front - delay, last - delay, get(words, result + ROWS), get(words, result + COLUMNS))
        put(frame, DUE_I, i)
        put(frame, DUE_J, j)
        put(frame, DUE, count)
    i, j, count = get(frame, DUE_I), get(frame, DUE_J), get(frame, DUE)
    if count <= 0:
        return 0
    if get(words, at + OP) == CALL:
        return call_back(get(frame, CALLED), get(words, at + P0), i, j, count)
    if not locate(frame, words, at, i, j, count, where):
        return 2
    return 0 if perform(frame, memory, narrow, words, at, where, count * get(frame, BATCH), i) else 2


@once
@no_type_check
def advance(frame, memory, narrow, words, front, last, where):
    """Run the program over fronts: each instruction over all of them, a circle of instructions over one by one."""
    status = 0
    at = last - last  # nothing, but no literal: everything that it is given to would be compiled for that one too
    while at < get(frame, INSTRUCTIONS) * INSTRUCTION and status == 0:
        until = get(words, at + UNTIL)
        together = 0 if until > 0 else last - front
        until = larger(until, at + INSTRUCTION)
        begin = front
        while begin <= last and status == 0:
            now = at
            while now < until and status == 0:
                status = carry_out(frame, memory, narrow, words, now, begin, begin + together, where)
                now += INSTRUCTION
            begin += together + 1
        at = until
    return status


@compiled
@no_type_check
def draw_front(frame, memory, words, inside, i, j, count, symbols, kept, uniforms, temperature, p, chosen):
    """Draw the symbols of one front and store them as inputs; return the place of a logit that is not finite, or -1.

    Of the symbols within a point it is one, number `inside`. One channel is the logit of 1 against 0.
    """
    source, target = get(frame, OUTPUT) + inside * OPERAND, get(frame, INPUT) + inside * OPERAND
    places = get(frame, HEIGHT) * get(frame, WIDTH)
    bad, classes, channels = -1, get(frame, CLASSES), get(words, source + CHANNELS)
    for _ in range(count):
        place = i * get(frame, WIDTH) + j
        read = ((i - 1 + get(frame, LAG)) * get(words, source + COLUMNS) + j) % get(words, source + SLOTS)
        read = get(words, source + BASE) + read * get(words, source + STEP)
        write = get(words, target + BASE) + (place % get(words, target + SLOTS)) * get(words, target + STEP)
        for b in range(get(frame, BATCH)):
            symbol = (b * places + place) * get(frame, INSIDE) + inside
            if not get(kept, symbol):
                put(p, 0, 0)
                for c in range(channels):
                    put(p, classes - channels + c, get(memory, read + b * get(words, source + STRIDE) + c))
                drawn = draw(p, classes, get(uniforms, symbol), temperature, get(frame, TOP_K), chosen)
                if drawn < 0:
                    bad = place * get(frame, INSIDE) + inside
                else:
                    put(symbols, symbol, drawn)
            put(memory, write + b * get(words, target + STRIDE), get(symbols, symbol))
        i += get(frame, STEP_I)
        j += get(frame, STEP_J)
    return bad


@compiled
@no_type_check
def exchange(frame, memory, words, operand, i, j, count, values):
    """Copy a front's inputs from `values` (places from the origin on, batch, channels), or its outputs into them."""
    channels = get(words, operand + CHANNELS)
    for _ in range(count):
        place, number = i * get(frame, WIDTH) + j - get(frame, ORIGIN), i * get(words, operand + COLUMNS) + j
        at = get(words, operand + BASE) + (number % get(words, operand + SLOTS)) * get(words, operand + STEP)
        place *= get(frame, BATCH) * channels
        for _ in range(get(frame, BATCH)):
            for c in range(channels):
                if operand == get(frame, INPUT):
                    put(memory, at + c, get(values, place + c))
                else:
                    put(values, place + c, get(memory, at + c))
            at += get(words, operand + STRIDE)
            place += channels
        i += get(frame, STEP_I)
        j += get(frame, STEP_J)


@kept
@nb.njit(error_model="numpy", fastmath={"contract"}, no_cfunc_wrapper=True, _nrt=False)
@no_type_check
def execute(frame, memory, narrow, words, where, symbols, kept, uniforms, temperature, p, chosen, given, found):
    """Run the fronts of a frame (its words: see `instructions`), a block at a time.

    Before each one the inputs of its points are copied from `given`, and after it their outputs into `found`, if these
    hold any; else their symbols are drawn and stored as inputs. A grid without points has none.

    Returns
    -------
    status, where
        0; or 1 and the place of a logit that is not finite; or 2 and the front where a table or an embedding ended; or
        3 and the front where a function that was called back has failed.
    """
    frame, memory, narrow, words = numbers(frame), numbers(memory), numbers(narrow), numbers(words)
    where, symbols, kept, uniforms = numbers(where), numbers(symbols), numbers(kept), numbers(uniforms)
    p, chosen, given, found = numbers(p), numbers(chosen), numbers(given), numbers(found)
    front = get(frame, BEGIN)
    while front <= get(frame, END):
        last = smaller(front + get(frame, BLOCK) - 1, get(frame, END))
        i, j, count = due(frame, front, last, get(frame, HEIGHT), get(frame, WIDTH))
        if count > 0 and get(frame, FED):
            exchange(frame, memory, words, get(frame, INPUT), i, j, count, given)
        elif not get(frame, FED):
            for inside in range(get(frame, INSIDE)):
                at = front - get(words, get(frame, DELAYS) + inside)
                i, j, count = due(frame, at, at, get(frame, HEIGHT), get(frame, WIDTH))
                if count <= 0:
                    continue
                bad = draw_front(
                    frame, memory, words, inside, i, j, count, symbols, kept, uniforms, temperature, p, chosen
                )
                if bad >= 0:
                    return 1, bad
        status = advance(frame, memory, narrow, words, front, last, where)
        if status != 0:
            return status, front
        if count > 0 and get(frame, FED):
            exchange(frame, memory, words, get(frame, OUTPUT), i, j, count, found)
        front = last + 1
    return 0, 0
