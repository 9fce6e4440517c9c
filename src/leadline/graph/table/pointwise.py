"""Pointwise operations: element p of the result comes from elements p of the broadcast arguments."""

import math
from collections.abc import Callable
from dataclasses import replace

import torch

from leadline.graph.table import curves, opcodes
from leadline.graph.table.curve import Curve
from leadline.graph.table.opcodes import code
from leadline.graph.table.record import Form, Kind, Literals, Operation, Planar, Pointwise


def _always(name: str) -> Callable[[Literals], str]:
    return lambda _: name


def _zeros(*names: str) -> Callable[[Literals], tuple[str, ...]]:
    return lambda _: names


def _fixed(curve: Curve) -> Callable[[Literals], Curve]:
    return lambda _: curve


def _neutral(name: str, value: float) -> Callable[[Literals], str | None]:
    """Say that the first argument stays as it is under one value of a literal."""
    return lambda literals: "self" if curves.number(literals, name) == value else None


_SELF = _zeros("self")
_OTHER = ("self", "other")
_PRODUCT = Pointwise(Form.PRODUCT, _OTHER, _neutral("other", 1.0), _zeros("self", "other"), opcode=code("mul"))
_QUOTIENT = Pointwise(Form.QUOTIENT, _OTHER, _neutral("other", 1.0), _SELF, opcode=code("div", rounding_mode=None))
_SIGMOID = Pointwise(
    curve=_fixed(Curve(rising=True, bends=(0.0,), slope=curves.logistic)), opcode=code("sigmoid"), vanishes=True
)
_LOG_SIGMOID = Pointwise(curve=_fixed(Curve(rising=True, slope=lambda x: torch.sigmoid(-x))))
_CLAMP = Pointwise(
    Form.CLAMP,
    ("self", "min", "max"),
    zeros=curves.clamped_zero("min", "max"),
    curve=curves.clamp("min", "max"),
    floored=lambda literals: curves.number(literals, "min"),
)
_ABOVE = (0.0, math.inf)
_COPIES = "clone contiguous lift_fresh lift_fresh_copy positive resolve_conj resolve_neg"
_SILENT = """
    __xor__ arctan2 atan2 bitwise_not bitwise_xor digamma eq erfinv fmax fmin heaviside hypot i0
    isclose isfinite isinf isnan isneginf isposinf item lerp lgamma _local_scalar_dense logaddexp logaddexp2
    logical_not logical_xor mvlgamma ne not_equal polygamma signbit sinc special_erfcx special_i0e special_log_ndtr
    special_ndtr
"""
# quotients rounded in some way, shifts of integers, and what else has no curve here
_ZEROS_KEPT = """
    div.Tensor_mode div.Scalar_mode divide.Tensor_mode divide.Scalar_mode floor_divide fmod remainder __lshift__
    __rshift__ bitwise_left_shift bitwise_right_shift copysign frac nan_to_num special_xlog1py xlogy tan
"""


def _all(names: str, facts: Pointwise) -> dict[str, Pointwise]:
    return dict.fromkeys(names.split(), facts)


_FACTS: dict[str, Pointwise] = {
    **_all(_SILENT, Pointwise()),
    **_all("ge greater greater_equal gt", Pointwise(operands=_OTHER, above=True)),
    **_all("le less less_equal lt", Pointwise(operands=_OTHER, above=False)),
    **_all(_COPIES, Pointwise(Form.COPY, identity=_always("self"), zeros=_SELF, opcode=code("copy"))),
    **_all("to _to_copy", Pointwise(Form.COPY, identity=_always("self"), zeros=_SELF)),
    # traces show `detach` as `alias`
    **_all("alias detach", Pointwise(Form.COPY, identity=_always("self"), zeros=_SELF, detaches=True)),
    "copy": Pointwise(Form.COPY, ("src",), _always("src"), _zeros("src"), opcode=code("copy")),
    "fill": Pointwise(Form.COPY, ("value",), _always("value"), _zeros("value")),
    "add": Pointwise(Form.SUM, _OTHER, _neutral("other", 0.0), opcode=code("add", alpha=1)),
    **_all("sub subtract", Pointwise(Form.DIFFERENCE, _OTHER, _neutral("other", 0.0), opcode=code("sub", alpha=1))),
    "rsub": Pointwise(Form.REVERSED, _OTHER, opcode=code("rsub", alpha=1)),
    **_all("mul multiply", _PRODUCT),
    **_all("div divide true_divide", _QUOTIENT),
    "maximum": Pointwise(Form.MAXIMUM, _OTHER, opcode=code("maximum")),
    "max.other": Pointwise(Form.MAXIMUM, _OTHER, opcode=code("maximum")),
    "minimum": Pointwise(Form.MINIMUM, _OTHER, opcode=code("minimum")),
    "min.other": Pointwise(Form.MINIMUM, _OTHER, opcode=code("minimum")),
    "where": Pointwise(Form.CHOICE, ("condition", "self", "other")),
    "masked_fill": Pointwise(Form.CHOICE, ("mask", "value", "self")),
    **_all("logical_and bitwise_and __and__", Pointwise(Form.BOTH, _OTHER, zeros=_zeros("self", "other"))),
    **_all("logical_or bitwise_or __or__", Pointwise(Form.EITHER, _OTHER)),
    **_all(_ZEROS_KEPT, Pointwise(zeros=_SELF)),
    "prelu": Pointwise(Form.SLOPED, ("self", "weight"), zeros=_SELF),
    # the plane of complex numbers
    "real": Pointwise(zeros=_SELF, planar=Planar.REAL),
    "imag": Pointwise(zeros=_SELF, planar=Planar.IMAGINARY),
    **_all("conj _conj conj_physical _conj_physical", Pointwise(zeros=_SELF, planar=Planar.CONJUGATE)),
    "angle": Pointwise(planar=Planar.ANGLE),
    "complex": Pointwise(operands=("real", "imag"), planar=Planar.PAIR),
    "polar": Pointwise(operands=("abs", "angle"), zeros=_zeros("abs"), planar=Planar.POLAR),
    # straight lines and steps
    **_all(
        "neg negative _neg_view",
        Pointwise(zeros=_SELF, curve=_fixed(curves.scaled(-1.0)), opcode=code("neg"), planar=Planar.RIGID),
    ),
    "deg2rad": Pointwise(zeros=_SELF, curve=_fixed(curves.scaled(math.pi / 180))),
    "rad2deg": Pointwise(zeros=_SELF, curve=_fixed(curves.scaled(180 / math.pi))),
    **_all("ceil floor round sgn sign trunc", Pointwise(zeros=_SELF, curve=curves.flat)),
    # activations
    "relu": Pointwise(
        zeros=_SELF,
        curve=_fixed(Curve(rising=True, bends=(0.0,), slope=lambda x: (x > 0).to(x), level=True)),
        opcode=code("relu"),
        floored=lambda _: 0.0,
    ),
    "relu6": Pointwise(zeros=_SELF, curve=_fixed(Curve(rising=True, bends=(0.0, 6.0)))),
    "leaky_relu": Pointwise(
        identity=_neutral("negative_slope", 1.0), zeros=_SELF, curve=curves.leaky_relu, opcode=opcodes.leaky_relu
    ),
    "elu": Pointwise(zeros=_SELF, curve=curves.elu, opcode=opcodes.elu),
    "celu": Pointwise(zeros=_SELF, curve=curves.celu),
    "selu": Pointwise(zeros=_SELF, curve=_fixed(Curve(rising=True, bends=(0.0,)))),
    "silu": Pointwise(zeros=_SELF, curve=_fixed(curves.SILU), opcode=code("silu")),
    "mish": Pointwise(zeros=_SELF, curve=_fixed(curves.MISH)),
    "gelu": Pointwise(zeros=_SELF, curve=curves.gelu, opcode=opcodes.gelu),
    "hardswish": Pointwise(zeros=_SELF, curve=_fixed(Curve(turns=(-1.5,), bends=(-3.0, 3.0)))),
    "hardsigmoid": Pointwise(curve=_fixed(Curve(rising=True, bends=(-3.0, 3.0)))),
    "hardtanh": Pointwise(
        zeros=curves.clamped_zero("min_val", "max_val", -1.0, 1.0), curve=curves.clamp("min_val", "max_val", -1.0, 1.0)
    ),
    "clamp": _CLAMP,
    "clip": _CLAMP,
    "clamp_min": replace(_CLAMP, form=Form.MAXIMUM, operands=("self", "min")),
    "clamp_max": replace(_CLAMP, form=Form.MINIMUM, operands=("self", "max")),
    "softplus": Pointwise(curve=curves.softplus, opcode=code("softplus", beta=1, threshold=20)),
    "threshold": Pointwise(zeros=curves.threshold_keeps_zeros, curve=curves.threshold),
    "hardshrink": Pointwise(zeros=_SELF, curve=curves.hardshrink),
    "softshrink": Pointwise(zeros=_SELF, curve=curves.softshrink),
    **_all("sigmoid special_expit", _SIGMOID),
    **_all("log_sigmoid log_sigmoid_forward", _LOG_SIGMOID),
    "logit": Pointwise(curve=curves.logit),
    "tanh": Pointwise(
        zeros=_SELF, curve=_fixed(Curve(rising=True, bends=(0.0,), slope=curves.sech2)), opcode=code("tanh")
    ),
    # functions
    **_all(
        "abs absolute",
        Pointwise(
            zeros=_SELF, curve=_fixed(Curve(turns=(0.0,), bends=(0.0,), slope=torch.sign)), planar=Planar.MODULUS
        ),
    ),
    "square": Pointwise(
        zeros=_SELF, curve=_fixed(Curve(turns=(0.0,), slope=lambda x: 2 * x)), opcode=code("square")
    ),
    "pow": Pointwise(
        identity=_neutral("exponent", 1.0), zeros=curves.power_keeps_zeros, curve=curves.power, opcode=opcodes.power
    ),
    "pow.Scalar": Pointwise(operands=("exponent",), curve=curves.exponential),
    "float_power": Pointwise(
        identity=_neutral("exponent", 1.0), zeros=curves.power_keeps_zeros, curve=curves.power
    ),
    "float_power.Scalar": Pointwise(operands=("exponent",), curve=curves.exponential),
    "reciprocal": Pointwise(curve=_fixed(Curve(rising=False, slope=lambda x: -x.reciprocal().square(), pole=0.0))),
    "sqrt": Pointwise(
        zeros=_SELF, curve=_fixed(Curve(rising=True, slope=lambda x: x.rsqrt() / 2, domain=_ABOVE)), opcode=code("sqrt")
    ),
    "rsqrt": Pointwise(
        curve=_fixed(Curve(rising=False, slope=lambda x: -(x.rsqrt() / x) / 2, domain=_ABOVE, pole=0.0)),
        opcode=code("rsqrt"),
    ),
    "exp": Pointwise(
        curve=_fixed(Curve(rising=True, slope=torch.exp)), opcode=code("exp"), vanishes=True, exponential=True
    ),
    "exp2": Pointwise(
        curve=_fixed(Curve(rising=True, slope=lambda x: torch.exp2(x) * math.log(2))), vanishes=True
    ),
    "expm1": Pointwise(zeros=_SELF, curve=_fixed(Curve(rising=True, slope=torch.exp))),
    "log": Pointwise(curve=_fixed(Curve(rising=True, slope=torch.reciprocal, domain=_ABOVE)), opcode=code("log")),
    "log2": Pointwise(
        curve=_fixed(Curve(rising=True, slope=lambda x: (x * math.log(2)).reciprocal(), domain=_ABOVE))
    ),
    "log10": Pointwise(
        curve=_fixed(Curve(rising=True, slope=lambda x: (x * math.log(10)).reciprocal(), domain=_ABOVE))
    ),
    "log1p": Pointwise(
        zeros=_SELF,
        curve=_fixed(Curve(rising=True, slope=lambda x: (1 + x).reciprocal(), domain=(-1.0, math.inf))),
    ),
    **_all("erf special_erf", Pointwise(zeros=_SELF, curve=_fixed(Curve(rising=True, bends=(0.0,))))),
    "erfc": Pointwise(curve=_fixed(Curve(rising=False, bends=(0.0,)))),
    "sin": Pointwise(
        zeros=_SELF, curve=_fixed(Curve(turns=(math.pi / 2,), bends=(0.0,), slope=torch.cos, period=math.pi))
    ),
    "cos": Pointwise(
        curve=_fixed(Curve(turns=(0.0,), bends=(math.pi / 2,), slope=lambda x: -torch.sin(x), period=math.pi))
    ),
    "sinh": Pointwise(zeros=_SELF, curve=_fixed(Curve(rising=True, bends=(0.0,), slope=torch.cosh))),
    "cosh": Pointwise(curve=_fixed(Curve(turns=(0.0,), slope=torch.sinh))),
    "asin": Pointwise(
        zeros=_SELF, curve=_fixed(Curve(rising=True, bends=(0.0,), slope=curves.arc, domain=(-1.0, 1.0)))
    ),
    "acos": Pointwise(
        curve=_fixed(Curve(rising=False, bends=(0.0,), slope=lambda x: -curves.arc(x), domain=(-1.0, 1.0)))
    ),
    "atan": Pointwise(
        zeros=_SELF, curve=_fixed(Curve(rising=True, bends=(0.0,), slope=lambda x: 1 / (1 + x.square())))
    ),
    "asinh": Pointwise(
        zeros=_SELF,
        curve=_fixed(Curve(rising=True, bends=(0.0,), slope=lambda x: 1 / torch.hypot(torch.ones_like(x), x))),
    ),
    "acosh": Pointwise(
        curve=_fixed(Curve(rising=True, slope=lambda x: ((x - 1) * (x + 1)).rsqrt(), domain=(1.0, math.inf)))
    ),
    "atanh": Pointwise(
        zeros=_SELF,
        curve=_fixed(
            Curve(rising=True, bends=(0.0,), slope=lambda x: ((1 - x) * (1 + x)).reciprocal(), domain=(-1.0, 1.0))
        ),
    ),
}  # fmt: skip

POINTWISE: dict[str, Operation] = {
    f"aten.{name}": Operation(name.partition(".")[0], Kind.POINTWISE, pointwise=facts) for name, facts in _FACTS.items()
}
