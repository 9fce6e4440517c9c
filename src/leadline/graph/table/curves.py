"""Curves that depend on literals, and those whose constants need saying where they come from."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from leadline.graph.table.curve import Curve
from leadline.graph.table.record import Literals

_EPS = float(torch.finfo(torch.float64).eps)


def number(literals: Literals, name: str, default: float | None = None) -> float | None:
    """Return a literal as a number; None for a reference, something else, or nothing where there is no default."""
    value = literals.get(name)
    value = default if value is None else value
    return float(value) if isinstance(value, bool | int | float) else None


def flat(_: Literals) -> Curve:
    """Return the curve of steps that rise: floor, sign."""
    return Curve(rising=True, slope=torch.zeros_like, level=True)


def scaled(factor: float) -> Curve:
    """Return the curve of a product with a constant."""
    return Curve(rising=factor >= 0, slope=lambda x: torch.full_like(x, factor), factor=factor, level=factor == 0)


def sech2(x: Tensor) -> Tensor:
    """Return the slope of tanh: 1 - tanh², without cancellation."""
    return torch.cosh(x).reciprocal().square()


def logistic(x: Tensor) -> Tensor:
    """Return the slope of the sigmoid."""
    return torch.sigmoid(x) * torch.sigmoid(-x)


def arc(x: Tensor) -> Tensor:
    """Return the slope of the arcsine."""
    return ((1 - x) * (1 + x)).rsqrt()


# Where these turn and bend is found by bisection of their derivatives with forty digits; the tests look beside them.
# Both forms of GELU add 1 to what is near -1 and multiply by the argument.
SILU = Curve(turns=(-1.2784645427610738,), bends=(-2.3993572805154677, 2.3993572805154677))
MISH = Curve(turns=(-1.1924312145154952,), bends=(-2.256376396360793, 1.4905711794854285))
GELU = Curve(turns=(-0.7517915246935645,), bends=(-math.sqrt(2), math.sqrt(2)), error=16 * _EPS)
GELU_TANH = Curve(turns=(-0.7524614220710163,), bends=(-1.4185040087908284, 1.4185040087908284), error=16 * _EPS)


def gelu(literals: Literals) -> Curve | None:
    """Return the curve of either form."""
    return {"none": GELU, "tanh": GELU_TANH}.get(literals.get("approximate", "none"))


def kinked(left: float | None, right: float | None) -> Curve | None:
    """Return the curve of a slope on either side of 0 that the signs of these two have."""
    if left is None or right is None:
        return None
    if left * right < 0:
        return Curve(turns=(0.0,), bends=(0.0,))
    return Curve(rising=left >= 0 and right >= 0, bends=(0.0,))


def leaky_relu(literals: Literals) -> Curve | None:
    """Fall and rise where the slope on the left is negative."""
    return kinked(number(literals, "negative_slope", 0.01), 1.0)


def elu(literals: Literals) -> Curve | None:
    """Read all three literals: on the left it is ``alpha · scale · (exp(input_scale · x) - 1)``.

    Under a negative rate that grows, and so does its relative error with x: no curve.
    """
    alpha, scale, rate = (number(literals, name, 1.0) for name in ("alpha", "scale", "input_scale"))
    if alpha is None or scale is None or rate is None or rate < 0:
        return None
    return kinked(alpha * scale * rate, scale)


def celu(literals: Literals) -> Curve | None:
    """Rise on the left as ``exp(x / alpha)``; that errs with x where it grows."""
    alpha = number(literals, "alpha", 1.0)
    return kinked(1.0, 1.0) if alpha is not None and alpha > 0 else None


def softplus(literals: Literals) -> Curve | None:
    """Jump down where the threshold is: from ``log(1 + exp(beta · x)) / beta`` to x; rounded is ``beta · x`` too."""
    beta, threshold = number(literals, "beta", 1.0), number(literals, "threshold", 20.0)
    if not beta or threshold is None:
        return None
    error = 0.0 if beta == 1 else _EPS / abs(beta)
    return Curve(turns=(threshold / beta,), bends=(threshold / beta,), error=error)


def clamp(least: str, most: str, low: float = -math.inf, high: float = math.inf) -> Callable[[Literals], Curve | None]:
    """Return what makes the curve of a clamp between two literals: it rises even where they cross."""

    def curve(literals: Literals) -> Curve | None:
        first, last = number(literals, least, low), number(literals, most, high)
        if first is None or last is None:
            return None
        return Curve(rising=True, bends=tuple(end for end in (first, last) if math.isfinite(end)))

    return curve


def clamped_zero(
    least: str, most: str, low: float = -math.inf, high: float = math.inf
) -> Callable[[Literals], tuple[str, ...]]:
    """Return what says whether a clamp keeps zeros."""

    def zeros(literals: Literals) -> tuple[str, ...]:
        first, last = number(literals, least, low), number(literals, most, high)
        if first is None or last is None or min(max(0.0, first), last) != 0:
            return ()
        return ("self",)

    return zeros


def threshold(literals: Literals) -> Curve | None:
    """Jump at the threshold, from the value on its left to x."""
    at = number(literals, "threshold")
    return None if at is None else Curve(turns=(at,), bends=(at,))


def hardshrink(literals: Literals) -> Curve | None:
    """Jump on either side of 0; a negative width shrinks nothing."""
    width = number(literals, "lambd", 0.5)
    return None if width is None else Curve(turns=(-abs(width), abs(width)), bends=(-abs(width), abs(width)))


def softshrink(literals: Literals) -> Curve | None:
    """Rise beside a level piece."""
    width = number(literals, "lambd", 0.5)
    return None if width is None or width < 0 else Curve(rising=True, bends=(-width, width))


def logit(literals: Literals) -> Curve | None:
    """Clamp to ``[eps, 1 - eps]`` first where there is an eps; one beyond a half crosses."""
    if literals.get("eps") is None:
        return Curve(
            rising=True, bends=(0.5,), domain=(0.0, 1.0), slope=lambda x: ((1 - x) * x).reciprocal(), error=4 * _EPS
        )
    eps = number(literals, "eps")
    if eps is None or not 0 <= eps <= 0.5:
        return None
    return Curve(rising=True, bends=(eps, 0.5, 1 - eps), error=4 * _EPS)


def power(literals: Literals) -> Curve | None:
    """Tell integers, which take negative numbers, from other exponents, and those with a pole from those without.

    Where the slope's exponent is rounded, so is the slope, ever more with x: no curve.
    """
    exponent = number(literals, "exponent")
    if exponent is None or not math.isfinite(exponent) or exponent - 1 + 1 != exponent:
        return None

    def slope(x: Tensor) -> Tensor:
        return exponent * x ** (exponent - 1) if exponent else torch.zeros_like(x)

    positive = (0.0, math.inf)
    if exponent != int(exponent):
        return Curve(rising=exponent > 0, slope=slope, domain=positive, pole=None if exponent > 0 else 0.0)
    even = exponent % 2 == 0
    if exponent >= 0:
        turns = (0.0,) if even and exponent else ()
        return Curve(None if turns else True, turns, bends=(0.0,), slope=slope, level=exponent == 0)
    return Curve(None if even else False, slope=slope, pole=0.0)


def exponential(literals: Literals) -> Curve | None:
    """Return the curve of a fixed positive base."""
    base = number(literals, "self")
    if base is None or base <= 0 or not math.isfinite(base):
        return None
    return Curve(rising=base >= 1, slope=lambda x: math.log(base) * base**x, level=base == 1)


def power_keeps_zeros(literals: Literals) -> tuple[str, ...]:
    """Keep zeros under a positive exponent."""
    exponent = number(literals, "exponent")
    return ("self",) if exponent is not None and exponent > 0 else ()


def threshold_keeps_zeros(literals: Literals) -> tuple[str, ...]:
    """Keep zeros where they are above the threshold, or what is put in their place is one."""
    at, value = number(literals, "threshold"), number(literals, "value")
    return ("self",) if (at is not None and at < 0) or value == 0 else ()
