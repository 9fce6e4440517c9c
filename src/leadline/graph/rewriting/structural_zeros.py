"""Where what is made of parameters and constants stays zero, whatever values the parameters have."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import reduce

import torch
from torch import Tensor

from leadline.graph.ir import Graph, Node, Ref
from leadline.graph.rewriting.inverses import inverted, matrix_of, nonzeros
from leadline.graph.run_node import run_node
from leadline.graph.table import LEAVES, Form, Kind, Operation

_SUMS = frozenset({Form.SUM, Form.DIFFERENCE, Form.REVERSED})


class StructuralZeros:
    """Say of values on which no input has any effect where they may differ from zero; each is worked out once."""

    def __init__(self, graph: Graph, value: Callable[[Ref], Tensor | None]) -> None:
        self.graph, self.value = graph, value
        self._known: dict[Ref, Tensor] = {}
        self._constant: dict[int, bool] = {}

    def constant(self, node: Node) -> bool:
        """Whether it rests on no parameter, nor on a buffer that the model changes."""
        if node.index not in self._constant:
            if node.kind in LEAVES:
                found = node.kind is not Kind.PARAMETER and node.name not in self.graph.mutated
            else:
                found = all(self.constant(self.graph.nodes[ref.node]) for ref in node.refs)
            self._constant[node.index] = found
        return self._constant[node.index]

    def results(self, node: Node) -> tuple[Tensor | None, ...]:
        """Say it of each result of an operation on whole matrices; None: everywhere."""
        record = node.operation.matrices
        if record is None:
            return (None,) * len(node.outputs)
        if record.pseudo and self._regular(matrix_of(node)):
            return (inverted(self.of(matrix_of(node))),)
        return nonzeros(node, self.of)

    def _regular(self, ref: Ref) -> bool:
        """Whether a matrix is constant, and has an inverse, which rounding leaves something of."""
        value = self.value(ref) if self.constant(self.graph.nodes[ref.node]) else None
        if value is None or value.shape[-1] != value.shape[-2] or not value.numel() or not bool(value.isfinite().all()):
            return False
        values = torch.linalg.svdvals(value.detach().double() if not value.is_complex() else value.detach())
        least = value.shape[-1] * torch.finfo(value.dtype).eps * values[..., 0]
        return bool((values[..., -1] > 4 * least).all())

    def of(self, ref: Ref) -> Tensor:
        """Say it of one value."""
        if ref not in self._known:
            node = self.graph.nodes[ref.node]
            value = self.value(ref) if self.constant(node) else None
            found = (value != 0) | value.isnan() if isinstance(value, Tensor) else self._made(node, ref.output)
            shape = self.graph.meta(ref).shape
            self._known[ref] = torch.ones(shape, dtype=torch.bool) if found is None else found.expand(shape)
        return self._known[ref]

    def _made(self, node: Node, output: int) -> Tensor | None:
        """Follow zeros through what moves, multiplies and adds up; None: nothing is said."""
        record, meta = node.operation, node.outputs[output]
        if node.kind is Kind.MATRICES:
            return self.results(node)[output]
        if record.pointwise is not None and record.pointwise.form is Form.PRODUCT:
            return reduce(torch.logical_and, self._all(node.refs))
        if record.pointwise is not None and record.pointwise.form in _SUMS and len(node.refs) == 2:
            return reduce(torch.logical_or, self._all(node.refs))
        if record.pointwise is not None and record.pointwise.form is Form.COPY:
            return self.of(node.refs[0])
        alike = meta is not None and all(self.graph.meta(ref).dtype == meta.dtype for ref in node.refs)
        if alike and (node.kind is Kind.VIEW or _plain_product(record)):
            made = run_node(node, lambda ref: self.of(ref).float(), device=torch.device("cpu"))[output]
            return made != 0 if isinstance(made, Tensor) else None
        return None

    def _all(self, refs: Iterable[Ref]) -> list[Tensor]:
        return [self.of(ref) for ref in refs]


def _plain_product(record: Operation) -> bool:
    """Whether terms are multiplied and added up, and nothing else."""
    return record.product is not None and record.product.added is None
