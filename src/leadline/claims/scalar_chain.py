"""What the claims about chains of scalar layers share: the zoo's chain with free biases, its gradient, its supremum."""

import math
from collections.abc import Mapping
from types import MappingProxyType

import sympy
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from leadline.claims.algebra import normal
from leadline.claims.claim import Effort, Grounds, Outcome
from leadline.claims.counterexample import Counterexample, arrays
from leadline.claims.settling import Point, Search, searched
from leadline.zoo.chain import Chain, ChainConfig
from leadline.zoo.settings import Activation

# The derivative of each activation as a function of its value v, and the values that it takes.
DERIVATIVES: Mapping[str, tuple[str, int, int]] = MappingProxyType(
    {"sigmoid": ("v*(1 - v)", 0, 1), "tanh": ("1 - v**2", -1, 1)}
)


def steepest(activation: Activation) -> sympy.Rational:
    """Return the supremum of the activation's slope, by calculus.

    Examples
    --------
    >>> steepest("sigmoid"), steepest("tanh")
    (1/4, 1)
    """
    v = sympy.Symbol("v", real=True)
    slope, low, high = DERIVATIVES[activation]
    return sympy.maximum(sympy.sympify(slope, {"v": v}), v, sympy.Interval(low, high))


def rational(number: float) -> sympy.Rational:
    """Return a decimal as the fraction it is written as."""
    return sympy.Rational(repr(number))


def gradients(model: Chain, x: Float[Tensor, " n"], biases: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """Return f'(x) of a chain at n inputs, each with biases of its own."""

    def value(x: Tensor, own: Tensor) -> Tensor:
        named = {f"layers.{i}.linear.bias": own[i : i + 1] for i in range(len(own))}
        out: Tensor = functional_call(model, named, (x[None, None],))
        return out.squeeze()

    slopes: Tensor = vmap(grad(value))(x, biases)
    return slopes


def bounded(activation: Activation, weight: float, layers: int, limit: sympy.Rational, effort: Effort) -> Outcome:
    """Settle |f'| ≤ limit^n: by bounding each layer, for every depth, else by a search at one depth."""
    power = "1" if limit == 1 else f"({limit})^n"
    statement = f"|f'(x)| ≤ {power} for every input and all biases, at weight {weight:g}"
    factor = abs(rational(weight)) * steepest(activation)
    if factor <= limit:
        argument = (
            f"f' is the product of n slopes, each at most |w| · sup φ' = {abs(weight):g} · {steepest(activation)}"
        )
        return Outcome(statement, True, Grounds.SYMBOLIC, argument)
    model = chain(activation, weight, layers)

    def values(at: Point) -> dict[str, int | float | str]:
        slope = gradients(model, at["x"][None], at["biases"][None]).item()
        return {"weight": weight, "layers": layers, "claimed": float(limit**layers), "gradient": slope}

    return searched(statement, _steeper(model, limit), effort, values)


def within(activation: Activation, weight: float, layers: int, effort: Effort) -> Outcome:
    """Differentiate the zoo's chain at random inputs and biases, and compare with the product of slopes."""
    statement = "the zoo's chain has the gradient Π w φ'(w x + b), layer by layer"
    generator, slope = effort.generator(), sympy.lambdify(sympy.Symbol("v"), DERIVATIVES[activation][0])
    x, biases = normal(generator, 64), normal(generator, 64, layers)
    found = gradients(chain(activation, weight, layers), x, biases)
    value, product = x, torch.ones_like(x)
    for bias in biases.unbind(1):
        value = getattr(torch, activation)(weight * value + bias)
        product = product * weight * slope(value)
    gap = ((found - product).abs() / product.abs().clamp_min(1e-300)).max().item()
    case = None if gap < 1e-9 else Counterexample(statement, {"relative gap": gap}, arrays(x=x, biases=biases))
    evidence = f"automatic differentiation at {len(x)} random inputs, relative difference {gap:.2g}"
    return Outcome(statement, gap < 1e-9, Grounds.MEASURED, evidence, case)


def _steeper(model: Chain, limit: sympy.Rational) -> Search:
    """Look for an input and biases at which log |f'| exceeds n log limit."""
    depth: int = model.config.layers

    def draw(generator: torch.Generator, starts: int) -> Point:
        x = normal(generator, starts)
        biases = 3 * normal(generator, starts, depth)
        return {"x": x, "biases": biases}

    def excess(point: Point) -> Tensor:
        slopes = gradients(model, point["x"], point["biases"]).abs()
        return slopes.clamp_min(1e-300).log() - depth * math.log(limit)

    return Search(draw, excess, unit="ln |f'|")


def chain(activation: Activation, weight: float, layers: int) -> Chain:
    """Build the zoo's chain in double precision, its weights too: single precision does not hold every one."""
    model = Chain(ChainConfig(layers=layers, activation=activation, weight=weight)).double()
    for name, parameter in model.named_parameters():
        if name.endswith("weight"):
            nn.init.constant_(parameter, weight)
    return model
