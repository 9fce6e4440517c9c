"""How much a grid recurrence can stretch a perturbation of its input grid.

Per cell, norms bound ``‖ds‖ ≤ n ‖ds_north‖ + w ‖ds_west‖ + b ‖dx‖`` for the state s (h, or h and c). As maps of whole
grids this reads ``s = T s + b x``: T shifts perturbations by one antidiagonal, stretches them by at most
``t = min(n + w, √2 ‖[N W]‖)`` (a state has two successors), and is nilpotent, so the norm is at most
``b Σ t^j`` over the H + W - 1 antidiagonals.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from leadline.domains.engine import NoRule
from leadline.domains.values.intervals import Values
from leadline.graph.ir import Node, Ref
from leadline.graph.table import Cell
from leadline.jacobian.bounds.norms import certified_range
from leadline.jacobian.bounds.recurrent_gains import ROUNDING, power

Size = tuple[int, int]
LARGEST = 256
"""Height and width together beyond which an LSTM's cell states have no useful bound, nor soon one in float64."""


def grid_gains(node: Node, values: Values, gain: Callable[[Ref], float]) -> tuple[float, ...]:
    """Return an upper bound on the gain of a grid recurrence's output; what it keeps besides is not bounded."""
    x, *weights = node.args
    if any(gain(ref) > 0 or not values[ref].constant for ref in weights):
        raise NoRule
    weight_in, below, north, west, _ = (values[ref].lo for ref in weights)
    size = values[x].lo.shape[1:3]
    recurrence = node.operation.recurrence
    step = _lstm_step if recurrence is not None and recurrence.cell is Cell.LSTM else _tanh_step
    into = gain(x)
    for W_in, N, W in zip([weight_in, *below], north, west, strict=True):
        into *= step(W_in, N, W, (size[0], size[1]))
    return into * (1 + ROUNDING), *[math.inf] * (len(node.outputs) - 1)


def _norm(W: Tensor) -> float:
    return certified_range(W)[1]


def _summed(b: float, north: float, west: float, joint: float, size: Size) -> float:
    """Return ``b Σ t^j``; a grid of one row has no north, one of a single column no west."""
    t = north if size[1] == 1 else west if size[0] == 1 else min(north + west, joint)
    return b * sum(power(t, j) for j in range(sum(size) - 1))


def _tanh_step(W_in: Tensor, N: Tensor, W: Tensor, size: Size) -> float:
    return _summed(_norm(W_in), _norm(N), _norm(W), math.sqrt(2) * _norm(torch.cat([N, W], dim=1)), size)


def _lstm_step(W_in: Tensor, N: Tensor, W: Tensor, size: Size) -> float:
    """Bound cells of (h, c) block by block, the cell states by what both neighbours and one candidate can add up to."""
    if sum(size) > LARGEST:
        raise NoRule
    cell = math.comb(sum(size), size[0]) - 1.0  # c = c_north + c_west + 1, from zeros: ignoring that gates are below 1

    def gains(part: Tensor) -> tuple[float, float]:
        out, entry, candidate, *keep = (_norm(gate) for gate in part.chunk(5))
        return out / 4, entry / 4 + candidate + cell / 4 * sum(keep)

    (Q_x, P_x), *across = (gains(part) for part in (W_in, N, W))
    north, west = (_norm(torch.tensor([[Q + P, 1.0], [P, 1.0]], dtype=torch.float64)) for Q, P in across)
    return _summed(math.hypot(Q_x + P_x, P_x), north, west, math.inf, size)
