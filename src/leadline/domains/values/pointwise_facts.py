"""Constant propagation through pointwise operations: arithmetic on what is known, and what zeros absorb."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from leadline.domains.engine import Lookup
from leadline.domains.values.facts import UNKNOWN, Facts, evaluate, partial
from leadline.graph.ir import Node, Ref
from leadline.graph.table import Form, Pointwise


def pointwise(node: Node, facts: Lookup[Facts], floor: float) -> tuple[Facts, ...]:
    """Return what is known of a pointwise operation's outputs."""
    rest = (UNKNOWN,) * (len(node.outputs) - 1)
    record = node.operation.pointwise
    if record is None:
        return (UNKNOWN, *rest)
    named = node.bound()
    writes = record.form is Form.CHOICE or record.identity(named) is not None  # may put literals down
    if all(facts(ref).empty for ref in node.refs) and not writes:
        return (UNKNOWN, *rest)
    return (_first(node, record, {name: _operand(value, facts) for name, value in named.items()}, facts, floor), *rest)


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
    zero = _broadcast([known[name].zeros() for name in record.zeros(named)])
    bias = _bias(node, record.form, operands)
    if not bool((joint | zero).any()):
        return Facts(bias=bias)
    value = evaluate(node, _filled(facts))[0]
    assert value is not None
    value = value.to(node.meta.dtype)
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


def _filled(facts: Lookup[Facts]) -> Callable[[Ref], Tensor]:
    """Look up values; a one stands for what is not known, so that nothing divides by zero."""

    def value(ref: Ref) -> Tensor:
        found = facts(ref)
        return torch.ones(()) if found.value is None else found.value

    return value


def _broadcast(masks: list[Tensor | None]) -> Tensor:
    found = [mask for mask in masks if mask is not None]
    result = torch.zeros((), dtype=torch.bool)
    for mask in found:
        result = result | mask
    return result


def _joint(known: Mapping[str, Facts], node: Node) -> Tensor:
    """Where every operand is known. Arguments that are neither tensors nor numbers do not count."""
    result, named = torch.ones((), dtype=torch.bool), node.bound()
    for name, operand in known.items():
        if operand.value is None and isinstance(named[name], Ref):
            return torch.zeros((), dtype=torch.bool)
        if operand.known is not None:
            result = result & operand.known
    return result


def _copied(source: Facts, node: Node) -> Facts:
    def shaped(tensor: Tensor | None, dtype: torch.dtype | None = None) -> Tensor | None:
        return None if tensor is None else tensor.to(dtype or tensor.dtype)

    bias = source.bias if node.meta.dtype.is_floating_point else None  # minus infinity is True, or any integer
    return Facts(shaped(source.value, node.meta.dtype), shaped(source.known), shaped(bias))


def _chosen(node: Node, condition: Facts, a: Facts, b: Facts) -> Facts:
    """``where(condition, a, b)``: where the condition is known, one branch; else what both agree on."""
    if condition.value is None:
        both = _broadcast([a.zeros()]) & _broadcast([b.zeros()])
        return partial(torch.zeros((), dtype=node.meta.dtype), both)
    dtype = node.meta.dtype
    sure, yes = condition.where_known(), condition.value.bool()

    def pick(left: Tensor | None, right: Tensor | None, dtype: torch.dtype) -> Tensor:
        blank = torch.zeros((), dtype=dtype)
        left, right = (blank if t is None else t.to(dtype) for t in (left, right))
        return torch.where(yes, left, right)

    known = sure & pick(a.where_known(), b.where_known(), torch.bool)
    both = _broadcast([a.zeros()]) & _broadcast([b.zeros()])
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
    known = x.where_known() | gone
    if not bool(known.any()):
        return UNKNOWN
    assert offset is not None
    value = torch.zeros_like(offset)
    if x.value is not None:
        # x.value was asked for above; a lambda forgets it
        computed = evaluate(node, lambda _: x.value)[0]  # type: ignore[arg-type,return-value]
        assert computed is not None
        value = torch.where(gone, torch.zeros_like(computed), computed)
    return partial(value.to(node.meta.dtype), known)


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
    right = None if right is None else right * scale
    if left is None and right is None:
        return None
    total = torch.as_tensor((0 if left is None else left) + (0 if right is None else right))
    infinite = torch.zeros((), dtype=torch.bool)
    for part in (left, right):
        infinite = infinite if part is None else infinite | part.isinf()
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
    sides = operands[:2]
    if node.meta.dtype is not torch.bool:
        return UNKNOWN
    true = torch.zeros((), dtype=torch.bool)
    for side in sides:
        if side.value is not None:
            true = true | (side.value.bool() & side.where_known())
    return partial(true, known | true)
