"""Dependence through circular convolutions: what products of spectra are of their signals (see `spectra`)."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from leadline.domains.compact import described, expanded, lifted, reserve, reshaped
from leadline.domains.dependence.algebra import Mask
from leadline.domains.dependence.flow import Flow, Links, in_full
from leadline.domains.engine import Lookup
from leadline.domains.values.facts import evaluated
from leadline.graph.ir import Node, Ref
from leadline.graph.run_node import permutation
from leadline.graph.table import Move


def circular(flow: Flow, node: Node, links: Lookup[Links]) -> tuple[Links, ...]:
    """Depend, through each signal, on the elements whose partner may differ from zero."""
    spectrum, axis, count = node.args
    found = _Convolution(flow, node, links, axis, count).of(spectrum, axis)
    return (lifted(found.links, len(node.shape)),)


@dataclass(frozen=True)
class _Signal:
    """Dependences of a signal's elements, and where they may differ from zero; time is laid out in both."""

    links: Tensor
    there: Tensor


@dataclass(frozen=True)
class _Convolution:
    """One inverse transform, over `count` elements."""

    flow: Flow
    node: Node
    links: Lookup[Links]
    axis: int
    count: int

    def of(self, spectrum: Any, axis: int) -> _Signal:
        """Return the signal behind a spectrum; `axis` counts from the end."""
        name, *rest = spectrum
        if name == "signal":
            return self._signal(rest[0], axis)
        if name in ("mixed", "flat"):
            return (self._mixed if name == "mixed" else self._flat)(rest[0], axis)
        if name == "reversed":
            return _each(self.of(rest[0], axis), lambda x: x.flip(axis).roll(1, axis))
        if name == "added":
            one, other = (self.of(part, axis) for part in rest)
            return _Signal(self.flow.algebra.join(one.links, other.links), one.there | other.there)
        if name == "summed":
            dims, part = rest[0], self.of(rest[1], axis)
            return _Signal(self.flow.algebra.reduce(part.links, dims), part.there.any(dims, keepdim=True))
        if name == "view":
            viewed, before, part = rest
            signal = self.of(part, before)
            return _each(signal, lambda x: self._viewed(self.flow.graph.nodes[viewed], x, axis, before))
        letters, left, right = rest
        return self._product(letters, left, right, axis)

    def _signal(self, ref: Ref, axis: int) -> _Signal:
        """Crop a signal, or fill it up with zeros."""
        found, alive = self.links(ref), self.flow.facts[ref].nonzero()
        shape = self.flow.shape(ref)
        marks = torch.ones((1,) * len(shape), dtype=torch.bool) if alive is None else alive
        laid = [
            in_full(self.flow, self.node, ref, x, axis).narrow(axis, 0, min(self.count, shape[axis]))
            for x in (self.flow.nothing(ref) if found is None else found, marks)
        ]
        pad = (0, 0) * (-axis - 1) + (0, self.count - laid[0].shape[axis])
        return _Signal(*(torch.nn.functional.pad(x, pad) for x in laid))

    def _mixed(self, ref: Ref | None, axis: int) -> _Signal:
        """Let every element of a signal see all of its spectrum."""
        links, ndim = self._own(ref, axis)
        return _Signal(self._long(self.flow.algebra.reduce(links, [axis]), axis),
                       self._long(torch.ones((1,) * ndim, dtype=torch.bool), axis))  # fmt: skip

    def _flat(self, ref: Ref | None, axis: int) -> _Signal:
        """Put what all frequencies share at the beginning, and nothing beside."""
        links, ndim = self._own(ref, axis)
        first = (torch.arange(self.count) == 0).reshape(-1, *(1,) * (-axis - 1))
        return _Signal(links * first, lifted(first, ndim))

    def _own(self, ref: Ref | None, axis: int) -> tuple[Tensor, int]:
        ndim = max(-axis, 0 if ref is None else len(self.flow.shape(ref)))
        found = None if ref is None else self.links(ref)
        return torch.zeros((1,) * ndim) if found is None else lifted(found, ndim), ndim

    def _long(self, x: Tensor, axis: int) -> Tensor:
        return x.expand([self.count if a == axis + x.ndim else size for a, size in enumerate(x.shape)])

    def _viewed(self, node: Node, x: Tensor, axis: int, before: int) -> Tensor:
        """Carry out a view as if there were as many frequencies as there are elements."""
        old, new = list(self.flow.shape(node.refs[0])), list(node.shape)
        old[before], new[axis] = self.count, self.count
        x = lifted(x, len(old))
        if node.operation.move is Move.RESHAPE:
            return reshaped(x, old, new, described(node))
        if node.operation.move is Move.PERMUTE:
            return x.permute(permutation(node, len(old)))
        if node.operation.move is Move.EXPAND:
            return lifted(x, len(new))
        acts = node.operation.acts(node.bound(), len(old))
        return evaluated(node, lambda _: expanded(x, old, described(node), acts))

    def _product(self, letters: tuple[str, ...] | None, left: Any, right: Any, axis: int) -> _Signal:
        """Convolve two signals; what is summed over other axes is joined first."""
        if letters is None:
            one, other = (self.of(part, axis) for part in (left, right))
            ndim = max(one.links.ndim, other.links.ndim)
            one, other = (_each(x, lambda part: lifted(part, ndim)) for x in (one, other))
        else:
            *factors, out, frequency = letters
            one, other = (
                self._aligned(part, axes, out, frequency) for part, axes in zip((left, right), factors, strict=True)
            )
        found = self.flow.algebra.join(self._through(one.links, other.there, axis),
                                       self._through(other.links, one.there, axis))  # fmt: skip
        there = self._table(other.there, axis).to(torch.float32)
        marks = (one.there.movedim(axis, -1).unsqueeze(-2).to(torch.float32) @ there).squeeze(-2).movedim(-1, axis) > 0
        return _Signal(found, marks)

    def _aligned(self, part: Any, axes: str, out: str, frequency: str) -> _Signal:
        """Join a factor of a sum of products along the axes that are summed, and put the others where they go."""
        if frequency not in axes:
            axes = axes + frequency  # a number that all frequencies share
            signal = _each(self.of(part, -len(axes)), lambda x: x.movedim(0, -1))
        else:
            signal = self.of(part, axes.index(frequency) - len(axes))
        signal = _each(signal, lambda x: lifted(x, len(axes)))
        summed = [i - len(axes) for i, letter in enumerate(axes) if letter not in out]
        signal = _Signal(self.flow.algebra.reduce(signal.links, summed), _any_along(signal.there, summed))
        rest = [letter for letter in out if letter in axes]
        order = [axes.index(letter) for letter in rest]

        def placed(x: Tensor) -> Tensor:
            kept = x.permute([*order, *(i + len(axes) for i in summed)]).flatten(len(order))
            kept = kept.squeeze(-1) if summed else kept
            sizes = iter(kept.shape)
            return kept.reshape([next(sizes) if letter in axes else 1 for letter in out])

        return _each(signal, placed)

    def _through(self, x: Tensor, partner: Tensor, axis: int) -> Tensor:
        """Join, for each element of the result, the elements of a signal whose partners may differ from zero."""
        x, table = x.movedim(axis, -1), self._table(partner, axis)
        lead = torch.broadcast_shapes(x.shape[:-1], table.shape[:-2])
        reserve((*lead, self.count), 4, described(self.node))
        if prod(table.shape[:-2]) == 1:
            rows, marks = x.reshape(1, -1, self.count), table.reshape(1, self.count, self.count)
            found = self.flow.algebra.contract(rows, Mask(marks)).reshape(x.shape)
        else:
            reserve((*lead, self.count, self.count), 1, described(self.node))
            rows = x.expand(*lead, self.count).reshape(-1, 1, self.count)
            marks = table.expand(*lead, self.count, self.count).reshape(-1, self.count, self.count)
            found = self.flow.algebra.contract(rows, Mask(marks)).reshape(*lead, self.count)
        return found.movedim(-1, axis)

    def _table(self, there: Tensor, axis: int) -> Tensor:
        """Return ``[…, i, t]``: whether an element at (t - i) mod n may differ from zero."""
        places = torch.arange(self.count)
        return there.movedim(axis, -1)[..., (places - places.unsqueeze(1)) % self.count]


def _each(signal: _Signal, work: Any) -> _Signal:
    return _Signal(work(signal.links), work(signal.there))


def _any_along(marks: Tensor, dims: list[int]) -> Tensor:
    return marks.any(dims, keepdim=True) if dims else marks
