"""Pointwise operations: element p of the result comes from elements p of the broadcast arguments."""

from __future__ import annotations

from leadline.graph.table.record import Kind, Operation

_NAMES = """
    __and__ __lshift__ __or__ __rshift__ __xor__ abs absolute acos acosh add addcdiv addcmul alias angle
    arctan2 asin asinh atan atan2 atanh bitwise_and bitwise_left_shift bitwise_not bitwise_or
    bitwise_right_shift bitwise_xor ceil celu clamp clamp_max clamp_min clip clone complex _conj conj
    _conj_physical conj_physical contiguous copy copysign cos cosh deg2rad detach digamma div divide elu eq
    erf erfc erfinv exp exp2 expm1 fill float_power floor floor_divide fmax fmin fmod frac ge gelu greater
    greater_equal gt hardshrink hardsigmoid hardswish hardtanh heaviside hypot i0 imag isclose isfinite
    isinf isnan isneginf isposinf item le leaky_relu lerp less less_equal lgamma lift_fresh lift_fresh_copy
    _local_scalar_dense log log10 log1p log2 log_sigmoid log_sigmoid_forward logaddexp logaddexp2
    logical_and logical_not logical_or logical_xor logit lt masked_fill maximum minimum mish mul multiply
    mvlgamma nan_to_num ne neg _neg_view negative not_equal polar polygamma positive pow prelu rad2deg real
    reciprocal relu relu6 remainder resolve_conj resolve_neg round rsqrt rsub selu sgn sigmoid sign signbit
    silu sin sinc sinh softplus softshrink special_erf special_erfcx special_expit special_i0e
    special_log_ndtr special_ndtr special_xlog1py sqrt square sub subtract tan tanh threshold to _to_copy
    true_divide trunc type_as where xlogy max.other min.other
"""

POINTWISE: dict[str, Operation] = {
    f"aten.{name}": Operation(name.partition(".")[0], Kind.POINTWISE) for name in _NAMES.split()
}
