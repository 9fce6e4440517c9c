"""The language of programs: what the assembler writes and the interpreter reads."""

from enum import IntEnum


class Op(IntEnum):
    """Instructions; from COPY on they work number by number."""

    CONTRACT = 0
    GROUPED = 1
    LOOKUP = 2
    ATTEND = 3
    SOFTMAX = 4
    LOG_SOFTMAX = 5
    LAYER_NORM = 6
    RMS_NORM = 7
    FOLD = 8
    CONCAT = 9
    SELECT = 10
    CALL = 11  # torch computes it
    COPY = 20
    RELU = 21
    TANH = 22
    SIGMOID = 23
    SILU = 24
    GELU = 25
    GELU_TANH = 26
    EXP = 27
    NEG = 28
    SQUARE = 29
    LEAKY = 30
    ELU = 31
    SQRT = 32
    RSQRT = 33
    LOG = 34
    SOFTPLUS = 35
    ABS = 36
    FLOOR = 37
    CEIL = 38
    ROUND = 39
    TRUNC = 40
    SIGN = 41
    SINGLE = 42  # rounded to float32
    ERF = 43
    EXPM1 = 44
    LOG1P = 45
    SIN = 46
    COS = 47
    ADD = 60
    SUB = 61
    RSUB = 62
    MUL = 63
    DIV = 64
    MAXIMUM = 65
    MINIMUM = 66
    LT = 67
    LE = 68
    EQ = 69
    NE = 70
    POW = 71
    AFFINE = 80
    BLEND = 81
    ADDMUL = 82
    CHOOSE = 83
    MULADD = 84


class Fold(IntEnum):
    """What a fold makes of the numbers along the middle of its shape."""

    SUM = 0
    PRODUCT = 1
    LARGEST = 2
    LEAST = 3
    SPREAD = 4  # the sum of squares of what is left without the mean


# Words of a frame, which says what is run: fronts, and how many may run together; the grid whose points are fed or
# drawn, how fronts lie on it (the linear form, and the step from one point to the next; or whether it is a line), what
# the program needs, and which points are due. Symbols that are drawn within a point are so many `INSIDE`; their
# outputs, and their inputs, follow one another as operands, and their delays as words, from `DELAYS` on.
(
    BEGIN, END, BLOCK, HEIGHT, WIDTH, LINEAR, SLOPE_I, SLOPE_J, STEP_I, STEP_J, INSTRUCTIONS, BATCH, MANY, SCRATCH,
    OUTPUT, INPUT, LAG, CLASSES, TOP_K, FED, ORIGIN, CALLED, DUE_I, DUE_J, DUE, INSIDE, DELAYS,
) = range(27)  # fmt: skip
FRAME = 27

# Words of an operand: where the number of a point's first channel stands. For sample b, the point of number
# n = (i - up) · columns + j - left has it at ``base + (n mod slots) · step + b · stride``, and beyond the range at
# `fill` (-1: nowhere). The next point of a front stands `further` slots on. Many operands lie alike behind their bases:
# how they do is found once for all, by the one that is `new`, and kept in `pattern` (-1: it is needed once).
BASE, STEP, STRIDE, SLOTS, ROWS, COLUMNS, UP, LEFT, FILL, CHANNELS, FURTHER, PATTERN, NEW = range(13)
OPERAND = 13

# Words of an instruction: the place of the first of its operands, which is its result, and their number; the place
# after the circle of instructions that begins here (0: none does); the function that the result passes through; the
# operand that gets it rectified too (0: none does); whether other points are due than for the one before it; what its
# rule needs; and the functions that its operands pass through first.
OP, DELAY, FIRST, COUNT, UNTIL, AFTER, ALSO, FRESH, WEIGHT, BIAS, SCALE, P0, P1, P2, BEFORE = range(15)
INSTRUCTION = 19  # each of four operands may pass through a function
