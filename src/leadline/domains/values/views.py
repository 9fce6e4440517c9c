"""Views carried out on compact tensors: axes that only move stay small, those that a view looks along are laid out."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from leadline.domains.compact import Shapes, Values, described, expanded, fits, lifted, reshaped
from leadline.domains.values.facts import evaluate
from leadline.graph.ir import Node, Ref
from leadline.graph.table import Kind, Move, Places

Results = tuple[Tensor | None, ...]
Literals = Mapping[str, Any]
_NONE: Literals = MappingProxyType({})
_LIKE_ANYWHERE = frozenset({Move.TAKE, Move.FLIP, Move.ROLL, Move.REPEAT})
"""Moves along an axis whose places are all alike: they stay alike, however many there are."""


def carried(node: Node, value: Values, shape: Shapes, replaced: Literals = _NONE) -> Results:
    """Carry out an operation that moves elements, a view or a look-up at constant places, on compact tensors.

    `value` and `shape` give the compact tensor for a reference, and the shape that it stands for; `replaced` are
    literals to exchange, by name. Outputs that are not tensors are None; `TooLarge` if an axis that must be laid out
    does not fit.
    """
    move = node.operation.move if node.kind is Kind.VIEW else None
    if move is Move.RESHAPE and len(node.outputs) == 1:
        ref = node.refs[0]
        return (reshaped(value(ref), shape(ref), node.shape, described(node)),)
    if move is Move.EXPAND:
        return (lifted(lifted(value(node.refs[0]), len(shape(node.refs[0]))), len(node.shape)),)
    found = _in_part(node, move, value, shape, replaced)
    if found is None or not all(fits(part, meta.shape) for part, meta in zip(found, node.outputs, strict=True)
                                if part is not None and meta is not None):  # fmt: skip
        return in_full(node, value, shape, replaced)
    return found


def in_full(node: Node, value: Values, shape: Shapes, replaced: Literals = _NONE) -> Results:
    """Run an operation on tensors laid out in full."""
    return evaluate(node, lambda ref: expanded(value(ref), shape(ref), described(node)), replaced)


def _in_part(node: Node, move: Move | None, value: Values, shape: Shapes, replaced: Literals) -> Results | None:
    """Lay out the axes along which the operation looks, and no others; None where that does not do."""
    refs = node.sources
    first = shape(refs[0])
    acts = looked_along(node, first)
    if acts is None or any(meta is not None and 0 in meta.shape for meta in node.outputs):
        return None
    small = {ref: lifted(value(ref), len(shape(ref))) for ref in refs}
    if node.kind is Kind.GATHER and any(small[ref].dtype is torch.bool for ref in refs[1:]):
        return None  # a mask looks along all of its axes
    if node.kind is Kind.VIEW:
        if any(len(shape(ref)) != len(first) for ref in refs):
            return None
        if len(refs) == 1 and move in _LIKE_ANYWHERE and all(small[refs[0]].shape[axis] == 1 for axis in acts):
            return tuple(None if m is None else _alike(small[refs[0]], m.shape, acts) for m in node.outputs)
        small = _laid_out(node, small, shape, acts)
    else:
        small[refs[0]] = expanded(small[refs[0]], first, described(node), acts)
    return evaluate(node, small.__getitem__, replaced)


def axes_of(dim: int | tuple[int, ...] | None, ndim: int) -> tuple[int, ...]:
    """Return the axes that an argument `dim` means: all, if it is missing or empty."""
    if dim is None or dim == ():
        return tuple(range(ndim))
    return tuple(d % ndim if ndim else d for d in ((dim,) if isinstance(dim, int) else dim)) if ndim else ()


def looked_along(node: Node, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return the axes of the first argument along which an operation looks at places; None: it may be any."""
    if node.kind is Kind.VIEW:
        return node.operation.acts(node.bound(), len(shape))
    return _of_a_look_up(node, len(shape)) if node.kind is Kind.GATHER else None


def _of_a_look_up(node: Node, ndim: int) -> tuple[int, ...] | None:
    places, named = node.operation.places, node.bound()
    if places is Places.ROWS:
        return (0,)
    if places is Places.SLICES:
        return (named["dim"] % ndim,)
    if places is Places.LISTS:
        return tuple(d for d, ref in enumerate(named["indices"]) if ref is not None)
    return None


def _alike(x: Tensor, shape: tuple[int, ...], acts: tuple[int, ...]) -> Tensor:
    """Return a tensor that does not vary along the axes looked along: they stay, or one of them goes."""
    return x.squeeze(acts) if len(shape) < x.ndim else lifted(x, len(shape))


def _laid_out(node: Node, small: dict[Ref, Tensor], shape: Shapes, acts: tuple[int, ...]) -> dict[Ref, Tensor]:
    """Lay out the axes looked along, and give several tensors the same sizes along all others."""
    common = torch.broadcast_shapes(
        *(tuple(1 if axis in acts else size for axis, size in enumerate(x.shape)) for x in small.values())
    )
    return {
        ref: expanded(x, [shape(ref)[a] if a in acts else n for a, n in enumerate(common)], described(node))
        for ref, x in small.items()
    }
