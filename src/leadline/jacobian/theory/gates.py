"""One step of a GRU or an LSTM: its Jacobian in closed form, and bounds on its singular values.

PyTorch's conventions and gate orders; one unbatched state. All matrices are read from a `torch.nn` cell.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from leadline.results import Bound, Status


@dataclass(frozen=True)
class GruStep:
    """``∂h'/∂h = D_z + E`` at one state: the update gate z, and E, everything but the direct path.

    ``min z (1 - ‖D_z⁻¹ E‖) ≤ σ ≤ max z + ‖E‖`` is the `bound`, the lower side at least 0.
    """

    z: Float[Tensor, "k"]
    E: Float[Tensor, "k k"]
    bound: Bound

    @property
    def jacobian(self) -> Float[Tensor, "k k"]:
        """The whole matrix."""
        return torch.diag(self.z) + self.E


def gru_step(cell: nn.GRUCell, x: Float[Tensor, "i"], h: Float[Tensor, "k"]) -> GruStep:
    """Return the Jacobian of one step of a GRU by its state, and bounds on its singular values.

    Examples
    --------
    >>> cell = nn.GRUCell(2, 3)
    >>> step = gru_step(cell, torch.ones(2), torch.zeros(3))
    >>> torch.linalg.svdvals(step.jacobian)[0].item() in step.bound
    True
    """
    with torch.no_grad():
        given, W = _affine(cell.weight_ih, cell.bias_ih, x), cell.weight_hh
        W_r, W_z, W_n = W.chunk(3)
        state = _affine(W, cell.bias_hh, h)
        (a_r, a_z, a_n), (b_r, b_z, q) = given.chunk(3), state.chunk(3)
        r, z = torch.sigmoid(a_r + b_r), torch.sigmoid(a_z + b_z)
        n = torch.tanh(a_n + r * q)
        inner = r[:, None] * W_n + (q * r * (1 - r))[:, None] * W_r
        E = ((h - n) * z * (1 - z))[:, None] * W_z + ((1 - z) * (1 - n**2))[:, None] * inner
        lower = float(z.min()) * (1 - _norm(E / z[:, None]))
        bound = Bound(max(0.0, lower), float(z.max()) + _norm(E), Status.BOUND, ("at this input and state",))
    return GruStep(z, E, bound)


def gru_bound(cell: nn.GRUCell) -> Bound:
    """Bound the singular values of one step for every input and every state in ``[-1, 1]^k``.

    Upper: ``1 + ½‖W_hz‖ + ‖W_hn‖ + ¼ Q ‖W_hr‖`` with ``Q = max_i(‖W_hn,i‖₁ + |b_hn,i|)``. No unconditional positive
    lower bound exists.
    """
    with torch.no_grad():
        W_r, W_z, W_n = cell.weight_hh.chunk(3)
        shift = cell.bias_hh.chunk(3)[2].abs() if cell.bias else torch.zeros(len(W_n)).to(W_n)
        Q = float((W_n.abs().sum(dim=1) + shift).max())
        upper = 1 + _norm(W_z) / 2 + _norm(W_n) + Q * _norm(W_r) / 4
    return Bound(0.0, upper, Status.BOUND, ("all inputs", "states in [-1, 1]"))


@dataclass(frozen=True)
class LstmStep:
    """``J_(h,c) = [[I, D_s], [0, I]] · [[Q, 0], [P, D_f]]`` of one step at one state.

    f is the forget gate, and ``s = o (1 - tanh² c')``; P and Q are derivatives through the gates: of c' and of h' (at
    fixed c') by h.
    """

    f: Float[Tensor, "k"]
    s: Float[Tensor, "k"]
    P: Float[Tensor, "k k"]
    Q: Float[Tensor, "k k"]

    @property
    def jacobian(self) -> Float[Tensor, "kk kk"]:
        """The whole matrix, state order ``(h, c)``."""
        top = torch.cat([self.Q + self.s[:, None] * self.P, torch.diag(self.s * self.f)], dim=1)
        return torch.cat([top, torch.cat([self.P, torch.diag(self.f)], dim=1)])

    @property
    def determinant(self) -> float:
        """``Π f · det Q``; zero whenever some ``c'_j = 0``, so that no lower bound on σ_min exists."""
        return float(self.f.prod() * torch.linalg.det(self.Q))

    @property
    def lower(self) -> Float[Tensor, "k"]:
        """Lower bounds on the k largest singular values: ``f_j sqrt(1 + s_j²)``, largest first."""
        return (self.f * torch.sqrt(1 + self.s**2)).sort(descending=True).values


def lstm_step(cell: nn.LSTMCell, x: Float[Tensor, "i"], h: Float[Tensor, "k"], c: Float[Tensor, "k"]) -> LstmStep:
    """Return the Jacobian of one step of an LSTM by its state ``(h, c)``.

    Examples
    --------
    >>> step = lstm_step(nn.LSTMCell(2, 3), torch.ones(2), torch.zeros(3), torch.zeros(3))
    >>> bool((torch.linalg.svdvals(step.jacobian)[:3] >= step.lower - 1e-6).all())
    True
    """
    with torch.no_grad():
        gates = _affine(cell.weight_ih, cell.bias_ih, x) + _affine(cell.weight_hh, cell.bias_hh, h)
        W_i, W_f, W_g, W_o = cell.weight_hh.chunk(4)
        a_i, a_f, a_g, a_o = gates.chunk(4)
        i, f, o, g = torch.sigmoid(a_i), torch.sigmoid(a_f), torch.sigmoid(a_o), torch.tanh(a_g)
        after = torch.tanh(f * c + i * g)
        P = (c * f * (1 - f))[:, None] * W_f + (i * (1 - g**2))[:, None] * W_g + (g * i * (1 - i))[:, None] * W_i
        Q = (after * o * (1 - o))[:, None] * W_o
        return LstmStep(f, o * (1 - after**2), P, Q)


def lstm_carry_bound(f_min: float, s_max: float, P: float, Q: float, steps: int) -> Bound:
    """Bound ``σ_min(∂c_T/∂c_0)`` from below over many steps, given bounds on the gates and on the norms of P and Q.

    For every κ with ``f_min > κP`` and ``s_max + κQ/(f_min - κP) ≤ κ``, the cone ``‖δh‖ ≤ κ‖δc‖`` is kept and ``‖δc‖``
    shrinks by at most ``f_min - κP`` a step. The least such κ is the lesser root of
    ``Pκ² - (f_min + s_max P - Q)κ + s_max f_min``.

    Examples
    --------
    >>> print(lstm_carry_bound(0.9, 0.2, 0.1, 0.1, steps=10))
    [0.2705, inf] (bound)
    """
    middle, end = f_min + s_max * P - Q, s_max * f_min
    assumptions = (f"f ≥ {f_min:g}", f"s ≤ {s_max:g}", f"‖P‖ ≤ {P:g}", f"‖Q‖ ≤ {Q:g}")
    discriminant = middle**2 - 4 * P * end
    if middle <= 0 or discriminant < 0:
        return Bound(0.0, math.inf, Status.BOUND, assumptions)
    kappa = 2 * end / (middle + math.sqrt(discriminant))
    rate = f_min - kappa * P
    return Bound(max(0.0, rate) ** steps, math.inf, Status.BOUND, assumptions)


def _affine(W: Tensor, b: Tensor | None, x: Tensor) -> Tensor:
    return W @ x if b is None else W @ x + b


def _norm(A: Tensor) -> float:
    return float(torch.linalg.matrix_norm(A, ord=2))
