"""Which axes of an operation's arguments and results go together.

An axis of an argument need not be laid out where all its places are treated alike: where it becomes one axis of the
result, place by place, and nobody asks for some of these places only, or where it is joined as a whole. `alignment`
names axes: equal names are places that correspond, a name that no result has is joined as a whole, and None is an axis
along which the operation looks at places in a way of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

from leadline.domains.compact import axis_groups
from leadline.domains.dependence.flow import Flow
from leadline.domains.dependence.local import BY_CHANNEL, shared_axes
from leadline.domains.operations.attentions import attention_of
from leadline.domains.operations.convolutions import convolution_of
from leadline.domains.operations.products import product_of
from leadline.domains.operations.scans import is_grid, recurrence_of
from leadline.domains.values.views import axes_of, looked_along
from leadline.graph.ir import Node, Ref
from leadline.graph.run_node import permutation
from leadline.graph.table import Form, Kind, Move, Places

Names: TypeAlias = "tuple[Hashable | None, ...]"


@dataclass(frozen=True)
class Alignment:
    """Names of the axes of arguments, each reading of one apart, and of the results."""

    arguments: tuple[tuple[Ref, Names], ...]
    results: tuple[Names, ...]


def leaf_shapes(flow: Flow, node: Node, marks: list[Tensor | None], refs: Iterable[Ref]) -> dict[Ref, tuple[int, ...]]:
    """Return how far arguments must be laid out, so that what lies behind marked results can be told apart.

    Along any axis that is left at size 1 either all places are behind the marks or none is.
    """
    found = alignment(flow, node)
    asked: set[Hashable] = set()
    for i, (names, mark) in enumerate(zip(found.results, marks, strict=True)):
        known = flow.facts[Ref(node.index, i)].parts if Ref(node.index, i) in flow.facts else ()
        asked |= _varying(names, known if mark is None else (mark, *known))
    for ref, names in found.arguments:
        asked |= _varying(names, flow.facts[ref].parts)
    shapes = {ref: [1] * len(flow.shape(ref)) for ref in refs}
    for ref, names in found.arguments:
        if ref in shapes:
            for axis, name in enumerate(names[len(names) - len(shapes[ref]) :]):
                if name is None or name in asked:
                    shapes[ref][axis] = flow.shape(ref)[axis]
    named = {ref for ref, _ in found.arguments}
    return {ref: tuple(shape) if ref in named else flow.shape(ref) for ref, shape in shapes.items()}


def _varying(names: Names, tensors: Iterable[Tensor]) -> set[Hashable]:
    return {
        name
        for x in tensors
        for name, size in zip(names[len(names) - x.ndim :], x.shape, strict=True)
        if size > 1 and name is not None
    }


def alignment(flow: Flow, node: Node) -> Alignment:
    """Name the axes of a node; what no rule names is laid out in full."""
    rule = _RULES.get(node.kind)
    refs = (*node.sources, *(Ref(node.index, i) for i in range(len(node.outputs))))
    single = node.operation.circular or any(ref in flow.facts and flow.facts[ref].named is not None for ref in refs)
    found = None if rule is None or single else rule(flow, node)
    if found is None:
        return Alignment((), tuple((None,) * (0 if m is None else len(m.shape)) for m in node.outputs))
    return found


def _places(flow: Flow, node: Node) -> Alignment | None:
    """Broadcast: axes go together from the last one on."""
    names: Names = tuple(range(len(node.shape)))
    if any(meta is not None and meta.shape != node.shape for meta in node.outputs):
        return None
    if node.operation.pointwise is not None and node.operation.pointwise.form is Form.SLOPED:
        first, slopes = node.refs[:2]
        return Alignment(((first, names), (slopes, ("slopes",))), (names,))
    arguments = ((ref, names[len(names) - len(flow.shape(ref)) :]) for ref in node.refs)
    return Alignment(tuple(arguments), (names,) * len(node.outputs))


def _joined(flow: Flow, node: Node) -> Alignment:
    """Everything depends on everything, or on nothing."""
    results = (tuple(("out", i) for i in range(0 if m is None else len(m.shape))) for m in node.outputs)
    return Alignment(tuple(_whole(flow, node.refs)), tuple(results))


def _view(flow: Flow, node: Node) -> Alignment | None:
    move, first = node.operation.move, flow.shape(node.refs[0])
    names: Names = tuple(range(len(first)))
    if move is Move.RESHAPE and len(node.outputs) == 1:
        groups = list(enumerate(axis_groups(first, node.shape)))  # of axes in order, on both sides
        before, after = (tuple(number for number, sides in groups for _ in sides[side]) for side in (0, 1))
        return Alignment(((node.refs[0], before),), (after,))
    if move is Move.PERMUTE:
        return Alignment(((node.refs[0], names),), (permutation(node, len(first)),))
    if move is Move.EXPAND:
        return _places(flow, node)
    if move is Move.COMPLEX_TO_PAIRS:
        return Alignment(((node.refs[0], names),), ((*names, None),))
    acts = looked_along(node, first)
    if acts is None or any(len(flow.shape(ref)) != len(first) for ref in node.refs):
        return None
    return _beside(flow, node, acts, stacked=node.bound()["dim"] if move is Move.STACK else None)


def _beside(flow: Flow, node: Node, acts: tuple[int, ...], stacked: int | None) -> Alignment | None:
    """Name the axes along which a view does not look; of the results, those that are left or come in between."""
    ndim = len(flow.shape(node.refs[0]))
    names: Names = tuple(None if axis in acts else axis for axis in range(ndim))
    results: list[Names] = []
    for meta in node.outputs:
        out = len(node.shape) if meta is None else len(meta.shape)
        if stacked is not None:
            at = stacked % out
            results.append((*names[:at], None, *names[at:]))
        elif out == ndim:
            results.append(names)
        elif out == ndim - len(acts):
            results.append(tuple(name for name in names if name is not None))
        else:
            return None
    return Alignment(tuple((ref, names) for ref in node.sources), tuple(results))


def _contraction(flow: Flow, node: Node) -> Alignment:
    product = product_of(node, flow.graph)
    arguments: list[tuple[Ref, Names]] = [
        (product.left, tuple(product.left_axes)),
        (product.right, tuple(product.right_axes)),
    ]
    out: Names = tuple(product.out_axes)
    if product.added is not None:
        arguments.append((product.added, out[len(out) - len(flow.shape(product.added)) :]))
    return Alignment(tuple(arguments), (out,))


def _convolution(flow: Flow, node: Node) -> Alignment:
    conv = convolution_of(node, flow.graph)
    spatial: Names = tuple(f"p{i}" if conv.pointwise else None for i in range(conv.axes))
    grouped = conv.groups > 1
    batch: Names = ("b",) if len(node.shape) == conv.axes + 2 else ()
    # the channels of a group go together: places of both ends have one name, unless there is one group
    known = flow.facts[conv.weight].parts
    told_apart = any(size > 1 for part in known for size in part.shape[:2])
    channels = None if told_apart else "c" if grouped else "in"
    weight: Names = tuple(("weight", i) for i in range(conv.axes + 2))
    out: Names = (*batch, "c", *spatial)
    arguments = [(conv.input, (*batch, channels, *spatial)), (conv.weight, weight)]
    if conv.bias is not None:
        arguments.append((conv.bias, ("c",)))
    return Alignment(tuple(arguments), (out,))


def _reduced(flow: Flow, node: Node) -> Alignment:
    """Join some axes; what is left of them, if anything is, is a single place."""
    ndim = len(flow.shape(node.refs[0]))
    dims = axes_of(node.bound().get("dim", -1 if node.kind is Kind.MIXING else None), ndim)
    names: Names = tuple(("joined", axis) if axis in dims else axis for axis in range(ndim))
    kept: Names = tuple(("left", axis) if axis in dims else axis for axis in range(ndim))
    short = tuple(name for axis, name in enumerate(kept) if axis not in dims)
    results = (kept if m is None or len(m.shape) == ndim else short or (None,) * len(m.shape) for m in node.outputs)
    return Alignment(((node.refs[0], names),), tuple(results))


def _cumulative(flow: Flow, node: Node) -> Alignment:
    ndim = len(flow.shape(node.refs[0]))
    dim = node.bound()["dim"] % ndim if ndim else 0
    names: Names = tuple(None if axis == dim else axis for axis in range(ndim))
    return Alignment(((node.refs[0], names),), (names,) * len(node.outputs))


def _normalisation(flow: Flow, node: Node) -> Alignment | None:
    ndim, joined = len(node.shape), shared_axes(node)
    out: Names = tuple(range(ndim))
    names: Names = tuple(("joined", axis) if axis in joined else axis for axis in range(ndim))
    arguments: list[tuple[Ref, Names]] = [(node.refs[0], names)]
    for ref in node.refs[1:]:
        size = len(flow.shape(ref))
        by_channel = node.operation.statistics in BY_CHANNEL and size == 1
        arguments.append((ref, (1,) if by_channel else out[ndim - size :]))
    rest = (tuple(("statistics", i, axis) for axis in range(0 if m is None else len(m.shape)))
            for i, m in enumerate(node.outputs[1:]))  # fmt: skip
    return Alignment(tuple(arguments), (out, *rest))


def _attention(_: Flow, node: Node) -> Alignment:
    att = attention_of(node)
    heads: Names = tuple(range(len(node.shape) - 2))
    keys = None if att.causal or att.mask is not None else "k"
    arguments: list[tuple[Ref, Names]] = [
        (att.query, (*heads, "q", "d")),
        (att.key, (*heads, keys, "d")),
        (att.value, (*heads, keys, "v")),
    ]
    if att.mask is not None:
        arguments.append((att.mask, (*heads, "q", keys)))
    return Alignment(tuple(arguments), ((*heads, "q", "v"),))


def _scan(flow: Flow, node: Node) -> Alignment | None:
    if is_grid(node):
        x, *rest = node.refs
        results: list[Names] = [("b", None, None, "units")]
        results += [(None,) * (0 if m is None else len(m.shape)) for m in node.outputs[1:]]
        return Alignment(((x, ("b", None, None, "features")), *_whole(flow, rest)), tuple(results))
    recurrence = recurrence_of(node, flow.graph)
    if recurrence.packed or recurrence.single:
        return None
    sequence: Names = ("b", None) if recurrence.batch_first else (None, "b")
    rest = [ref for ref in node.refs if ref not in (recurrence.input, *recurrence.states)]
    states = tuple((ref, (None, "b", None)) for ref in recurrence.states)
    ends: tuple[Names, ...] = ((None, "b", None),) * (len(node.outputs) - 1)
    return Alignment(
        ((recurrence.input, (*sequence, "features")), *states, *_whole(flow, rest)), ((*sequence, None), *ends)
    )


def _whole(flow: Flow, refs: Iterable[Ref]) -> list[tuple[Ref, Names]]:
    """Weights are read as a whole."""
    return [(ref, tuple((ref, axis) for axis in range(len(flow.shape(ref))))) for ref in refs]


def _window(_: Flow, node: Node) -> Alignment:
    axes = node.operation.spatial
    names: Names = (*range(len(node.shape) - axes), *(None,) * axes)
    return Alignment(((node.refs[0], names),), (names,) * len(node.outputs))


def _gather(flow: Flow, node: Node) -> Alignment | None:
    named = node.bound()
    if node.operation.places is Places.ROWS:
        table, places = named["weight"], named["indices"]
        out: Names = (*range(len(node.shape) - 1), "row")
        known = flow.facts[places].constant
        return Alignment(((table, (None if known else "table", "row")), (places, out[:-1])), (out,))
    if node.operation.places is Places.SLICES:
        dim = named["dim"] % max(1, len(node.shape))
        names: Names = tuple(None if axis == dim else axis for axis in range(len(node.shape)))
        return Alignment(((named["self"], names), (named["index"], (None,))), (names,))
    return None


def _softmax(flow: Flow, node: Node) -> Alignment | None:
    """Join rows; where what they are divided by cancels, every logit stands for itself."""
    return _places(flow, node) if Ref(node.index) in flow.cut(node) else _reduced(flow, node)


_RULES: Mapping[Kind, Callable[[Flow, Node], Alignment | None]] = {
    Kind.CREATION: _joined,
    Kind.POINTWISE: _places,
    Kind.RANDOM: _places,
    Kind.VIEW: _view,
    Kind.WINDOW: _window,
    Kind.CONVOLUTION: _convolution,
    Kind.CONTRACTION: _contraction,
    Kind.REDUCTION: _reduced,
    Kind.CUMULATIVE: _cumulative,
    Kind.MIXING: _reduced,
    Kind.SOFTMAX: _softmax,
    Kind.NORMALISATION: _normalisation,
    Kind.ATTENTION: _attention,
    Kind.SCAN: _scan,
    Kind.GATHER: _gather,
}
