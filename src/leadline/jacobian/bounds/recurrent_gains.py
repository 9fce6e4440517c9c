"""How much a recurrence can stretch a perturbation of what goes in: a sequence and initial states, or a grid.

Per step, norms bound ``‖ds'‖ ≤ a ‖ds‖ + b ‖dx‖`` for the state s (h, or h and c). Over T steps the states form
``Σ a^(t-j) b dx_j``: a lower-triangular Toeplitz matrix, of norm at most ``b Σ_(j<T) a^j``; the last state alone has
norm at most ``b (Σ a^(2j))^½``.

Per cell of a grid, they bound ``‖ds‖ ≤ n ‖ds_north‖ + w ‖ds_west‖ + b ‖dx‖``. As maps of whole grids this reads
``s = T s + b x``: T shifts perturbations by one antidiagonal, stretches them by at most
``t = min(n + w, √2 ‖[N W]‖)`` (a state has two successors), and is nilpotent, so the norm is at most
``b Σ t^j`` over the H + W - 1 antidiagonals.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from leadline.domains.engine import NoRule
from leadline.domains.values.interval_arithmetic import Interval
from leadline.domains.values.intervals import Values
from leadline.graph.ir import Node, Ref
from leadline.graph.table import Cell
from leadline.jacobian.bounds.gain import above, kept, length
from leadline.jacobian.bounds.norms import certified_range, range_within

ROUNDING = 1e-12
"""More than the handful of floating-point sums and products that lead to one bound can err, relatively."""


def scan_gains(node: Node, values: Values, gain: Callable[[Ref], float]) -> tuple[float, ...]:
    """Return upper bounds on the gains of a recurrent layer's outputs: its sequence, then its last states."""
    recurrence = node.operation.recurrence
    if recurrence is None or recurrence.step or recurrence.cell not in _STEPS:
        raise NoRule
    named = node.bound()
    state = named["hx"]
    states = list(state) if isinstance(state, tuple) else [state]
    if named["bidirectional"] or any(gain(ref) > 0 for ref in (*states, *named["params"])):
        raise NoRule
    if float(values[states[0]].size.max()) > 1.0:
        raise NoRule
    weights = [values[ref] for ref in named["params"]]
    per_layer = 4 if named["has_biases"] else 2
    if len(weights) != per_layer * named["num_layers"]:
        raise NoRule  # projections
    time = values[named["input"]].shape[1 if named["batch_first"] else 0]
    cell = float(values[states[1]].size.max()) + time if recurrence.cell is Cell.LSTM else 0.0
    into, last = gain(named["input"]), 0.0
    between = 1.0 if node.operation.quiet(named) else kept(float(named["dropout"]))
    for layer in range(named["num_layers"]):
        parts = weights[per_layer * layer : per_layer * (layer + 1)]
        a, b = _STEPS[recurrence.cell](parts, cell)
        into = above(into, between) if layer else into
        last = length(last, above(into, b, math.sqrt(sum(power(a, 2 * j) for j in range(time)))))
        into = above(into, b, sum(power(a, j) for j in range(time)))
    into, last = above(into, 1 + ROUNDING), above(last, 1 + ROUNDING)
    return (into, *[last] * (len(node.outputs) - 1))


def power(base: float, exponent: int) -> float:
    """Return a power, infinite where it overflows."""
    try:
        return base**exponent
    except OverflowError:
        return math.inf


def _norm(W: Interval) -> float:
    return range_within(W)[1]


def _norms(W: Interval, gates: int) -> list[float]:
    return [_norm(part) for part in W.chunk(gates)]


def _rnn_step(parts: Sequence[Interval], _: float) -> tuple[float, float]:
    return _norm(parts[1]), _norm(parts[0])


def _gru_step(parts: Sequence[Interval], _: float) -> tuple[float, float]:
    """Bound a step from a state in [-1, 1]: see `leadline.jacobian.theory.gates.gru_bound`."""
    W_n = parts[1].chunk(3)[2].size
    shift = parts[3].chunk(3)[2].size if len(parts) == 4 else torch.zeros(len(W_n), dtype=W_n.dtype)
    Q = float((W_n.sum(1) + shift).max())
    (r, z, n), (u_r, u_z, u_n) = _norms(parts[1], 3), _norms(parts[0], 3)
    return 1 + z / 2 + n + Q * r / 4, u_z / 2 + u_n + Q * u_r / 4


def _lstm_step(parts: Sequence[Interval], cell: float) -> tuple[float, float]:
    """Bound a step of (h, c) with |c| at most `cell`, block by block."""
    gains = []
    for norms in (_norms(parts[1], 4), _norms(parts[0], 4)):
        i, f, g, o = norms
        gains.append((i / 4 + cell * f / 4 + g, o / 4))
    (P, Q), (P_x, Q_x) = gains
    return _largest([[Q + P, 1.0], [P, 1.0]]), math.hypot(Q_x + P_x, P_x)


def _largest(blocks: list[list[float]]) -> float:
    """Return the norm of a small matrix; infinite if an element is."""
    found = torch.tensor(blocks, dtype=torch.float64)
    return certified_range(found)[1] if bool(found.isfinite().all()) else math.inf


_STEPS = {Cell.TANH: _rnn_step, Cell.GRU: _gru_step, Cell.LSTM: _lstm_step}


Size = tuple[int, int]
LARGEST = 256
"""Height and width together beyond which an LSTM's cell states have no useful bound, nor soon one in float64."""


def grid_gains(node: Node, values: Values, gain: Callable[[Ref], float]) -> tuple[float, ...]:
    """Return an upper bound on the gain of a grid recurrence's output; what it keeps besides is not bounded."""
    x, *weights = node.args
    if any(gain(ref) > 0 or not values[ref].constant for ref in weights):
        raise NoRule
    weight_in, across, north, west, _ = (values[ref].lo for ref in weights)
    size = values[x].shape[1:3]
    recurrence = node.operation.recurrence
    step = _lstm_cell if recurrence is not None and recurrence.cell is Cell.LSTM else _tanh_cell
    into = gain(x)
    for W_in, N, W in zip([weight_in, *across], north, west, strict=True):
        into = above(into, step(W_in, N, W, (size[0], size[1])))
    return above(into, 1 + ROUNDING), *[math.inf] * (len(node.outputs) - 1)


def _of(W: Tensor) -> float:
    return certified_range(W)[1]


def _summed(b: float, north: float, west: float, joint: float, size: Size) -> float:
    """Return ``b Σ t^j``; a grid of one row has no north, one of a single column no west."""
    t = north if size[1] == 1 else west if size[0] == 1 else min(north + west, joint)
    return above(b, sum(power(t, j) for j in range(sum(size) - 1)))


def _tanh_cell(W_in: Tensor, N: Tensor, W: Tensor, size: Size) -> float:
    return _summed(_of(W_in), _of(N), _of(W), math.sqrt(2) * _of(torch.cat([N, W], dim=1)), size)


def _lstm_cell(W_in: Tensor, N: Tensor, W: Tensor, size: Size) -> float:
    """Bound cells of (h, c) block by block, the cell states by what both neighbours and one candidate can add up to."""
    if sum(size) > LARGEST:
        raise NoRule
    cell = math.comb(sum(size), size[0]) - 1.0  # c = c_north + c_west + 1, from zeros: ignoring that gates are below 1

    def gains(part: Tensor) -> tuple[float, float]:
        out, entry, candidate, *keep = (_of(gate) for gate in part.chunk(5))
        return out / 4, entry / 4 + candidate + cell / 4 * sum(keep)

    (Q_x, P_x), *across = (gains(part) for part in (W_in, N, W))
    north, west = (_largest([[Q + P, 1.0], [P, 1.0]]) for Q, P in across)
    return _summed(math.hypot(Q_x + P_x, P_x), north, west, math.inf, size)
