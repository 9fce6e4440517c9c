"""Constant propagation through sums of products: what is left where no term is, and what is added to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor

from leadline.domains.compact import Shapes, described, expanded, lifted, reserve
from leadline.domains.engine import Lookup
from leadline.domains.values.facts import UNKNOWN, Facts, Options, evaluated, filled, one_of
from leadline.graph.ir import Node

_EVERYWHERE = torch.ones((), dtype=torch.bool)


@runtime_checkable
class Sum(Protocol):
    """A rule for sums of products; with `zeros`, a sum of nothing is known to be zero."""

    def __call__(self, node: Node, facts: Lookup[Facts], shape: Shapes, *, zeros: bool) -> tuple[Facts, ...]:
        """Find what is known of an operation's outputs."""


Terms: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Where a sum has a term of two factors that are both marked."""


def contraction(node: Node, facts: Lookup[Facts], shape: Shapes, *, zeros: bool) -> tuple[Facts, ...]:
    """Find what products of nothing are; a mask that is added to one stays: nn.MultiheadAttention adds its so."""
    named, product = node.bound(), node.operation.product
    if product is None:
        return (UNKNOWN,)
    added = None if product.added is None else named[product.added]
    if added is not None and named.get("beta", 1) != 1:
        return (UNKNOWN,)
    left, right = named[product.left], named[product.right]
    axes = product.axes(len(shape(left)), len(shape(right)))

    def terms(one: Tensor, other: Tensor) -> Tensor:
        if not zeros or (bool(one.all()) and bool(other.all())):
            return _EVERYWHERE
        a, b = (lifted(mask, len(letters)).float() for mask, letters in zip((one, other), axes, strict=False))
        sizes = dict.fromkeys(axes[2], 1)
        for letters, mask in zip(axes, (a, b), strict=False):
            sizes |= {letter: max(n, sizes.get(letter, 1)) for letter, n in zip(letters, mask.shape, strict=True)}
        reserve([sizes[letter] for letter in axes[2]], 4, described(node))
        return torch.einsum(f"{axes[0]},{axes[1]}->{axes[2]}", a, b) > 0

    nothing = Facts(torch.zeros((), dtype=node.meta.dtype))
    return (_summed(terms, facts(left), facts(right), nothing if added is None else facts(added), node.meta.dtype),)


def convolution(node: Node, facts: Lookup[Facts], shape: Shapes, *, zeros: bool) -> tuple[Facts, ...]:
    """Find windows of nothing but zeros: masked weights that are mixed over heads, say."""
    named = node.bound()
    x, weight = named["input"], named["weight"]
    if not zeros or named["bias"] is not None:
        return (UNKNOWN,)
    channel = len(shape(x)) - len(shape(weight)) + 1

    def terms(one: Tensor, other: Tensor) -> Tensor:
        a, b = lifted(one, len(shape(x))), lifted(other, len(shape(weight)))
        alike = a.shape[channel] == 1 and b.shape[:2] == (1, 1)  # the channels are
        whole = [channel + 1 + i for i in range(b.ndim - 2) if not _pointwise(node, shape(weight), i)]
        laid = {x: (a, whole), weight: (b, list(range(2, b.ndim)))}
        if not alike:
            laid = {x: (a, [channel, *whole]), weight: (b, list(range(b.ndim)))}
        values = {ref: expanded(m, shape(ref), described(node), axes).float() for ref, (m, axes) in laid.items()}
        return evaluated(node, values.__getitem__, {"groups": 1} if alike else {}) != 0

    nothing = Facts(torch.zeros((), dtype=node.meta.dtype))
    return (_summed(terms, facts(x), facts(weight), nothing, node.meta.dtype),)


def _pointwise(node: Node, weight: tuple[int, ...], axis: int) -> bool:
    """Whether a convolution reads one place along an axis, the one that it writes."""
    named = node.bound()
    padding, stride = named["padding"], named["stride"]
    plain = not isinstance(padding, str) and set(padding) == {0} and set(stride) == {1}
    return plain and weight[axis + 2] == 1


def _summed(terms: Terms, left: Facts, right: Facts, added: Facts, dtype: torch.dtype) -> Facts:
    """Return the facts of sums of products to which something is added."""
    values, there = added.options()
    zero, void = ~terms(~left.zeros(), ~right.zeros()), ~_EVERYWHERE
    empty = zero
    if dtype.is_floating_point and (left.among is not None or right.among is not None):
        empty = ~terms(~left.idle(), ~right.idle())
        values = [*values, torch.where(zero, values[-1], torch.nan)]
    if bool(left.void().any() | right.void().any()):
        void = terms(left.void(), _EVERYWHERE) | terms(_EVERYWHERE, right.void())
    options = Options([value.to(dtype) for value in values], there & empty & ~void)
    return one_of(filled(options, void, torch.nan), added.bounds())
