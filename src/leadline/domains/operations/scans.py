"""Recurrent operations, kept whole, in one form."""

from dataclasses import dataclass

from leadline.graph import Graph, Node, Ref


@dataclass(frozen=True)
class Direction:
    """One layer in one direction: weights from the input, from the state, and (LSTM only) onto a smaller output."""

    from_input: Ref
    from_state: Ref
    projection: Ref | None = None
    biases: tuple[Ref, ...] = ()

    @property
    def weights(self) -> tuple[Ref, ...]:
        """All its weights."""
        return tuple(ref for ref in (self.from_input, self.from_state, self.projection) if ref is not None)


@dataclass(frozen=True)
class Recurrence:
    """A stack of recurrent layers over time, bottom to top, or one step of one (`single`).

    The input is ``[time, batch, features]``; `batch_first`, `packed` (``[rows, features]``) or `single` (``[batch,
    features]``). Each initial state is ``[layers · directions, batch, units]`` (a single step's: ``[batch, units]``).
    """

    input: Ref
    states: tuple[Ref, ...]
    layers: tuple[tuple[Direction, ...], ...]
    batch_first: bool
    single: bool
    packed: bool


def recurrence_of(node: Node, graph: Graph) -> Recurrence:
    """Read a node of kind `scan` that is not a grid."""
    named = node.bound()
    states = named["hx"] if isinstance(named["hx"], tuple) else (named["hx"],)
    if "params" not in named:
        biases = tuple(ref for name in ("b_ih", "b_hh") if (ref := named.get(name)) is not None)
        layer = (Direction(named["w_ih"], named["w_hh"], biases=biases),)
        return Recurrence(named["input"], states, (layer,), batch_first=False, single=True, packed=False)
    directions = 1 + named["bidirectional"]
    projected = len(states) == 2 and graph.meta(states[0]).shape[-1] != graph.meta(states[1]).shape[-1]
    each = 2 + 2 * named["has_biases"] + projected
    found = [
        Direction(group[0], group[1], group[-1] if projected else None, tuple(group[2 : each - projected]))
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
    """Whether the node is the grid recurrence of `leadline.grid`."""
    return node.operation.recurrence is not None and node.operation.recurrence.grid


def grid_of(node: Node) -> tuple[Ref, dict[str, Ref]]:
    """Return the input and the weights of a grid recurrence, by name."""
    named = node.bound()
    return named["x"], {name: ref for name, ref in named.items() if name.startswith("weight_")}
