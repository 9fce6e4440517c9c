"""Rules for complex numbers, which are carried along as pairs of real ones: rotary embeddings turn them.

Source: Su et al., "RoFormer", 2021; ``(a + b i) (c + d i)`` is ``a (c, d) + b (-d, c)``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from leadline.graph import Kind, Node
from leadline.graph.run_node import permutation
from leadline.graph.table import Form, Move, Planar
from leadline.recurrence.ir import Pointwise
from leadline.recurrence.reading import rules_views
from leadline.recurrence.reading.field import (
    FEATURE,
    Factor,
    Field,
    Misfit,
    broadcast,
    canonical,
    permuted,
    regroup,
    spread,
    taken,
    widened,
)
from leadline.recurrence.reading.lowering import Fixed, Lowering, Value


@dataclass(frozen=True, eq=False)
class Complex:
    """A reading of complex numbers: the last dimension of `pairs` holds their real and imaginary parts."""

    pairs: Field
    why = "the output is complex"


def paired(low: Lowering, node: Node, args: Mapping[str, Any]) -> Value:
    """Read pairs of features as complex numbers."""
    read: Field = args["self"]
    if read.dims[-1] != (Factor(FEATURE, 2),):
        raise Misfit("the pairs that become complex numbers are not two features")
    return Complex(read)


def complexes(low: Lowering, node: Node, args: Mapping[str, Any]) -> Value:
    """Apply an operation to complex numbers; `Misfit` if it is not one that is read."""
    operation = node.operation
    if operation.kind is Kind.POINTWISE:
        return _function(low, node, args)
    rule = _BY_MOVE.get(operation.move) if operation.kind is Kind.VIEW else None
    if rule is None:
        raise Misfit("complex numbers go through something else than products with fixed ones")
    return rule(low, node, args)


def _function(low: Lowering, node: Node, args: Mapping[str, Any]) -> Value:
    facts, operation = node.operation.pointwise, node.operation
    form = None if facts is None else facts.form
    if form is Form.PRODUCT:
        return _turned(low, node, [args["self"], args["other"]])
    if form is Form.COPY and node.meta.dtype.is_complex:
        return args["self"]
    part = {Planar.REAL: 0, Planar.IMAGINARY: 1}.get(None if facts is None else facts.planar)  # type: ignore[arg-type]
    if part is None:
        raise Misfit(f"complex numbers go through {operation.packet}, which is not a product with fixed ones")
    return taken(args["self"].pairs, len(node.shape), part)


def _turned(low: Lowering, node: Node, factors: list[Any]) -> Complex:
    """Multiply by fixed numbers."""
    own = [factor for factor in factors if isinstance(factor, Complex)]
    if len(own) != 1:
        raise Misfit("two complex numbers that are computed are multiplied")
    read = own[0].pairs
    other = next(factor for factor in factors if factor is not own[0])
    if isinstance(other, Field):
        raise Misfit("complex numbers are multiplied by computed ones")
    fixed = other.tensor if isinstance(other, Fixed) else torch.as_tensor(other)
    by = fixed if fixed.is_complex() else torch.complex(fixed, torch.zeros_like(fixed))
    tables = torch.view_as_real(by), torch.stack([-by.imag, by.real], -1)
    dims = widened(broadcast([read.dims]), (*node.shape, 2))
    operands = []
    for part, table in enumerate(tables):
        chosen = taken(read, len(read.dims) - 1, [part, part])
        operands += [low.operand(chosen, dims, read.sizes), low.constant(table, dims, read.sizes)]
    product = Pointwise("muladd", tuple(operands), lambda a, b, c, d: a * b + c * d)
    return Complex(low.emit(product, dims, read.sizes, "turned"))


def _reshaped(low: Lowering, node: Node, args: Mapping[str, Any]) -> Value:
    return Complex(regroup(args["self"].pairs, (*node.shape, 2)))


def _permuted(low: Lowering, node: Node, args: Mapping[str, Any]) -> Value:
    read = args["self"].pairs
    last = len(read.dims) - 1
    return Complex(permuted(read, [*permutation(node, last), last]))


def _expanded(low: Lowering, node: Node, args: Mapping[str, Any]) -> Value:
    read = args["self"].pairs
    dims = widened(read.dims, (*node.shape, 2))
    return Complex(canonical(replace(read, dims=dims, channels=spread(read, dims))))


def _taken(low: Lowering, node: Node, args: Mapping[str, Any]) -> Value:
    read = args["self"].pairs
    dim = args.get("dim", 0) % (len(read.dims) - 1)
    parts: Any = rules_views.take(low, node, {**args, "self": read, "dim": dim})
    return tuple(map(Complex, parts))


def _pairs(low: Lowering, node: Node, args: Mapping[str, Any]) -> Value:
    return args["self"].pairs


_BY_MOVE: Mapping[Move, Callable[[Lowering, Node, Mapping[str, Any]], Value]] = {
    Move.RESHAPE: _reshaped,
    Move.PERMUTE: _permuted,
    Move.EXPAND: _expanded,
    Move.TAKE: _taken,
    Move.COMPLEX_TO_PAIRS: _pairs,
}
