"""The singular values of a Jacobian: exactly where it is small, else the largest ones with error estimates."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from leadline.errors import UsageError
from leadline.jacobian._jacobian import jacobian
from leadline.jacobian.density import Density, density, frobenius
from leadline.jacobian.golub_kahan import largest
from leadline.jacobian.operators import Operator, cast
from leadline.results import Estimate, Status

DENSE_BELOW = 256
"""Jacobians with so few rows or columns are formed: exact, and no slower than iterating."""


@dataclass(frozen=True)
class Spectrum:
    """What `spectrum` found.

    Attributes
    ----------
    values
        The largest singular values, largest first. From an iteration they are lower estimates, never upper bounds.
    errors
        Of each: some singular value of the Jacobian lies within this of it (rounding included).
    status
        ``estimate`` for an iteration; ``proved`` where the matrix was formed: exact up to the rounding in `errors`.
    shape
        Outputs × inputs.
    frobenius
        Root of the sum of all squared singular values: exact with the full matrix, else estimated from the start.
    density
        Of all singular values, if asked for.
    method
        How the products were made.
    seed
        Of the random start.
    """

    values: Float[Tensor, "k"]
    errors: Float[Tensor, "k"]
    status: Status
    shape: tuple[int, int]
    frobenius: Estimate
    density: Density | None
    method: str
    seed: int


def spectrum(
    f: Callable[..., Any] | Operator,
    x: Tensor | Sequence[Any] = (),
    k: int = 6,
    *,
    tolerance: float | None = None,
    block: int | None = None,
    probes: int = 0,
    output: str | None = None,
    seed: int = 0,
) -> Spectrum:
    """Return the `k` largest singular values of the Jacobian of `f` at `x`, with error estimates.

    Parameters
    ----------
    f, x
        A function or model and its input (or a tuple of inputs), or an `Operator`.
    k
        How many values; fewer if the Jacobian has fewer.
    tolerance
        Relative error of the values that is asked for; default: 4e-10 in float64, 7e-5 in float32.
    block
        Columns that a product takes; default: k, which finds every value as often as it occurs. Fewer are faster.
    probes
        Random vectors for the density of all singular values; 0: none.
    output
        Name of the output, if there are several.
    seed
        Of the start and the probes.

    Raises
    ------
    NotDifferentiable, Diverged
        As `leadline.jacobian._jacobian.jacobian`.

    Examples
    --------
    >>> found = spectrum(torch.sin, torch.zeros(3, dtype=torch.float64), k=2)
    >>> found.values.tolist(), found.status.value
    ([1.0, 1.0], 'proved')
    """
    if k < 1:
        raise UsageError(f"k must be at least 1, not {k}")
    inputs = (x,) if isinstance(x, Tensor) else tuple(x)
    of = f if isinstance(f, Operator) else jacobian(f, *inputs, output=output, seed=seed)
    eps = torch.finfo(of.dtype).eps
    A = cast(of, torch.promote_types(of.dtype, torch.float32))  # no decomposition takes half precision
    generator = torch.Generator().manual_seed(seed)
    if min(A.shape) <= max(DENSE_BELOW, 4 * k):
        return _exact(A, k, probes, seed, eps)
    tolerance = tolerance or eps**0.6
    found = largest(A, k, tolerance=tolerance, generator=generator, block=block)
    spread = density(A, probes=probes, generator=generator, seed=seed) if probes else None
    return Spectrum(
        values=found.values,
        errors=found.residuals + _rounding(A, found.values, eps),
        status=Status.ESTIMATE,
        shape=A.shape,
        frobenius=frobenius(found.probes, min(A.shape), float(found.values[0]), seed),
        density=spread,
        method=f"block Golub-Kahan, {found.products} products ({_made(of)})",
        seed=seed,
    )


def _exact(A: Operator, k: int, probes: int, seed: int, eps: float) -> Spectrum:
    """Form the matrix, and take all its singular values."""
    values = torch.linalg.svdvals(A.dense())
    everything = torch.cat([values, values.new_zeros(A.shape[1] - len(values))]).double().cpu()
    spread = Density(everything[None], torch.full_like(everything, 1 / len(everything))[None], seed) if probes else None
    return Spectrum(
        values=values[:k],
        errors=_rounding(A, values, eps).expand(len(values[:k])),
        status=Status.PROVED,
        shape=A.shape,
        frobenius=Estimate(float(torch.linalg.vector_norm(values)), 0.0, 1, None),
        density=spread,
        method="dense singular value decomposition",
        seed=seed,
    )


def _rounding(A: Operator, values: Float[Tensor, "k"], eps: float) -> Float[Tensor, ""]:
    """Return the backward error of the computation: a modest multiple of the unit roundoff of the largest value."""
    backward_error: Tensor = values.max() * eps * 4 * max(A.shape) ** 0.5
    return backward_error


def _made(A: Operator) -> str:
    """Say how an operator makes its products."""
    return str(getattr(A, "method", "") or type(A).__name__)
