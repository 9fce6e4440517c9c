"""Dependence through matrix products."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from leadline.domains.compact import described, reserve
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
