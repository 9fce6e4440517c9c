"""A model's call with its literals fixed: what is traced, replayed and perturbed."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from leadline.errors import TraceError


class Call(nn.Module):
    """A call with its literals fixed: takes the tensors alone, returns the output's tensors alone, both by name."""

    def __init__(self, model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        super().__init__()
        self.model = model
        self.training = model.training
        signature = inspect.signature(model.forward)
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TraceError(f"{type(model).__name__}.forward does not take these inputs: {error}") from error
        self._args, self._kwargs = args, kwargs
        self.tensors: dict[str, Tensor] = _apart(dict(_named(signature.bind_partial(*args), kwargs)))
        self._numbers: dict[str, int | float] = {}
        self._seen = SimpleNamespace(outputs=())  # torch.export undoes assignments to the module itself

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the last call's output tensors."""
        return tuple(self._seen.outputs)

    @property
    def real(self) -> bool:
        """Whether every input holds values."""
        return not any(hollow(t) for t in self.tensors.values())

    def replaced(self, tensors: Mapping[str, Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments of the same call on other tensors, given by name."""
        stream = iter([tensors.get(name, tensor) for name, tensor in self.tensors.items()])
        args, kwargs = _rebuild((self._args, dict(self._kwargs)), stream)
        return args, kwargs

    def fix_numbers(self) -> bool:
        """Take the whole numbers that buffers hold as fixed from now on; return whether there are any.

        Audio codecs keep strides and kernel sizes as such, and compute paddings from them.
        """
        buffers = self.model.named_buffers(remove_duplicate=False)
        scalars = {name: buffer for name, buffer in buffers if buffer.ndim == 0 and not hollow(buffer)}
        whole = {name: b.item() for name, b in scalars.items() if not (b.is_floating_point() or b.is_complex())}
        self._numbers = whole
        return bool(whole)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Call the model and list the tensors of its output."""
        stream = iter(tensors)
        args, kwargs = _rebuild((self._args, dict(self._kwargs)), stream)
        with _constants(self.model, self._numbers):
            named = dict(_leaves(self.model(*args, **kwargs), ""))
        if not named:
            raise TraceError(f"{type(self.model).__name__}.forward returns no tensor")
        self._seen.outputs = tuple(name or "output" for name in named)
        return tuple(named.values())


def _named(positional: inspect.BoundArguments, kwargs: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a call with the names that `forward` gives them, in the order in which they are passed."""
    for name, value in positional.arguments.items():
        kind = positional.signature.parameters[name].kind
        alone = kind is inspect.Parameter.VAR_POSITIONAL and len(value) == 1
        yield from _leaves(value[0] if alone else value, name)
    for name, value in kwargs.items():
        yield from _leaves(value, name)


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Let one tensor that is passed under several names be several: a trace would take them for one ever after."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        again = any(tensor is other for other in found.values())
        found[name] = tensor.view_as(tensor) if again else tensor
    return found


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors within nested containers with their paths; anything else holds none."""
    if isinstance(value, Tensor):
        yield path, value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _leaves(part, f"{path}.{key}" if path else str(key))
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        for key in value._fields:
            yield from _leaves(getattr(value, key), f"{path}.{key}" if path else key)
    elif isinstance(value, list | tuple):
        for i, part in enumerate(value):
            yield from _leaves(part, f"{path}[{i}]")
    elif is_dataclass(value) and not isinstance(value, type):
        for item in fields(value):
            yield from _leaves(getattr(value, item.name), f"{path}.{item.name}" if path else item.name)


def _rebuild(value: Any, stream: Iterator[Tensor]) -> Any:
    """Copy nested containers with their tensors replaced, in order, from `stream`."""
    if isinstance(value, Tensor):
        return next(stream)
    if isinstance(value, Mapping):
        return type(value)(**{k: _rebuild(v, stream) for k, v in value.items()}) if value else value
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_rebuild(part, stream) for part in value))
    if isinstance(value, list | tuple):
        return type(value)(_rebuild(part, stream) for part in value)
    if is_dataclass(value) and not isinstance(value, type):
        return type(value)(**{item.name: _rebuild(getattr(value, item.name), stream) for item in fields(value)})
    return value


@contextmanager
def _constants(model: nn.Module, numbers: Mapping[str, int | float]) -> Iterator[None]:
    """Put constants in the places of some buffers: tracing knows their values, but those of no buffer."""
    places = {name: (model.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2]) for name in numbers}
    buffers = {name: model.get_buffer(name) for name in numbers}
    try:
        for name, (module, place) in places.items():
            module._buffers[place] = torch.tensor(numbers[name], dtype=buffers[name].dtype)
        yield
    finally:
        for name, (module, place) in places.items():
            module._buffers[place] = buffers[name]


def hollow(tensor: Tensor) -> bool:
    """Return whether a tensor has a shape, but no values."""
    return tensor.is_meta or isinstance(tensor, torch._subclasses.FakeTensor)
