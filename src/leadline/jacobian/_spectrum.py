"""The singular values of a Jacobian: exactly where it is small, else the largest ones with error estimates."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from leadline.domains.arguments import public
from leadline.errors import UsageError, require_seed
from leadline.jacobian._jacobian import jacobian
from leadline.jacobian.density import Density, density, frobenius
from leadline.jacobian.golub_kahan import Ritz, largest
from leadline.jacobian.operators import Dense, Operator, cast, of_size_one
from leadline.jacobian.precision import MARGIN, Again, again
from leadline.results import Estimate, Result, Status

DENSE_BELOW = 256
"""Jacobians with so few rows or columns are formed: exact, and no slower than iterating."""

NEARLY = 0.1
"""Formats that differ by more than this may both be far from the truth: chaos takes all digits of either."""


@dataclass(frozen=True)
class Spectrum(Result):
    """What `spectrum` found.

    Attributes
    ----------
    values
        The largest singular values, largest first. From an iteration they are lower estimates, never upper bounds.
    errors
        Of each: some singular value of the Jacobian lies within this of it. Rounding is included, that of the
        decomposition and that of the products.
    status
        ``proved`` where the matrix was formed, and was either given or formed again in float64, which measures how far
        its entries err; else ``estimate``. Nothing more precise than float64 exists to measure its own errors by: they
        are taken from float32's.
    shape
        Outputs × inputs.
    frobenius
        Root of the sum of all squared singular values: exact with the full matrix, else estimated from the start.
    density
        Of all singular values, if asked for.
    method
        How the products were made, and how their errors were measured.
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


@public("spectrum")
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
    >>> found = spectrum(torch.sin, torch.zeros(3), k=2)
    >>> found.values.tolist(), found.status.value
    ([1.0, 1.0], 'proved')
    """
    if k < 1:
        raise UsageError(f"k must be at least 1, not {k}")
    require_seed(seed)
    inputs = (x,) if isinstance(x, Tensor) else tuple(x)
    of = f if isinstance(f, Operator) else jacobian(f, *inputs, output=output, seed=seed)
    twice, eps = again(of), torch.finfo(of.dtype).eps
    generator = torch.Generator().manual_seed(seed)
    trial = torch.randn(of.shape[1], 2, generator=generator, dtype=torch.float64)
    scaled_of, unit = of_size_one(of, trial.to(of.device, of.dtype))
    A = cast(scaled_of, torch.promote_types(of.dtype, torch.float32))  # no decomposition takes half precision
    if min(A.shape) <= max(DENSE_BELOW, 4 * k):
        return _exact(of, A, unit, twice, k, probes, seed)
    found = largest(A, k, tolerance=tolerance or eps**0.6, generator=generator, block=block)
    spread = density(A, probes=probes, generator=generator, seed=seed) if probes else None
    products = _of_products(of, twice, found, generator)
    norm = frobenius(found.probes, min(A.shape), float(found.values[0]), seed)
    return Spectrum(
        values=unit * found.values,
        errors=unit * (found.residuals + _rounding(A, found.values, eps)) + products,
        status=Status.ESTIMATE,
        shape=A.shape,
        frobenius=replace(norm, value=unit * norm.value, sem=unit * norm.sem),
        density=spread and spread.times(unit),
        method=f"block Golub-Kahan, {found.products} products ({_made(of)}); {_measured(twice)}",
        seed=seed,
    )


def _exact(of: Operator, A: Operator, unit: float, twice: Again | None, k: int, probes: int, seed: int) -> Spectrum:
    """Form the matrix, which is A times its unit, and take all its singular values."""
    matrix = A.dense().double()
    values = unit * torch.linalg.svdvals(matrix)
    everything = torch.cat([values, values.new_zeros(A.shape[1] - len(values))]).cpu()
    products = twice.error_of_matrix(unit * matrix) if twice else 0.0
    compared = twice is not None and twice.exact and products <= NEARLY * float(values[0])
    proved = compared or isinstance(of, Dense)
    error = products + float(_rounding(A, values, torch.finfo(of.dtype).eps))
    return Spectrum(
        values=values[:k].to(A.dtype),
        errors=torch.full_like(values[:k], error).to(A.dtype),
        status=Status.PROVED if proved else Status.ESTIMATE,
        shape=A.shape,
        frobenius=Estimate(float(torch.linalg.vector_norm(values)), error * math.sqrt(len(values)), 1, None),
        density=Density.of(everything, seed) if probes else None,
        method="dense singular value decomposition; "
        + ("a given matrix" if isinstance(of, Dense) else _measured(twice)),
        seed=seed,
    )


def _of_products(of: Operator, twice: Again | None, found: Ritz, generator: torch.Generator) -> float:
    """Estimate by how much products with the singular vectors err, from a random mixture of them."""
    if twice is None:
        return 0.0
    mixing = torch.randn(found.right.shape[1], 1, generator=generator, dtype=torch.float64)
    mixing = (mixing / torch.linalg.vector_norm(mixing)).to(found.right)
    forward = twice.error(of, found.right @ mixing)
    backward = twice.error_of_transpose(of, found.left @ mixing[: found.left.shape[1]])
    return max(float(forward), float(backward)) * math.sqrt(len(mixing))


def _measured(twice: Again | None) -> str:
    """Say how the errors of the products are known."""
    if twice is None:
        return "the errors of the products are not measured: the model does not run in another number format"
    if twice.exact:
        return "errors of the products by float64"
    return f"errors of the products from those of float32, times {MARGIN}"


def _rounding(A: Operator, values: Float[Tensor, "k"], eps: float) -> Float[Tensor, ""]:
    """Return the backward error of the decomposition: a modest multiple of the unit roundoff of the largest value."""
    backward_error: Tensor = values.max() * eps * 4 * max(A.shape) ** 0.5
    return backward_error


def _made(A: Operator) -> str:
    """Say how an operator makes its products."""
    return str(getattr(A, "method", "") or type(A).__name__)
