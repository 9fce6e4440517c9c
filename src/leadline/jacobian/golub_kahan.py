"""Block Golub-Kahan bidiagonalisation: the largest singular values of an operator, each with an error estimate.

From a random block, the method builds orthonormal bases V and U with ``A V = U B`` and ``Aᵀ U = V Bᵀ + R``, where R
comes from the last block of U alone. A singular triplet ``(θ, p, q)`` of the small B gives ``A V q = θ U p`` exactly
and ``‖Aᵀ U p - θ V q‖ = ‖R p‖``, so some singular value of A lies within that residual of θ. Each θ is at most the
singular value of A of the same rank (Cauchy interlacing): a lower estimate, never an upper bound. A block of k
columns also finds values that coincide up to k times (orthogonal networks), which a single vector cannot.

How far below it may be is quadratic in the residuals. Split AᵀA into the span of the first k right vectors, where it is
diag(θ²), and the rest, C: by the Schur complement ``σ_i² - θ_i² ≤ ‖R P_k Θ_k‖² / (θ_i² - ‖C‖)``, and ‖C‖ is about
``θ_(k+1)²``. The iteration stops by this estimate; what it reports is the residual.

Source: Golub, Luk and Overton, A block Lanczos method for computing the singular values of a matrix (1981); here with
full reorthogonalisation, twice.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from leadline.jacobian.operators import Operator

NEARLY_LOST = 0.1
"""What is left of a direction, relative to the block, beneath which rounding errors along the basis have grown."""


@dataclass(frozen=True)
class Ritz:
    """Singular values of the projected operator, largest first: lower estimates of the operator's own.

    Some singular value of the operator lies within its residual of each, and the columns of `left` and `right` are near
    its singular vectors. `products` counts the columns multiplied by the operator and its transpose, and `probes` are
    the squared norms of what it makes of the start, orthonormal columns in random directions.
    """

    values: Float[Tensor, "j"]
    residuals: Float[Tensor, "j"]
    products: int
    probes: Float[Tensor, "b"]
    left: Float[Tensor, "m i"]
    right: Float[Tensor, "n i"]


class Basis:
    """Orthonormal rows, one vector each, in memory that doubles as they become more."""

    def __init__(self, like: Tensor, n: int) -> None:
        self._rows, self.size = like.new_empty(8, n), 0

    @property
    def rows(self) -> Float[Tensor, "j n"]:
        """All vectors so far."""
        return self._rows[: self.size]

    def append(self, block: Float[Tensor, "b n"]) -> None:
        """Take more vectors."""
        end = self.size + len(block)
        if end > len(self._rows):
            self._rows = torch.cat([self.rows, self._rows.new_empty(max(end, self.size), self._rows.shape[1])])
        self._rows[self.size : end] = block
        self.size = end


class Bases:
    """The two bases and the projection between them, one block at a time; vectors are rows, to be read in one go."""

    def __init__(self, A: Operator, start: Float[Tensor, "b n"]) -> None:
        m, n = A.shape
        self.A, self.products = A, 0
        self.V, self.U = Basis(start, n), Basis(start, m)
        self.B = start.new_zeros(0, 0)
        self.next, _, _ = orthonormalised(start, self.V.rows)
        self.residual, self.last = start.new_zeros(0, 0), 0
        self.probes = start.new_zeros(0)

    def grow(self, limit: int) -> None:
        """Take the next block into V, its image into U, and find the block after it."""
        block = self.next[: limit - self.V.size]
        image = self.A.matmat(block.T).T
        if not self.V.size:
            self.probes = image.square().sum(dim=1)
        left, against, within = orthonormalised(image, self.U.rows)
        rows = torch.cat([self.B, self.B.new_zeros(len(left), self.B.shape[1])])
        self.B = torch.cat([rows, torch.cat([against.T, within.T])], dim=1)
        self.V.append(block)
        self.U.append(left)
        back = self.A.rmatmat(left.T).T if len(left) else block.new_zeros(0, block.shape[1])
        self.next, _, residual = orthonormalised(back, self.V.rows)
        self.residual = residual.T
        self.products += len(block) + len(left)
        self.last = len(left)

    def ritz(self) -> tuple[Float[Tensor, "j"], Float[Tensor, "r j"]]:
        """Return the singular values of B, and the residual of each in the basis of the next block."""
        self._P, values, self._Q = torch.linalg.svd(self.B, full_matrices=False)
        return values, self.residual @ self._P[self._P.shape[0] - self.last :]

    def found(self, values: Tensor, residuals: Tensor, k: int) -> Ritz:
        """Return the first k values with what belongs to them."""
        left, right = self.U.rows.T @ self._P[:, :k], self.V.rows.T @ self._Q[:k].T
        return Ritz(_padded(values, k), _padded(residuals, k), self.products, self.probes, left, right)


def largest(A: Operator, k: int, *, tolerance: float, generator: torch.Generator, block: int | None = None) -> Ritz:
    """Return the `k` largest singular values, once each is estimated to be within `tolerance` of the operator's.

    The tolerance is relative. Values that are zero to working precision, relative to the largest, count as found. A
    `block` of fewer than k columns needs fewer products, but may miss copies of a value that occurs more often than it
    has columns.

    Examples
    --------
    >>> from leadline.jacobian.operators import Dense
    >>> A = Dense(torch.diag(torch.arange(1.0, 101.0, dtype=torch.float64)))
    >>> found = largest(A, 2, tolerance=1e-10, generator=torch.Generator().manual_seed(0))
    >>> found.values.round(decimals=6).tolist()
    [100.0, 99.0]
    """
    if A.shape[0] < A.shape[1]:
        found = largest(A.T, k, tolerance=tolerance, generator=generator, block=block)
        return replace(found, left=found.right, right=found.left)
    n = A.shape[1]

    def fresh() -> Tensor:
        drawn = torch.randn(n, min(block or k, n), generator=generator, dtype=torch.float64)
        return drawn.T.to(dtype=A.dtype, device=A.device)

    bases = Bases(A, fresh())
    noise = 10 * torch.finfo(A.dtype).eps
    while True:
        bases.grow(n)
        values, remainders = bases.ritz()
        errors = shortfall(values, remainders, k)
        values, residuals = values[:k], torch.linalg.vector_norm(remainders[:, :k], dim=0)
        enough = torch.clamp(tolerance * values, min=noise * float(values[0]) if len(values) else 0.0)
        settled = len(values) >= k and bool((errors <= enough).all())
        exhausted = len(bases.next) == 0
        if exhausted and len(values) < k and bases.V.size < n:  # a small block cannot span what coincides more often
            bases.next, _, _ = orthonormalised(fresh(), bases.V.rows)
            continue
        if settled or exhausted or bases.V.size >= n:
            return bases.found(values, residuals, min(k, n))


def shortfall(values: Float[Tensor, "j"], remainders: Float[Tensor, "r j"], k: int) -> Float[Tensor, "i"]:
    """Estimate how far each of the first k values is below the operator's: by its residual, or that squared over a gap.

    Examples
    --------
    >>> shortfall(torch.tensor([2.0, 1.0]), torch.tensor([[0.1, 0.5]]), 1)
    tensor([0.0033])
    """
    first, next_ = values[:k], values[k] if len(values) > k else values.new_zeros(())
    residuals: Tensor = torch.linalg.vector_norm(remainders[:, :k], dim=0)
    if len(values) <= k or not remainders.numel():
        return residuals
    coupling: Tensor = torch.linalg.matrix_norm(remainders[:, :k] * first, ord=2)
    gaps = (2 * first * (first**2 - next_**2)).clamp(min=torch.finfo(values.dtype).tiny)
    errors: Tensor = torch.minimum(residuals, coupling.square() / gaps)
    return errors


def orthonormalised(
    X: Float[Tensor, "b n"], Q: Float[Tensor, "j n"]
) -> tuple[Float[Tensor, "r n"], Float[Tensor, "b j"], Float[Tensor, "b r"]]:
    """Split ``X = H Q + S F``, the rows of F orthonormal and orthogonal to Q's; those lost to rounding are dropped."""
    scale = float(torch.linalg.vector_norm(X)) if X.numel() else 0.0
    H = X @ Q.T
    rest = X - H @ Q
    correction = rest @ Q.T
    rest, H = rest - correction @ Q, H + correction
    F, S = _rows_split(rest)
    least = float(S.diagonal().abs().min()) if S.numel() else 0.0
    if least <= 1e-3 * scale:
        mixing, values, F = torch.linalg.svd(rest, full_matrices=False)
        alive = values > 100 * torch.finfo(X.dtype).eps * scale
        F, S = F[alive], mixing[:, alive] * values[alive]
    if least <= NEARLY_LOST * scale:  # it carries rounding errors along Q: remove them once more
        F, turn = _rows_split(F - (F @ Q.T) @ Q)
        S = S @ turn
    return F, H, S


def _rows_split(X: Float[Tensor, "b n"]) -> tuple[Float[Tensor, "r n"], Float[Tensor, "b r"]]:
    """Split ``X = S F``, F with orthonormal rows."""
    F, S = torch.linalg.qr(X.T)
    return F.T, S.T


def _padded(values: Float[Tensor, "i"], length: int) -> Float[Tensor, "j"]:
    """Fill up with zeros: what an exhausted space does not reach, the operator maps to zero."""
    return torch.cat([values, values.new_zeros(length - len(values))])
