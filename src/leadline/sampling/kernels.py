"""Arithmetic of the interpreter: products, exponentials and what is made of them, and drawing from a distribution.

Exponentials are polynomials over whole rows, which vectorise. Nothing here assumes that numbers are finite.
(`no_type_check` keeps the tests' run-time checks out of what numba compiles.)
"""

from __future__ import annotations

import math
from typing import no_type_check

import numba as nb
import numpy as np

_FAST = {"contract", "reassoc", "nsz"}

# Op codes as plain numbers, for the compiler; the names are those of `program.Op`.
CONTRACT, LOOKUP, ATTEND, SOFTMAX, LAYER_NORM, SUM, CONCAT = range(7)
(COPY, ADD, SUB, MUL, DIV, AFFINE, TANH, SIGMOID, RELU, GELU, SILU, EXP, NEG, MULADD, BLEND, ADDMUL, GELU_TANH, LEAKY,
 ELU, RSUB, SQUARE) = range(10, 31)  # fmt: skip


@nb.njit(cache=True, error_model="numpy", fastmath={"contract"})
@no_type_check
def exponential(x, n, power, bits, k):
    """Replace the first n numbers of x by their exponentials; `power` and `bits` are one scratch in two types.

    `k` holds, in the type of x: log2 e, ln 2 in two parts, the argument's limits, 1/2, then 1/13! … 1/0!, and 0.
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
@no_type_check
def multiply(x, rows, inputs, numbers, weight, outputs, y):
    """Add to each row of y the product of the row of x with a matrix (inputs, outputs)."""
    i = 0
    while i + 8 <= inputs:
        w = numbers[weight + i * outputs : weight + (i + 8) * outputs]
        for r in range(rows):
            a = x[r * inputs + i : r * inputs + i + 8]
            a0, a1, a2, a3, a4, a5, a6, a7 = a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]
            o = y[r * outputs : (r + 1) * outputs]
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
            o = y[r * outputs : (r + 1) * outputs]
            for m in range(outputs):
                o[m] += a0 * w[m]
        i += 1


@nb.njit(cache=True, error_model="numpy", fastmath={"contract"})
@no_type_check
def squash(x, n, power, bits, k, tanh):
    """Replace numbers by their tanh or sigmoid."""
    one, two = k[19], k[19] + k[19]
    for i in range(n):
        x[i] = x[i] * two if tanh else -x[i]
    exponential(x, n, power, bits, k)
    for i in range(n):
        x[i] = one - two / (x[i] + one) if tanh else one / (one + x[i])


@nb.njit(cache=True, error_model="numpy", fastmath={"contract"})
@no_type_check
def apply(op, n, a, power, bits, k, parameter):
    """Apply an elementwise function to operands of n numbers, one after another; the result replaces the first."""
    b, c, d = a[n:], a[2 * n :], a[3 * n :]
    one, half = k[19], k[5]
    if op in (TANH, SIGMOID):
        squash(a, n, power, bits, k, op == TANH)
    elif op == EXP:
        exponential(a, n, power, bits, k)
    elif op == SILU:
        for i in range(n):
            b[i] = a[i]
        squash(b, n, power, bits, k, op == TANH)
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


@nb.njit(cache=True, error_model="numpy", fastmath={"contract"})
@no_type_check
def normalise(x, n, power, bits, k):
    """Replace the first n numbers by their softmax."""
    top, total = x[0], k[20]
    for i in range(n):
        top = max(top, x[i])
    for i in range(n):
        x[i] -= top
    exponential(x, n, power, bits, k)
    for i in range(n):
        total += x[i]
    for i in range(n):
        x[i] /= total


@nb.njit(cache=True, error_model="numpy")
@no_type_check
def keep(p, n, kept, chosen):
    """Set all but the `kept` largest of n numbers to minus infinity; of equal ones the first are kept."""
    for c in range(n):
        chosen[c] = 0
    for _ in range(kept):
        best = -1
        for c in range(n):
            if chosen[c] == 0 and (best < 0 or p[c] > p[best]):
                best = c
        chosen[best] = 1
    for c in range(n):
        if chosen[c] == 0:
            p[c] = -np.inf


@nb.njit(cache=True, error_model="numpy")
@no_type_check
def draw(logits, n, u, temperature, top_k, p, chosen):
    """Return the class whose step of the cumulative distribution holds u, as `Categorical.draw`; -1: not finite."""
    top = -np.inf
    for c in range(n):
        p[c] = logits[c]
        if not abs(p[c]) < np.inf:
            return -1
        top = max(top, p[c])
    if temperature == 0 or top_k < n:
        keep(p, n, 1 if temperature == 0 else top_k, chosen)
    scale = temperature if temperature > 0 else 1.0
    total, below = 0.0, 0.0
    for c in range(n):
        p[c] = math.exp((p[c] - top) / scale)
        total += p[c]
    for c in range(n):
        below += p[c] / total
        p[c] = below
    c = 0
    while c < n - 1 and p[c] <= u * below and p[c] < below:
        c += 1
    return c
