"""From a traced graph to a system of uniform recurrence equations: one walk, one rule for each operation."""

from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from contextlib import suppress
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from leadline.domains.arguments import public
from leadline.domains.engine import ruled
from leadline.errors import LayoutError, NotUniform
from leadline.graph import Graph, Kind, Layout, Node, Reading, Ref
from leadline.graph.ir import Meta, frozen, substitute
from leadline.graph.layout import LayoutLike, Order
from leadline.graph.run_node import run_node
from leadline.graph.table import Form, Move, Noise, Operation, Places, Statistics
from leadline.recurrence.ir import Input, System, Variable
from leadline.recurrence.reading import (
    rules_contraction,
    rules_features,
    rules_pointwise,
    rules_positions,
    rules_scan,
    rules_views,
    rules_within,
)
from leadline.recurrence.reading.field import BATCH, FEATURE, Dims, Factor, Field, Misfit, canonical, whole
from leadline.recurrence.reading.loops import Loop, loops
from leadline.recurrence.reading.lowering import Around, Fixed, Lowering, Row, Unread, Value, copied, refuse
from leadline.recurrence.reading.pairs import Scores
from leadline.recurrence.reading.rules_attention import summed
from leadline.recurrence.reading.rules_complex import Complex, complexes, paired
from leadline.recurrence.reading.rules_loop import Elsewhere, rolled
from leadline.recurrence.reading.rules_scores import Extended, scored
from leadline.results import Place

Rule: TypeAlias = Callable[[Lowering, Node, dict[str, Any]], Value]

_BY_MOVE: dict[Move, Rule] = {
    Move.RESHAPE: rules_views.reshape,
    Move.PERMUTE: rules_views.permute,
    Move.TAKE: rules_views.take,
    Move.FLIP: rules_views.flip,
    Move.EXPAND: rules_views.expand,
    Move.PAD: rules_views.pad,
    Move.JOIN: rules_positions.concat,
    Move.PAIRS_TO_COMPLEX: paired,
    Move.STACK: rules_views.stack,
    Move.WRITE: rules_positions.write,
    Move.ROLL: rules_positions.roll,
    Move.WINDOWS: rules_positions.windows,
    Move.REPEAT: rules_features.repeat,
    **dict.fromkeys(
        (Move.MIRROR, Move.DIAGONAL, Move.TRIANGLE, Move.ENLARGE, Move.SHUFFLE),
        rules_features.moved,
    ),
}
_BY_PLACES: dict[Places | None, Rule] = {
    Places.ROWS: rules_pointwise.lookup,
    Places.LISTS: rules_pointwise.lookup,
    Places.SLICES: rules_views.take,
    Places.ELEMENTS: rules_features.rowwise,
    Places.CLASSES: rules_pointwise.one_hot,
}
_BY_KIND: dict[Kind, Rule] = {
    Kind.POINTWISE: rules_pointwise.function,
    Kind.SOFTMAX: rules_pointwise.reduce,
    Kind.REDUCTION: rules_pointwise.reduce,
    Kind.CUMULATIVE: rules_pointwise.cumulative,
    Kind.CONVOLUTION: rules_contraction.convolution,
    Kind.CONTRACTION: rules_contraction.contraction,
    Kind.ATTENTION: rules_within.attending,
    Kind.SCAN: rules_scan.scan,
    Kind.MIXING: rules_features.rowwise,
    Kind.WINDOW: rules_features.pool,
}


def _rule(operation: Operation) -> Rule | None:
    """Return how an operation is read; None: it is not."""
    if operation.kind is Kind.VIEW:
        return _BY_MOVE.get(operation.move)
    if operation.kind in (Kind.GATHER, Kind.SCATTER):
        both = operation.places is Places.ELEMENTS
        scatters = operation.places is Places.CLASSES
        found = both or scatters == (operation.kind is Kind.SCATTER)
        return _BY_PLACES.get(operation.places) if found else None
    if operation.kind is Kind.NORMALISATION:
        if operation.statistics is Statistics.GROUP:
            return rules_pointwise.group_norm
        return rules_pointwise.batch_norm if operation.statistics is Statistics.BATCH else rules_pointwise.reduce
    if operation.kind is Kind.RANDOM and operation.noise in (Noise.DROPOUT, Noise.ALPHA_DROPOUT):
        return rules_views.identity
    return _BY_KIND.get(operation.kind)


@public("system")
def system(
    model: nn.Module,
    *inputs: Any,
    layout: LayoutLike = None,
    order: Order = None,
    output: str | None = None,
    **kwargs: Any,
) -> System:
    """Read a model as a system of uniform recurrence equations over the positions of its layout.

    A Python loop over positions is read as a recurrence if its iterations, three at least, all do the same. Inputs that
    the layout marks as conditioning are fixed at the given values, the model is read in its own mode, and what the
    output does not rest on is left out. Where the shapes fit several usual layouts and one alone gives a system, it is
    taken. The arguments and the errors are those of `leadline.read`; and if an operation
    has no such reading, `NotUniform` names it, its module and its line.

    Examples
    --------
    >>> made = system(nn.GRU(2, 3, batch_first=True), torch.zeros(1, 16, 2), layout="b t c -> b t v", output="[0]")
    >>> made.axes, made.output.split("_")[0], len(made.variables)
    (('t',), 'h', 8)
    """
    return system_of(Reading(model, inputs, kwargs, layout=layout, order=order, output=output))


def system_of(reading: Reading) -> System:
    """Return the system of a reading, read off its graph once; see `system`."""
    return reading.once("system", lambda: _lowered(reading) if reading.given_layout is not None else _inferred(reading))


def _inferred(reading: Reading) -> System:
    """Read a model whose axes were not named; where several usual layouts fit, as the only one that gives a system."""
    usual = reading.usual_layouts
    if len(usual) < 2:
        return _lowered(reading)
    found = []
    for layout in usual:
        with suppress(NotUniform, LayoutError):
            found.append(_lowered(reading.read_as(layout)))
    if len(found) != 1:
        _lowered(reading)  # which shows the layouts
    return found[0]


def _lowered(reading: Reading) -> System:
    graph, layout, streamed = reading.graph, reading.layout, reading.input_axes
    positions = _ordered(layout, reading.order)
    if not reading.has_values:
        raise NotUniform("equations are read off weights, and tensors on the meta device have none")
    sizes = {a: n for name, axes in streamed.items() for a, n in zip(axes, reading.input_shape(name), strict=True)}
    low = Lowering(graph, positions, tuple(sizes[axis] for axis in positions), sizes.get("b", 1))
    values = _leaves(low, reading)
    end = graph.outputs[reading.output]
    _walk(low, end, values)
    low.node = graph.nodes[end.node]
    return _finished(low, values[end], layout, reading.output, list(streamed))


def _ordered(layout: Layout, order: Order) -> tuple[str, ...]:
    """Return the position axes from slowest to fastest; ranks give what is next no constant offset."""
    if not layout.positions:
        raise LayoutError(f"the layout '{layout}' has no position axis, so there is nothing to recur along")
    if isinstance(order, Tensor):
        raise NotUniform("an order given as ranks has no constant offsets; name the axes: order='h w'")
    axes = layout.positions if order is None else tuple(order.split())
    if sorted(axes) != sorted(layout.positions):
        raise LayoutError(f"the order {order!r} must name the position axes {' '.join(layout.positions)}")
    return axes


def _leaves(low: Lowering, reading: Reading) -> dict[Ref, Value]:
    """Give every leaf its value: streamed inputs become variables, all else is fixed."""
    graph = reading.graph
    generator = torch.Generator().manual_seed(0)
    values: dict[Ref, Value] = {}
    for name, index in graph.inputs.items():
        axes, tensor = reading.layout.inputs[name], reading.tensors[name]
        if axes is None:
            values[Ref(index)] = Fixed(tensor, tensor)
            continue
        dims: Dims = tuple((_factor(low, axis, size),) for axis, size in zip(axes, tensor.shape, strict=True))
        own = dict(zip(axes, tensor.shape, strict=True)) if low.rated else {}
        sizes = tuple(own.get(axis, size) for axis, size in zip(low.axes, low.sizes, strict=True))
        read = whole(dims, name, low.rank, sizes)
        equation = Input(not tensor.is_floating_point())
        margin = tuple(mine - n for mine, n in zip(sizes, low.sizes, strict=True))
        low.variables.append(Variable(name, read.channels.size, equation, margin, Place(name)))
        values[Ref(index)] = canonical(read)
    weights = {node.index for node in graph.nodes if node.kind is Kind.PARAMETER}
    for index, tensor in graph.values.items():
        tensor = tensor.detach()
        generic = tensor
        if index in weights and tensor.is_floating_point():
            generic = torch.rand(tensor.shape, generator=generator, dtype=torch.float64).to(tensor) + 0.5
        values[Ref(index)] = Fixed(tensor, generic)
    return values


def _factor(low: Lowering, axis: str, size: int) -> Factor:
    if axis == "b":
        return Factor(BATCH, size)
    return Factor(low.axes.index(axis) if axis in low.axes else FEATURE, size)


def _walk(low: Lowering, output: Ref, values: dict[Ref, Value]) -> None:
    """Give a value to the output and to all that it rests on; of a loop's copies of its body one is enough."""
    graph, found = low.graph, loops(low.graph)
    for node in _needed(graph, [output], values, found):
        if node.index not in found:
            _apply(low, node, values)
            continue
        try:
            values[Ref(node.index)] = rolled(low, found[node.index], node, values, _apply)
        except Elsewhere:
            for part in [*_needed(graph, node.refs, values, {}), node]:
                _apply(low, part, values)
        except Misfit as misfit:
            raise refuse(node, str(misfit)) from misfit


def _needed(graph: Graph, refs: Iterable[Ref], values: Mapping[Ref, Value], found: Mapping[int, Loop]) -> list[Node]:
    """Return the nodes that must be computed for these, in order."""
    needed: set[int] = set()
    waiting = list(refs)
    while waiting:
        ref = waiting.pop()
        if ref in values or ref.node in needed:
            continue
        needed.add(ref.node)
        node = graph.nodes[ref.node]
        if node.index in found:
            waiting += found[node.index].outside(graph)
        else:
            waiting += _read(node)
    return [graph.nodes[index] for index in sorted(needed)]


def _read(node: Node) -> tuple[Ref, ...]:
    """Return what a node reads; a creation reads shapes alone, and so does a copy of what it writes over.

    What takes the shape of another tensor does not read that either.
    """
    if node.kind is Kind.CREATION:
        return ()
    facts, named = node.operation.pointwise, node.bound()
    if node.operation.move in (Move.EXPAND, Move.RESHAPE):
        return node.refs[:1]
    if facts is None or facts.form is not Form.COPY or "self" not in named or facts.operands == ("self",):
        return node.refs
    return tuple(ref for ref in node.refs if ref != named["self"] or ref == named[facts.operands[0]])


@torch.no_grad()
def _apply(low: Lowering, node: Node, values: MutableMapping[Ref, Value]) -> None:
    """Compute what one node gives, and store it."""
    low.node = node
    _sum_up(low, node, values)
    if node.kind is Kind.CREATION:
        values[Ref(node.index)] = rules_pointwise.created(low, node)
        return
    blank: dict[Ref, Value] = {ref: _blank(low.graph.meta(ref)) for ref in node.refs if ref not in _read(node)}
    known = ChainMap(blank, values) if blank else values
    args = {name: frozen(substitute(arg, known.get)) for name, arg in node.bound().items()}
    read = [known[ref] for ref in node.refs]
    rows = node.operation.move in (Move.TAKE, Move.PAD)
    missing = [value for value in read if isinstance(value, Unread) and not (rows and isinstance(value, Row))]
    if missing:
        raise refuse(node, f"it reads {missing[0].why}")
    if node.kind is Kind.EFFECT:
        return
    rule = low.special(node) or _rule(node.operation)
    if any(isinstance(value, Scores | Extended) for value in read):
        rule = scored
    elif any(isinstance(value, Complex) for value in read):
        rule = complexes
    around = next((value for value in read if isinstance(value, Around)), None)
    if around is not None and node.operation.move not in (Move.TAKE, Move.WRITE):
        if not rules_positions.hidden(node, around, known):
            raise refuse(node, f"it reads {around.why}")
        args = {name: around.read if value is around else value for name, value in args.items()}
    with ruled(node, low.graph):
        if all(isinstance(value, Fixed) for value in read):
            result = _folded(node, known)
        elif rule is None:
            raise refuse(node, f"operations of the kind {node.kind} are not read")
        else:
            try:
                result = rule(low, node, args)
            except Misfit as misfit:
                raise refuse(node, str(misfit)) from misfit
    parts = result if isinstance(result, tuple) else (result,)
    values.update({Ref(node.index, i): part for i, part in enumerate(parts)})


def _sum_up(low: Lowering, node: Node, values: MutableMapping[Ref, Value]) -> None:
    """Make variables of what was summed up over keys, where a node reads no other scores."""
    read = [(ref, value) for ref in node.refs if isinstance(value := values.get(ref), Scores | Extended)]
    if all(isinstance(value, Scores) and value.single for _, value in read):
        values.update({ref: summed(low, value) for ref, value in read if isinstance(value, Scores)})


def _blank(meta: Meta) -> Fixed:
    """Stand for a tensor of which the shape alone is read."""
    zeros = torch.zeros(meta.shape, dtype=meta.dtype)
    return Fixed(zeros, zeros)


def _folded(node: Node, values: Mapping[Ref, Value]) -> Value:
    """Compute a node on fixed tensors, once as they are and once with noise for parameters."""
    fixed = {ref: value for ref in node.refs if isinstance(value := values[ref], Fixed)}
    tensors = run_node(node, lambda ref: fixed[ref].tensor)
    generic = run_node(node, lambda ref: fixed[ref].generic)
    return tuple(map(Fixed, tensors, generic))


def _finished(low: Lowering, result: Value, layout: Layout, name: str, inputs: list[str]) -> System:
    """Bring the output's channels into the order of the layout, and drop what it does not rest on."""
    assert low.node is not None
    if isinstance(result, Scores) and result.single:
        result = summed(low, result)
    if not isinstance(result, Field) or isinstance(result, Scores):
        raise refuse(low.node, "the output rests on no streamed input" if isinstance(result, Fixed) else result.why)
    axes = layout.outputs[name]
    for axis, size in zip(axes, result.shape, strict=True):
        if axis in low.axes and size != low.sizes[low.axes.index(axis)]:
            raise NotUniform(
                f"the output has {size} positions along {axis} where the input has {low.sizes[low.axes.index(axis)]}; "
                "crop or pad it to the same length"
            )
    for axis, dim in zip(axes, result.dims, strict=True):
        role = _factor(low, axis, 0).role
        if any(f.role != role for f in dim) and dim:
            raise refuse(low.node, f"the output's axis {axis} holds something else than the layout says")
    shape = tuple(size for axis, size in zip(axes, result.shape, strict=True) if axis != "b" and axis not in low.axes)
    tap = low.tap(result)
    same = [v for v in low.variables if v.name == tap.source and v.channels == len(tap.channels)]
    plain = not any(tap.offset) and (tap.channels == range(len(tap.channels))).all()
    if same and plain and not isinstance(same[0].equation, Input):
        output = same[0].name
    else:
        output = low.emit(copied(tap), result.dims, result.sizes, "output").variable
    return System(low.axes, low.sizes, tuple(low.variables), tuple(inputs), output, shape, low.looped).live()
