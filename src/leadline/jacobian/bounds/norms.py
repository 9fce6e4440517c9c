"""Certified singular values of weights: floating-point singular value decompositions with their errors accounted for.

A computed decomposition ``W ≈ U S Vᵀ`` proves, whatever the quality of its factors,

    σ_i(W) ≤ s_i · ‖U‖ ‖V‖ + ‖W - U S Vᵀ‖,      ‖U‖² ≤ 1 + ‖UᵀU - I‖,

and the mirrored lower bound with ``1 - ‖UᵀU - I‖``. The deviations are evaluated in floating point as Frobenius norms,
plus a bound on the rounding of their own evaluation.
"""

import math

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from leadline.domains.values.interval_arithmetic import Interval
from leadline.jacobian.bounds.gain import above, below, total

EPS = float(torch.finfo(torch.float64).eps)
MOST_WORK = 10**10
"""Multiplications beyond which a convolution's spectrum is not computed, and Schur's bound stands alone."""


def certified_range(W: Float[Tensor, "*batch m n"] | Complex[Tensor, "*batch m n"]) -> tuple[float, float]:
    """Return a lower bound on the least and an upper bound on the largest singular value, of all matrices in a batch.

    The least is that of ``min(m, n)``.
    """
    W, unit = _near_one(W.to(torch.complex128 if W.is_complex() else torch.float64))
    if unit == 0.0:
        return 0.0, 0.0
    lower, upper = _certified(W)
    return below(lower, unit), above(upper, unit)


def range_within(W: Interval) -> tuple[float, float]:
    """Return the same for every matrix, or batch of them, in an interval: its middle's, give or take its radius."""
    if not W.finite:
        return 0.0, math.inf
    least, most = certified_range(W.middle)
    if W.constant:
        return least, most
    spread, largest = largest_frobenius(W.radius), largest_frobenius(W.size)
    return max(0.0, math.nextafter(least - spread, 0.0)), min(total(most, spread), largest)


def largest_frobenius(sizes: Float[Tensor, "*batch m n"]) -> float:
    """Return an upper bound on the Frobenius norm of every matrix of a batch, from its elements' absolute values."""
    sizes, unit = _near_one(sizes)
    return above(float(_frobenius(sizes).max()) * (1 + 4 * EPS * sizes.numel()), unit) if unit else 0.0


def _near_one(W: Tensor) -> tuple[Tensor, float]:
    """Return a tensor of numbers up to 1 and the power of two that it is to be multiplied by; 0 if there is nothing.

    Squares of what is left neither overflow nor vanish beside the largest.
    """
    largest = float(W.abs().max()) if W.numel() else 0.0
    if not largest or not math.isfinite(largest):
        return W, largest and 1.0
    unit = math.ldexp(1.0, math.frexp(largest)[1] - 1)
    return W / unit, unit


def _certified(W: Tensor) -> tuple[float, float]:
    m, n = W.shape[-2:]
    U, S, Vh = torch.linalg.svd(W, full_matrices=False)
    k = min(m, n)
    eye = torch.eye(k, dtype=W.dtype)
    # A product over L terms errs by at most L · eps · the product of the factors' Frobenius norms, √k for U and V.
    unit = k * EPS * (4 if W.is_complex() else 1)
    left = _frobenius(U.mH @ U - eye) + (m + 4) * unit
    right = _frobenius(Vh @ Vh.mH - eye) + (n + 4) * unit
    scale = S[..., 0]
    rest = _frobenius(W - (U * S.unsqueeze(-2)) @ Vh) + (k + 4) * unit * scale
    stretch = ((1 + left) * (1 + right)).sqrt()
    shrink = ((1 - left).clamp(min=0) * (1 - right).clamp(min=0)).sqrt()
    upper = (scale * stretch + rest) * (1 + 4 * EPS)
    lower = (S[..., -1] * shrink - rest) * (1 - 4 * EPS)
    return max(0.0, float(lower.min())), float(upper.max())


def convolution_norm(
    weight: Float[Tensor, "o i *k"], size: tuple[int, ...], dilation: tuple[int, ...], groups: int
) -> float:
    """Return an upper bound on the norm of a zero-padded convolution of inputs of one size, whatever its stride.

    The lesser of two: Schur's, and the norm of the circular convolution on a grid so large that nothing wraps around,
    of which the zero-padded one is a part. The Fourier transform splits that one into a small matrix per frequency.
    """
    weight, unit = _near_one(weight.double())
    if unit == 0.0:
        return 0.0
    blocks = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
    taps = list(range(3, blocks.ndim))
    rows, columns = blocks.abs().sum([2, *taps]).max(), blocks.abs().sum([1, *taps]).max()
    schur = float((rows * columns).sqrt()) * (1 + 4 * EPS * weight.numel())
    kernel = weight.shape[2:]
    grid = [s + d * (k - 1) for s, d, k in zip(size, dilation, kernel, strict=True)]
    if math.prod(grid) * blocks[0].numel() * min(blocks.shape[1:3]) > MOST_WORK:
        return above(schur, unit)
    phases = torch.ones(1, 1, dtype=torch.complex128)
    for n, d, k in zip(grid, dilation, kernel, strict=True):
        turns = torch.outer(torch.arange(n), torch.arange(k) * d) % n  # exact: only the angle is rounded
        phases = torch.kron(phases, torch.polar(torch.ones(n, k).double(), turns.double() * (-2 * math.pi / n)))
    symbols = torch.einsum("ft,goit->gfoi", phases, blocks.flatten(3).to(phases.dtype))
    # Each entry sums one product per tap; a phase errs by some 16 units in the last place.
    noise = (math.prod(kernel) + 32) * EPS * torch.linalg.matrix_norm(blocks.abs().sum(taps)).max()
    return above(min(schur, certified_range(symbols)[1] + float(noise)), unit)


def _frobenius(A: Tensor) -> Float[Tensor, "*batch"]:
    norms: Tensor = torch.linalg.matrix_norm(A)
    return norms
