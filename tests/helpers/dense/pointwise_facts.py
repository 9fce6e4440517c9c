"""The pattern domain on pointwise operations: arithmetic on known values, and what zeros and infinities absorb."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from helpers.dense.facts import UNKNOWN, Facts, evaluate, partial
from torch import Tensor

from leadline.domains.engine import Lookup
from leadline.graph.ir import Node, Ref

_COPIES = frozenset(
    "alias clone contiguous copy detach lift_fresh lift_fresh_copy positive to _to_copy".split()  # noqa: SIM905 - words read better than strings
)
KEEP_ZERO = frozenset(
    """
    abs asin asinh atan atanh ceil celu _conj conj elu erf expm1 floor frac gelu hardswish leaky_relu log1p mish neg
    relu relu6 round selu sgn sign silu sin sinh sqrt square tan tanh trunc
    """.split()  # noqa: SIM905 - words read better than strings
)
_PRODUCTS = frozenset(["mul", "multiply", "logical_and", "bitwise_and", "__and__"])
_SUMS = frozenset(["add", "sub", "subtract"])


def pointwise(node: Node, facts: Lookup[Facts], floor: float) -> tuple[Facts, ...]:
    """Return what is known of a pointwise operation's outputs."""
    rest = (UNKNOWN,) * (len(node.outputs) - 1)
    if all(facts(ref).empty for ref in node.refs) and not node.op.startswith(
        ("aten.fill", "aten.masked_fill", "aten.where")
    ):
        return (UNKNOWN, *rest)
    return (_first(node, facts, floor), *rest)


def _first(node: Node, facts: Lookup[Facts], floor: float) -> Facts:
    packet = node.op.split(".")[1]
    operands = [_operand(argument, facts) for argument in node.args]
    if packet == "fill":
        return _copied(operands[1], node)
    if packet in _COPIES:
        source = operands[-1] if packet == "copy" else operands[0]
        return _copied(source, node)
    if packet in ("where", "masked_fill"):
        return _chosen(packet, operands, node)
    if packet in ("exp", "exp2", "sigmoid"):
        return _exponential(operands[0], node, floor)
    if packet in ("logical_or", "bitwise_or", "__or__"):
        return _either(operands, _joint(operands, node), node)
    zero, bias = _absorbed(packet, operands, node)
    known = _joint(operands, node) | zero
    if not bool(known.any()):
        return Facts(bias=bias)
    (value,) = evaluate(node, _filled(facts))[:1]
    assert value is not None
    value = value.to(node.meta.dtype).expand(node.shape)
    return partial(torch.where(zero, torch.zeros_like(value), value), known, bias)


def _absorbed(packet: str, operands: list[Facts], node: Node) -> tuple[Tensor, Tensor | None]:
    """Where known zeros make the result zero, and the constants within sums that the result carries."""
    zeros = [operand.zeros() for operand in operands]
    nowhere = torch.zeros((), dtype=torch.bool).expand(node.shape)
    if packet in _PRODUCTS:
        return _broadcast(zeros[:2], node), _scaled(operands[0], operands[1]) if packet.startswith("mul") else None
    if packet in ("div", "divide", "true_divide"):
        return _broadcast(zeros[:1], node), _scaled(operands[0], operands[1], quotient=True)
    if packet in KEEP_ZERO:
        return _broadcast(zeros[:1], node), None
    if packet in _SUMS:
        return nowhere, _summed(packet, operands, node)
    if packet == "rsub":
        return nowhere, _summed("sub", operands[1::-1], node)
    if packet in ("maximum", "clamp", "clamp_min"):
        return nowhere, _raised(operands)
    return nowhere, None


def _operand(argument: Any, facts: Lookup[Facts]) -> Facts:
    if isinstance(argument, Ref):
        return facts(argument)
    if isinstance(argument, bool | int | float):
        return Facts(torch.tensor(argument))
    return UNKNOWN


def _filled(facts: Lookup[Facts]) -> Callable[[Ref], Tensor]:
    """Look up values; a one stands for what is not known, so that nothing divides by zero."""

    def value(ref: Ref) -> Tensor:
        found = facts(ref)
        return torch.ones(()) if found.value is None else found.value

    return value


def _broadcast(masks: list[Tensor | None], node: Node) -> Tensor:
    found = [mask for mask in masks if mask is not None]
    result = torch.zeros((), dtype=torch.bool)
    for mask in found:
        result = result | mask
    return result.expand(node.shape)


def _joint(operands: list[Facts], node: Node) -> Tensor:
    """Where every operand is known. Arguments that are neither tensors nor numbers do not count."""
    result = torch.ones((), dtype=torch.bool)
    for i, operand in enumerate(operands):
        if operand.value is None and isinstance(node.args[i], Ref):
            return torch.zeros((), dtype=torch.bool).expand(node.shape)
        if operand.known is not None:
            result = result & operand.known
    return result.expand(node.shape)


def _copied(source: Facts, node: Node) -> Facts:
    def shaped(tensor: Tensor | None, dtype: torch.dtype | None = None) -> Tensor | None:
        return None if tensor is None else tensor.to(dtype or tensor.dtype).expand(node.shape)

    bias = source.bias if node.meta.dtype.is_floating_point else None  # minus infinity is True, or any integer
    return Facts(shaped(source.value, node.meta.dtype), shaped(source.known), shaped(bias))


def _chosen(packet: str, operands: list[Facts], node: Node) -> Facts:
    """``where(condition, a, b)``: where the condition is known, one branch; else what both agree on."""
    condition, a, b = operands if packet == "where" else (operands[1], operands[2], operands[0])
    if condition.value is None:
        both = _broadcast([a.zeros()], node) & _broadcast([b.zeros()], node)
        return partial(torch.zeros((), dtype=node.meta.dtype).expand(node.shape), both)
    shape, dtype = node.shape, node.meta.dtype
    sure, yes = condition.where_known(shape), condition.value.bool()

    def pick(left: Tensor | None, right: Tensor | None, dtype: torch.dtype) -> Tensor:
        blank = torch.zeros((), dtype=dtype)
        left, right = (blank if t is None else t.to(dtype) for t in (left, right))
        return torch.where(yes, left, right).expand(shape)

    known = sure & pick(a.where_known(shape), b.where_known(shape), torch.bool)
    both = _broadcast([a.zeros()], node) & _broadcast([b.zeros()], node)
    value = torch.where(sure, pick(a.value, b.value, dtype), torch.zeros((), dtype=dtype))
    offsets = a.offset(), b.offset()
    bias = None
    if dtype.is_floating_point and any(offset is not None for offset in offsets):
        bias = torch.where(sure, pick(*offsets, torch.float32), torch.zeros(()))
    return partial(value, known | (both & ~sure), bias)


def _exponential(x: Facts, node: Node, floor: float) -> Facts:
    """Minus infinity becomes zero; so does what lies below the floor."""
    offset = x.offset()
    gone = torch.zeros((), dtype=torch.bool) if offset is None else offset <= floor
    known = x.where_known(node.shape) | gone
    if not bool(known.any()):
        return UNKNOWN
    assert offset is not None
    value = torch.zeros_like(offset)
    if x.value is not None:
        # x.value was asked for above; a lambda forgets it
        computed = evaluate(node, lambda _: x.value)[0]  # type: ignore[arg-type,return-value]
        assert computed is not None
        value = torch.where(gone, torch.zeros_like(computed), computed)
    return partial(value.to(node.meta.dtype).expand(node.shape), known.expand(node.shape))


def _scaled(x: Facts, factor: Facts, *, quotient: bool = False) -> Tensor | None:
    """Scale the constants within sums by a known positive factor or divisor; under any other they are lost."""
    if x.bias is None and not quotient:
        x, factor = factor, x
    if x.bias is None or not factor.constant or factor.value is None or not bool((factor.value > 0).all()):
        return None
    scaled = x.bias / factor.value if quotient else x.bias * factor.value
    return torch.where(x.bias.isinf(), x.bias, scaled.clamp(min=torch.finfo(scaled.dtype).min))


def _summed(packet: str, operands: list[Facts], node: Node) -> Tensor | None:
    left, right = operands[0].offset(), operands[1].offset()
    alpha = node.kwargs.get("alpha", 1)
    if right is not None:
        right = right * (-alpha if packet != "add" else alpha)
    if left is None and right is None:
        return None
    total = torch.as_tensor((0 if left is None else left) + (0 if right is None else right))
    infinite = torch.zeros((), dtype=torch.bool)
    for part in (left, right):
        infinite = infinite if part is None else infinite | part.isinf()
    overflown = torch.finfo(total.dtype).min  # two finite constants never add up to a mask that nothing defeats
    total = torch.where(total.isinf() & ~infinite, total.sign() * -overflown, total)
    return torch.nan_to_num(total, nan=0.0, posinf=0.0, neginf=-torch.inf).expand(node.shape)


def _raised(operands: list[Facts]) -> Tensor | None:
    """``max(x, c)`` carries the larger of the two constants."""
    x, *others = operands
    if x.bias is None or not others or not others[0].constant:
        return None
    bound = others[0].value
    assert bound is not None
    return torch.maximum(x.bias, bound.to(x.bias))


def _either(operands: list[Facts], known: Tensor, node: Node) -> Facts:
    """Find what is known of a disjunction: truth absorbs; elsewhere both sides must be known."""
    sides = operands[:2]
    if node.meta.dtype is not torch.bool:
        return UNKNOWN
    true = torch.zeros((), dtype=torch.bool)
    for side in sides:
        if side.value is not None:
            true = true | (side.value.bool() & side.where_known(side.value.shape))
    return partial(true.expand(node.shape), known | true)
