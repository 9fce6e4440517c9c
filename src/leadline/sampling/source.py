"""Where a stream's equations come from: a model that is read, and read again where a longer sequence asks for it.

Weights are kept as they were read, to tell at every call whether they are still the same.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter, eq, methodcaller
from typing import Any

import torch
from torch import Tensor, nn

from leadline.errors import LeadlineError, UsageError
from leadline.graph.reading import Reading
from leadline.graph.restoring.contents import bytes_of
from leadline.graph.symbolic import Sizes, sizes_of_trace
from leadline.recurrence._system import system_of
from leadline.recurrence.analysis.receptive_field import find_leak
from leadline.recurrence.analysis.schedule import refuse_leaks
from leadline.recurrence.ir import Pointwise, System, Table
from leadline.recurrence.likeness import same_equations
from leadline.recurrence.scores import Attention

_version: Callable[[Tensor], int] = attrgetter("_version")
_address: Callable[[Tensor], int] = methodcaller("data_ptr")


class WeightsSnapshot:
    """What a model's parameters and buffers were when this was made.

    Every call of a stream asks, so that nothing is walked or gathered: an unchanged model still has the same objects in
    the same places, at the same versions, in storages of the same bytes.

    Examples
    --------
    >>> model = nn.Linear(2, 1)
    >>> weights = WeightsSnapshot(model)
    >>> weights.unchanged()
    True
    >>> model.weight.data.zero_()
    tensor([[0., 0.]])
    >>> weights.unchanged(), weights.unchanged(values=False)  # no version was counted
    (False, True)
    """

    def __init__(self, model: nn.Module) -> None:
        holders = [h for m in model.modules() for h in (m._modules, m._parameters, m._buffers)]
        self._places = [(holder, name, value) for holder in holders for name, value in holder.items()]
        self._tensors: list[Tensor] = [*model.parameters(), *model.buffers()]
        self._then = self._addresses(), self._versions()
        self._counted = sum(self._then[1])
        storages = {t.untyped_storage().data_ptr(): t.detach() for t in self._tensors}
        found = [live for live in map(bytes_of, storages.values()) if live is not None]
        self._bytes = [(live, live.clone()) for live in found if live.device.type != "cpu"]
        # comparing bytes is one call of C for each storage, without a tensor around the answer
        near: list[Any] = [live.numpy() for live in found if live.device.type == "cpu"]
        self._near = [memoryview(numbers).cast("B") for numbers in near]
        self._kept = list(map(bytearray, self._near))

    def _addresses(self) -> list[int]:
        return list(map(_address, self._tensors))

    def _versions(self) -> list[int]:
        return list(map(_version, self._tensors))

    def same_versions(self) -> bool:
        """Return whether no change was counted since: the one question that is quick enough for every sample."""
        return sum(map(_version, self._tensors)) == self._counted  # they never go back

    def unchanged(self, values: bool = True) -> bool:
        """Return whether everything is as it was; `values` also finds changes that count no version."""
        if any(holder.get(name) is not value for holder, name, value in self._places):
            return False
        if (self._addresses(), self._versions()) != self._then:
            return False
        if not values:
            return True
        return all(map(eq, self._kept, self._near)) and all(torch.equal(live, then) for live, then in self._bytes)


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

    @cached_property
    def _lengths(self) -> Sizes:
        """The lengths for which a trace with a symbol for the slowest axis shows that the equations hold.

        A loop is traced turn by turn, so that a symbol would be a number at once.
        """
        axis = self.system.axes[0]
        if self.system.looped:
            return Sizes({}, {}, f"a loop goes along {axis}")
        letters = {name: tuple(letter if letter == axis else None for letter in axes)
                   for name, axes in self.reading.input_axes.items()}  # fmt: skip
        return sizes_of_trace(self.reading.call, letters)

    def holds_at(self, length: int) -> bool:
        """Whether sequences of a length have the equations that were read, as the model's construction shows."""
        if length == self.system.sizes[0]:
            return True
        axis, known = self.system.axes[0], self._lengths
        return not known.doubt and known.least.get(axis, 1) <= length <= known.most.get(axis, length)

    def goes_on(self, length: int) -> bool:
        """Whether these equations go on up to a length.

        Where the model's construction does not show it, as with loops, they do if they were found to be the same at a
        length that is twice as large or one more: of this one and that, one is odd and one is even.
        """
        return self.holds_at(length) or (bool(self._lengths.doubt) and self._found_longer)

    @cached_property
    def _found_longer(self) -> bool:
        here = self.system.sizes[0]
        with suppress(LeadlineError):
            return same_equations(self.system, self.at(2 * here + 1 - here % 2).system)
        return False

    def lacks(self, length: int) -> bool:
        """Whether a table ends before a length, or an equation that has points at the traced one has none there."""
        if length > self.system.sizes[0]:
            return self.bound_to_length
        ranges = [v.range(self.system.sizes)[0] for v in self.system.variables if all(v.range(self.system.sizes))]
        return min(ranges) <= self.system.sizes[0] - length

    def at(self, length: int) -> Source:
        """Read the model again on inputs of another length along the slowest axis.

        `UsageError` if the model does not take such inputs: a positional table ends.
        """
        axis = self.system.axes[0]
        other = self.reading.on({name: self.stretched(name, axis, length) for name in self.streamed}).in_evaluation()
        try:
            _ = other.graph
        except (LeadlineError, RuntimeError, IndexError) as error:
            raise UsageError(
                f"the model does not take {length} positions along {axis}, as where a positional table ends: {error}"
            ) from error
        return Source(other)

    def stretched(self, name: str, axis: str, length: int) -> Tensor:
        """Return an input repeated, or cut, to another length along an axis."""
        axes, tensor = self.reading.input_axes[name], self.reading.tensors[name]
        if axis not in axes:
            return tensor
        dim = axes.index(axis)
        return tensor.index_select(dim, torch.arange(length) % tensor.shape[dim])
