"""What pointwise operations are made of, for the compiled sampler: expressions in operations that have an instruction.

A recipe is given the literals of an operation, and the names of its operands under these names, so that an argument is
a number or a name, whichever it is; and whether all operands are truth values (`boolean`).
"""

import math
from collections.abc import Callable
from typing import Any

import torch

from leadline.graph.table.record import Expression, Literals

Recipe = Callable[[Literals], Expression | None]
_X = "self"
_SELU = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def made(*expression: Any) -> Recipe:
    """Return the recipe of an expression that no literal changes."""
    return lambda _: expression


def scaled(function: str) -> Recipe:
    """Return a sum or difference whose second operand is multiplied by `alpha`."""
    return lambda given: (function, _X, ("mul", given["other"], given.get("alpha", 1.0)))


def between(x: Any, low: Any, high: Any) -> Any:
    """Return the expression of a number held between two, of which one may be missing."""
    x = x if low is None else ("maximum", x, low)
    return x if high is None else ("minimum", x, high)


def held(low: str, high: str, defaults: tuple[float, float] | None = None) -> Recipe:
    """Return a number held between two literals."""
    first, last = defaults or (None, None)

    def choose(given: Literals) -> Expression | None:
        found = between(_X, given.get(low, first), given.get(high, last))
        return found if isinstance(found, tuple) else None

    return choose


def bent(given: Literals) -> Expression:
    """Return ``max(x, 0) + alpha · (exp(min(rate · x, 0)) - 1)`` for the three functions that are so."""
    alpha, scale, rate = given.get("alpha", 1.0), given.get("scale", 1.0), given.get("input_scale", 1.0)
    below = ("mul", ("expm1", ("minimum", ("mul", _X, rate), 0.0)), alpha * scale)
    return "add", ("mul", ("maximum", _X, 0.0), scale), below


def celu(given: Literals) -> Expression:
    """Return an ELU whose slope has no step."""
    return bent({"alpha": given.get("alpha", 1.0), "input_scale": 1.0 / given.get("alpha", 1.0)})


def selu(_: Literals) -> Expression:
    """Return an ELU with the scales that keep variances."""
    return bent({"alpha": _SELU[0], "scale": _SELU[1]})


def softplus(given: Literals) -> Expression:
    """Return ``log(1 + exp(beta · x)) / beta``, and x above a threshold."""
    beta, threshold = given.get("beta", 1.0), given.get("threshold", 20.0)
    steep = ("mul", _X, beta)
    curve = ("div", ("log1p", ("exp", ("minimum", steep, threshold))), beta)
    return "where", ("lt", threshold, steep), _X, curve


def threshold(given: Literals) -> Expression:
    """Return a value for what is not above a threshold."""
    return "where", ("le", _X, given["threshold"]), given["value"], _X


def hardshrink(given: Literals) -> Expression:
    """Return zero for what is near zero."""
    return "where", ("le", ("abs", _X), given.get("lambd", 0.5)), 0.0, _X


def softshrink(given: Literals) -> Expression:
    """Return what lies beyond some distance from zero."""
    width = given.get("lambd", 0.5)
    return "sub", _X, between(_X, -width, width)


def logit(given: Literals) -> Expression:
    """Return the logarithm of the odds."""
    eps = given.get("eps")
    x = _X if eps is None else between(_X, eps, 1.0 - eps)
    return "log", ("div", x, ("rsub", x, 1.0))


def quotient(given: Literals) -> Expression | None:
    """Return a quotient that is cut to a whole number; one that is rounded down is made of a remainder."""
    return ("trunc", ("div", _X, given["other"])) if given.get("rounding_mode") == "trunc" else None


def truth(given: Literals) -> Expression | None:
    """Return whether a number is not zero, where that is the type asked for."""
    return ("ne", _X, 0.0) if given.get("dtype") is torch.bool else None


def power(given: Literals) -> Expression:
    """Return a power whose base or exponent is a number."""
    return "pow", given["self"], given["exponent"]


def _is_true(name: str) -> Expression:
    return "ne", name, 0.0


def bits(recipe: Recipe) -> Recipe:
    """Return the recipe of what works bit by bit, which truth values have one of."""
    return lambda given: recipe(given) if given.get("boolean") else None


NOT = made("eq", _X, 0.0)
BOTH = made("mul", _is_true("self"), _is_true("other"))
EITHER = made("maximum", _is_true("self"), _is_true("other"))
DIFFER = made("ne", _is_true("self"), _is_true("other"))
MISH = made("mul", _X, ("tanh", ("softplus", _X)))
HARD = ("div", between(("add", _X, 3.0), 0.0, 6.0), 6.0)
LOG_SIGMOID = made("sub", ("minimum", _X, 0.0), ("log1p", ("exp", ("neg", ("abs", _X)))))
# of two that are equal, infinite ones among them, there is no difference to be taken
LOG_ADD_EXP = made(
    "where", ("eq", "self", "other"), ("add", "self", math.log(2.0)),
    ("add", ("maximum", "self", "other"), ("log1p", ("exp", ("neg", ("abs", ("sub", "self", "other")))))),
)  # fmt: skip
