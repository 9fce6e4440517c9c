"""A4, second half: one step of a GRU or an LSTM, and which bounds on its gradient hold."""

import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import jacrev, vmap

from leadline.claims.algebra import derivative, eye, normal, singular_values, spectral_norm
from leadline.claims.claim import Effort, Grounds, Outcome
from leadline.claims.counterexample import Counterexample
from leadline.claims.settling import Point, Search, searched
from leadline.jacobian.theory import gates
from leadline.zoo.recurrent import gru_step, lstm_step

UNITS, INPUTS = 4, 3


def closed_forms(effort: Effort) -> Outcome:
    """Compare the closed Jacobians with automatic differentiation of PyTorch's own cells."""
    statement = "the Jacobians of a GRU and an LSTM step are D_z + E and [[I, D_s],[0, I]] · [[Q, 0],[P, D_f]]"
    gap = 0.0
    for gru, lstm, x, h, c in _cells(effort, 40):
        true = derivative(partial(gru, x), h)
        gap = max(gap, float((gates.gru_step(gru, x, h).jacobian - true).abs().max()))
        step = gates.lstm_step(lstm, x, h, c)
        true = derivative(partial(_joint, lstm, x), torch.cat([h, c]))
        gap = max(gap, float((step.jacobian - true).abs().max()))
        gap = max(gap, abs(step.determinant / float(torch.linalg.det(true)) - 1) * 1e-6)
    return _measured(statement, gap < 1e-10, f"40 random cells of each kind, to {gap:.1g}", {"gap": gap})


def _joint(lstm: nn.LSTMCell, x: Tensor, state: Tensor) -> Tensor:
    """Step an LSTM whose state (h, c) is one vector."""
    return torch.cat(lstm(x, state.chunk(2)))


def step_bounds(effort: Effort) -> Outcome:
    """Compare singular values with their bounds, for weights from tiny to huge."""
    statement = (
        "min z (1 - ‖D_z⁻¹E‖) ≤ σ ≤ max z + ‖E‖ ≤ 1 + ½‖W_z‖ + ‖W_n‖ + ¼Q‖W_r‖ for a GRU step; "
        "the i-th singular value of an LSTM step is at least the i-th largest f_j sqrt(1+s_j²), i ≤ k"
    )
    worst = -math.inf
    for gru, lstm, x, h, c in _cells(effort, 200):
        step = gates.gru_step(gru, x, h)
        values = singular_values(step.jacobian)
        worst = max(worst, float(values[0]) / step.bound.hi - 1, step.bound.hi / gates.gru_bound(gru).hi - 1)
        worst = max(worst, step.bound.lo - float(values[-1]))
        other = gates.lstm_step(lstm, x, h, c)
        least = singular_values(other.jacobian)[:UNITS]
        worst = max(worst, float((other.lower / least - 1).max()))
    return _measured(statement, worst < 1e-9, f"200 random cells of each kind; nearest: {worst:.3g}", {"excess": worst})


def carried(effort: Effort) -> Outcome:
    """Run LSTMs whose gates stay open, and compare what is left of the cell state's gradient with its bound."""
    statement = "with s_max + κ‖Q‖/(f_min - κ‖P‖) ≤ κ, σ_min(∂c_T/∂c_0) ≥ (f_min - κ‖P‖)^T"
    steps, nearest, holding = 20, math.inf, 0
    generator = effort.generator()
    for _ in range(20):
        lstm = nn.LSTMCell(INPUTS, UNITS).double()
        for parameter in lstm.parameters():
            parameter.data.normal_(0, 0.1, generator=generator)
        lstm.bias_hh.data[UNITS : 2 * UNITS] += 4.0
        found, bound = _carry(lstm, steps, generator)
        holding += bound > 0
        nearest = min(nearest, found / bound if bound > 0 else math.inf)
    evidence = (
        f"{holding} of 20 random LSTMs meet the condition over {steps} steps; found at least {nearest:.3f} × bound"
    )
    return _measured(statement, holding > 0 and nearest >= 1, evidence, {"ratio": nearest})


def _carry(lstm: nn.LSTMCell, steps: int, generator: torch.Generator) -> tuple[float, float]:
    """Return σ_min(∂c_T/∂c_0) and its lower bound along one random sequence."""
    h, c = torch.zeros(2, UNITS, dtype=torch.float64)
    J = eye(2 * UNITS)
    f_min, s_max, P, Q = 1.0, 0.0, 0.0, 0.0
    for _ in range(steps):
        x = normal(generator, INPUTS)
        step = gates.lstm_step(lstm, x, h, c)
        f_min, s_max = min(f_min, float(step.f.min())), max(s_max, float(step.s.max()))
        P, Q = max(P, spectral_norm(step.P).item()), max(Q, spectral_norm(step.Q).item())
        J = step.jacobian @ J
        with torch.no_grad():
            h, c = lstm(x, (h, c))
    kept = float(singular_values(J[UNITS:, UNITS:])[-1])
    return kept, gates.lstm_carry_bound(f_min, s_max, P, Q, steps).lo


def no_floor(kind: str, effort: Effort) -> Outcome:
    """Look for one step of an explicit cell that loses a direction altogether."""
    gated, states = (3, 1) if kind == "GRU" else (4, 2)

    def step(given: Tensor, W: Tensor, state: Tensor) -> Tensor:
        h, *cell = state[None].chunk(states, dim=1)
        run: Callable[..., tuple[Tensor, ...]] = gru_step if kind == "GRU" else lstm_step
        return torch.cat(run(given[None], h @ W.mT, (h, *cell)), dim=1)[0]

    def smallest(point: Point) -> Float[Tensor, " n"]:
        state = point["state"].tanh()
        return singular_values(vmap(jacrev(step, 2))(point["given"], point["W"], state))[..., -1]

    def draw(generator: torch.Generator, starts: int) -> Point:
        shapes = {"given": (gated * UNITS,), "W": (gated * UNITS, UNITS), "state": (states * UNITS,)}
        return {n: normal(generator, starts, *s) for n, s in shapes.items()}

    floor = 1e-3
    search = Search(draw, lambda point: math.log(floor) - smallest(point).clamp_min(1e-300).log(), unit="ln σ_min")

    def values(at: Point) -> dict[str, int | float | str]:
        found = smallest({name: t[None] for name, t in at.items()}).item()
        return {"claimed": floor, "σ_min": found, "state": "tanh of the array"}

    return searched(f"no step of a {kind} has a singular value below {floor}", search, effort, values)


def _cells(effort: Effort, count: int) -> Iterator[tuple[nn.GRUCell, nn.LSTMCell, Tensor, Tensor, Tensor]]:
    """Draw cells with weights of all sizes, an input, and a state within what states can be."""
    generator = effort.generator()
    for _ in range(count):
        gru, lstm = nn.GRUCell(INPUTS, UNITS).double(), nn.LSTMCell(INPUTS, UNITS).double()
        size = 10 ** (1.5 * torch.rand((), generator=generator).item() - 1)
        for parameter in (*gru.parameters(), *lstm.parameters()):
            parameter.data.normal_(0, size, generator=generator)
        x = normal(generator, INPUTS)
        h = 2 * torch.rand(UNITS, generator=generator, dtype=torch.float64) - 1
        yield gru, lstm, x, h, 3 * normal(generator, UNITS)


def _measured(statement: str, holds: bool, evidence: str, values: dict[str, int | float | str]) -> Outcome:
    case = None if holds else Counterexample(statement, values)
    return Outcome(statement, holds, Grounds.MEASURED, evidence, case)
