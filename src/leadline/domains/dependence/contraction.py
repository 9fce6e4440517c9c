"""Dependence through matrix products, and through operations that take matrices as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from leadline.domains.compact import described, expanded, lifted, reserve
from leadline.domains.dependence.algebra import Mask
from leadline.domains.dependence.flow import Flow, Links
from leadline.domains.engine import Lookup
from leadline.domains.operations.products import product_of
from leadline.graph.ir import Node, Ref
from leadline.graph.rewriting.inverses import matrix_of, rests_on, triangle


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

    Where zeros of a matrix are known, or only a triangle of it is read, rows of its inverse rest on some rows alone;
    and so do those of a factor.
    """
    record, named = node.operation.matrices, node.bound()
    assert record is not None
    inverse = _inverse(flow, node)
    found = []
    for name, ref in named.items():
        x = links(ref) if isinstance(ref, Ref) else None
        if isinstance(ref, Ref) and x is not None:
            part = x.reshape((*x.shape, *(1,) * _missing(flow, node, name)))
            carry = _of_solved if name == record.solved else _of_matrix
            found.append(carry(flow, node, part, inverse))
    total = flow.joined(found)
    assert total is not None
    sides = record.triangles(named)
    return tuple(
        _shaped(flow, total, meta, sides[i] if i < len(sides) else None, whole=i > 0 and inverse is not None)
        for i, meta in enumerate(node.outputs)
    )


def _inverse(flow: Flow, node: Node) -> Tensor | None:
    """Say which rows of the inverse, or of a function, rest on which; None: on all."""
    ref, record = matrix_of(node), node.operation.matrices
    assert record is not None
    nonzero, shape = flow.facts[ref].nonzero(), flow.shape(ref)
    if not (record.inverts or record.powers) or (nonzero is None and record.side(node.bound()) is None):
        return None
    marks = torch.ones((1,) * len(shape), dtype=torch.bool) if nonzero is None else lifted(nonzero, len(shape))
    laid = expanded(marks, shape, described(node), (-2, -1))
    key = "inverse", node.op, record.side(node.bound()), id(flow.facts[ref]), shape
    return flow.once(key, lambda: rests_on(node, laid))


def _missing(flow: Flow, node: Node, name: str) -> int:
    """Return how many axes an argument has less than a batch of matrices: a vector one, a number two."""
    named, record = node.bound(), node.operation.matrices
    assert record is not None
    shape = flow.shape(named[name])
    if len(shape) < 2:
        return 2 - len(shape)
    vectors = name == record.solved and shape == flow.shape(matrix_of(node))[:-1]
    return int(vectors or name == "pivots")


def _of_solved(flow: Flow, node: Node, x: Tensor, inverse: Tensor | None) -> Tensor:
    """Join, of what is solved for, the rows, or the columns, that a row or column of the solution rests on."""
    left = node.bound().get("left") is not False
    if inverse is None:
        return flow.algebra.reduce(x, [x.ndim - 2 if left else x.ndim - 1])
    return _through(flow, node, x.mT, inverse.mT).mT if left else _through(flow, node, x, inverse)


def _of_matrix(flow: Flow, node: Node, x: Tensor, inverse: Tensor | None) -> Tensor:
    """Join the elements of a matrix that its inverse, a solution or a factor rests on.

    An inverse changes with the matrix by ``-A⁻¹ dA A⁻¹``, a solution by ``-A⁻¹ dA`` times itself.
    """
    record, named = node.operation.matrices, node.bound()
    assert record is not None
    side, rows, columns = record.side(named), x.ndim - 2, x.ndim - 1
    if side is not None:
        full = expanded(x, (*x.shape[:-2], *flow.shape(matrix_of(node))[-2:]), described(node), (rows, columns))
        x = full * triangle(full.shape, lower=side)
    if inverse is not None:
        if record.solved is None:
            return _through(flow, node, _through(flow, node, x.mT, inverse.mT).mT, inverse)
        left = named.get("left") is not False
        if left:
            return _through(flow, node, flow.algebra.reduce(x, [columns]).mT, inverse.mT).mT
        return _through(flow, node, flow.algebra.reduce(x, [rows]), inverse)
    if side is None:
        return flow.algebra.reduce(x, [rows, columns])
    if side:  # the rows of a lower factor rest on those before them, and so do the columns of an upper one
        return flow.algebra.cumulate(flow.algebra.reduce(x, [columns]), rows)
    return flow.algebra.cumulate(flow.algebra.reduce(x, [rows]), columns)


def _through(flow: Flow, node: Node, x: Tensor, marks: Tensor) -> Tensor:
    """Join, for each row of `x`, the elements ``[…, k]`` that ``marks[…, k, j]`` names."""
    size, columns = marks.shape[-2:]
    batch = torch.broadcast_shapes(x.shape[:-2], marks.shape[:-2])
    alike = prod(marks.shape[:-2]) == 1
    reserve((*batch, x.shape[-2], max(size, columns)), 4, described(node))
    rows = x.expand(*batch, x.shape[-2], size)
    laid = marks.reshape(1, size, columns) if alike else marks.expand(*batch, size, columns).reshape(-1, size, columns)
    flat = rows.reshape(1, -1, size) if alike else rows.reshape(-1, x.shape[-2], size)
    return flow.algebra.contract(flat, Mask(laid)).reshape(*batch, x.shape[-2], columns)


def _shaped(flow: Flow, total: Tensor, meta: object, side: bool | None, *, whole: bool) -> Links:
    """Return the dependences of one result, which may have less axes than matrices, or be a triangle."""
    shape = getattr(meta, "shape", ())
    if whole:
        total = flow.algebra.reduce(total, [total.ndim - 2, total.ndim - 1])
    if len(shape) >= total.ndim:
        return total if side is None else total * triangle(shape, lower=side)
    if len(shape) == total.ndim - 1 and total.shape[-1] == 1 and meta is not None:
        return total.squeeze(-1)
    joined = flow.algebra.reduce(total, [total.ndim - 2, total.ndim - 1])
    return joined.reshape((*total.shape[:-2], *(1,) * (len(shape) - total.ndim + 2)))
