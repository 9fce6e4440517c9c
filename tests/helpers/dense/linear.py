"""Dependence through matrix products and fused attention."""

from __future__ import annotations

from math import prod

import torch
from helpers.dense.attentions import attention_of
from helpers.dense.facts import Facts
from helpers.dense.flow import Flow, Links, shaped
from helpers.dense.pattern import unmasked
from helpers.dense.products import Product, product_of
from torch import Tensor

from leadline.domains.engine import Lookup
from leadline.graph.ir import Node, Ref


def contraction(flow: Flow, node: Node, links: Lookup[Links]) -> tuple[Links, ...]:
    """Depend, through each factor, on the elements whose partner in the product may differ from zero."""
    product = product_of(node, flow.graph)
    sizes: dict[str, int] = {}
    for axes, ref in ((product.left_axes, product.left), (product.right_axes, product.right)):
        for axis, size in zip(axes, flow.shape(ref), strict=True):
            sizes[axis] = max(size, sizes.get(axis, 1))
    left, right = (product.left, product.left_axes), (product.right, product.right_axes)
    parts = [
        _through(flow, product, sizes, axes, *other, links=found)
        for (mine, axes), other in ((left, right), (right, left))
        if (found := links(mine)) is not None
    ]
    parts = [part.expand(node.shape) for part in parts]
    added = None if product.added is None else links(product.added)
    return shaped(node, flow.all_of(flow.multiplied(node, flow.all_of(*parts)), added))


def _through(
    flow: Flow,
    product: Product,
    sizes: dict[str, int],
    my_axes: str,
    other: Ref,
    other_axes: str,
    *,
    links: Tensor,
) -> Tensor:
    """Dependences through one factor, laid out as the product."""
    kept = [axis for axis in my_axes if axis in product.out_axes and axis not in other_axes]
    shared = [axis for axis in my_axes if axis in product.out_axes and axis in other_axes]
    gained = [axis for axis in other_axes if axis not in my_axes]
    nonzero = flow.facts[other].nonzero()
    if nonzero is None:
        summed = flow.algebra.reduce(links, [my_axes.index(axis) for axis in product.summed])
        rest = [axis for axis in my_axes if axis not in product.summed]
        summed = summed.reshape([n for axis, n in zip(my_axes, summed.shape, strict=True) if axis in rest])
        order = [axis for axis in product.out_axes if axis in rest]
        summed = summed.permute([rest.index(axis) for axis in order])
        places = iter(summed.shape)
        return summed.reshape([next(places) if axis in rest else 1 for axis in product.out_axes])
    summed_axes = list(product.summed)
    x = _grouped(links, my_axes, [shared, kept, summed_axes], sizes)
    mask = _grouped(nonzero, other_axes, [shared, summed_axes, gained], sizes)
    out = flow.algebra.contract(x, mask)
    axes = [*shared, *kept, *gained]
    out = out.reshape([sizes[axis] for axis in axes])
    return out.permute([axes.index(axis) for axis in product.out_axes])


def _grouped(x: Tensor, axes: str, groups: list[list[str]], sizes: dict[str, int]) -> Tensor:
    """Permute to groups of axes and flatten each; axes of size one that the other factor broadcasts are expanded."""
    order = [axis for group in groups for axis in group]
    x = x.permute([axes.index(axis) for axis in order]).expand([sizes[axis] for axis in order])
    return x.reshape([prod(sizes[axis] for axis in group) for group in groups])


def attention(flow: Flow, node: Node, links: Lookup[Links], least: int = 2) -> tuple[Links, ...]:
    """Depend on the query, on the keys and values that its mask lets through, and on the mask's row."""
    att = attention_of(node)
    query, key, value = (links(ref) for ref in (att.query, att.key, att.value))
    if att.grouped:
        times = flow.shape(att.query)[-3] // flow.shape(att.key)[-3]
        key, value = (None if x is None else x.repeat_interleave(times, -3) for x in (key, value))
    *batch, queries, _ = flow.shape(att.query)
    keys = flow.shape(att.key)[-2]
    shown = _shown(flow, att.mask, att.causal, (*batch, queries, keys))
    reduce = flow.algebra.reduce
    row = None if query is None else reduce(query, [-1]).expand(*batch, queries, keys)
    column = None if key is None else reduce(key, [-1]).transpose(-1, -2).expand(*batch, queries, keys)
    mask = None if att.mask is None else links(att.mask)
    scores = flow.multiplied(node, flow.all_of(row, column))
    logits = flow.all_of(scores, None if mask is None else mask.expand(*batch, queries, keys))
    weights = None
    if logits is not None:
        lone = (shown.sum(-1, keepdim=True) == 1) & (least > 1)
        weights = reduce(logits * (shown & ~lone), [-1])
    values = None
    if value is not None:
        x = value.transpose(-1, -2).expand(*batch, value.shape[-1], keys).reshape(-1, value.shape[-1], keys)
        partners = shown.expand(*batch, queries, keys).transpose(-1, -2).reshape(-1, keys, queries)
        if bool(shown.all()):
            values = reduce(value, [-2]).expand(*batch, queries, value.shape[-1])
        else:
            values = flow.algebra.contract(x, partners).reshape(*batch, -1, queries).transpose(-1, -2)
    joined = flow.all_of(None if weights is None else weights.expand(node.shape), values)
    return shaped(node, flow.multiplied(node, joined))


def _shown(flow: Flow, mask: Ref | None, causal: bool, shape: tuple[int, ...]) -> Tensor:
    """Pairs that may have weight. A row masked by -inf throughout has none: the fused kernel returns zeros."""
    queries, keys = shape[-2:]
    shown = torch.ones(queries, keys, dtype=torch.bool)
    shown = shown.tril() if causal else shown
    offset = torch.zeros(queries, keys).masked_fill(~shown, -torch.inf)
    if mask is not None:
        facts = flow.facts[mask]
        if facts.value is not None and facts.value.dtype is torch.bool:
            barred = ~facts.value & facts.where_known(tuple(facts.value.shape))
            offset = offset + torch.zeros(barred.shape).masked_fill(barred, -torch.inf)
        else:
            added = facts.offset()
            offset = offset if added is None else offset + added
    found = unmasked(Facts(bias=offset), -1, flow.floor)
    if found is None:
        found = torch.ones((), dtype=torch.bool).expand(offset.shape)
    return (found & (offset != -torch.inf)).expand(*shape[:-2], *offset.shape[-2:]).expand(shape)
