"""A1: sigmoid layers of one unit, weights 1, divide every gradient by at least 4 a layer."""

from dataclasses import dataclass

import numpy as np
import sympy
import torch
from numpy.typing import NDArray

from leadline.claims.claim import Claim, Effort, Evidence, Grounds, Outcome, computed, exact
from leadline.claims.counterexample import Counterexample
from leadline.claims.scalar_chain import bounded, chain, gradients, rational, steepest, within
from leadline.document import Curve

_QUADRATURE = 1e-4
"""What the trapezoids may add to an integral."""


@dataclass(frozen=True)
class SigmoidChain:
    """`layers` scalar sigmoid layers with the same `weight` and any biases."""

    weight: float = 1.0
    layers: int = 10


def settle(of: SigmoidChain, effort: Effort) -> Evidence:
    """Bound the gradient for all inputs and biases; where the bound does not do, look for a larger gradient."""
    largest = abs(rational(of.weight)) * steepest("sigmoid")
    bound = float(largest**of.layers)
    at_8 = float(_slopes(8.0, of.layers, np.array([0.5]))[0])
    return Evidence(
        claimed=(bounded("sigmoid", of.weight, of.layers, sympy.Rational(1, 4), effort),),
        instead=(bounded("sigmoid", of.weight, of.layers, largest, effort),),
        compared=(_attained(of, bound), within("sigmoid", of.weight, of.layers, effort), _thin(of.layers)),
        quantities=(exact("supremum of |f'|", bound), computed("|f'(1/2)| at weight 8, biases -4", at_8)),
        picture=_picture(of, bound),
    )


def _slopes(weight: float, layers: int, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return |f'| at inputs x with biases -w/2, where x = 1/2 makes every pre-activation 0."""
    biases = torch.full((len(x), layers), -weight / 2, dtype=torch.float64)
    return gradients(chain("sigmoid", weight, layers), torch.from_numpy(x), biases).abs().detach().numpy()


def _attained(of: SigmoidChain, bound: float) -> Outcome:
    statement = "this bound is attained where every pre-activation is 0"
    slope = float(_slopes(of.weight, of.layers, np.array([0.5]))[0])
    holds = abs(slope - bound) <= 1e-12 * bound
    evidence = f"automatic differentiation at x = 1/2 with biases -w/2 gives {slope:.15g}; the bound is {bound:.15g}"
    case = None if holds else Counterexample(statement, {"gradient": slope, "bound": bound})
    return Outcome(statement, holds, Grounds.EXHAUSTIVE, evidence, case)


def _thin(layers: int) -> Outcome:
    """Integrate |f'| of an exploding chain: being monotone and into (0, 1), it cannot climb more than 1 in all."""
    statement = (
        "where a chain of positive weights explodes, it does so on a thin set: the integral of |f'| is at most 1"
    )
    near, weight = 0.5 + np.sinh(np.linspace(-12, 12, 8001)) * 1e-4, 8.0
    slopes = _slopes(weight, layers, near)
    area = float(np.trapezoid(slopes, near))
    width = float(np.sum(np.gradient(near)[slopes > 1]))
    evidence = (
        f"at weight {weight:g} it rises to {slopes.max():.4g}, exceeds 1 on a width of {width:.2g}, integral {area:.4f}"
    )
    case = None if area <= 1 + _QUADRATURE else Counterexample(statement, {"weight": weight, "integral": area})
    return Outcome(statement, area <= 1 + _QUADRATURE, Grounds.MEASURED, evidence, case)


def _picture(of: SigmoidChain, bound: float) -> Curve:
    x = np.linspace(-3, 4, 141)
    slopes = _slopes(of.weight, of.layers, x)
    series = (("|f'(x)|", tuple(slopes.tolist())), ("bound", (bound,) * len(x)))
    caption = f"Gradient of {of.layers} sigmoid layers of weight {of.weight:g} and biases {-of.weight / 2:g}"
    return Curve(tuple(x.tolist()), series, "x", "|f'(x)|", caption, log_y=True)


CLAIM = Claim(
    id="A1",
    title="Sigmoid chain",
    statement="A chain of n one-unit sigmoid layers with weight 1 has a gradient between 0 and 4^-n in size, for every "
    "input and all biases.",
    paper="0 ≤ |f'(x)| ≤ 4^-n, so sigmoids solve exploding gradients.",
    mathematics=SigmoidChain(),
    settle=settle,
)
