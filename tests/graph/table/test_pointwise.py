"""Every entry of every pointwise record is checked against torch, on drawn literals and arguments.

A new operation needs a line in `EXAMPLES`: its overload, and strategies for its literals. Tensors are drawn for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from leadline.domains.engine import NoRule
from leadline.domains.values.curve_bounds import image, slopes
from leadline.domains.values.interval_arithmetic import Interval
from leadline.graph.table import OPERATIONS, Curve, Form, Kind, Pointwise, operation_of
from leadline.graph.table.record import unknown
from leadline.sampling import stream

SIZE = 12
NUMBER = st.sampled_from([-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0]) | st.floats(-5, 5)
WIDTH = st.floats(0, 3)
ENDS = st.none() | NUMBER
EXPONENT = st.sampled_from([-3.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0])
SHIFT = st.integers(0, 5)

Arguments = dict[str, Any]
_UNARY = """
    abs absolute alias angle asinh atan ceil clone contiguous cos cosh deg2rad
    detach erf erfc exp exp2 expm1 floor frac hardsigmoid hardswish i0 isfinite isinf isnan isneginf isposinf
    lift_fresh lift_fresh_copy log_sigmoid log_sigmoid_forward mish neg _neg_view negative positive rad2deg
    reciprocal relu relu6 resolve_neg round selu sgn sigmoid sign signbit silu sin sinc sinh special_erf
    special_erfcx special_expit special_i0e special_log_ndtr special_ndtr square tan tanh trunc
"""
_COMPLEX = "_conj conj _conj_physical conj_physical imag real resolve_conj"
_POSITIVE = "digamma lgamma log log10 log2 rsqrt sqrt"
_BINARY = """
    arctan2.default atan2.default copysign.Tensor div.Tensor divide.Tensor eq.Tensor floor_divide.default fmax.default
    fmin.default fmod.Tensor ge.Tensor greater.Tensor greater_equal.Tensor gt.Tensor heaviside.default hypot.default
    isclose.default le.Tensor less.Tensor less_equal.Tensor logaddexp.default logaddexp2.default logical_xor.default
    lt.Tensor max.other maximum.default min.other minimum.default mul.Tensor multiply.Tensor ne.Tensor not_equal.Tensor
    remainder.Tensor special_xlog1py.default true_divide.Tensor xlogy.Tensor clamp_min.Tensor clamp_max.Tensor
    copy.default complex.default polar.default clamp.Tensor float_power.Tensor_Tensor pow.Tensor_Tensor
"""
_INTEGERS = "__and__.Tensor __or__.Tensor __xor__.Tensor bitwise_and.Tensor bitwise_or.Tensor bitwise_xor.Tensor"
_SHIFTS = "__lshift__.Scalar __rshift__.Scalar bitwise_left_shift.Tensor_Scalar bitwise_right_shift.Tensor_Scalar"

# From overloads to what is drawn for arguments: strategies for literals, kinds of tensors by name (default: "real").
EXAMPLES: dict[str, Arguments] = {
    **{f"aten.{name}.default": {} for name in _UNARY.split()},
    **{f"aten.{name}.default": {"self": "positive"} for name in _POSITIVE.split()},
    **{f"aten.{name}.default": {"self": "complex"} for name in _COMPLEX.split()},
    **{f"aten.{name}": {} for name in _BINARY.split()},
    **{f"aten.{name}": {"self": "integer", "other": "integer"} for name in _INTEGERS.split()},
    **{f"aten.{name}": {"self": "integer", "other": SHIFT} for name in _SHIFTS.split()},
    **{f"aten.{name}.default": {"self": "unit"} for name in ("acos", "asin", "atanh", "erfinv")},
    **{f"aten.{name}.Tensor": {"alpha": NUMBER} for name in ("add", "sub", "subtract", "rsub")},
    **{f"aten.{name}.Scalar": {"other": NUMBER, "alpha": NUMBER} for name in ("add", "sub", "subtract", "rsub")},
    **{f"aten.{name}.Scalar": {"other": NUMBER} for name in ("mul", "multiply", "copysign")},
    **{f"aten.{name}.Scalar": {"other": NUMBER.filter(bool)} for name in ("div", "divide", "true_divide")},
    **{f"aten.{name}.Tensor_mode": {"rounding_mode": st.sampled_from([None, "floor", "trunc"])}
       for name in ("div", "divide")},
    **{f"aten.{name}.Scalar_mode": {"other": NUMBER.filter(bool), "rounding_mode": st.sampled_from(["floor", "trunc"])}
       for name in ("div", "divide")},
    **{f"aten.{name}.default": {"self": "truth", "other": "truth"} for name in ("logical_and", "logical_or")},
    **{f"aten.{name}.default": {"min": ENDS, "max": NUMBER} for name in ("clamp", "clip")},
    **{f"aten.{name}.Tensor_Scalar": {"exponent": EXPONENT} for name in ("pow", "float_power")},
    **{f"aten.{name}.Scalar": {"self": st.floats(0.1, 4)} for name in ("pow", "float_power")},
    "aten.acosh.default": {"self": "above one"},
    "aten.bitwise_not.default": {"self": "integer"},
    "aten.celu.default": {"alpha": NUMBER.filter(lambda a: abs(a) > 0.1)},
    "aten.clamp_max.default": {"max": NUMBER},
    "aten.clamp_min.default": {"min": NUMBER},
    "aten.elu.default": {"alpha": NUMBER, "scale": NUMBER, "input_scale": NUMBER},
    "aten.fill.Scalar": {"value": NUMBER},
    "aten.fill.Tensor": {"value": "number"},
    "aten.gelu.default": {"approximate": st.sampled_from(["none", "tanh"])},
    "aten.hardshrink.default": {"lambd": NUMBER},
    "aten.hardtanh.default": {"min_val": NUMBER, "max_val": NUMBER},
    "aten.item.default": {"self": "number"},
    "aten.leaky_relu.default": {"negative_slope": NUMBER},
    "aten.lerp.Scalar": {"weight": NUMBER},
    "aten.lerp.Tensor": {},
    "aten._local_scalar_dense.default": {"self": "number"},
    "aten.log1p.default": {"self": "positive"},
    "aten.logical_not.default": {"self": "truth"},
    "aten.logit.default": {"self": "fraction", "eps": st.none() | st.floats(0, 0.7)},
    "aten.masked_fill.Scalar": {"mask": "truth", "value": NUMBER},
    "aten.masked_fill.Tensor": {"mask": "truth", "value": "number"},
    "aten.mvlgamma.default": {"self": "positive", "p": st.just(1)},
    "aten.nan_to_num.default": {"nan": ENDS, "posinf": ENDS, "neginf": ENDS},
    "aten.polygamma.default": {"n": SHIFT, "self": "positive"},
    "aten.prelu.default": {"weight": "single"},
    "aten.round.decimals": {"decimals": st.integers(-2, 3)},
    "aten.softplus.default": {"beta": NUMBER.filter(lambda b: abs(b) > 0.1), "threshold": NUMBER | st.just(20.0)},
    "aten.softshrink.default": {"lambd": WIDTH},
    "aten.special_xlog1py.other_scalar": {"other": WIDTH},
    "aten.threshold.default": {"threshold": NUMBER, "value": NUMBER},
    "aten.to.dtype": {"dtype": st.sampled_from([torch.float32, torch.float64, torch.int64])},
    "aten._to_copy.default": {"dtype": st.sampled_from([torch.float32, torch.float64, torch.int64])},
    "aten.where.self": {"condition": "truth"},
    "aten.where.ScalarOther": {"condition": "truth", "other": NUMBER},
    "aten.xlogy.Scalar_Other": {"other": WIDTH},
}  # fmt: skip

SPECIAL = [0.0, -0.0, 1.0, -1.0, 3.0, -3.0, 1e-30, -1e-30, 40.0, -40.0]
REAL = st.sampled_from(SPECIAL) | st.floats(-30, 30)
KINDS: dict[str, tuple[st.SearchStrategy[Any], torch.dtype]] = {
    "real": (REAL, torch.float64),
    "number": (REAL, torch.float64),
    "single": (REAL, torch.float64),
    "positive": (st.floats(0.05, 50), torch.float64),
    "above one": (st.floats(1, 50), torch.float64),
    "unit": (st.floats(-0.99, 0.99), torch.float64),
    "fraction": (st.floats(0.01, 0.99), torch.float64),
    "complex": (st.builds(complex, REAL, REAL), torch.complex128),
    "integer": (st.integers(-20, 20), torch.int64),
    "truth": (st.booleans(), torch.bool),
}
REFERENCE: dict[Form, Callable[..., Any]] = {
    Form.COPY: lambda _, a: a,
    Form.SUM: lambda alpha, a, b: a + alpha * b,
    Form.DIFFERENCE: lambda alpha, a, b: a - alpha * b,
    Form.REVERSED: lambda alpha, a, b: b - alpha * a,
    Form.PRODUCT: lambda _, a, b: a * b,
    Form.QUOTIENT: lambda _, a, b: a / b,
    Form.MAXIMUM: lambda _, a, b: torch.where(a > b, a, b),
    Form.MINIMUM: lambda _, a, b: torch.where(a < b, a, b),
    Form.CLAMP: lambda _, a, low, high: _least(a if low is None else torch.where(a > low, a, low), high),
    Form.CHOICE: lambda _, a, b, c: torch.where(a, b, c),
    Form.SLOPED: lambda _, a, b: torch.where(a > 0, a, a * b),
    Form.BOTH: lambda _, a, b: a & b,
    Form.EITHER: lambda _, a, b: a | b,
}
JUMPING = {"ceil", "floor", "hardshrink", "round", "sgn", "sign", "softplus", "threshold", "trunc"}
# Python's own operations on numbers say nothing more than that they are pointwise.
RECORDS = [op for op, record in OPERATIONS.items() if record.kind is Kind.POINTWISE and not op.startswith("number.")]


def _least(x: Tensor, high: float | Tensor | None) -> Tensor:
    return x if high is None else torch.where(x < high, x, high)


def overload(op: str) -> Any:
    _, packet, name = op.split(".")
    return getattr(getattr(torch.ops.aten, packet), name)


def tensors(op: str) -> dict[str, str]:
    """The names of an example's tensors, with their kinds."""
    names = [a.name for a in overload(op)._schema.arguments if "Tensor" in str(a.type)]
    return {name: EXAMPLES[op].get(name, "real") for name in names}


def draw(op: str, data: st.DataObject) -> Arguments:
    """Arguments for one call."""
    given: Arguments = {}
    for name, kind in tensors(op).items():
        strategy, dtype = KINDS[kind]
        size = {"number": None, "single": 1}.get(kind, SIZE)
        values = data.draw(st.lists(strategy, min_size=size or 1, max_size=size or 1), label=name)
        given[name] = torch.tensor(values if size else values[0], dtype=dtype)
    for name, strategy in EXAMPLES[op].items():
        if not isinstance(strategy, str):
            given[name] = data.draw(strategy, label=name)
    return given


def call(op: str, given: Arguments) -> Tensor:
    result = overload(op)(**given)
    return torch.as_tensor(result[0] if isinstance(result, tuple | list) else result)


def record(op: str) -> Pointwise:
    facts = operation_of(op).pointwise
    assert facts is not None
    return facts


def literals(op: str, given: Arguments) -> Arguments:
    """The arguments as a node has them: defaults filled in, tensors as something that is no number."""
    named = {a.name: a.default_value for a in overload(op)._schema.arguments if a.has_default_value()}
    return {**named, **{name: object() if isinstance(value, Tensor) else value for name, value in given.items()}}


def test_every_record_has_an_example() -> None:
    shown = {id(OPERATIONS.get(op) or OPERATIONS[op.rpartition(".")[0]]) for op in EXAMPLES}
    assert [op for op in RECORDS if id(OPERATIONS[op]) not in shown] == []


@pytest.mark.parametrize("op", EXAMPLES)
@settings(max_examples=8, deadline=None)
@given(data=st.data(), negative=st.booleans())
def test_what_is_said_of_arguments_is_so(op: str, data: st.DataObject, negative: bool) -> None:
    facts, given_ = record(op), draw(op, data)
    named = literals(op, given_)
    if facts.form is not Form.FUNCTION:
        assert {*facts.operands} <= {a.name for a in overload(op)._schema.arguments}
    result = call(op, given_)
    same = facts.identity(named)
    if same is not None:
        assert torch.equal(result, torch.as_tensor(_tensor(given_[same])).to(result.dtype).expand(result.shape))
    if facts.form in REFERENCE and (facts.form is not Form.COPY or result.dtype is torch.float64):
        operands = [given_[name] for name in facts.operands]
        with torch.no_grad():
            expected = REFERENCE[facts.form](named.get("alpha", 1), *map(_tensor, operands))
        torch.testing.assert_close(result, expected.to(result.dtype).expand(result.shape), equal_nan=True)
    others = {name: _away_from_zero(value) for name, value in given_.items()}
    for name in facts.zeros(named):
        if isinstance(value := given_[name], Tensor):
            zero = torch.zeros_like(value)
            kept = call(op, {**others, name: -zero if negative and zero.is_floating_point() else zero})
            assert bool((kept == 0).all()), (name, kept)


def _tensor(value: Any) -> Any:
    return torch.tensor(value, dtype=torch.float64) if isinstance(value, float) else value


def _away_from_zero(value: Any) -> Any:
    return torch.where(value == 0, torch.ones_like(value), value) if isinstance(value, Tensor) else value


CURVED = [op for op in EXAMPLES if record(op).curve is not unknown and len(tensors(op)) == 1]
PLACE = st.sampled_from([-math.inf, math.inf, 0.0, *SPECIAL, 700.0, -700.0, 1e6, -1e8]) | st.floats(-8, 8)


def curve_of(op: str, data: st.DataObject) -> tuple[Curve, Callable[[Tensor], Tensor]]:
    """A curve for drawn literals, and torch's own function."""
    given_ = draw(op, data)
    curve, name = record(op).curve(literals(op, given_)), record(op).operands[0]
    assume(curve is not None)
    assert curve is not None
    return curve, lambda x: call(op, {**given_, name: x}).double()


def stretch(curve: Curve, data: st.DataObject, places: st.SearchStrategy[float] = PLACE) -> Interval:
    """An interval on which the curve is defined."""
    first, last = curve.domain
    drawn = [data.draw(places) for _ in range(2)]
    low, high = sorted(min(end if end >= first else first + abs(end), last) for end in drawn)
    assume(low < math.inf and high > -math.inf)
    assume(curve.pole is None or not low <= curve.pole <= high)
    return Interval(torch.tensor([low], dtype=torch.float64), torch.tensor([high], dtype=torch.float64))


def inside(x: Interval, curve: Curve, count: int = 200) -> Tensor:
    """Places within an interval, near its ends and the marks too."""
    low, high = x.lo.clamp(min=-1e9), x.hi.clamp(max=1e9)
    even = low + (high - low) * torch.linspace(0, 1, count, dtype=torch.float64)
    near = torch.tensor([*curve.turns, *curve.bends, 0.0, *SPECIAL], dtype=torch.float64)
    near = torch.cat([near, near + 1e-9, near - 1e-9, near * 1.01])
    return torch.cat([even, near, x.lo, x.hi]).clamp(x.lo, x.hi).sort().values


@pytest.mark.parametrize("op", CURVED)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_images_hold_values_and_are_no_larger(op: str, data: st.DataObject) -> None:
    curve, function = curve_of(op, data)
    x = stretch(curve, data)
    places = inside(x, curve)
    values, found = function(places), image(curve, function, x)
    known = values[~values.isnan()]
    assert not found.lo.isnan().any()
    assert not found.hi.isnan().any()
    assert bool((found.lo <= known).all())
    assert bool((known <= found.hi).all())
    if curve.rising is not None and curve.pole is None:
        steps = known.diff()[known.diff().isfinite()]
        slack = 1e-14 * (1 + known[known.isfinite()].abs().max() if known.isfinite().any() else 1)
        assert bool((steps >= -slack).all() if curve.rising else (steps <= slack).all())
    width = float(x.hi - x.lo)
    if 1e-3 < width < 20 and known.isfinite().all() and found.lo.isfinite().all() and found.hi.isfinite().all():
        rest = float(slopes(curve, function, x)[1]) * width / 150
        rest = min(rest, 0.02 * float(found.hi - found.lo)) if curve.period is None else rest
        slack = rest + 1e-12 * (1 + float(known.abs().max()))
        assert float(known.min()) - float(found.lo) <= slack
        assert float(found.hi) - float(known.max()) <= slack


@pytest.mark.parametrize("op", CURVED)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_slopes_hold_derivatives_and_are_no_larger(op: str, data: st.DataObject) -> None:
    curve, function = curve_of(op, data)
    x = stretch(curve, data)
    places = inside(x, curve).requires_grad_()
    (found,) = torch.autograd.grad(function(places).sum(), places)
    found = found[found.isfinite() & (places.abs() < 1e6)].abs()
    least, most = slopes(curve, function, x)
    assume(len(found) > 0)
    slack = 1e-13 * (1 + found)  # torch's own derivatives are no more exact
    assert bool((least <= found + slack).all())
    assert bool((found <= most + slack).all())
    apart = all(abs(mark - end) > 1e-3 for mark in curve.bends for end in (float(x.lo), float(x.hi)))
    if 1e-3 < float(x.hi - x.lo) < 20 and apart and most.isfinite().all():
        edge = 0.05 * float(most - least) + 1e-6
        assert float(found.min()) - float(least) <= edge
        assert float(most) - float(found.max()) <= edge
    if op.split(".")[1] not in JUMPING:
        ends = places.detach()[places.abs() < 1e6]
        rises, allowed, size = function(ends).diff().abs(), most * ends.diff(), 1 + function(ends).abs()
        unclear = rises.isnan() | allowed.isnan() | size[1:].isinf() | size[:-1].isinf()
        assert bool((unclear | (rises <= allowed + 1e-12 * (size[1:] + size[:-1]))).all())


def test_curves_refuse_what_they_are_not_defined_on() -> None:
    line = Interval(torch.tensor([-1.0]).double(), torch.tensor([1.0]).double())
    for name in ("log", "rsqrt", "reciprocal", "acosh"):
        curve = record(f"aten.{name}.default").curve({})
        assert curve is not None
        with pytest.raises(NoRule):
            image(curve, torch.log, line)


@pytest.mark.parametrize("op", [op for op in EXAMPLES if record(op).vanishes])
def test_what_vanishes_is_nothing_far_below(op: str) -> None:
    found = call(op, {"self": torch.tensor([-math.inf, -1e4], dtype=torch.float64)})
    assert found.tolist() == [0.0, 0.0]


class Applied(nn.Module):
    """One operation with its literals, on one tensor or on two halves of it."""

    def __init__(self, op: str, given_: Arguments) -> None:
        super().__init__()
        self.op, self.given = op, given_

    def forward(self, x: Tensor) -> Tensor:
        names = list(tensors(self.op))
        parts = [x] if len(names) == 1 else x.chunk(2, -1)
        return overload(self.op)(**dict(zip(names, parts, strict=True)), **self.given)


NEUTRAL = {"alpha": 1, "beta": 1, "scale": 1, "input_scale": 1, "threshold": 20.0}


def codes() -> list[tuple[str, Arguments]]:
    """Overloads, with literals for each of the instructions that they may have."""
    found: dict[Any, tuple[str, Arguments]] = {}
    for op, drawn in EXAMPLES.items():
        names = [name for name, strategy in drawn.items() if not isinstance(strategy, str)]
        for value in [2.0, 3.0, 0.5, -0.5, "none", "tanh"]:
            given_ = {name: NEUTRAL.get(name, value) for name in names}
            try:
                opcode = record(op).opcode(literals(op, given_))
                call(op, {**given_, **{name: torch.ones(1) for name in tensors(op)}})
            except (RuntimeError, TypeError):  # not a number, or not a word
                continue
            if opcode is not None:
                found.setdefault((id(record(op)), opcode, len(tensors(op))), (op, given_))
    return [*found.values()]


CODES = codes()


class Numbers(nn.Module):
    """What a stream carries: truth values as numbers."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        made = self.inner(x)
        return made.to(x.dtype) if made.dtype is torch.bool else made


@pytest.mark.parametrize(("op", "given_"), CODES, ids=[f"{op}-{[*drawn.values()]}" for op, drawn in CODES])
def test_instructions_compute_what_torch_computes(op: str, given_: Arguments) -> None:
    model = Numbers(Applied(op, given_))
    x = torch.rand(1, 7, 4, dtype=torch.float64) + 0.1
    if "positive" not in EXAMPLES[op].values() and "exponent" not in given_:
        x[..., ::2] *= -1
    expected = model(x)
    found = stream(model, x, layout="b t c -> b t v").logits(x)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12, equal_nan=True)
