"""The interpreter of programs: one loop over fronts and instructions, compiled once by numba and kept in its cache.

Values of a point are kept as (batch, channels). An instruction gathers its operands into scratch rows (points times
batch), works on those, and scatters the result. Exponentials are polynomials over whole rows, which vectorise. Nothing
here assumes that numbers are finite.
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np

_FAST = {"contract", "reassoc", "nsz"}

# Op codes as plain numbers, for the compiler; the names are those of `program.Op`.
CONTRACT, LOOKUP, ATTEND, CONCAT, SOFTMAX, LAYER_NORM, SUM = range(7)
(COPY, ADD, SUB, MUL, DIV, AFFINE, TANH, SIGMOID, RELU, GELU, SILU, EXP, NEG, MULADD, BLEND, ADDMUL, GELU_TANH, LEAKY,
 ELU, RSUB, SQUARE) = range(10, 31)  # fmt: skip


@nb.njit(cache=True, error_model="numpy", fastmath={"contract"})
def exponential(x, n, power, bits, k):
    """Replace the first n numbers of x by their exponentials; `power` and `bits` are one scratch in two types.

    `k` holds, in the type of x: log2 e, ln 2 in two parts, the limits of the argument, one half, then 1/13! … 1/0!.
    """
    shift, bias = (52, 1023) if x.itemsize == 8 else (23, 127)
    for i in range(n):
        t = min(max(x[i], k[3]), k[4])
        m = np.floor(t * k[0] + k[5])
        r = (t - m * k[1]) - m * k[2]
        p = k[6]
        for c in range(7, 20):
            p = p * r + k[c]
        bits[i] = (np.int64(m) + bias) << shift
        x[i] = p if t == t else x[i]
    for i in range(n):
        x[i] *= power[i]


@nb.njit(cache=True, error_model="numpy", fastmath=_FAST)
def multiply(x, rows, inputs, numbers, weight, outputs, y, stride, at):
    """Add to each row of y (from column `at`) the product of the row of x with a matrix (inputs, outputs)."""
    i = 0
    while i + 8 <= inputs:
        w = numbers[weight + i * outputs : weight + (i + 8) * outputs]
        for r in range(rows):
            a = x[r * inputs + i : r * inputs + i + 8]
            a0, a1, a2, a3, a4, a5, a6, a7 = a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]
            o = y[r * stride + at : r * stride + at + outputs]
            for m in range(outputs):
                o[m] += (
                    (a0 * w[m] + a1 * w[outputs + m])
                    + (a2 * w[2 * outputs + m] + a3 * w[3 * outputs + m])
                    + (a4 * w[4 * outputs + m] + a5 * w[5 * outputs + m])
                    + (a6 * w[6 * outputs + m] + a7 * w[7 * outputs + m])
                )
        i += 8
    while i < inputs:
        w = numbers[weight + i * outputs : weight + (i + 1) * outputs]
        for r in range(rows):
            a0 = x[r * inputs + i]
            o = y[r * stride + at : r * stride + at + outputs]
            for m in range(outputs):
                o[m] += a0 * w[m]
        i += 1


@nb.njit(cache=True, error_model="numpy")
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


@nb.njit(cache=True, error_model="numpy")
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


@nb.njit(cache=True, error_model="numpy")
def scatter(v, state, batch, pi, pj, count, values):
    """Store rows of results in the ring of a variable."""
    size = batch * v[1]
    for n in range(count):
        where = v[0] * batch + ((pi[n] * v[4] + pj[n]) % v[2]) * size
        for c in range(size):
            state[where + c] = values[n * size + c]


@nb.njit(cache=True, error_model="numpy")
def contract(row, variables, taps, index, numbers, state, batch, pi, pj, count, x, y):
    """Gather all taps side by side, group by group, and multiply."""
    groups, outputs = row[6], row[7]
    rows, total = count * batch, groups * outputs
    for r in range(rows):
        for m in range(total):
            y[r * total + m] = numbers[row[5] + m] if row[5] >= 0 else 0
    if row[3] == 0:
        return
    inputs = 0
    for t in range(row[2], row[2] + row[3]):
        inputs += taps[t, 3] // groups
    if groups == 1:
        at = 0
        for t in range(row[2], row[2] + row[3]):
            gather(taps[t], variables, index, numbers, state, batch, pi, pj, count, x, at, inputs)
            at += taps[t, 3]
        multiply(x, rows, inputs, numbers, row[4], outputs, y, total, 0)
        return
    width = taps[row[2], 3]
    for t in range(row[3]):
        gather(taps[row[2] + t], variables, index, numbers, state, batch, pi, pj, count, x, t * width, row[3] * width)
    each = width // groups
    for r in range(rows):
        for g in range(groups):
            for t in range(row[3]):
                for q in range(each):
                    a = x[r * row[3] * width + t * width + g * each + q]
                    w = row[4] + (g * inputs + t * each + q) * outputs
                    for m in range(outputs):
                        y[r * total + g * outputs + m] += a * numbers[w + m]


@nb.njit(cache=True, error_model="numpy", fastmath={"contract"})
def squash(x, n, power, bits, k, tanh):
    """Replace numbers by their tanh or sigmoid."""
    one, two = k[19], k[19] + k[19]
    for i in range(n):
        x[i] = x[i] * two if tanh else -x[i]
    exponential(x, n, power, bits, k)
    for i in range(n):
        x[i] = one - two / (x[i] + one) if tanh else one / (one + x[i])


@nb.njit(cache=True, error_model="numpy", fastmath={"contract"})
def apply(op, n, a, b, c, d, power, bits, k, parameter):
    """Apply an elementwise function to operands of n numbers; the result replaces a."""
    one, half = k[19], k[5]
    if op == TANH or op == SIGMOID:
        squash(a, n, power, bits, k, op == TANH)
    elif op == EXP:
        exponential(a, n, power, bits, k)
    elif op == SILU:
        for i in range(n):
            b[i] = a[i]
        squash(b, n, power, bits, k, False)
        for i in range(n):
            a[i] *= b[i]
    else:
        for i in range(n):
            if op == ADD:
                a[i] += b[i]
            elif op == SUB:
                a[i] -= b[i]
            elif op == RSUB:
                a[i] = b[i] - a[i]
            elif op == MUL:
                a[i] *= b[i]
            elif op == DIV:
                a[i] /= b[i]
            elif op == AFFINE:
                a[i] = a[i] * b[i] + c[i]
            elif op == RELU:
                a[i] = a[i] if not a[i] <= 0 else a[i] * 0
            elif op == GELU:
                a[i] = half * a[i] * (one + math.erf(a[i] / math.sqrt(2.0)))
            elif op == GELU_TANH:
                a[i] = half * a[i] * (one + math.tanh(math.sqrt(2.0 / math.pi) * (a[i] + 0.044715 * a[i] ** 3)))
            elif op == NEG:
                a[i] = -a[i]
            elif op == SQUARE:
                a[i] *= a[i]
            elif op == MULADD:
                a[i] = a[i] * b[i] + c[i] * d[i]
            elif op == BLEND:
                a[i] = b[i] + a[i] * (c[i] - b[i])
            elif op == ADDMUL:
                a[i] += b[i] * c[i]
            elif op == LEAKY:
                a[i] = a[i] if not a[i] < 0 else a[i] * parameter
            elif op == ELU:
                a[i] = a[i] if not a[i] < 0 else parameter * math.expm1(a[i])


@nb.njit(cache=True, error_model="numpy")
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
            top = x[at : at + length].max()
            z = y[at : at + length]
            for c in range(length):
                z[c] = x[at + c] - top
            exponential(z, length, power, bits, k)
            total = z.sum()
            for c in range(length):
                z[c] /= total
        else:
            mean = x[at : at + length].mean()
            variance = x[at : at + length].var()
            scale = 1 / np.sqrt(variance + numbers[row[8]])
            for c in range(length):
                y[at + c] = (x[at + c] - mean) * scale * numbers[row[4] + c] + numbers[row[5] + c]


@nb.njit(cache=True, error_model="numpy", fastmath=_FAST)
def attend(row, variables, taps, index, numbers, state, batch, pi, pj, count, x, y, scores, power, bits, k):
    """Attention of one new point to all that came before it."""
    query, key, value = taps[row[2]], taps[row[2] + 1], taps[row[2] + 2]
    heads, scale = row[6], numbers[row[4]]
    each, out = query[3] // heads, value[3] // heads
    last = pi[0]
    first = max(0, last - row[8] + 1) if row[8] else 0
    gather(query, variables, index, numbers, state, batch, pi, pj, count, x, 0, query[3])
    keys, values = variables[key[0]], variables[value[0]]
    for b in range(batch):
        for h in range(heads):
            n = 0
            for s in range(first, last + 1):
                at = keys[0] * batch + (s % keys[2]) * batch * keys[1] + b * keys[1]
                total = scale * 0
                for c in range(each):
                    channel = key[4] + h * each + c if key[4] >= 0 else index[key[5] + h * each + c]
                    total += x[b * query[3] + h * each + c] * state[at + channel]
                scores[n] = total * scale
                n += 1
            top = scores[:n].max()
            for s in range(n):
                scores[s] -= top
            exponential(scores, n, power, bits, k)
            total = scores[:n].sum()
            to = b * value[3] + h * out
            for c in range(out):
                y[to + c] = 0
            for s in range(n):
                at = values[0] * batch + ((first + s) % values[2]) * batch * values[1] + b * values[1]
                weight = scores[s] / total
                for c in range(out):
                    channel = value[4] + h * out + c if value[4] >= 0 else index[value[5] + h * out + c]
                    y[to + c] += weight * state[at + channel]


@nb.njit(cache=True, error_model="numpy")
def run_front(front, variables, code, taps, index, numbers, slope, state, batch, scratch, bits, points, k):
    """Compute all that is due in one front; return False where a table or an embedding ends."""
    pi, pj = points[0], points[1]
    for place in range(len(code)):
        row = code[place]
        v = variables[row[1]]
        count = due(front - v[5], slope, v[3], v[4], pi, pj)
        if count == 0:
            continue
        op, rows = row[0], count * batch
        a, b, power = scratch[0], scratch[1], scratch[4]
        result = b
        if op == CONTRACT:
            contract(row, variables, taps, index, numbers, state, batch, pi, pj, count, a, b)
        elif op == ATTEND:
            attend(row, variables, taps, index, numbers, state, batch, pi, pj, count, a, b, scratch[2], power, bits, k)
        elif op == CONCAT:
            at = 0
            for t in range(row[2], row[2] + row[3]):
                if not gather(taps[t], variables, index, numbers, state, batch, pi, pj, count, b, at, v[1]):
                    return False
                at += taps[t, 3]
        elif op == LOOKUP:
            width, length = taps[row[2], 3], row[7]
            gather(taps[row[2]], variables, index, numbers, state, batch, pi, pj, count, a, 0, width)
            for r in range(rows * width):
                which = np.int64(a[r])
                if not 0 <= which < row[8]:
                    return False
                for c in range(length):
                    b[r * length + c] = numbers[row[4] + which * length + c]
        elif op < COPY:
            width = taps[row[2], 3]
            gather(taps[row[2]], variables, index, numbers, state, batch, pi, pj, count, a, 0, width)
            reduce(row, rows, width, numbers, a, b, power, bits, k)
        else:
            for t in range(row[3]):
                if not gather(
                    taps[row[2] + t], variables, index, numbers, state, batch, pi, pj, count, scratch[t], 0, v[1]
                ):
                    return False
            apply(op, rows * v[1], a, b, scratch[2], scratch[3], power, bits, k, numbers[row[4]])
            result = a
        scatter(v, state, batch, pi, pj, count, result)
    return True


@nb.njit(cache=True, error_model="numpy")
def draw(logits, u, temperature, top_k, p, order):
    """Return the class whose step of the cumulative distribution holds u, as `Categorical.draw`; -1: not finite."""
    n = len(logits)
    for c in range(n):
        p[c] = logits[c]
        if not np.isfinite(p[c]):
            return -1
    kept = 1 if temperature == 0 else min(top_k, n)
    if kept < n:
        order[:n] = np.argsort(-p[:n], kind="mergesort")
        for c in range(kept, n):
            p[order[c]] = -np.inf
    top = p[:n].max()
    total = 0.0
    scale = temperature if temperature > 0 else 1.0
    for c in range(n):
        p[c] = math.exp((p[c] - top) / scale)
        total += p[c]
    sum_all = 0.0
    for c in range(n):
        sum_all += p[c] / total
        p[c] = sum_all
    target = u * sum_all
    c = 0
    while c < n - 1 and p[c] <= target and p[c] < sum_all:
        c += 1
    return c


@nb.njit(cache=True, error_model="numpy")
def generate(
    first, last, variables, code, taps, index, numbers, slope, state, batch, scratch, bits, points, k,
    name, output, lag, columns, symbols, kept, uniforms, temperature, top_k, single,
):  # fmt: skip
    """Draw all symbols, front after front; return 0, or the place (counted from 1) of a logit that is not finite.

    A negative result is a front in which a table or an embedding ended.
    """
    v, o = variables[name], variables[output]
    classes = 2 if single else o[1]
    logits, p, order = np.zeros(classes), np.zeros(classes), np.zeros(classes, np.int64)
    grid_rows = symbols.shape[1] // columns
    for front in range(first, last + 1):
        count = due(front, slope, grid_rows, columns, points[0], points[1])
        for n in range(count):
            i, j = points[0, n], points[1, n]
            place = i * columns + j
            where = o[0] * batch + (((i if lag else i - 1) * o[4] + j) % o[2]) * batch * o[1]
            for b in range(batch):
                if not kept[b, place]:
                    for c in range(o[1]):
                        logits[classes - o[1] + c] = state[where + b * o[1] + c]
                    drawn = draw(logits, uniforms[b, place], temperature, top_k, p, order)
                    if drawn < 0:
                        return place + 1
                    symbols[b, place] = drawn
                state[v[0] * batch + (place % v[2]) * batch + b] = symbols[b, place]
        if not run_front(
            front, variables, code, taps, index, numbers, slope, state, batch, scratch, bits, points, k
        ):
            return -front - 1
    return 0
