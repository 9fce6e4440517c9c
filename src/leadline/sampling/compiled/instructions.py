"""The language of programs: what the assembler writes and the interpreter reads."""

from enum import IntEnum


class Op(IntEnum):
    """Instructions; from COPY on they work number by number."""

    CONTRACT = 0
    GROUPED = 1
    LOOKUP = 2
    ATTEND = 3
    SOFTMAX = 4
    LAYER_NORM = 5
    SUM = 6
    CONCAT = 7
    SELECT = 8
    COPY = 10
    RELU = 11
    TANH = 12
    SIGMOID = 13
    SILU = 14
    GELU = 15
    GELU_TANH = 16
    EXP = 17
    NEG = 18
    SQUARE = 19
    LEAKY = 20
    ELU = 21
    SQRT = 22
    RSQRT = 23
    LOG = 24
    SOFTPLUS = 25
    ADD = 30
    SUB = 31
    RSUB = 32
    MUL = 33
    DIV = 34
    MAXIMUM = 35
    MINIMUM = 36
    AFFINE = 40
    BLEND = 41
    ADDMUL = 42
    MULADD = 43


class Part(IntEnum):
    """Kinds of steps of attention, and of what they read."""

    PRODUCTS = 0
    FUNCTION = 1
    ACROSS = 2
    QUERY = 10
    KEYS = 11
    TABLE = 12
    BLOCK = 13


# Words of a frame, which says what is run: fronts, the grid whose points are fed or drawn, how fronts lie on it (the
# linear form, and the step from one point to the next), and what the program needs.
(
    BEGIN, END, HEIGHT, WIDTH, SLOPE_I, SLOPE_J, STEP_I, STEP_J, INSTRUCTIONS, BATCH, MANY, SCRATCH, OUTPUT, INPUT,
    LAG, CLASSES, TOP_K, FED, ORIGIN,
) = range(19)  # fmt: skip
FRAME = 19

# Words of an operand: where the number of a point's first channel stands. For sample b, the point of number
# n = (i - up) · columns + j - left has it at ``base + (n mod slots) · step + b · stride``, and beyond the range at
# `fill` (-1: nowhere). The next point of a front stands `further` slots on.
BASE, STEP, STRIDE, SLOTS, ROWS, COLUMNS, UP, LEFT, FILL, CHANNELS, FURTHER = range(11)
OPERAND = 11

# Words of an instruction: the place of the first of its operands, which is its result, and their number; the function
# that the result passes through; what its rule needs; and the functions that its operands pass through first.
OP, DELAY, FIRST, COUNT, AFTER, WEIGHT, BIAS, P0, P1, P2, BEFORE = range(11)
INSTRUCTION = 15
