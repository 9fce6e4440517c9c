"""Which points are due, and where in memory their numbers stand.

(`no_type_check` keeps the tests' run-time checks out of what numba compiles.)
"""

from typing import no_type_check

from leadline.sampling.compiled.instructions import (
    ALSO,
    BASE,
    BATCH,
    COLUMNS,
    COUNT,
    FILL,
    FIRST,
    FURTHER,
    LEFT,
    LINEAR,
    MANY,
    NEW,
    OPERAND,
    PATTERN,
    ROWS,
    SLOPE_I,
    SLOPE_J,
    SLOTS,
    STEP,
    STEP_I,
    STEP_J,
    STRIDE,
    UP,
)
from leadline.sampling.compiled.kernels import compiled, once
from leadline.sampling.compiled.lanes import WORDS, get, larger, place_words, put, smaller


@compiled
@no_type_check
def due(frame, front, last, rows, columns):
    """Return the first point (i, j) of a range that is due in fronts, and how many are: they lie on a line.

    There are several fronts, up to the last one, on a grid of one axis alone.
    """
    si, sj, step = get(frame, SLOPE_I), get(frame, SLOPE_J), get(frame, STEP_I)
    if get(frame, LINEAR):
        i = larger(0, front)
        return i, 0, larger(0, smaller(rows - 1, last) - i + 1)
    if front < 0:
        return 0, 0, 0
    if sj == 0:
        i = front // si
        return i, 0, columns if i * si == front and i < rows else 0
    if si == 0:
        j = front // sj
        return 0, j, rows if j * sj == front and j < columns else 0
    if front % (sj // step) != 0:  # no front of points: between two symbols of a point
        return 0, 0, 0
    beyond = front - sj * (columns - 1)
    i = (beyond + si - 1) // si if beyond > 0 else 0
    last = smaller(rows - 1, front // si)
    if sj == 1:
        return i, front - si * i, larger(0, last - i + 1)
    while i <= last and (front - si * i) % sj != 0:
        i += 1
    return i, (front - si * i) // sj, larger(0, (last - i) // step + 1)


@once
@no_type_check
def locate(frame, words, at, i, j, count, where):
    """List the addresses of an instruction's operands, points times batch; return False beyond the end of a table."""
    many, rows = get(frame, MANY), count * get(frame, BATCH)
    for t in range(get(words, at + COUNT) + (get(words, at + ALSO) > 0)):
        operand, to = get(words, at + FIRST) + t * OPERAND, t * many
        pattern = to if get(words, operand + PATTERN) < 0 else get(words, operand + PATTERN) * many
        fill = get(words, operand + FILL)
        if get(words, operand + NEW):
            inside = spread_out(frame, words, operand, i, j, count, where, pattern)
            if fill < 0 and not inside:
                return False
        for r in range(0, rows, WORDS):
            place_words(where, to + r, pattern + r, get(words, operand + BASE), fill)
    return True


@compiled
@no_type_check
def spread_out(frame, words, operand, i, j, count, where, to):
    """List how far behind its base an operand stands at each point, for each sample: -1 beyond its range.

    Return whether all points are within it.
    """
    di, dj, batch = get(frame, STEP_I), get(frame, STEP_J), get(frame, BATCH)
    rows, columns, stride = get(words, operand + ROWS), get(words, operand + COLUMNS), get(words, operand + STRIDE)
    step = get(words, operand + STEP)
    y, x, whole = i - get(words, operand + UP), j - get(words, operand + LEFT), get(words, operand + SLOTS) * step
    place, further = (y * columns + x) * step, get(words, operand + FURTHER) * step
    if not 0 <= place < whole and whole > 0:
        place %= whole
    below, right = y + (count - 1) * di, x + (count - 1) * dj
    inside = 0 <= y < rows and 0 <= x < columns and 0 <= below < rows and 0 <= right < columns
    if inside and batch == 1 and count > WORDS:
        spread_along(where, to, place, further, whole, count)
        return True
    for _ in range(count):
        here, apart = place, stride
        if not inside and not (0 <= y < rows and 0 <= x < columns):
            here, apart = -1, 0
        for _ in range(batch):
            put(where, to, here)
            here += apart
            to += 1
        y += di
        x += dj
        place += further
        if place >= whole:
            place -= whole
    return inside


@once
@no_type_check
def spread_along(where, to, place, further, whole, count):
    """List places that follow one another around a ring, run by run."""
    end = to + count
    while to < end:
        run = end - to
        if further > 0:
            run = smaller(run, (whole - place + further - 1) // further)
        for n in range(run):
            put(where, to + n, place + n * further)
        to += run
        place += run * further - whole
