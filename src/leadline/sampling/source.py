"""Where a stream's equations come from: a model and inputs, read again where a longer sequence asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from leadline.errors import LeadlineError, UsageError
from leadline.graph import Graph, Layout, resolve, trace
from leadline.graph.layout import LayoutLike, Order
from leadline.recurrence._system import lower
from leadline.recurrence.analysis.receptive_field import find_leak
from leadline.recurrence.analysis.schedule import refuse_leaks
from leadline.recurrence.ir import Attention, Pointwise, System, Table
from leadline.sampling.naive import _evaluating


@dataclass(frozen=True, eq=False)
class Source:
    """A model, inputs by name, and how to read them.

    Attributes
    ----------
    model, inputs
        Tensors by the names that `forward` gives them.
    layout, order, output
        As in `leadline.system`.
    """

    model: nn.Module
    inputs: Mapping[str, Tensor]
    layout: Layout
    order: Order
    output: str
    graph: Graph = field(repr=False)

    @classmethod
    def of(
        cls,
        model: nn.Module,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        layout: LayoutLike,
        order: Order,
        output: str | None,
    ) -> Source:
        """Trace a model in evaluation mode and give its axes their names."""
        with _evaluating(model):
            graph = trace(model, *args, **kwargs)
        flat = [leaf for leaf in torch.utils._pytree.tree_leaves((args, dict(kwargs))) if isinstance(leaf, Tensor)]
        inputs = dict(zip(graph.inputs, flat, strict=True))
        metas = {name: torch.empty(graph.meta(ref).shape, device="meta") for name, ref in graph.outputs.items()}
        axes = resolve(layout, inputs, metas, output=output)
        return cls(model, inputs, axes, order, next(iter(axes.outputs)), graph)

    @cached_property
    def system(self) -> System:
        """The equations at the traced sizes."""
        return lower(self.graph, self.inputs, self.layout, self.order, self.output)

    @cached_property
    def lag(self) -> int:
        """1 if no output sees the input at its own position, else 0.

        Raises
        ------
        NotCausal
            If an output sees an input that comes after it.
        """
        if find_leak(self.system, 1) is None:
            return 1
        refuse_leaks(self.system, 0)
        return 0

    @cached_property
    def streamed(self) -> tuple[str, ...]:
        """Names of the inputs that are no conditioning."""
        return tuple(name for name, axes in self.layout.inputs.items() if axes is not None)

    @cached_property
    def bound_to_length(self) -> bool:
        """Whether some equation rests on a table by position or on a mask, which end where the trace ends."""
        equations = [v.equation for v in self.system.variables]
        tables = [o for e in equations if isinstance(e, Pointwise) for o in e.operands if isinstance(o, Table)]
        return bool(tables) or any(isinstance(e, Attention) and e.masked for e in equations)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the output."""
        return self.graph.meta(self.graph.outputs[self.output]).dtype

    def longer(self, length: int) -> Source:
        """Read the model again on inputs of another length along the slowest axis.

        Raises
        ------
        UsageError
            If the model does not take such inputs: a positional table ends.
        """
        axis = self.system.axes[0]
        inputs: dict[str, Any] = {name: self._stretched(name, axis, length) for name in self.inputs}
        try:
            with _evaluating(self.model):
                graph = trace(self.model, **inputs)
        except (LeadlineError, RuntimeError, IndexError) as error:
            raise UsageError(
                f"the model does not take {length} positions along {axis}, as where a positional table ends: {error}"
            ) from error
        return Source(self.model, inputs, self.layout, self.order, self.output, graph)

    def _stretched(self, name: str, axis: str, length: int) -> Tensor:
        axes, tensor = self.layout.inputs[name], self.inputs[name]
        if axes is None or axis not in axes:
            return tensor
        dim = axes.index(axis)
        return tensor.index_select(dim, torch.arange(length) % tensor.shape[dim])
