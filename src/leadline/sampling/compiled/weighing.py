"""The instruction for attention of any form: its steps one after the other, each on all keys of one channel at a time.

What a step makes stands in a block of scratch memory, its channels `length` numbers apart. Every operand is a number at
some place for the first key, and so many numbers further on for the next; it is laid out in a row before it is worked
on. (`no_type_check` keeps the tests' run-time checks out of what numba compiles.)
"""

from typing import no_type_check

from leadline.sampling.compiled.instructions import (
    BASE,
    CHANNELS,
    FIRST,
    OPERAND,
    P0,
    P1,
    P2,
    STEP,
    STRIDE,
    Op,
    Part,
)
from leadline.sampling.compiled.kernels import COPY, combine, compiled_sums, normalise, once, unary
from leadline.sampling.compiled.lanes import get, lanes, larger, load, put, smaller, store

PRODUCTS, ACROSS = int(Part.PRODUCTS), int(Part.ACROSS)
QUERY, KEYS, TABLE = int(Part.QUERY), int(Part.KEYS), int(Part.TABLE)
SOFTMAX, SUM, MAXIMUM = int(Op.SOFTMAX), int(Op.SUM), int(Op.MAXIMUM)
# Words of a program: how many steps, how long a block's rows are; the weights' block, how many heads they have, the
# place of their channels, and the number of the operand that holds values (0: none).
COUNT_OF_STEPS, LENGTH, WEIGHTS, HEADS, OF_HEADS, VALUES, HEAD = range(7)
# Words of a step; its operands follow.
KIND, FUNCTION, STEP_CHANNELS, BLOCK, PARAMETER, SINGLE, MORE, INPUTS, STEP_HEAD = range(9)
# Words of an operand: what it is, the function that it passes through, where it stands, how far apart channels, queries
# and keys are, which operand of the instruction it reads, and where its channels are listed.
MODE, BEFORE, AT, CHANNEL_STRIDE, QUERY_STRIDE, KEY_STRIDE, WHICH, LIST, INPUT = range(9)


@once
@no_type_check
def lay_out(memory, words, at, where, many, operand, c, b, first, n, last, scratch, to):
    """Write what an operand is for n keys from the first on, in one channel, into a row."""
    mode, which, apart = get(words, operand + MODE), get(words, operand + WHICH), get(words, operand + KEY_STRIDE)
    channel = get(words, get(words, operand + LIST) + c)
    source = get(words, operand + AT) + channel * get(words, operand + CHANNEL_STRIDE)
    if mode == QUERY:
        source = get(where, which * many + b) + channel
    elif mode == KEYS:
        ring = get(words, at + FIRST) + which * OPERAND
        apart = get(words, ring + STEP)
        source = get(words, ring + BASE) + b * get(words, ring + STRIDE) + first * apart + channel
    elif mode == TABLE:
        source += last * get(words, operand + QUERY_STRIDE) + first * apart
    else:
        source += scratch
    for s in range(n):
        put(memory, to + s, get(memory, source + s * apart))


@once
@no_type_check
def multiply_keys(memory, words, at, where, many, step, b, first, n, scratch, length):
    """Multiply a query by n keys, head by head, in the numbers' own precision."""
    heads, scale = get(words, step + STEP_CHANNELS), get(memory, get(words, step + PARAMETER))
    query = get(where, get(words, step + STEP_HEAD + WHICH) * many + b)
    ring = get(words, at + FIRST) + get(words, step + STEP_HEAD + INPUT + WHICH) * OPERAND
    each, apart = get(words, ring + CHANNELS) // heads, get(words, ring + STEP)
    key = get(words, ring + BASE) + b * get(words, ring + STRIDE) + first * apart
    to = scratch + get(words, step + BLOCK)
    for h in range(heads):
        for s in range(n):
            source = key + s * apart + h * each
            total = get(memory, query + h * each) * get(memory, source)
            for c in range(1, each):
                total += get(memory, query + h * each + c) * get(memory, source + c)
            put(memory, to + h * length + s, total * scale)


@once
@no_type_check
def put_together(memory, function, row, n):
    """Replace the first of n numbers by their sum, or by the largest or least of them."""
    total = get(memory, row)
    for s in range(1, n):
        value = get(memory, row + s)
        if function == SUM:
            total += value
        elif function == MAXIMUM:
            total = larger(value, total)
        else:
            total = smaller(value, total)
    put(memory, row, total)


@once
@no_type_check
def take_step(memory, words, at, where, many, step, b, first, n, last, scratch, length):
    """Carry out a step that is no product."""
    function, inputs, row = get(words, step + FUNCTION), get(words, step + INPUTS), scratch
    across, more = get(words, step + KIND) == ACROSS, get(words, step + MORE)
    count = 1 if get(words, step + SINGLE) and not across else n
    parameter, line = get(memory, get(words, step + PARAMETER)), lanes(memory)
    for c in range(get(words, step + STEP_CHANNELS)):
        to = scratch + get(words, step + BLOCK) + c * length
        for t in range(inputs):
            operand, beside = step + STEP_HEAD + t * INPUT, across and t == 1  # those beside have no positions
            for m in range(more if beside else 1):
                to_row = row + (n + m if beside else t * length)
                channel, long = c * more + m if beside else c, 1 if beside else count
                lay_out(memory, words, at, where, many, operand, channel, b, first, long, last, scratch, to_row)
            before = get(words, operand + BEFORE)
            if before != COPY:
                for s in range(row + t * length, row + t * length + count, line):
                    store(memory, s, unary(before, load(memory, s), parameter))
        if across and function == SOFTMAX:
            normalise(memory, row, n + more)
        elif across:
            put_together(memory, function, row, n + more)
        for s in range(0, count, line):
            value = load(memory, row + s)
            if not across and inputs > 1:
                second = load(memory, row + length + s)
                third = load(memory, row + smaller(2, inputs - 1) * length + s)
                fourth = load(memory, row + smaller(3, inputs - 1) * length + s)
                value = combine(function, value, second, third, fourth)
            store(memory, to + s, value)


@once
@no_type_check
def weigh(memory, words, at, where, program, b, first, n, scratch, length):
    """Sum the values of n keys up with their weights; without values, the weights are the result."""
    heads, to = get(words, program + HEADS), get(where, b)
    block, channels = scratch + get(words, program + WEIGHTS), get(words, program + OF_HEADS)
    if get(words, program + VALUES) == 0:
        for h in range(heads):
            put(memory, to + h, get(memory, block + get(words, channels + h) * length))
        return
    ring = get(words, at + FIRST) + get(words, program + VALUES) * OPERAND
    out, apart = get(words, ring + CHANNELS) // heads, get(words, ring + STEP)
    value = get(words, ring + BASE) + b * get(words, ring + STRIDE) + first * apart
    for h in range(heads):
        weight = block + get(words, channels + h) * length
        for c in range(out):
            put(memory, to + c, 0)
        for s in range(n):
            share, source = get(memory, weight + s), value + s * apart + h * out
            for c in range(out):
                put(memory, to + c, get(memory, to + c) + share * get(memory, source + c))
        to += out


@compiled_sums
@no_type_check
def attend(memory, words, at, where, many, batch, last, scratch):
    """Attend from one new point to all that came before it, step by step."""
    program, lead, window = get(words, at + P0), get(words, at + P1), get(words, at + P2)
    first = larger(0, last + lead - window + 1) if window else 0
    n, length = last + lead + 1 - first, get(words, program + LENGTH)
    for b in range(batch):
        step = program + HEAD
        for _ in range(get(words, program + COUNT_OF_STEPS)):
            if get(words, step + KIND) == PRODUCTS:
                multiply_keys(memory, words, at, where, many, step, b, first, n, scratch, length)
            else:
                take_step(memory, words, at, where, many, step, b, first, n, last, scratch, length)
            step += STEP_HEAD + get(words, step + INPUTS) * INPUT
        weigh(memory, words, at, where, program, b, first, n, scratch, length)
