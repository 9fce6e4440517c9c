"""Recurrent operations, kept whole: the weights that each step multiplies, and how many steps there are.

The states that such an operation takes as arguments are units, given or zero: the convention for initial states. The
grid recurrence takes none: neighbours outside its grid do not exist, as padding does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from jaxtyping import Bool
from torch import Tensor

from leadline.domains.elements import Elements, Lookup, edges, total
from leadline.graph import Graph, Node, Ref


@dataclass(frozen=True)
class Direction:
    """One layer in one direction: weights from the input, from the state, and (LSTM only) onto a smaller output."""

    from_input: Ref
    from_state: Ref
    projection: Ref | None = None

    @property
    def weights(self) -> tuple[Ref, ...]:
        """All its weights."""
        return tuple(ref for ref in (self.from_input, self.from_state, self.projection) if ref is not None)


@dataclass(frozen=True)
class Recurrence:
    """A stack of recurrent layers over time, or one step of one (`single`).

    Attributes
    ----------
    input
        ``[time, batch, features]``; `batch_first`, `packed` (``[rows, features]``) or `single` (``[batch, features]``).
    states
        The initial states, each ``[layers · directions, batch, units]`` (a single step: ``[batch, units]``).
    layers
        Bottom to top; two directions each when bidirectional.
    """

    input: Ref
    states: tuple[Ref, ...]
    layers: tuple[tuple[Direction, ...], ...]
    batch_first: bool
    single: bool
    packed: bool


def recurrence_of(node: Node, graph: Graph) -> Recurrence:
    """Read a node of kind `scan` that is no grid."""
    named = node.bound()
    states = named["hx"] if isinstance(named["hx"], tuple) else (named["hx"],)
    if "params" not in named:
        layer = (Direction(named["w_ih"], named["w_hh"]),)
        return Recurrence(named["input"], states, (layer,), batch_first=False, single=True, packed=False)
    directions = 1 + named["bidirectional"]
    projected = len(states) == 2 and graph.meta(states[0]).shape[-1] != graph.meta(states[1]).shape[-1]
    each = 2 + 2 * named["has_biases"] + projected
    found = [
        Direction(group[0], group[1], group[-1] if projected else None)
        for group in (named["params"][i : i + each] for i in range(0, len(named["params"]), each))
    ]
    return Recurrence(
        input=named["data"] if "data" in named else named["input"],
        states=states,
        layers=tuple(tuple(found[i : i + directions]) for i in range(0, len(found), directions)),
        batch_first=named.get("batch_first", False),
        single=False,
        packed="data" in named,
    )


def is_grid(node: Node) -> bool:
    """Whether the node is the grid recurrence of `leadline.ops`."""
    return node.op.startswith("leadline.grid_")


def scan_macs(node: Node, graph: Graph) -> int:
    """Multiply-accumulates: every weight once for each step and sample."""
    if is_grid(node):
        _, weights = grid_of(node)
        return prod(graph.meta(node.refs[0]).shape[:-1]) * sum(graph.meta(ref).numel for ref in weights.values())
    recurrence = recurrence_of(node, graph)
    weights_of = (ref for layer in recurrence.layers for direction in layer for ref in direction.weights)
    return _rows(recurrence, graph) * sum(graph.meta(ref).numel for ref in weights_of)


def scan_edges(node: Node, graph: Graph, elements: Lookup) -> int:
    """Edges between units that exist; states count as units, neighbours outside a grid do not exist."""
    if is_grid(node):
        return _grid_edges(node, graph, elements)
    recurrence = recurrence_of(node, graph)
    x = elements(recurrence.input)
    rows, found = _rows(recurrence, graph), 0
    for depth, layer in enumerate(recurrence.layers):
        for direction in layer:
            first, *others = direction.weights
            found += rows * _alive(first, elements) if depth else _input_edges(x, elements(first))
            found += rows * sum(_alive(ref, elements) for ref in others)
    return found


def _grid_edges(node: Node, graph: Graph, elements: Lookup) -> int:
    x, weights = grid_of(node)
    batch, height, width, _ = graph.meta(x).shape
    cells = {
        "weight_below": height * width,
        "weight_north": (height - 1) * width,
        "weight_west": height * (width - 1),
    }
    inside = sum(batch * n * _alive(weights[name], elements) for name, n in cells.items())
    return inside + _input_edges(elements(x), elements(weights["weight_in"]))


def grid_of(node: Node) -> tuple[Ref, dict[str, Ref]]:
    """Return the input and the weights of a grid recurrence, by name."""
    named = node.bound()
    return named["x"], {name: ref for name, ref in named.items() if name.startswith("weight_")}


def _rows(recurrence: Recurrence, graph: Graph) -> int:
    return prod(graph.meta(recurrence.input).shape[:-1])


def _alive(ref: Ref, elements: Lookup) -> int:
    alive = elements(ref).alive
    return int(total(alive, range(alive.ndim)))


def _input_edges(x: Elements, weight: Elements) -> int:
    """Pairs of an input element and a weight, which is ``[units, features]``."""

    def pairs(x: Bool[Tensor, "..."], weight: Bool[Tensor, "units features"]) -> int:
        return int((total(x, range(x.ndim - 1)) * total(weight, [0])).sum())

    return edges(x, weight, pairs)
