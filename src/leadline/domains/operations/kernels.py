"""Multiply-accumulates of what torch dispatches, kernel by kernel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._decomp import decomposition_table
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from leadline.domains.engine import NoRule
from leadline.domains.operations.multiplications import FORWARD
from leadline.graph import Graph, Kind, Node, Ref
from leadline.graph.ir import Meta, frozen
from leadline.graph.table import kind_of
from leadline.results import Place

_aten = torch.ops.aten
_UNCOUNTED = (Kind.OPAQUE, Kind.MATRICES)


class CountedKernels(TorchDispatchMode):
    """Adds up the `macs` of all that runs meanwhile; what has no rule, and does not come apart, is `unknown`."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.macs = 0
        self.unknown: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is _aten.convolution_backward.default:
            self.macs += _of_convolution_backward(*args, **kwargs)
            return func(*args, **kwargs)
        name, op = _functional(func)
        kind = kind_of(name)
        tells = not any("Tensor" in str(result.type) for result in func._schema.returns)  # of a tensor, on which device
        if kind in _UNCOUNTED and not tells:
            with self:
                found = _apart(func, args, kwargs)
            if found is not NotImplemented:
                return found
            self.unknown.append(str(func))
        result = func(*args, **kwargs)
        if kind in FORWARD:
            try:
                self.macs += macs_of_call(op, args, kwargs, result)
            except NoRule:
                self.unknown.append(str(func))
        return result


def macs_of_call(op: Any, args: Any, kwargs: Any, result: Any) -> int:
    """Return the multiply-accumulates of an operation of a kind in `FORWARD` that was called.

    Examples
    --------
    >>> a, b = torch.ones(2, 3), torch.ones(3, 5)
    >>> macs_of_call(torch.ops.aten.mm.default, (a, b), {}, a @ b)
    30
    """
    leaves: list[Node] = []

    def leaf(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        index = len(leaves)
        leaves.append(Node(index, f"x{index}", "input", Kind.INPUT, (), {}, (_meta(value),), Place("")))
        return Ref(index)

    args, kwargs = tree_map(leaf, (tuple(args), dict(kwargs)))
    parts = result if isinstance(result, list | tuple) else (result,)
    outputs = tuple(_meta(part) if isinstance(part, Tensor) else None for part in parts)
    node = Node(
        len(leaves),
        str(op),
        str(op),
        kind_of(str(op)),
        frozen(args),
        {key: frozen(value) for key, value in kwargs.items()},
        outputs,
        Place(""),
        op,
    )
    graph = Graph((*leaves, node), {}, {}, {}, {}, {}, frozenset(), frozenset(), (), training=False, verified=False)
    return sum(FORWARD[node.kind](node, graph))


def _meta(tensor: Tensor) -> Meta:
    return Meta(tuple(tensor.shape), tensor.dtype)


def _functional(op: Any) -> tuple[str, Any]:
    """Return, by name too, the operation that gives what another writes into its first argument; any other as it is."""
    space, _, name = op._schema.name.partition("::")
    packet = getattr(getattr(torch.ops, space), name.removesuffix("_"), None) if name.endswith("_") else None
    if packet is None:
        return str(op), op
    overload = op._overloadname
    return f"{space}.{name.removesuffix('_')}.{overload}", getattr(packet, overload, op)


def _apart(op: Any, args: Any, kwargs: Any) -> Any:
    """Run an operation as torch takes it apart; `NotImplemented` if it does not."""
    found = op.decompose(*args, **kwargs)
    if found is NotImplemented and op in decomposition_table:
        found = decomposition_table[op](*args, **kwargs)
    return found


def _of_convolution_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    bias_sizes: Any,  # noqa: ARG001 - torch's signature
    stride: Any,  # noqa: ARG001 - torch's signature
    padding: Any,  # noqa: ARG001 - torch's signature
    dilation: Any,  # noqa: ARG001 - torch's signature
    transposed: bool,
    output_padding: Any,  # noqa: ARG001
    groups: int,  # noqa: ARG001
    output_mask: Any,
) -> int:
    """Each gradient that is asked for multiplies as often as the forward pass: every tap at every place."""
    places = x if transposed else grad
    return places.numel() * weight[0].numel() * sum(map(int, output_mask[:2]))
