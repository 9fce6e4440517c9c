"""Products of Fourier transforms, read as what they are of the signals: circular convolutions.

The inverse transform of a product of spectra is ``y[t] = Σ a[i] · b[(t - i) mod n]``: where one signal is known to be
zero, as what it is padded with is, nothing passes. A convolution that is padded far enough is causal so, which the
spectra, every element of which sees the whole signal, do not show. This holds of real numbers, as sums in another order
do. Inverse transforms are followed back through what acts on every frequency alike; what is not recognised counts as
the spectrum of a signal all of whose elements see all of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from leadline.domains.compact import axis_groups
from leadline.domains.operations.products import product_of
from leadline.domains.values.fourier import fourier_of
from leadline.domains.values.views import axes_of, looked_along
from leadline.graph.ir import Graph, Node, Ref
from leadline.graph.reading import Reading
from leadline.graph.run_node import permutation
from leadline.graph.table import Form, Half, Kind, Move, Planar, Tally

CONVOLVES = "leadline.circular_convolution"
_MOST = 64  # parts of one spectrum; beyond, every element sees every one

_STANDING = frozenset({Move.RESHAPE, Move.PERMUTE, Move.EXPAND, Move.TAKE})
"""Views of complex numbers that leave each what it is."""

Spectrum: TypeAlias = "tuple[Any, ...]"
"""A name and what it takes: of ``signal`` a reference and how often it is read; of ``mixed`` and ``flat`` a reference
or None; of ``view`` a node and a spectrum; of ``reversed`` and ``added`` spectra; of ``product`` letters, too."""


def with_signals(graph: Graph) -> Graph:
    """Return a graph in which inverse transforms of spectra that are recognised read the signals; all else stays."""
    if not any(node.operation.transform is not None for node in graph.nodes):
        return graph
    return replace(graph, nodes=tuple(_convolving(graph, node) or node for node in graph.nodes))


def signals_of(reading: Reading) -> Graph:
    """Return the graph of a reading `with_signals`, made once."""
    return reading.once("signals", lambda: with_signals(reading.graph))


def _convolving(graph: Graph, node: Node) -> Node | None:
    """Return a node that reads signals in the place of an inverse transform of spectra; None: it is none."""
    if node.operation.transform is None or not _inverse(node):
        return None
    shape = graph.meta(node.refs[0]).shape
    found = fourier_of(node, shape)
    (axis, *others), count = found.axes, node.shape[found.axes[0]]
    reader = _Reader(graph, count, found.real is Half.OUTPUT)
    if others or shape[axis] != reader.frequencies:
        return None
    spectrum = reader.of(node.refs[0], axis - len(shape))
    if not reader.signals or reader.parts > _MOST:
        return None
    return replace(node, op=CONVOLVES, args=(spectrum, axis - len(shape), count), kwargs={}, target=None)


def _inverse(node: Node) -> bool:
    transform = node.operation.transform
    assert transform is not None
    return not node.bound().get("forward", True) if transform.inverse is None else transform.inverse


class _Reader:
    """Reads spectra over `count` elements; of `half` ones, one side of each is there."""

    def __init__(self, graph: Graph, count: int, half: bool) -> None:
        self.graph, self.count, self.half = graph, count, half
        self.frequencies = count // 2 + 1 if half else count
        self.signals = self.parts = 0

    def of(self, ref: Ref, axis: int) -> Spectrum:
        """Follow a value back; `axis`, that of frequencies, counts from the end."""
        self.parts += 1
        node, shape = self.graph.nodes[ref.node], self.graph.meta(ref).shape
        rule = _RULES.get(node.kind)
        if self.parts > _MOST or rule is None or ref.output != 0 or len(shape) < -axis or shape[axis] == 1:
            return self.unread(ref, axis)
        return rule(self, node, axis) or ("mixed", ref)

    def unread(self, ref: Ref, axis: int) -> Spectrum:
        """Take a real number that all frequencies share for the spectrum of one that stands at the beginning."""
        meta = self.graph.meta(ref)
        shared = len(meta.shape) < -axis or meta.shape[axis] == 1
        return ("flat" if shared and not (self.half and self.complex(ref)) else "mixed", ref)

    def complex(self, ref: Ref) -> bool:
        """Whether a value may have an imaginary part: it is complex, and no copy of what is real."""
        while self.graph.meta(ref).dtype.is_complex:
            node = self.graph.nodes[ref.node]
            record = node.operation.pointwise
            copied = record is not None and record.form is Form.COPY
            moved = node.kind is Kind.VIEW and node.operation.move in _STANDING
            if len(node.refs) != 1 or not (copied or moved):
                return True
            ref = node.refs[0]
        return False

    def signal(self, node: Node, axis: int) -> Spectrum | None:
        """Recognise the transform of a signal."""
        ref = node.refs[0]
        shape = self.graph.meta(ref).shape
        if node.operation.transform is None or _inverse(node):
            return None
        found = fourier_of(node, shape)
        alike = found.axes == (axis % len(shape),) and found.count == self.count
        if not alike or node.shape[axis] != self.frequencies or (self.half and found.real is not Half.INPUT):
            return None
        self.signals += 1
        return "signal", ref

    def pointwise(self, node: Node, axis: int) -> Spectrum | None:
        """Follow what conjugates, scales, adds and multiplies."""
        record, named = node.operation.pointwise, node.bound()
        if record is None:
            return None
        same = record.identity(named)
        if same is not None or record.planar in (Planar.CONJUGATE, Planar.RIGID):
            source = named[same or record.operands[0]]
            if not isinstance(source, Ref) or not self.graph.meta(source).dtype.is_complex:
                return None
            found = self.of(source, axis)
            return ("reversed", found) if same is None and record.planar is Planar.CONJUGATE else found
        operands = [named[name] for name in record.operands]
        if record.form in (Form.SUM, Form.DIFFERENCE, Form.REVERSED):
            return "added", *(self.operand(x, axis) for x in operands)
        if record.form is Form.PRODUCT:
            return "product", None, *(self.operand(x, axis) for x in operands)
        if record.form is Form.QUOTIENT and named.get("rounding_mode") is None:
            dividend, divisor = (self.operand(x, axis) for x in operands)
            return ("product", None, dividend, divisor) if divisor[0] == "flat" else None
        return None

    def operand(self, argument: object, axis: int) -> Spectrum:
        """Read a factor or term, a literal perhaps."""
        if isinstance(argument, Ref):
            return self.of(argument, axis)
        return ("mixed" if self.half and isinstance(argument, complex) else "flat", None)

    def view(self, node: Node, axis: int) -> Spectrum | None:
        """Follow a view that does not look along the frequencies."""
        source = self.graph.meta(node.refs[0])
        before = _before(node, source.shape, axis % len(node.shape)) if source.dtype is node.meta.dtype else None
        return None if before is None else ("view", node.index, before, self.of(node.refs[0], before))

    def contraction(self, node: Node, axis: int) -> Spectrum | None:
        """Follow products that are summed over other axes."""
        product = product_of(node, self.graph)
        letter, parts = product.out_axes[axis], []
        if product.added is not None:
            return None
        for ref, axes in ((product.left, product.left_axes), (product.right, product.right_axes)):
            at = axes.find(letter)
            parts.append(self.unread(ref, -len(axes) - 1) if at < 0 else self.of(ref, at - len(axes)))
        return "product", (product.left_axes, product.right_axes, product.out_axes, letter), *parts

    def reduction(self, node: Node, axis: int) -> Spectrum | None:
        """Follow sums over other axes that stay."""
        shape = self.graph.meta(node.refs[0]).shape
        dims = tuple(dim - len(shape) for dim in axes_of(node.bound().get("dim"), len(shape)))
        stays = len(node.shape) == len(shape) and axis not in dims
        if node.operation.tally not in (Tally.SUM, Tally.MEAN) or not stays:
            return None
        return "summed", dims, self.of(node.refs[0], axis)


_RULES: Mapping[Kind, Any] = {
    Kind.MIXING: _Reader.signal,
    Kind.POINTWISE: _Reader.pointwise,
    Kind.VIEW: _Reader.view,
    Kind.CONTRACTION: _Reader.contraction,
    Kind.REDUCTION: _Reader.reduction,
}


def _before(node: Node, shape: tuple[int, ...], axis: int) -> int | None:
    """Return the axis, from the end, that a view's axis was before; None if it is not kept whole."""
    move, ndim, found = node.operation.move, len(shape), None
    if len(node.sources) != 1 or len(node.outputs) != 1:
        return None
    if move is Move.RESHAPE:
        found = _same_axis(shape, node.shape, axis)
    elif move is Move.PERMUTE:
        found = permutation(node, ndim)[axis]
    elif move is Move.EXPAND:
        found = axis - (len(node.shape) - ndim)
    else:
        acts = looked_along(node, shape)
        if acts is None or len(node.shape) not in (ndim, ndim - len(acts)):
            return None
        left = range(ndim) if len(node.shape) == ndim else [d for d in range(ndim) if d not in acts]
        found = None if left[axis] in acts else left[axis]
    return None if found is None or found < 0 or shape[found] != node.shape[axis] else found - ndim


def _same_axis(shape: tuple[int, ...], new: tuple[int, ...], axis: int) -> int | None:
    """Return the axis that becomes an axis of a reshape's result, but for axes of size 1 beside it."""
    for before, after in axis_groups(shape, new):
        long = [a for a in before if shape[a] > 1]
        if axis in after and [a for a in after if new[a] > 1] == [axis] and len(long) == 1:
            return long[0]
    return None
