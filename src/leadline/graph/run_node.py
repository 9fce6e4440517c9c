"""Compute what one node gives, from values for what it reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch

from leadline.graph.ir import Node, Ref, substitute
from leadline.graph.table import Move


def run_node(
    node: Node,
    values: Callable[[Ref], Any],
    replaced: Mapping[str, Any] = MappingProxyType({}),
    device: torch.device | None = None,
) -> tuple[Any, ...]:
    """Run the operation of a node that is no leaf, on `values` for its references, and return its outputs.

    Values may have any shapes that the operation takes, and need not be laid out in memory as the model's are.
    Arguments named in `replaced`, as in the operator's schema, are exchanged; so are literal devices, for the `device`
    of the values.

    Examples
    --------
    >>> from leadline.graph import trace
    >>> node = trace(torch.nn.LeakyReLU(0.5), torch.zeros(2)).nodes[-1]
    >>> run_node(node, lambda ref: torch.tensor([-2.0, 2.0]))
    (tensor([-1.,  2.]),)
    >>> run_node(node, lambda ref: torch.tensor([-2.0, 2.0]), {"negative_slope": 1.0})
    (tensor([-2.,  2.]),)
    """
    assert node.target is not None, f"{node.op} has nothing to run"
    if not hasattr(node.target, "_schema"):  # arithmetic on numbers that were read from tensors
        return (
            node.target(*substitute(node.args, values), **{k: substitute(v, values) for k, v in node.kwargs.items()}),
        )
    # torch declares targets as callables
    names = [a.name for a in node.target._schema.arguments]  # type: ignore[attr-defined]
    given = {**dict(zip(names, node.args, strict=False)), **node.kwargs, **replaced}
    target: Callable[..., Any] = node.target
    if node.operation.move is Move.RESHAPE and "size" in given:
        target = torch.ops.aten.reshape.default
        given = {"self": given["self"], "shape": given["size"]}
    if device is not None:
        given |= {name: device for name, argument in given.items() if isinstance(argument, torch.device)}
    result = target(**{name: substitute(argument, values) for name, argument in given.items()})
    return tuple(result) if isinstance(result, list | tuple) else (result,)


def permutation(node: Node, ndim: int) -> tuple[int, ...]:
    """Return, for each axis of a permuting view's result, the axis that it was: the operation itself says it."""
    numbered = torch.empty(tuple(range(2, 2 + ndim)), device="meta")
    return tuple(size - 2 for size in run_node(node, lambda _: numbered)[0].shape)
