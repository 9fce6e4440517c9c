"""The one table of operations: a record for each ATen operation. What else knows one by name is in the wrong place."""

from functools import cache

from leadline.graph.table.curve import Curve
from leadline.graph.table.moves import VIEWS
from leadline.graph.table.others import OTHERS
from leadline.graph.table.pointwise import POINTWISE
from leadline.graph.table.record import (
    LEAVES,
    MULTIPLYING,
    Cell,
    Expression,
    Form,
    Grouping,
    Half,
    Kind,
    Literals,
    Move,
    Noise,
    Opcode,
    Operation,
    Places,
    Planar,
    Pointwise,
    Product,
    Recurrence,
    Statistics,
    Tally,
    Transform,
)

__all__ = [
    "LEAVES",
    "MULTIPLYING",
    "OPERATIONS",
    "Cell",
    "Curve",
    "Expression",
    "Form",
    "Grouping",
    "Half",
    "Kind",
    "Literals",
    "Move",
    "Noise",
    "Opcode",
    "Operation",
    "Places",
    "Planar",
    "Pointwise",
    "Product",
    "Recurrence",
    "Statistics",
    "Tally",
    "Transform",
    "kind_of",
    "operation_of",
]

OPERATIONS: dict[str, Operation] = {**POINTWISE, **VIEWS, **OTHERS}
"""By namespace and packet, ``"aten.silu"``; overloads that differ by their full names, ``"aten.max.other"``."""


@cache
def operation_of(op: str) -> Operation:
    """Return the record of an ATen overload, by its full name; one of kind `opaque` when the table has none.

    Examples
    --------
    >>> operation_of("aten.silu.default").packet, operation_of("aten.slice.Tensor").move
    ('silu', <Move.TAKE: 'take'>)
    """
    packet = op.rpartition(".")[0]
    return OPERATIONS.get(op) or OPERATIONS.get(packet) or Operation(packet.rpartition(".")[2] or op, Kind.OPAQUE)


def kind_of(op: str) -> Kind:
    """Return the kind of an ATen overload; `opaque` when the table does not know it.

    Examples
    --------
    >>> kind_of("aten.add.Tensor"), kind_of("aten.max.other"), kind_of("aten.max.dim")
    (<Kind.POINTWISE: 'pointwise'>, <Kind.POINTWISE: 'pointwise'>, <Kind.REDUCTION: 'reduction'>)
    """
    return operation_of(op).kind
