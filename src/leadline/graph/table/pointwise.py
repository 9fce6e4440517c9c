"""Pointwise operations: element p of the result comes from elements p of the broadcast arguments."""

import math
from collections.abc import Callable
from dataclasses import replace

import torch

from leadline.graph.table import curves, opcodes, recipes
from leadline.graph.table.curve import Curve
from leadline.graph.table.opcodes import code
from leadline.graph.table.recipes import made
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
_QUOTIENT = Pointwise(
    Form.QUOTIENT,
    _OTHER,
    _neutral("other", 1.0),
    _SELF,
    opcode=code("div", rounding_mode=None),
    recipe=recipes.quotient,
)
_SIGMOID = Pointwise(
    curve=_fixed(Curve(rising=True, bends=(0.0,), slope=curves.logistic)), opcode=code("sigmoid"), vanishes=True
)
_LOG_SIGMOID = Pointwise(
    curve=_fixed(Curve(rising=True, slope=lambda x: torch.sigmoid(-x))), recipe=recipes.LOG_SIGMOID
)
_CLAMP = Pointwise(
    Form.CLAMP,
    ("self", "min", "max"),
    zeros=curves.clamped_zero("min", "max"),
    curve=curves.clamp("min", "max"),
    floored=lambda literals: curves.number(literals, "min"),
    recipe=recipes.held("min", "max"),
)
_ABOVE = (0.0, math.inf)
_COPIES = "clone contiguous lift_fresh lift_fresh_copy positive resolve_conj resolve_neg"
_SILENT = """
    arctan2 atan2 digamma erfinv fmax fmin heaviside hypot i0 isclose item lgamma
    _local_scalar_dense logaddexp2 mvlgamma polygamma signbit sinc special_erfcx special_i0e special_log_ndtr
    special_ndtr
"""
# quotients rounded in some way, shifts of integers, and what else has no curve here
_ZEROS_KEPT = """
    floor_divide fmod remainder __lshift__ __rshift__ bitwise_left_shift bitwise_right_shift copysign nan_to_num
    special_xlog1py xlogy tan
"""


def _all(names: str, facts: Pointwise) -> dict[str, Pointwise]:
    return dict.fromkeys(names.split(), facts)


_FACTS: dict[str, Pointwise] = {
    **_all(_SILENT, Pointwise()),
    **_all("eq", Pointwise(operands=_OTHER, opcode=code("eq"))),
    **_all("ne not_equal", Pointwise(operands=_OTHER, opcode=code("ne"))),
    **_all("ge greater_equal", Pointwise(operands=_OTHER, above=True, recipe=made("le", "other", "self"))),
    **_all("gt greater", Pointwise(operands=_OTHER, above=True, recipe=made("lt", "other", "self"))),
    **_all("le less_equal", Pointwise(operands=_OTHER, above=False, opcode=code("le"))),
    **_all("lt less", Pointwise(operands=_OTHER, above=False, opcode=code("lt"))),
    "isnan": Pointwise(recipe=made("ne", "self", "self")),
    "isinf": Pointwise(recipe=made("eq", ("abs", "self"), math.inf)),
    "isfinite": Pointwise(recipe=made("lt", ("abs", "self"), math.inf)),
    "isposinf": Pointwise(recipe=made("eq", "self", math.inf)),
    "isneginf": Pointwise(recipe=made("eq", "self", -math.inf)),
    "lerp": Pointwise(recipe=made("blend", "weight", "self", "end")),
    "logaddexp": Pointwise(operands=_OTHER, recipe=recipes.LOG_ADD_EXP),
    "logical_not": Pointwise(recipe=recipes.NOT),
    "bitwise_not": Pointwise(recipe=recipes.bits(recipes.NOT)),
    "logical_xor": Pointwise(recipe=recipes.DIFFER),
    **_all("bitwise_xor __xor__", Pointwise(recipe=recipes.bits(recipes.DIFFER))),
    **_all(_COPIES, Pointwise(Form.COPY, identity=_always("self"), zeros=_SELF, opcode=code("copy"))),
    **_all(
        "to _to_copy",
        Pointwise(Form.COPY, identity=_always("self"), zeros=_SELF, opcode=opcodes.retyped, recipe=recipes.truth),
    ),
    # traces show `detach` as `alias`
    **_all(
        "alias detach", Pointwise(Form.COPY, identity=_always("self"), zeros=_SELF, opcode=code("copy"), detaches=True)
    ),
    "copy": Pointwise(Form.COPY, ("src",), _always("src"), _zeros("src"), opcode=code("copy")),
    "fill": Pointwise(Form.COPY, ("value",), _always("value"), _zeros("value")),
    "add": Pointwise(
        Form.SUM, _OTHER, _neutral("other", 0.0), opcode=code("add", alpha=1), recipe=recipes.scaled("add")
    ),
    **_all(
        "sub subtract",
        Pointwise(
            Form.DIFFERENCE, _OTHER, _neutral("other", 0.0), opcode=code("sub", alpha=1), recipe=recipes.scaled("sub")
        ),
    ),
    "rsub": Pointwise(
        Form.REVERSED, _OTHER, opcode=code("rsub", alpha=1),
        recipe=lambda given: ("sub", given["other"], ("mul", "self", given.get("alpha", 1.0))),
    ),
    **_all("mul multiply", _PRODUCT),
    **_all("div divide true_divide", _QUOTIENT),
    **_all(
        "div.Tensor_mode div.Scalar_mode divide.Tensor_mode divide.Scalar_mode",
        Pointwise(zeros=_SELF, recipe=recipes.quotient),
    ),
    "frac": Pointwise(zeros=_SELF, recipe=made("sub", "self", ("trunc", "self"))),
    "maximum": Pointwise(Form.MAXIMUM, _OTHER, opcode=code("maximum")),
    "max.other": Pointwise(Form.MAXIMUM, _OTHER, opcode=code("maximum")),
    "minimum": Pointwise(Form.MINIMUM, _OTHER, opcode=code("minimum")),
    "min.other": Pointwise(Form.MINIMUM, _OTHER, opcode=code("minimum")),
    "where": Pointwise(Form.CHOICE, ("condition", "self", "other"), opcode=code("choose")),
    "masked_fill": Pointwise(
        Form.CHOICE, ("mask", "value", "self"), recipe=lambda given: ("where", "mask", given["value"], "self")
    ),
    "logical_and": Pointwise(Form.BOTH, _OTHER, zeros=_zeros("self", "other"), recipe=recipes.BOTH),
    **_all(
        "bitwise_and __and__",
        Pointwise(Form.BOTH, _OTHER, zeros=_zeros("self", "other"), recipe=recipes.bits(recipes.BOTH)),
    ),
    "logical_or": Pointwise(Form.EITHER, _OTHER, recipe=recipes.EITHER),
    **_all("bitwise_or __or__", Pointwise(Form.EITHER, _OTHER, recipe=recipes.bits(recipes.EITHER))),
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
    "deg2rad": Pointwise(
        zeros=_SELF, curve=_fixed(curves.scaled(math.pi / 180)), recipe=made("mul", "self", math.pi / 180)
    ),
    "rad2deg": Pointwise(
        zeros=_SELF, curve=_fixed(curves.scaled(180 / math.pi)), recipe=made("mul", "self", 180 / math.pi)
    ),
    "ceil": Pointwise(zeros=_SELF, curve=curves.flat, opcode=code("ceil")),
    "floor": Pointwise(zeros=_SELF, curve=curves.flat, opcode=code("floor")),
    "round": Pointwise(zeros=_SELF, curve=curves.flat, opcode=code("round", decimals=0)),
    **_all("sgn sign", Pointwise(zeros=_SELF, curve=curves.flat, opcode=code("sign"))),
    "trunc": Pointwise(zeros=_SELF, curve=curves.flat, opcode=code("trunc")),
    # activations
    "relu": Pointwise(
        zeros=_SELF,
        curve=_fixed(Curve(rising=True, bends=(0.0,), slope=lambda x: (x > 0).to(x), level=True)),
        opcode=code("relu"),
        floored=lambda _: 0.0,
    ),
    "relu6": Pointwise(
        zeros=_SELF, curve=_fixed(Curve(rising=True, bends=(0.0, 6.0))),
        recipe=lambda _: recipes.between("self", 0.0, 6.0),
    ),
    "leaky_relu": Pointwise(
        identity=_neutral("negative_slope", 1.0), zeros=_SELF, curve=curves.leaky_relu, opcode=opcodes.leaky_relu
    ),
    "elu": Pointwise(zeros=_SELF, curve=curves.elu, opcode=opcodes.elu, recipe=recipes.bent),
    "celu": Pointwise(zeros=_SELF, curve=curves.celu, recipe=recipes.celu),
    "selu": Pointwise(zeros=_SELF, curve=_fixed(Curve(rising=True, bends=(0.0,))), recipe=recipes.selu),
    "silu": Pointwise(zeros=_SELF, curve=_fixed(curves.SILU), opcode=code("silu")),
    "mish": Pointwise(zeros=_SELF, curve=_fixed(curves.MISH), recipe=recipes.MISH),
    "gelu": Pointwise(zeros=_SELF, curve=curves.gelu, opcode=opcodes.gelu),
    "hardswish": Pointwise(
        zeros=_SELF, curve=_fixed(Curve(turns=(-1.5,), bends=(-3.0, 3.0))), recipe=made("mul", "self", recipes.HARD)
    ),
    "hardsigmoid": Pointwise(curve=_fixed(Curve(rising=True, bends=(-3.0, 3.0))), recipe=lambda _: recipes.HARD),
    "hardtanh": Pointwise(
        zeros=curves.clamped_zero("min_val", "max_val", -1.0, 1.0),
        curve=curves.clamp("min_val", "max_val", -1.0, 1.0),
        recipe=recipes.held("min_val", "max_val", (-1.0, 1.0)),
    ),
    "clamp": _CLAMP,
    "clip": _CLAMP,
    "clamp_min": replace(_CLAMP, form=Form.MAXIMUM, operands=("self", "min")),
    "clamp_max": replace(_CLAMP, form=Form.MINIMUM, operands=("self", "max")),
    "softplus": Pointwise(
        curve=curves.softplus, opcode=code("softplus", beta=1, threshold=20), recipe=recipes.softplus
    ),
    "threshold": Pointwise(zeros=curves.threshold_keeps_zeros, curve=curves.threshold, recipe=recipes.threshold),
    "hardshrink": Pointwise(zeros=_SELF, curve=curves.hardshrink, recipe=recipes.hardshrink),
    "softshrink": Pointwise(zeros=_SELF, curve=curves.softshrink, recipe=recipes.softshrink),
    **_all("sigmoid special_expit", _SIGMOID),
    **_all("log_sigmoid log_sigmoid_forward", _LOG_SIGMOID),
    "logit": Pointwise(curve=curves.logit, recipe=recipes.logit),
    "tanh": Pointwise(
        zeros=_SELF, curve=_fixed(Curve(rising=True, bends=(0.0,), slope=curves.sech2)), opcode=code("tanh")
    ),
    # functions
    **_all(
        "abs absolute",
        Pointwise(
            zeros=_SELF, curve=_fixed(Curve(turns=(0.0,), bends=(0.0,), slope=torch.sign)), opcode=code("abs"),
            planar=Planar.MODULUS,
        ),
    ),
    "square": Pointwise(
        zeros=_SELF, curve=_fixed(Curve(turns=(0.0,), slope=lambda x: 2 * x)), opcode=code("square")
    ),
    "pow": Pointwise(
        identity=_neutral("exponent", 1.0), zeros=curves.power_keeps_zeros, curve=curves.power, opcode=opcodes.power,
        recipe=recipes.power,
    ),
    "pow.Scalar": Pointwise(operands=("exponent",), curve=curves.exponential),
    "float_power": Pointwise(
        identity=_neutral("exponent", 1.0), zeros=curves.power_keeps_zeros, curve=curves.power
    ),
    "float_power.Scalar": Pointwise(operands=("exponent",), curve=curves.exponential),
    "reciprocal": Pointwise(
        curve=_fixed(Curve(rising=False, slope=lambda x: -x.reciprocal().square(), pole=0.0)),
        recipe=made("div", 1.0, "self"),
    ),
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
        curve=_fixed(Curve(rising=True, slope=lambda x: torch.exp2(x) * math.log(2))), vanishes=True,
        recipe=made("pow", 2.0, "self"),
    ),
    "expm1": Pointwise(zeros=_SELF, curve=_fixed(Curve(rising=True, slope=torch.exp)), opcode=code("expm1")),
    "log": Pointwise(curve=_fixed(Curve(rising=True, slope=torch.reciprocal, domain=_ABOVE)), opcode=code("log")),
    "log2": Pointwise(
        curve=_fixed(Curve(rising=True, slope=lambda x: (x * math.log(2)).reciprocal(), domain=_ABOVE)),
        recipe=made("mul", ("log", "self"), 1 / math.log(2)),
    ),
    "log10": Pointwise(
        curve=_fixed(Curve(rising=True, slope=lambda x: (x * math.log(10)).reciprocal(), domain=_ABOVE)),
        recipe=made("mul", ("log", "self"), 1 / math.log(10)),
    ),
    "log1p": Pointwise(
        zeros=_SELF,
        curve=_fixed(Curve(rising=True, slope=lambda x: (1 + x).reciprocal(), domain=(-1.0, math.inf))),
        opcode=code("log1p"),
    ),
    **_all(
        "erf special_erf", Pointwise(zeros=_SELF, curve=_fixed(Curve(rising=True, bends=(0.0,))), opcode=code("erf"))
    ),
    "erfc": Pointwise(curve=_fixed(Curve(rising=False, bends=(0.0,)))),
    "sin": Pointwise(
        zeros=_SELF, curve=_fixed(Curve(turns=(math.pi / 2,), bends=(0.0,), slope=torch.cos, period=math.pi)),
        opcode=code("sin"),
    ),
    "cos": Pointwise(
        curve=_fixed(Curve(turns=(0.0,), bends=(math.pi / 2,), slope=lambda x: -torch.sin(x), period=math.pi)),
        opcode=code("cos"),
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
