"""Constant propagation through pointwise operations: arithmetic on what is known, and what zeros absorb."""

from collections.abc import Mapping
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from leadline.domains.engine import Lookup
from leadline.domains.values.facts import UNKNOWN, Facts, evaluated, partial, zero_where
from leadline.graph.ir import Node, Ref
from leadline.graph.table import Form, Pointwise

_NOWHERE = torch.zeros((), dtype=torch.bool)
_ONE = torch.ones(())


def pointwise(node: Node, facts: Lookup[Facts], floor: float) -> tuple[Facts, ...]:
    """Return what is known of a pointwise operation's outputs."""
    record, named = node.operation.pointwise, node.bound()
    first = UNKNOWN
    if record is not None:
        writes = record.form is Form.CHOICE or record.identity(named) is not None  # may put literals down
        if writes or not all(facts(ref).empty for ref in node.refs):
            first = _first(node, record, {name: _operand(value, facts) for name, value in named.items()}, facts, floor)
    return (first, *(UNKNOWN,) * (len(node.outputs) - 1))


def _first(node: Node, record: Pointwise, known: Mapping[str, Facts], facts: Lookup[Facts], floor: float) -> Facts:
    named = node.bound()
    same = record.identity(named)
    if same is not None:
        return _copied(known[same], node)
    operands = [known[name] for name in record.operands]
    if record.form is Form.CHOICE:
        return _chosen(node, *operands)
    if record.vanishes:
        return _exponential(operands[0], node, floor)
    joint = _joint(known, node)
    if record.form is Form.EITHER:
        return _either(operands, joint, node)
    zero = reduce(torch.logical_or, (known[name].zeros() for name in record.zeros(named)), _NOWHERE)
    bias = _bias(node, record.form, operands)
    if not bool((joint | zero).any()):
        return Facts(bias=bias)
    # a one stands for what is not known, so that nothing divides by zero
    value = evaluated(node, lambda ref: _ONE if (found := facts(ref).value) is None else found).to(node.meta.dtype)
    return partial(torch.where(zero, torch.zeros_like(value), value), joint | zero, bias)


def _bias(node: Node, form: Form, operands: list[Facts]) -> Tensor | None:
    """Return the constants within sums that the result carries."""
    alpha = node.bound().get("alpha", 1)
    if form is Form.PRODUCT:
        return _scaled(*operands)
    if form is Form.QUOTIENT:
        return _scaled(*operands, quotient=True)
    if form is Form.SUM:
        return _summed(alpha, *operands)
    if form is Form.DIFFERENCE:
        return _summed(-alpha, *operands)
    if form is Form.REVERSED:
        return _summed(-alpha, *reversed(operands))
    if form in (Form.MAXIMUM, Form.CLAMP):
        return _raised(*operands[:2])
    return None


def _operand(argument: Any, facts: Lookup[Facts]) -> Facts:
    if isinstance(argument, Ref):
        return facts(argument)
    if isinstance(argument, bool | int | float):
        return Facts(torch.tensor(argument))
    return UNKNOWN


def _joint(known: Mapping[str, Facts], node: Node) -> Tensor:
    """Where every operand is known. Arguments that are neither tensors nor numbers do not count."""
    named = node.bound()
    count = (operand for name, operand in known.items() if operand.value is not None or isinstance(named[name], Ref))
    return reduce(torch.logical_and, (operand.where_known() for operand in count), ~_NOWHERE)


def _copied(source: Facts, node: Node) -> Facts:
    value = None if source.value is None else source.value.to(node.meta.dtype)
    bias = source.bias if node.meta.dtype.is_floating_point else None  # minus infinity is True, or any integer
    return Facts(value, source.known, bias)


def _chosen(node: Node, condition: Facts, a: Facts, b: Facts) -> Facts:
    """``where(condition, a, b)``: where the condition is known, one branch; else what both agree on."""
    dtype, both = node.meta.dtype, a.zeros() & b.zeros()
    if condition.value is None:
        return zero_where(both, dtype)
    sure, yes = condition.where_known(), condition.value.bool()

    def pick(left: Tensor | None, right: Tensor | None, dtype: torch.dtype) -> Tensor:
        blank = torch.zeros((), dtype=dtype)
        left, right = (blank if t is None else t.to(dtype) for t in (left, right))
        return torch.where(yes, left, right)

    known = sure & pick(a.where_known(), b.where_known(), torch.bool)
    value = torch.where(sure, pick(a.value, b.value, dtype), torch.zeros((), dtype=dtype))
    offsets = a.offset(), b.offset()
    bias = None
    if dtype.is_floating_point and any(offset is not None for offset in offsets):
        bias = torch.where(sure, pick(*offsets, torch.float32), torch.zeros(()))
    return partial(value, known | (both & ~sure), bias)


def _exponential(x: Facts, node: Node, floor: float) -> Facts:
    """Minus infinity becomes zero; so does what lies below the floor."""
    offset, held = x.offset(), x.value
    if offset is None:
        return UNKNOWN
    gone, value = offset <= floor, torch.zeros_like(offset)
    if held is not None:
        value = evaluated(node, lambda _: held)
        value = torch.where(gone, torch.zeros_like(value), value)
    return partial(value.to(node.meta.dtype), x.where_known() | gone)


def _scaled(x: Facts, factor: Facts, *, quotient: bool = False) -> Tensor | None:
    """Scale the constants within sums by a known positive factor or divisor; under any other they are lost."""
    if x.bias is None and not quotient:
        x, factor = factor, x
    if x.bias is None or not factor.constant or factor.value is None or not bool((factor.value > 0).all()):
        return None
    scaled = x.bias / factor.value if quotient else x.bias * factor.value
    return torch.where(x.bias.isinf(), x.bias, scaled.clamp(min=torch.finfo(scaled.dtype).min))


def _summed(scale: float, a: Facts, b: Facts) -> Tensor | None:
    left, right = a.offset(), b.offset()
    parts = [part for part in (left, None if right is None else right * scale) if part is not None]
    if not parts:
        return None
    total = torch.as_tensor(sum(parts))
    infinite = reduce(torch.logical_or, (part.isinf() for part in parts))
    overflown = torch.finfo(total.dtype).min  # two finite constants never add up to a mask that nothing defeats
    total = torch.where(total.isinf() & ~infinite, total.sign() * -overflown, total)
    return torch.nan_to_num(total, nan=0.0, posinf=0.0, neginf=-torch.inf)


def _raised(x: Facts, level: Facts) -> Tensor | None:
    """``max(x, c)`` carries the larger of the two constants."""
    if x.bias is None or not level.constant or level.value is None:
        return None
    return torch.maximum(x.bias, level.value.to(x.bias))


def _either(operands: list[Facts], known: Tensor, node: Node) -> Facts:
    """Find what is known of a disjunction: truth absorbs; elsewhere both sides must be known."""
    if node.meta.dtype is not torch.bool:
        return UNKNOWN
    sides = (side.value.bool() & side.where_known() for side in operands[:2] if side.value is not None)
    true = reduce(torch.logical_or, sides, _NOWHERE)
    return partial(true, known | true)
