"""What a model asks of values that rest on no input is answered while it is traced: such a branch is not one.

A trace knows shapes alone. Where an operation asks for values, as ``.item()``, `nonzero` or a mask among indices do,
those that its arguments rest on are carried out on real numbers, if no input is among them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensor
from torch._subclasses.functional_tensor import FunctionalTensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map

from leadline.graph.answers.record import Record, Rests

_ASKING = frozenset({torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape})
PLACES = torch.ops.aten.nonzero_numpy.default
"""From a mask to the indices of the places that it marks, one for each axis."""


class Questions(TorchDispatchMode):
    """Notes down what a trace computes, and answers what rests on constants and parameters alone.

    `read` are the parameters on which answers rest. While it is `open`, a call is traced.
    """

    supports_higher_order_operators = True

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self._real = dict(_own(model))
        self._parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
        self._record = Record(self._parameters)
        self._last: Rests = frozenset()
        self.read: set[str] = set()
        self.open = True

    @contextmanager
    def watching(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> Iterator[None]:
        """Note down what is computed from these inputs, and from the model's tensors as they stand there now."""
        self._record = Record(self._parameters)
        for name, tensor in inputs.items():
            self._record.begin(tensor, name)
        for name, tensor in _own(model):
            begin_leaf(self._record, tensor, name, self._real.get(name), constant=name not in self._parameters)
        with _read_off_by(self), self:
            yield

    def read_off(self, tensor: Tensor) -> Tensor | None:
        """Return the numbers that a tensor holds; None if they rest on an input."""
        rests = self._record.rests(tensor)
        if not self._record.knows(tensor) or not self._record.decided(rests):
            return None
        self.read |= rests
        found: Tensor = self._record.computed(torch.ops.aten.clone.default, ((tensor,), {}))
        return found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Answer an operation that asks for values, or carry it out and note it down."""
        arguments = args, kwargs or {}
        if (wanted := asked(func, arguments)) is not None:
            self._last = rests = self._record.rests(wanted)
            if self._record.decided(rests):
                self.read |= rests
                return self._answered(func, arguments)
        result = func(*args, **(kwargs or {}))
        self._record.note(func, arguments, result)
        return result

    def _answered(self, op: Any, arguments: Any) -> Any:
        """Carry an operation out on real numbers; a tensor that it gives stands in the trace without them."""
        if not indexes(op):
            return self._stand_ins(op, arguments)
        (source, indices, *rest), kwargs = arguments
        numbers = {id(mask): self._stand_ins(PLACES, ((mask,), {})) for mask in masks(indices)}
        numbered = [part for index in indices for part in numbers.get(id(index), [index])]
        return self.__torch_dispatch__(op, (), (source, numbered, *rest), kwargs)

    def _stand_ins(self, op: Any, arguments: Any) -> Any:
        real = self._record.computed(op, arguments)
        device = next(leaf.device for leaf in tree_leaves(arguments) if isinstance(leaf, Tensor))

        def stand_in(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            fake: Tensor = torch.ops.aten.lift_fresh_copy.default(value).to(device)
            self._record.begin(fake, None, value)
            return fake

        return tree_map(stand_in, real)

    def blamed(self, text: str, inputs: Collection[str]) -> str:
        """Say which values a message speaks of by symbols; where it names none, those that were asked for last."""
        found = sorted(self._record.behind(re.findall(r"\b[uz][uf]?\d+\b", text)) or self._last)
        given = [name for name in found if name in inputs]
        if not given:
            return f", those of {', '.join(found)}" if found else ""
        return f", those of the input{'s' if len(given) > 1 else ''} {', '.join(map(repr, given))}"


@contextmanager
def _read_off_by(questions: Questions) -> Iterator[None]:
    """Read tensors off at once where Python, or numpy, wants all of their numbers; those of inputs one by one."""
    whole = Tensor.numpy

    def tolist(tensor: Tensor) -> Any:
        numbers = questions.read_off(tensor)
        if numbers is None:  # torch's own way goes around whoever looks on
            return [tolist(part) for part in tensor.unbind()] if tensor.ndim else tensor.item()
        with _disable_current_modes():
            return numbers.tolist()

    def numpy(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
        numbers = questions.read_off(tensor)
        if numbers is None:
            return whole(tensor, *args, **kwargs)
        with _disable_current_modes():
            return numbers.numpy(*args, **kwargs)

    with ExitStack() as stack:
        for kind in (FunctionalTensor, FakeTensor):
            stack.enter_context(patch.object(kind, "tolist", tolist))
            stack.enter_context(patch.object(kind, "numpy", numpy))
        yield


def _own(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)


def begin_leaf(record: Record, tensor: Tensor, name: str, real: Tensor | None, *, constant: bool) -> None:
    """Add a parameter or buffer, which may have no values."""
    if real is None or real.is_meta or isinstance(real, FakeTensor):
        record.begin(tensor, f"the values of {name}, which has none here")
    else:
        record.begin(tensor, None if constant else name, real)


def asked(op: Any, arguments: Any) -> Any:
    """Return the arguments whose values an operation asks for, be it for the size of its result; None: of none."""
    if not asks(op):
        return None
    return (masks(arguments[0][1]) or None) if indexes(op) else arguments


def asks(op: Any) -> bool:
    """Whether what an operation gives, or how much of it, rests on values."""
    return not _ASKING.isdisjoint(getattr(op, "tags", ()))


def indexes(op: Any) -> bool:
    """Whether an operation takes indices for several axes, of which any may be a mask."""
    return any(argument.name == "indices" for argument in op._schema.arguments)


def masks(indices: Iterable[Any]) -> list[Tensor]:
    """Return the masks among indices."""
    return [index for index in indices if isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8)]
