"""The interpreter of programs: one loop over fronts and instructions, compiled once by numba and kept in its cache.

Values of a point are kept as (batch, channels). An instruction gathers its operands into scratch rows (points times
batch), works on those, and scatters the result. Numba's cache looks at this file alone: after a change in `kernels`,
save this one too. (`no_type_check` keeps the tests' run-time checks out of what numba compiles.)
"""

from __future__ import annotations

from typing import no_type_check

import numba as nb
import numpy as np

from leadline.sampling.kernels import (
    ATTEND,
    CONCAT,
    CONTRACT,
    COPY,
    LOOKUP,
    SOFTMAX,
    SUM,
    apply,
    draw,
    multiply,
    normalise,
)

_FAST = {"contract", "reassoc", "nsz"}


@nb.njit(cache=True, error_model="numpy")
@no_type_check
def due(front, slope, rows, columns, pi, pj):
    """List the points of a range that are due in a front; return how many."""
    if front < 0:
        return 0
    count = 0
    first = max(0, -((slope[1] * (columns - 1) - front) // slope[0]))
    last = min(rows - 1, front // slope[0])
    for i in range(first, last + 1):
        rest = front - slope[0] * i
        if rest % slope[1] == 0 and 0 <= rest // slope[1] < columns:
            pi[count] = i
            pj[count] = rest // slope[1]
            count += 1
    return count


@nb.njit(cache=True, error_model="numpy", fastmath={"contract"})
@no_type_check
def gather(tap, variables, index, numbers, state, batch, pi, pj, count, out, at, stride):
    """Copy one operand to rows of `out` (from column `at`); return False where a table ends."""
    channels, kind, offset = tap[3], tap[7], tap[8]
    if kind == 0:
        v = variables[tap[0]]
        base, width, slots, rows, columns = v[0] * batch, v[1], v[2], v[3], v[4]
        for n in range(count):
            i, j = pi[n] - tap[1], pj[n] - tap[2]
            inside = 0 <= i < rows and 0 <= j < columns
            where = base + ((i * columns + j) % slots) * batch * width
            for b in range(batch):
                to = (n * batch + b) * stride + at
                if not inside:
                    out[to : to + channels] = numbers[tap[6]]
                elif tap[4] >= 0:
                    source = where + b * width + tap[4]
                    for c in range(channels):
                        out[to + c] = state[source + c]
                else:
                    for c in range(channels):
                        out[to + c] = state[where + b * width + index[tap[5] + c]]
        return True
    for n in range(count):
        place = 0
        if kind == 2:
            if pi[n] >= tap[9]:
                return False
            place = (pi[n] * tap[0] + pj[n]) * channels
        for b in range(batch):
            to = (n * batch + b) * stride + at
            for c in range(channels):
                out[to + c] = numbers[offset + place + c]
    return True


@nb.njit(cache=True, error_model="numpy", fastmath={"contract"})
@no_type_check
def scatter(v, state, batch, pi, pj, count, values):
    """Store rows of results in the ring of a variable."""
    size = batch * v[1]
    for n in range(count):
        where = v[0] * batch + ((pi[n] * v[4] + pj[n]) % v[2]) * size
        for c in range(size):
            state[where + c] = values[n * size + c]


@nb.njit(cache=True, error_model="numpy", fastmath={"contract"})
@no_type_check
def contract(row, width, numbers, rows, x, y):
    """Multiply rows of taps, which stand side by side in x, by the weights: group by group."""
    groups, outputs = row[6], row[7]
    total = groups * outputs
    for r in range(rows):
        for m in range(total):
            y[r * total + m] = numbers[row[5] + m] if row[5] >= 0 else 0
    if groups == 1:
        multiply(x, rows, width, numbers, row[4], outputs, y)
        return
    each = width // (groups * max(1, row[3]))
    for r in range(rows):
        for g in range(groups):
            for t in range(row[3]):
                for q in range(each):
                    a = x[r * width + (t * groups + g) * each + q]
                    w = row[4] + ((g * row[3] + t) * each + q) * outputs
                    for m in range(outputs):
                        y[r * total + g * outputs + m] += a * numbers[w + m]


@nb.njit(cache=True, error_model="numpy", fastmath={"contract"})
@no_type_check
def reduce(row, rows, width, numbers, x, y, power, bits, k):
    """Softmax, layer normalisation or sums over the channels of each row."""
    op, length = row[0], row[7]
    if op == SUM:
        outer, inner = row[6], row[8]
        factor = numbers[row[4]]
        for r in range(rows):
            for o in range(outer):
                to = r * outer * inner + o * inner
                for q in range(inner):
                    y[to + q] = 0
                for s in range(length):
                    source = r * width + (o * length + s) * inner
                    for q in range(inner):
                        y[to + q] += x[source + q] * factor
        return
    for part in range(rows * width // length):
        at = part * length
        if op == SOFTMAX:
            for c in range(length):
                y[at + c] = x[at + c]
            normalise(y[at : at + length], length, power, bits, k)
            continue
        mean, variance = k[20], k[20]
        for c in range(length):
            mean += x[at + c]
        mean /= length
        for c in range(length):
            variance += (x[at + c] - mean) * (x[at + c] - mean)
        scale = k[19] / np.sqrt(variance / length + numbers[row[8]])
        for c in range(length):
            y[at + c] = (x[at + c] - mean) * scale * numbers[row[4] + c] + numbers[row[5] + c]


@nb.njit(cache=True, error_model="numpy", fastmath=_FAST)
@no_type_check
def attend(row, variables, taps, index, numbers, state, batch, last, x, stride, y, power, bits, k):
    """Attend from one new point, whose queries begin the rows of x, to all that came before it."""
    query, key, value = taps[row[2]], taps[row[2] + 1], taps[row[2] + 2]
    heads, scale = row[6], numbers[row[4]]
    each, out = query[3] // heads, value[3] // heads
    first = max(0, last - row[8] + 1) if row[8] else 0
    scores = y[batch * value[3] :]
    keys, values = variables[key[0]], variables[value[0]]
    for b in range(batch):
        for h in range(heads):
            n = last - first + 1
            for s in range(n):
                slot = (first + s) % keys[2]
                at = (keys[0] + slot * keys[1]) * batch + b * keys[1]
                total = k[20]
                for c in range(each):
                    channel = key[4] + h * each + c if key[4] >= 0 else index[key[5] + h * each + c]
                    total += x[b * stride + h * each + c] * state[at + channel]
                scores[s] = total * scale
            normalise(scores, n, power, bits, k)
            to = b * value[3] + h * out
            for c in range(out):
                y[to + c] = 0
            for s in range(n):
                at = values[0] * batch + ((first + s) % values[2]) * batch * values[1] + b * values[1]
                weight = scores[s]
                for c in range(out):
                    channel = value[4] + h * out + c if value[4] >= 0 else index[value[5] + h * out + c]
                    y[to + c] += weight * state[at + channel]


@nb.njit(cache=True, error_model="numpy", fastmath={"contract"})
@no_type_check
def collect(row, channels, variables, taps, index, numbers, state, batch, pi, pj, count, scratch):
    """Gather the operands of one instruction: one after another for elementwise ones, else side by side in rows.

    Returns the width of a row, or -1 where a table ends.
    """
    apart = row[0] >= COPY
    width = 0
    for t in range(row[2], row[2] + row[3]):
        width += taps[t, 3]
    stride = channels if apart else width
    at = width - width  # an int64, not a literal that would be compiled for apart
    for t in range(row[2], row[2] + row[3]):
        if not gather(taps[t], variables, index, numbers, state, batch, pi, pj, count, scratch, at, stride):
            width = -1
        at += count * batch * channels if apart else taps[t, 3]
    return width


@nb.njit(cache=True, error_model="numpy", fastmath={"contract"})
@no_type_check
def look_up(row, count, numbers, x, y):
    """Copy rows of an embedding; return False for a class that has none."""
    length, found = row[7], True
    for r in range(count):
        which = np.int64(x[r])
        if 0 <= which < row[8]:
            for c in range(length):
                y[r * length + c] = numbers[row[4] + which * length + c]
        else:
            found = False
    return found


@nb.njit(cache=True, error_model="numpy", fastmath={"contract"})
@no_type_check
def draw_front(
    count, variables, name, output, lag, state, batch, points, columns, symbols, kept, uniforms, temperature, top_k,
    logits, p, chosen,
):  # fmt: skip
    """Draw the symbols of one front and store them as inputs; return the place of a logit that is not finite, or -1."""
    v, o = variables[name], variables[output]
    bad, classes = -1, len(logits)
    for n in range(count):
        i, j = points[0, n], points[1, n]
        place = i * columns + j
        where = o[0] * batch + (((i if lag else i - 1) * o[4] + j) % o[2]) * batch * o[1]
        for b in range(batch):
            if not kept[b, place]:
                for c in range(o[1]):
                    logits[classes - o[1] + c] = state[where + b * o[1] + c]
                drawn = draw(logits, classes, uniforms[b, place], temperature, top_k, p, chosen)
                if drawn < 0:
                    bad = place
                else:
                    symbols[b, place] = drawn
            state[v[0] * batch + (place % v[2]) * batch + b] = symbols[b, place]
    return bad


@nb.njit(cache=True, error_model="numpy", fastmath={"contract"})
@no_type_check
def execute(
    first, last, variables, code, taps, index, numbers, slope, state, batch, x, y, power, bits, points, k,
    name, output, lag, columns, symbols, kept, uniforms, temperature, top_k, logits,
):  # fmt: skip
    """Run the fronts from `first` to `last`, each after drawing its symbols; no symbols (0 positions): none are drawn.

    Returns
    -------
    status, where
        0; or 1 and the place of a logit that is not finite; or 2 and the front where a table or an embedding ended.
    """
    p, chosen = np.zeros(len(logits)), np.zeros(len(logits), np.int64)
    grid, pi, pj = symbols.shape[1] // columns, points[0], points[1]
    for front in range(first, last + 1):
        count = due(front, slope, grid, columns, pi, pj)
        bad = draw_front(
            count, variables, name, output, lag, state, batch, points, columns, symbols, kept, uniforms, temperature,
            top_k, logits, p, chosen,
        )  # fmt: skip
        if bad >= 0:
            return 1, bad
        for place in range(len(code)):
            row = code[place]
            v = variables[row[1]]
            count = due(front - v[5], slope, v[3], v[4], pi, pj)
            if count == 0:
                continue
            op, rows = row[0], count * batch
            width = collect(row, v[1], variables, taps, index, numbers, state, batch, pi, pj, count, x)
            if width < 0:
                return 2, front
            if op == CONTRACT:
                contract(row, width, numbers, rows, x, y)
            elif op == LOOKUP:
                if not look_up(row, rows * width, numbers, x, y):
                    return 2, front
            elif op == ATTEND:
                attend(row, variables, taps, index, numbers, state, batch, pi[0], x, width, y, power, bits, k)
            elif op < CONCAT:
                reduce(row, rows, width, numbers, x, y, power, bits, k)
            elif op >= COPY:
                apply(op, rows * v[1], x, power, bits, k, numbers[row[4]])
            scatter(v, state, batch, pi, pj, count, x if op >= CONCAT else y)
    return 0, 0
