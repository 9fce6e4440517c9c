"""Dependence through operations that take matrices as a whole: inverses, solutions, decompositions."""

from __future__ import annotations

import torch
from torch import Tensor

from leadline.domains.compact import described, expanded
from leadline.domains.dependence.flow import Flow, Links
from leadline.domains.engine import Lookup
from leadline.graph.ir import Node, Ref


def matrices(flow: Flow, node: Node, links: Lookup[Links]) -> tuple[Links, ...]:
    """Depend on all elements of the matrices of the same place, and of what is solved for on the own column.

    From a triangle only its side is read, and row by row: a row rests on the rows before it.
    """
    record, named = node.operation, node.bound()
    assert record.matrices is not None
    lower = record.matrices.lower(named)
    found = []
    for name, ref in named.items():
        x = links(ref) if isinstance(ref, Ref) else None
        if not isinstance(ref, Ref) or x is None:
            continue
        solved = name == record.matrices.solved
        part = _as_matrix(x, _missing(flow, node, name))
        if lower is not None and part.ndim > 1:
            found.append(_rows_before(flow, node, ref, part, lower=lower, solved=solved))
            continue
        axes = (-1,) if named.get("left") is False else (-2,)
        found.append(flow.algebra.reduce(part, [part.ndim + axis for axis in (axes if solved else (-2, -1))]))
    total = flow.joined(found)
    assert total is not None
    sides = torch.ones(node.shape[-2:], dtype=torch.bool).tril() if record.matrices.factor else None
    return tuple(_shaped(flow, total, meta, sides if i == 0 else None) for i, meta in enumerate(node.outputs))


def _missing(flow: Flow, node: Node, name: str) -> int:
    """Return how many axes an argument has less than a batch of matrices: a vector one, a number two."""
    named, record = node.bound(), node.operation.matrices
    assert record is not None
    shape = flow.shape(named[name])
    if len(shape) < 2:
        return 2 - len(shape)
    of = next(ref for key, ref in named.items() if isinstance(ref, Ref) and key != record.solved)
    vectors = name == record.solved and shape == flow.shape(of)[:-1]
    return int(vectors or name == "pivots")


def _as_matrix(x: Tensor, missing: int) -> Tensor:
    return x.reshape(*x.shape, *(1,) * missing)


def _rows_before(flow: Flow, node: Node, ref: Ref, x: Tensor, *, lower: bool, solved: bool) -> Tensor:
    """Join rows so far, from the first one or from the last one; of a triangle all that stands in them."""
    shape = (*flow.shape(ref), *(1,) * (x.ndim - len(flow.shape(ref))))
    if not solved:
        side = torch.ones(shape[-2:], dtype=torch.bool)
        full = expanded(x, shape, described(node), (x.ndim - 2, x.ndim - 1))
        x = flow.algebra.reduce(full * (side.tril() if lower else side.triu()), [x.ndim - 1])
    rows = expanded(x, (*shape[:-2], shape[-2], x.shape[-1]), described(node), (x.ndim - 2,))
    if lower:
        return flow.algebra.cumulate(rows, rows.ndim - 2)
    return flow.algebra.cumulate(rows.flip(-2), rows.ndim - 2).flip(-2)


def _shaped(flow: Flow, total: Tensor, meta: object, side: Tensor | None) -> Links:
    """Return the dependences of one result, which may have less axes than matrices."""
    ndim = len(getattr(meta, "shape", ()))
    if ndim >= total.ndim:
        return total if side is None else total * side
    if ndim == total.ndim - 1 and total.shape[-1] == 1 and meta is not None:
        return total.squeeze(-1)
    joined = flow.algebra.reduce(total, [total.ndim - 2, total.ndim - 1])
    return joined.reshape(*total.shape[:-2], *(1,) * (ndim - total.ndim + 2))
