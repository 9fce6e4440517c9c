"""Where a stream's equations come from: a model that is read, and read again where a longer sequence asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from leadline.errors import LeadlineError, UsageError
from leadline.graph.reading import Reading
from leadline.recurrence._system import system_of
from leadline.recurrence.analysis.receptive_field import find_leak
from leadline.recurrence.analysis.schedule import refuse_leaks
from leadline.recurrence.ir import Attention, Pointwise, System, Table


@dataclass(frozen=True, eq=False)
class Source:
    """A reading of a model in evaluation mode, and what a stream asks of its equations."""

    reading: Reading

    @property
    def system(self) -> System:
        """The equations at the traced sizes."""
        return system_of(self.reading)

    @cached_property
    def lag(self) -> int:
        """1 if no output sees the input at its own position, else 0; `NotCausal` if one sees a later input."""
        if find_leak(self.system, 1) is None:
            return 1
        refuse_leaks(self.system, 0)
        return 0

    @property
    def streamed(self) -> tuple[str, ...]:
        """Names of the inputs that are no conditioning."""
        return tuple(self.reading.input_axes)

    @cached_property
    def bound_to_length(self) -> bool:
        """Whether some equation rests on a table by position or on a mask, which end where the trace ends."""
        equations = [v.equation for v in self.system.variables]
        tables = [o for e in equations if isinstance(e, Pointwise) for o in e.operands if isinstance(o, Table)]
        return bool(tables) or any(isinstance(e, Attention) and e.masked for e in equations)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the output."""
        return self.reading.graph.meta(self.reading.graph.outputs[self.reading.output]).dtype

    def longer(self, length: int) -> Source:
        """Read the model again on inputs of another length along the slowest axis.

        `UsageError` if the model does not take such inputs: a positional table ends.
        """
        axis = self.system.axes[0]
        longer = self.reading.on({name: self._stretched(name, axis, length) for name in self.streamed}).in_evaluation()
        try:
            _ = longer.graph
        except (LeadlineError, RuntimeError, IndexError) as error:
            raise UsageError(
                f"the model does not take {length} positions along {axis}, as where a positional table ends: {error}"
            ) from error
        return Source(longer)

    def _stretched(self, name: str, axis: str, length: int) -> Tensor:
        axes, tensor = self.reading.input_axes[name], self.reading.tensors[name]
        if axis not in axes:
            return tensor
        dim = axes.index(axis)
        return tensor.index_select(dim, torch.arange(length) % tensor.shape[dim])
