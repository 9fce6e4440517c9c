"""Rules for recurrent layers: each becomes variables that read themselves one step back."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor

from leadline.graph import Node
from leadline.graph.table import Cell
from leadline.recurrence.ir import Contraction, Offset, Operand, Pointwise, Tap
from leadline.recurrence.reading.field import FEATURE, Dims, Factor, Field, Misfit, axis_of, of_features
from leadline.recurrence.reading.lowering import Fixed, Lowering, Unread, Value, copied

Past: TypeAlias = "Field | Tap"
Last: TypeAlias = "tuple[Any, ...]"  # the function that makes a state, and its operands


class Cells:
    """Emits the variables of recurrent layers, all with the positions of one reading.

    `initial` says whether the cells before the first ones are states that the operation is given.
    """

    def __init__(self, low: Lowering, read: Field, *, initial: bool) -> None:
        self.low, self.read, self.initial = low, read, initial
        self.lead: Dims = read.dims[:-1]

    def dims(self, k: int) -> Dims:
        """Return the dimensions of k features at the positions of the reading."""
        return (*self.lead, (Factor(FEATURE, k),))

    def past(self, state: Field, step: Offset, start: Tensor | None = None) -> Tap:
        """Return the tap that reads a state `step` earlier; where there is none, it is zero, or as it starts."""
        fill = None if start is None else self.low.fill_of(start, state.dims, state.sizes)
        if start is not None and fill is None:
            raise Misfit("its initial state differs between positions")
        return Tap(state.variable, step, state.channels.reshape(-1), 0.0 if fill is None else fill, self.initial)

    def given(self, state: Field | Fixed) -> Tap:
        """Return the tap that reads a state which a cell is given, a fixed one too."""
        return replace(self.low.tap(state if isinstance(state, Field) else self._written(state)), initial=True)

    def _written(self, state: Fixed) -> Field:
        dims = self.dims(state.tensor.shape[-1])
        equation = copied(self.low.constant(state.tensor, dims, self.read.sizes))
        return self.low.emit(equation, dims, self.read.sizes, "start")

    def product(self, sources: Sequence[tuple[Field | Tap, Tensor]], bias: Tensor | None) -> Field:
        """Return ``bias + Σ weight · source``."""
        taps = tuple(self.low.tap(source) if isinstance(source, Field) else source for source, _ in sources)
        weights = tuple(weight for _, weight in sources)
        return self.low.emit(
            Contraction(taps, weights, bias), self.dims(len(weights[0])), self.read.sizes, "recurrence"
        )

    def apply(self, function: str, *operands: Field | Operand) -> Field:
        """Return an elementwise function of readings."""
        equation = self._function(function, operands)
        width = max(len(tap.channels) for tap in equation.taps)
        return self.low.emit(equation, self.dims(width), self.read.sizes, function)

    def state(self, k: int, name: str) -> Field:
        """Return a variable that gets its equation later, because the gates read it."""
        return self.low.state(self.dims(k), self.read.sizes, name)

    def close(self, state: Field, function: str, *operands: Field | Operand) -> None:
        """Give a state its equation and put it last, after what it reads."""
        self.low.close(state, self._function(function, operands))

    def _function(self, function: str, operands: Sequence[Field | Operand]) -> Pointwise:
        taps = tuple(self.low.tap(o) if isinstance(o, Field) else o for o in operands)
        return Pointwise(function, taps, _COMPOSED.get(function) or getattr(torch, function))


_COMPOSED: dict[str, Callable[..., Tensor]] = {
    "muladd": lambda a, b, c, d: a * b + c * d,
    "blend": lambda z, n, h: n + z * (h - n),
    "addmul": lambda a, r, b: a + r * b,
}


def part(read: Field, start: int, stop: int) -> Field:
    """Return some features of a reading whose last dimension is its only one with features."""
    dims = (*read.dims[:-1], (Factor(FEATURE, stop - start),))
    return replace(read, dims=dims, channels=read.channels[..., start:stop])


def scan(low: Lowering, node: Node, args: dict[str, Any]) -> Value:
    """Read a recurrence that is kept whole: layers, one step, or a grid."""
    recurrence = node.operation.recurrence
    assert recurrence is not None
    rule = grid if recurrence.grid else cell if recurrence.step else recurrent
    return rule(low, node, args, recurrence.cell)


def recurrent(low: Lowering, node: Node, args: dict[str, Any], kind: Cell) -> Value:
    """Read `nn.RNN`, `nn.GRU` and `nn.LSTM` as stacked cells along one position axis."""
    if args["bidirectional"]:
        raise Misfit("a bidirectional recurrence reads the whole future")
    if args["train"] and args["dropout"] > 0 and args["num_layers"] > 1:
        raise Misfit("dropout between its layers is random; call model.eval() first")
    read: Field = args["input"]
    time = axis_of(read.dims[1 if args["batch_first"] else 0])
    if len(read.dims) != 3 or time is None or not of_features(read.dims[2]):
        raise Misfit("it does not run along a position axis")
    step = tuple(int(a == time) for a in range(low.rank))
    states = args["hx"] if isinstance(args["hx"], tuple) else (args["hx"],)
    if not all(isinstance(s, Fixed) for s in states):
        raise Misfit("its initial state is computed from the inputs")
    batch = 0 if args["batch_first"] else 1  # of what is read; states have theirs second
    tensors = [p.tensor for p in args["params"]]
    per = len(tensors) // args["num_layers"]
    for layer in range(args["num_layers"]):
        w_in, w_own, *rest = tensors[layer * per : (layer + 1) * per]
        b_in, b_own = rest[:2] if args["has_biases"] else (None, None)
        projected = rest[2 * args["has_biases"] :]
        starts = [s.tensor[layer].unsqueeze(1 - batch) for s in states]
        cells = Cells(low, read, initial=True)
        read = _layer(kind, cells, read, step, starts, projected, w_in, w_own, b_in, b_own)
    return (read, *(Unread("the state after the last position") for _ in node.outputs[1:]))


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return None if a is None or b is None else a + b


def _simple(function: str, c: Cells, x: Field, past: Past, w_in: Tensor, w_own: Tensor, b_in: Any, b_own: Any) -> Last:
    """``h = φ(W_in x + W h + b)``."""
    return function, c.product([(x, w_in), (past, w_own)], _sum(b_in, b_own))


def _gru(c: Cells, x: Field, past: Past, w_in: Tensor, w_own: Tensor, b_in: Any, b_own: Any) -> Last:
    """``r, z = σ(…)``, ``n = tanh(W_in x + b + r (W_hn h + b'))``, ``h = (1 - z) n + z h``."""
    k = w_own.shape[1]
    bias = _sum(b_in, b_own)
    gates = c.product([(x, w_in[: 2 * k]), (past, w_own[: 2 * k])], None if bias is None else bias[: 2 * k])
    gates = c.apply("sigmoid", gates)
    new_in = c.product([(x, w_in[2 * k :])], None if b_in is None else b_in[2 * k :])
    new_own = c.product([(past, w_own[2 * k :])], None if b_own is None else b_own[2 * k :])
    new = c.apply("tanh", c.apply("addmul", new_in, part(gates, 0, k), new_own))
    return "blend", part(gates, k, 2 * k), new, past


def _lstm(
    c: Cells, x: Field, past: Past, cell: Past, w_in: Tensor, w_own: Tensor, b_in: Any, b_own: Any
) -> tuple[Last, Field]:
    """Gates i, f, g, o: ``c = f c + i g``, ``h = o tanh c``; return what makes c, and the gate o."""
    k = w_own.shape[0] // 4
    pre = c.product([(x, w_in), (past, w_own)], _sum(b_in, b_own))
    i_f = c.apply("sigmoid", part(pre, 0, 2 * k))
    g = c.apply("tanh", part(pre, 2 * k, 3 * k))
    o = c.apply("sigmoid", part(pre, 3 * k, 4 * k))
    return ("muladd", part(i_f, k, 2 * k), cell, part(i_f, 0, k), g), o


_CELLS: dict[Cell, Callable[..., Last]] = {
    Cell.TANH: partial(_simple, "tanh"),
    Cell.RELU: partial(_simple, "relu"),
    Cell.GRU: _gru,
}


def _layer(
    kind: Cell,
    c: Cells,
    x: Field,
    step: Offset,
    starts: Sequence[Tensor],
    projected: Sequence[Tensor],
    *weights: Any,
) -> Field:
    """Emit one layer that reads its own states `step` earlier, and `starts` where there are none."""
    h = c.state(weights[1].shape[1], "h")
    if kind is not Cell.LSTM:
        c.close(h, *_CELLS[kind](c, x, c.past(h, step, starts[0]), *weights))
        return h
    cell = c.state(weights[1].shape[0] // 4, "c")
    last, o = _lstm(c, x, c.past(h, step, starts[0]), c.past(cell, step, starts[1]), *weights)
    c.close(cell, *last)
    if projected:
        out = c.apply("mul", o, c.apply("tanh", cell))
        c.low.close(h, copied(c.low.tap(c.product([(out, projected[0])], None))))
    else:
        c.close(h, "mul", o, c.apply("tanh", cell))
    return h


def cell(low: Lowering, node: Node, args: dict[str, Any], kind: Cell) -> Value:
    """Read one step of `nn.RNNCell`, `nn.GRUCell` or `nn.LSTMCell`; the loop around it makes its states recur."""
    read = args["input"]
    if not isinstance(read, Field) or not of_features(read.dims[-1]):
        raise Misfit("a cell reads something else than features")
    c = Cells(low, read, initial=False)
    states = [c.given(state) for state in (args["hx"] if kind is Cell.LSTM else [args["hx"]])]
    weights: list[Any] = [args[name] and args[name].tensor for name in ("w_ih", "w_hh", "b_ih", "b_hh")]
    if kind is not Cell.LSTM:
        return c.apply(*_CELLS[kind](c, read, *states, *weights))
    hidden, carried = states
    last, o = _lstm(c, read, hidden, carried, *weights)
    new = c.apply(*last)
    return c.apply("mul", o, c.apply("tanh", new)), new


def grid(low: Lowering, node: Node, args: dict[str, Any], kind: Cell) -> Value:
    """Read the grid recurrence as stacked cells that read themselves from the north and from the west."""
    read: Field = args["x"]
    if [dim[0].role for dim in read.dims[1:3]] != [0, 1] or low.rank != 2:
        raise Misfit("the grid recurrence does not run along the two position axes")
    layered = _grid_lstm if kind is Cell.LSTM else _grid_tanh
    below, north, west, bias = (args[n].tensor for n in ("weight_below", "weight_north", "weight_west", "bias"))
    for layer in range(len(north)):
        w_in = args["weight_in"].tensor if layer == 0 else below[layer - 1]
        read = layered(Cells(low, read, initial=False), read, w_in, north[layer], west[layer], bias[layer])
    return read, *[Unread("what a grid recurrence keeps besides its outputs")] * (len(node.outputs) - 1)


def _grid_tanh(c: Cells, x: Field, w_in: Tensor, north: Tensor, west: Tensor, bias: Tensor) -> Field:
    h = c.state(north.shape[1], "h")
    c.close(h, "tanh", c.product([(x, w_in), (c.past(h, (1, 0)), north), (c.past(h, (0, 1)), west)], bias))
    return h


def _grid_lstm(c: Cells, x: Field, w_in: Tensor, north: Tensor, west: Tensor, bias: Tensor) -> Field:
    """Gates o, i, g, f_N, f_W: ``c = f_N c_N + f_W c_W + i g``, ``h = o tanh c``."""
    k = north.shape[1]
    h, cell = c.state(k, "h"), c.state(k, "c")
    pre = c.product([(x, w_in), (c.past(h, (1, 0)), north), (c.past(h, (0, 1)), west)], bias)
    o_i = c.apply("sigmoid", part(pre, 0, 2 * k))
    g = c.apply("tanh", part(pre, 2 * k, 3 * k))
    forget = c.apply("sigmoid", part(pre, 3 * k, 5 * k))
    above, left = c.past(cell, (1, 0)), c.past(cell, (0, 1))
    kept = c.apply("muladd", part(forget, 0, k), above, part(forget, k, 2 * k), left)
    c.close(cell, "addmul", kept, part(o_i, k, 2 * k), g)
    c.close(h, "mul", part(o_i, 0, k), c.apply("tanh", cell))
    return h
