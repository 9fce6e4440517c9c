"""A2: tanh layers of one unit, weights 1, let no gradient grow; how slowly it vanishes depends on the bias."""

import math
from dataclasses import dataclass

import numpy as np
import sympy
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq

from leadline.claims.claim import Claim, Effort, Evidence, Grounds, Outcome, computed, exact, measured
from leadline.claims.counterexample import Counterexample
from leadline.claims.scalar_chain import DERIVATIVES, bounded, chain, gradients, rational, steepest, within
from leadline.document import Curve
from leadline.results import Estimate


@dataclass(frozen=True)
class TanhChain:
    """`layers` scalar tanh layers with the same `weight` and any biases; `bias` is that of the rate's example."""

    weight: float = 1.0
    layers: int = 10
    bias: float = 0.1


def settle(of: TanhChain, effort: Effort) -> Evidence:
    """Bound the gradient for all inputs and biases; then measure by which law it vanishes."""
    largest = abs(rational(of.weight)) * steepest("tanh")
    logs = _orbit(effort.pick(30_000, 300_000))
    power, rate = _power(logs), _rate(of.bias)
    return Evidence(
        claimed=(bounded("tanh", of.weight, of.layers, sympy.Integer(1), effort),),
        instead=(bounded("tanh", of.weight, of.layers, largest, effort),),
        compared=(
            within("tanh", of.weight, of.layers, effort),
            _constant(logs),
            _polynomial(power),
            *([_exponential(of, rate)] if of.bias else []),
        ),
        aside=(_premise(),),
        quantities=(
            exact("supremum of |f'|", float(largest**of.layers)),
            exact("slope of 1/x² in n, and its coefficient of ln n", ", ".join(map(str, _expansion()))),
            measured("exponent of n in f', no bias", power),
            computed(f"log rate per layer, bias {of.bias:g}", rate),
        ),
        picture=_picture(of, logs),
    )


def _premise() -> Outcome:
    """Ask sympy for the range of tanh, and where it leaves the interval that the paper gives it."""
    statement = "tanh takes values in [0, 1] only"
    _, low, high = DERIVATIVES["tanh"]
    x = sympy.Symbol("x", real=True)
    ends = (sympy.limit(sympy.tanh(x), x, -sympy.oo), sympy.limit(sympy.tanh(x), x, sympy.oo))
    outside = sympy.Interval.open(*ends) - sympy.Interval(0, 1)
    if outside.is_empty:
        return Outcome(statement, True, Grounds.SYMBOLIC, f"its range is {ends}")
    point = float(sympy.atanh(sympy.Rational(outside.start + outside.end, 2)))
    case = Counterexample(statement, {"x": point, "tanh(x)": math.tanh(point)})
    return Outcome(
        statement, False, Grounds.SYMBOLIC, f"its range is ({low}, {high}); the slope is in (0, 1] all the same", case
    )


def _expansion() -> tuple[sympy.Rational, sympy.Rational]:
    """Derive ``1/x_n² = a n + b ln n + C`` from ``u ↦ u + a + c/u + …`` for u = 1/x², x ↦ tanh x: b = c/a.

    Examples
    --------
    >>> _expansion()
    (2/3, 1/10)
    """
    x = sympy.Symbol("x", positive=True)
    series = sympy.series(1 / sympy.tanh(x) ** 2 - 1 / x**2, x, 0, 4).removeO()
    step, curve = series.coeff(x, 0), series.coeff(x, 2)
    return step, curve / step


def _orbit(length: int, bias: float = 0.0) -> NDArray[np.float64]:
    """Return ln f' after 1, 2, … layers of weight 1, from input 1."""
    x, logs = 1.0, np.empty(length)
    for n in range(length):
        x = math.tanh(x + bias)
        logs[n] = math.log1p(-x * x)
    return np.cumsum(logs)


def _constant(logs: NDArray[np.float64]) -> Outcome:
    """Follow what is left of 1/x² when the two derived terms are taken away."""
    step, curve = _expansion()
    statement = f"without biases, at weight 1, 1/x_n² - ({step}) n - ({curve}) ln n has a limit"
    squares = -np.expm1(np.diff(logs, prepend=0.0))
    n = np.array([len(logs) // 100, len(logs) // 10, len(logs)])
    rest = 1 / squares[n - 1] - float(step) * n - float(curve) * np.log(n)
    first, second = np.abs(np.diff(rest))
    holds = bool(second < first < 0.05)
    evidence = ", ".join(f"{value:.5f} at n = {at}" for value, at in zip(rest, n, strict=True))
    case = None if holds else Counterexample(statement, {"at n": int(n[-1]), "left": float(rest[-1])})
    return Outcome(statement, holds, Grounds.MEASURED, evidence, case)


def _power(logs: NDArray[np.float64]) -> Estimate:
    """Fit the slope of ln f' over ln n from n = 1000 on, with what is left unexplained as its error."""
    n = np.unique(np.geomspace(1000, len(logs), 60).astype(int))
    design = np.stack([np.log(n), np.ones(len(n))], axis=1)
    (slope, level), *_ = np.linalg.lstsq(design, logs[n - 1], rcond=None)
    residual = logs[n - 1] - design @ np.array([slope, level])
    spread = np.sqrt(residual @ residual / (len(n) - 2) / np.sum((design[:, 0] - design[:, 0].mean()) ** 2))
    return Estimate(float(slope), float(spread), len(n))


def _polynomial(power: Estimate) -> Outcome:
    statement = "without biases, at weight 1, f' falls as n^(-3/2) only"
    step, curve = _expansion()
    evidence = (
        f"x_n = tanh(x_(n-1)) has 1/x_n² = ({step}) n + ({curve}) ln n + C, so ln f' = -Σ x² falls by 3/2 ln n; "
        f"fitted from n ≥ 1000: {power.value:.4f}"
    )
    holds = abs(power.value + 1 / float(step)) < 0.01
    case = None if holds else Counterexample(statement, {"exponent": power.value})
    return Outcome(statement, holds, Grounds.MEASURED, evidence, case)


def _rate(bias: float) -> float:
    """Return ln of the slope at the fixed point of x ↦ tanh(x + b), which every orbit reaches."""
    fixed = brentq(lambda x: math.tanh(x + bias) - x, 0.0 if bias > 0 else -1.0, 1.0 if bias > 0 else 0.0)
    return math.log1p(-fixed * fixed)


def _exponential(of: TanhChain, rate: float) -> Outcome:
    """Compare the rate at the fixed point with the gradient of the zoo's chain, layer by layer."""
    statement = f"with a bias of {of.bias:g} the gradient vanishes exponentially again"
    x = torch.ones(1, dtype=torch.float64)
    ends = [
        gradients(chain("tanh", 1.0, n), x, torch.full((1, n), of.bias, dtype=torch.float64)).log().item()
        for n in (60, 61)
    ]
    found = ends[1] - ends[0]
    holds = rate < 0 and abs(found - rate) < 1e-6
    evidence = f"layer 61 multiplies it by e^{found:.6f}; at the fixed point of tanh(x + b) that is e^{rate:.6f}"
    case = None if holds else Counterexample(statement, {"fixed point": rate, "measured": found})
    return Outcome(statement, holds, Grounds.MEASURED, evidence, case)


def _picture(of: TanhChain, logs: NDArray[np.float64]) -> Curve:
    n = np.unique(np.geomspace(1, 300, 60).astype(int))
    series = (
        ("no bias", tuple(np.exp(logs[n - 1]).tolist())),
        (f"bias {of.bias:g}", tuple(np.exp(_orbit(300, of.bias)[n - 1]).tolist())),
    )
    return Curve(
        tuple(n.tolist()), series, "layers", "f'", "How a tanh chain of weight 1 forgets its input", log_y=True
    )


CLAIM = Claim(
    id="A2",
    title="Tanh chain",
    statement="A chain of n one-unit tanh layers with weight 1 has a gradient between 0 and 1 in size, for every input "
    "and all biases.",
    paper="0 ≤ |f'(x)| ≤ 1, since tanh lies in [0, 1].",
    mathematics=TanhChain(),
    settle=settle,
)
