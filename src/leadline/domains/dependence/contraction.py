"""Dependence through matrix products, and through operations that take matrices as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from leadline.domains.compact import described, expanded, reserve
from leadline.domains.dependence.algebra import Mask
from leadline.domains.dependence.flow import Flow, Links
from leadline.domains.engine import Lookup
from leadline.domains.operations.products import product_of
from leadline.graph.ir import Node, Ref


def contraction(flow: Flow, node: Node, links: Lookup[Links]) -> tuple[Links, ...]:
    """Depend, through each factor, on the elements whose partner in the product may differ from zero."""
    product = product_of(node, flow.graph)
    left, right = (product.left, product.left_axes), (product.right, product.right_axes)
    parts = [
        _Factor(axes, *partner, product.out_axes, product.sizes(flow.graph)).carried(flow, node, found)
        for (mine, axes), partner in ((left, right), (right, left))
        if (found := links(mine)) is not None
    ]
    added = None if product.added is None else links(product.added)
    return (flow.all_of(flow.multiplied(node, flow.joined(parts)), added),)


@dataclass(frozen=True)
class _Factor:
    """One factor of a product, by the letters of its axes, beside its partner."""

    axes: str
    partner: Ref
    partner_axes: str
    out_axes: str
    sizes: Mapping[str, int]

    @property
    def shared(self) -> str:
        """Axes that both factors and the product have."""
        return "".join(axis for axis in self.axes if axis in self.out_axes and axis in self.partner_axes)

    @property
    def kept(self) -> str:
        """Axes that the product has from this factor alone."""
        return "".join(axis for axis in self.axes if axis in self.out_axes and axis not in self.partner_axes)

    @property
    def gained(self) -> str:
        """Axes that the product has from the partner alone."""
        return "".join(axis for axis in self.partner_axes if axis not in self.axes)

    def carried(self, flow: Flow, node: Node, x: Tensor) -> Tensor:
        """Join, for each element of the product, the elements of this factor whose partners may differ from zero.

        Axes that are summed and along which the partners do not vary are joined first; what is left is a matrix under
        a mask, for each place of the axes that both factors have.
        """
        nonzero = flow.facts[self.partner].nonzero()
        marks = torch.ones((1,) * len(self.partner_axes), dtype=torch.bool) if nonzero is None else nonzero
        summed = [axis for axis in self.axes if axis not in self.out_axes]
        told = "".join(axis for axis in summed if marks.shape[self.partner_axes.index(axis)] > 1)
        x = flow.algebra.reduce(x, [self.axes.index(axis) for axis in summed if axis not in told])
        x = _ordered(x, self.axes, self.shared + self.kept + told)
        marks = _ordered(marks, self.partner_axes, self.shared + told + self.gained)
        out = self._contracted(flow, node, x, marks, told) if told else self._masked(x, marks)
        there = self.shared + self.kept + self.gained
        out = out.permute([there.index(axis) for axis in self.out_axes if axis in there])
        places = iter(out.shape)
        return out.reshape([next(places) if axis in there else 1 for axis in self.out_axes])

    def _masked(self, x: Tensor, marks: Tensor) -> Tensor:
        """Join nothing more: drop what stands beside partners that are zero throughout."""
        shared = len(self.shared)
        laid = marks.reshape((*marks.shape[:shared], *(1,) * len(self.kept), *marks.shape[shared:]))
        return x.reshape((*x.shape, *(1,) * len(self.gained))) * laid

    def _contracted(self, flow: Flow, node: Node, x: Tensor, marks: Tensor, told: str) -> Tensor:
        """Join along the axes on which partners are told apart."""
        shared, end = len(self.shared), len(self.shared) + len(self.kept)
        batch = torch.broadcast_shapes(x.shape[:shared], marks.shape[:shared])
        length = tuple(self.sizes[axis] for axis in told)
        kept, gained = x.shape[shared:end], marks.shape[shared + len(told) :]
        reserve((*batch, *kept, *gained), 4, described(node))

        def mask() -> Mask:
            return Mask(marks.expand(*batch, *length, *gained).reshape(prod(batch), prod(length), -1))

        rows = x.expand(*batch, *kept, *length).reshape(prod(batch), -1, prod(length))
        found = flow.once(("mask", id(flow.facts[self.partner]), self.axes, self.partner_axes, *batch), mask)
        return flow.algebra.contract(rows, found).reshape(*batch, *kept, *gained)


def _ordered(x: Tensor, axes: str, order: str) -> Tensor:
    """Keep some axes, in this order; the others have been joined."""
    rest = [axis for axis in axes if axis in order]
    kept = x.squeeze([i for i, axis in enumerate(axes) if axis not in order])
    return kept.permute([rest.index(axis) for axis in order])


def matrices(flow: Flow, node: Node, links: Lookup[Links]) -> tuple[Links, ...]:
    """Depend on all elements of the matrices of the same place, and of what is solved for on the own column.

    From a triangle only its side is read, and row by row: a row rests on the rows before it.
    """
    record, named = node.operation, node.bound()
    assert record.matrices is not None
    lower = record.matrices.lower(named)
    found = []
    for name, ref in named.items():
        x = links(ref) if isinstance(ref, Ref) else None
        if not isinstance(ref, Ref) or x is None:
            continue
        solved = name == record.matrices.solved
        part = _as_matrix(x, _missing(flow, node, name))
        if lower is not None and part.ndim > 1:
            found.append(_rows_before(flow, node, ref, part, lower=lower, solved=solved))
            continue
        axes = (-1,) if named.get("left") is False else (-2,)
        found.append(flow.algebra.reduce(part, [part.ndim + axis for axis in (axes if solved else (-2, -1))]))
    total = flow.joined(found)
    assert total is not None
    sides = torch.ones(node.shape[-2:], dtype=torch.bool).tril() if record.matrices.factor else None
    return tuple(_shaped(flow, total, meta, sides if i == 0 else None) for i, meta in enumerate(node.outputs))


def _missing(flow: Flow, node: Node, name: str) -> int:
    """Return how many axes an argument has less than a batch of matrices: a vector one, a number two."""
    named, record = node.bound(), node.operation.matrices
    assert record is not None
    shape = flow.shape(named[name])
    if len(shape) < 2:
        return 2 - len(shape)
    of = next(ref for key, ref in named.items() if isinstance(ref, Ref) and key != record.solved)
    vectors = name == record.solved and shape == flow.shape(of)[:-1]
    return int(vectors or name == "pivots")


def _as_matrix(x: Tensor, missing: int) -> Tensor:
    return x.reshape((*x.shape, *(1,) * missing))


def _rows_before(flow: Flow, node: Node, ref: Ref, x: Tensor, *, lower: bool, solved: bool) -> Tensor:
    """Join rows so far, from the first one or from the last one; of a triangle all that stands in them."""
    shape = (*flow.shape(ref), *(1,) * (x.ndim - len(flow.shape(ref))))
    if not solved:
        side = torch.ones(shape[-2:], dtype=torch.bool)
        full = expanded(x, shape, described(node), (x.ndim - 2, x.ndim - 1))
        x = flow.algebra.reduce(full * (side.tril() if lower else side.triu()), [x.ndim - 1])
    rows = expanded(x, (*shape[:-2], shape[-2], x.shape[-1]), described(node), (x.ndim - 2,))
    if lower:
        return flow.algebra.cumulate(rows, rows.ndim - 2)
    return flow.algebra.cumulate(rows.flip(-2), rows.ndim - 2).flip(-2)


def _shaped(flow: Flow, total: Tensor, meta: object, side: Tensor | None) -> Links:
    """Return the dependences of one result, which may have less axes than matrices."""
    ndim = len(getattr(meta, "shape", ()))
    if ndim >= total.ndim:
        return total if side is None else total * side
    if ndim == total.ndim - 1 and total.shape[-1] == 1 and meta is not None:
        return total.squeeze(-1)
    joined = flow.algebra.reduce(total, [total.ndim - 2, total.ndim - 1])
    return joined.reshape((*total.shape[:-2], *(1,) * (ndim - total.ndim + 2)))
