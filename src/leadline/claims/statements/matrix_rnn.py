"""A3: a tanh recurrence whose matrix has norm 1/2 halves every gradient at each step."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from leadline.claims.algebra import eye, normal, singular_values, spectral_norm
from leadline.claims.claim import Claim, Effort, Evidence, Grounds, Outcome, computed, exact
from leadline.claims.counterexample import Counterexample, arrays
from leadline.claims.scalar_chain import rational, steepest
from leadline.claims.settling import Point, Search, searched
from leadline.document import Curve


@dataclass(frozen=True)
class MatrixRNN:
    """``x ↦ tanh(W x)`` over `units` units with ``σ_max(W) = norm``, for `steps` - 1 applications."""

    norm: float = 0.5
    units: int = 4
    steps: int = 8

    def __post_init__(self) -> None:
        if self.norm < 0 or self.steps < 1:
            raise ValueError(f"a norm of at least 0 and 1 step or more, not {self.norm} and {self.steps}")


def jacobian(W: Float[Tensor, "*n k k"], x: Float[Tensor, "*n k"], applications: int) -> Float[Tensor, "*n k k"]:
    """Return the derivative of so many applications of ``x ↦ tanh(W x)``: the product of ``D[1 - x²] W`` over them.

    Examples
    --------
    >>> jacobian(torch.eye(2) / 2, torch.zeros(2), 3)
    tensor([[0.1250, 0.0000],
            [0.0000, 0.1250]])
    """
    J = torch.eye(W.shape[-1], dtype=W.dtype).expand_as(W)
    for _ in range(applications):
        x = torch.tanh((W @ x.unsqueeze(-1)).squeeze(-1))
        J = (1 - x**2).unsqueeze(-1) * (W @ J)
    return J


def settle(of: MatrixRNN, effort: Effort) -> Evidence:
    """Bound the norm by submultiplicativity, for all inputs and steps; else look for a larger one."""
    bound = float(rational(of.norm) ** (of.steps - 1))
    outcome, at_zero = _attained(of, effort)
    return Evidence(
        claimed=(_bounded(of, 0.5, effort),),
        instead=(_bounded(of, of.norm, effort), outcome),
        compared=(_modules(of, effort),),
        quantities=(
            exact(f"bound after {of.steps - 1} applications", bound),
            computed("σ_max at x = 0, W a multiple of an orthogonal matrix", at_zero),
        ),
        picture=_picture(of, effort),
    )


def _bounded(of: MatrixRNN, limit: float, effort: Effort) -> Outcome:
    statement = f"σ_max(∂x_n/∂x_1) ≤ ({rational(limit)})^(n-1) for all x_1 and all W of norm {of.norm:g}"
    if rational(of.norm) * steepest("tanh") <= rational(limit):
        argument = f"each factor D[tanh'] W has norm at most sup tanh' · ‖W‖ = {steepest('tanh')} · {of.norm:g}"
        return Outcome(statement, True, Grounds.SYMBOLIC, argument)
    applications = of.steps - 1

    def draw(generator: torch.Generator, starts: int) -> Point:
        return {"W": normal(generator, starts, of.units, of.units), "x": normal(generator, starts, of.units)}

    def excess(point: Point) -> Tensor:
        J = jacobian(_scaled(point["W"], of.norm), point["x"], applications)
        return spectral_norm(J).log() - applications * math.log(limit)

    def values(at: Point) -> dict[str, int | float | str]:
        found = spectral_norm(jacobian(_scaled(at["W"], of.norm), at["x"], applications)).item()
        return {"norm of W (scale it)": of.norm, "steps": of.steps, "claimed": limit**applications, "norm": found}

    return searched(statement, Search(draw, excess, unit="ln σ_max"), effort, values)


def _scaled(W: Float[Tensor, "*n k k"], norm: float) -> Float[Tensor, "*n k k"]:
    """Give a matrix the spectral norm asked for."""
    return norm * W / spectral_norm(W)[..., None, None]


def _attained(of: MatrixRNN, effort: Effort) -> tuple[Outcome, float]:
    statement = "this bound is attained at x = 0 by a multiple of an orthogonal matrix"
    Q = torch.linalg.qr(normal(effort.generator(), of.units, of.units)).Q
    x = torch.zeros(of.units, dtype=torch.float64)
    found = singular_values(jacobian(of.norm * Q, x, of.steps - 1))[0].item()
    bound = of.norm ** (of.steps - 1)
    holds = abs(found - bound) <= 1e-12 * bound
    case = None if holds else Counterexample(statement, {"norm": found, "bound": bound}, arrays(W=of.norm * Q, x=x))
    return Outcome(statement, holds, Grounds.EXHAUSTIVE, f"σ_max is {found:.15g}, the bound {bound:.15g}", case), found


def _modules(of: MatrixRNN, effort: Effort) -> Outcome:
    """Differentiate torch's RNN, which is fed zeros and starts at x, and compare with the product of Jacobians."""
    statement = "nn.RNN with this matrix has that Jacobian from its first state to its last"
    generator, steps = effort.generator(), of.steps - 1
    W = _scaled(normal(generator, of.units, of.units), of.norm)
    x = normal(generator, of.units)
    rnn = nn.RNN(1, of.units, bias=False, batch_first=True).double()
    rnn.load_state_dict({"weight_ih_l0": torch.zeros(of.units, 1), "weight_hh_l0": W})
    zeros = torch.zeros(1, max(steps, 1), 1, dtype=torch.float64)
    found = eye(of.units) if steps == 0 else _differentiated(lambda h: rnn(zeros, h[None, None])[1][0, 0], x)
    gap = (found - jacobian(W, x, steps)).abs().max().item()
    case = None if gap < 1e-12 else Counterexample(statement, {"largest difference": gap}, arrays(W=W, x=x))
    evidence = f"a random matrix, {steps} steps by automatic differentiation: largest difference {gap:.2g}"
    return Outcome(statement, gap < 1e-12, Grounds.MEASURED, evidence, case)


def _differentiated(f: Callable[[Tensor], Tensor], x: Float[Tensor, " k"]) -> Float[Tensor, "k k"]:
    J: Tensor = torch.autograd.functional.jacobian(f, x)
    return J


def _picture(of: MatrixRNN, effort: Effort) -> Curve:
    generator = effort.generator()
    W = _scaled(normal(generator, of.units, of.units), of.norm)
    x = normal(generator, of.units)
    n = range(1, 2 * of.steps)
    found = tuple(spectral_norm(jacobian(W, x, i)).item() for i in n)
    series = (("a random W and x", found), ("bound", tuple(float(np.power(of.norm, i)) for i in n)))
    return Curve(tuple(n), series, "applications", "σ_max", f"Gradient of a tanh recurrence, ‖W‖ = {of.norm:g}", True)


CLAIM = Claim(
    id="A3",
    title="Matrix tanh RNN",
    statement="If the recurrent matrix of x ↦ tanh(W x) has norm 1/2, the gradient over n states lies between 0 and "
    "(1/2)^(n-1) in norm.",
    paper="0 ≤ σ_max(∂x_n/∂x_1) ≤ (1/2)^(n-1).",
    mathematics=MatrixRNN(),
    settle=settle,
)
