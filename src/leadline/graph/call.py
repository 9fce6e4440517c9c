"""A model's call with its literals fixed: what is traced, replayed and perturbed."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager, nullcontext
from copy import copy
from dataclasses import fields, is_dataclass
from types import SimpleNamespace
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from leadline.errors import TraceError
from leadline.graph.answers.questions import Questions


class Held(nn.Module):
    """A model within another: `torch.func.functional_call` takes any model that way, `nn.DataParallel` too."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the model."""
        return self.model(*args, **kwargs)


class Call(nn.Module):
    """A call with its literals fixed: takes the tensors alone, returns the output's tensors alone, both by name."""

    def __init__(self, model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        super().__init__()
        self.model = model
        self.training = model.training
        if not callable(model.forward):
            raise TraceError(f"{type(model).__name__}.forward is {model.forward!r}, which cannot be called")
        signature = inspect.signature(model.forward)
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TraceError(f"{type(model).__name__}.forward does not take these inputs: {error}") from error
        self._args, self._kwargs = args, kwargs
        self.tensors = _apart(_named(signature.bind_partial(*args), kwargs))
        self._questions: Questions | None = None
        self._seen = SimpleNamespace(outputs=())  # torch.export undoes assignments to the module itself

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the last call's output tensors."""
        return tuple(self._seen.outputs)

    @property
    def real(self) -> bool:
        """Whether every input holds values."""
        return not any(hollow(t) for t in self.tensors.values())

    @property
    def given(self) -> tuple[Any, ...]:
        """What the model is called with, as it was given."""
        return self._args, self._kwargs

    def replaced(self, tensors: Mapping[str, Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments of the same call on other tensors, given by name."""
        stream = iter([tensors.get(name, tensor) for name, tensor in self.tensors.items()])
        args, kwargs = _rebuild((self._args, dict(self._kwargs)), stream)
        return args, kwargs

    @contextmanager
    def traced(self) -> Iterator[Questions]:
        """Answer, while the context is open, what the model asks of values that rest on no input."""
        self._questions = Questions(self.model)
        try:
            yield self._questions
        finally:
            self._questions.open = False

    @property
    def decided(self) -> frozenset[str]:
        """The parameters whose values were asked for when the call was traced."""
        return frozenset(self._questions.read if self._questions else ())

    def blamed(self, text: str) -> str:
        """Say what the values rest on that a message of the trace speaks of: ``, those of the input 'x'``."""
        return self._questions.blamed(text, self.tensors) if self._questions else ""

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Call the model and list the tensors of its output."""
        args, kwargs = self.replaced(given := dict(zip(self.tensors, tensors, strict=True)))
        asked = self._questions is not None and self._questions.open
        with self._questions.watching(self.model, given) if self._questions and asked else nullcontext():
            result = self.model(*args, **kwargs)
        named = _apart(leaves(result)) or _apart(leaves(result, "", _within_any))
        if not named:
            raise TraceError(f"{type(self.model).__name__}.forward returns no tensor")
        self._seen.outputs = tuple(name or "output" for name in named)
        return tuple(named.values())


def _named(positional: inspect.BoundArguments, kwargs: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a call with the names that `forward` gives them, in the order in which they are passed."""
    for name, value in positional.arguments.items():
        kind = positional.signature.parameters[name].kind
        alone = kind is inspect.Parameter.VAR_POSITIONAL and len(value) == 1
        yield from leaves(value[0] if alone else value, name, _within_any)
    for name, value in kwargs.items():
        yield from leaves(value, name, _within_any)


Parts: TypeAlias = "Mapping[Any, Any] | None"
"""What a container holds, by key, index or attribute; None: it is none."""


def _within(value: Any) -> Parts:
    """Look into mappings, sequences and dataclasses."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {_Attribute(name): getattr(value, name) for name in value._fields}
    if isinstance(value, list | tuple):
        return dict(enumerate(value))
    if is_dataclass(value) and not isinstance(value, type):
        return {_Attribute(item.name): getattr(value, item.name) for item in fields(value)}
    return None


def _within_any(value: Any) -> Parts:
    """Look into what else holds tensors as attributes, too: a namespace, a class of the user's own, a cache."""
    found = _within(value)
    if found is not None or isinstance(value, Tensor | nn.Module | type) or callable(value):
        return found
    return {_Attribute(name): part for name, part in getattr(value, "__dict__", {}).items()} or None


class _Attribute(str):
    """The name of an attribute, which is no key."""

    __slots__ = ()


def leaves(
    value: Any, path: str = "", within: Callable[[Any], Parts] = _within, above: tuple[int, ...] = ()
) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors within nested containers with their paths, ``hidden[0]``; anything else holds none.

    What stands within itself, as the containers `above` say, is not looked into again.

    Examples
    --------
    >>> [path for path, _ in leaves({"logits": torch.ones(1), "hidden": [torch.ones(1), 3]})]
    ['logits', 'hidden[0]']
    """
    if isinstance(value, Tensor):
        yield path, value
        return
    indexed, parts = isinstance(value, list | tuple), None if id(value) in above else within(value)
    for key, part in (parts or {}).items():
        place = f"[{key}]" if indexed and not isinstance(key, _Attribute) else f".{key}" if path else str(key)
        yield from leaves(part, f"{path}{place}", within, (*above, id(value)))


def _apart(named: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Give tensors whose paths read alike, as those at the keys 1 and "1" do, names of their own."""
    found: dict[str, Tensor] = {}
    for name, tensor in named:
        found[name if name not in found else f"{name}#{len(found)}"] = tensor
    return found


def _rebuild(value: Any, stream: Iterator[Tensor], above: tuple[int, ...] = ()) -> Any:
    """Copy nested containers with their tensors replaced, in order, from `stream`; what holds none is as it was."""
    if isinstance(value, Tensor):
        return next(stream)
    parts = None if id(value) in above else _within_any(value)
    if parts is None or next(leaves(value, "", _within_any, above), None) is None:
        return value
    rebuilt = {key: _rebuild(part, stream, (*above, id(value))) for key, part in parts.items()}
    if isinstance(value, tuple):
        return type(value)(*rebuilt.values()) if hasattr(value, "_fields") else type(value)(rebuilt.values())
    if isinstance(value, Mapping) and not isinstance(value, MutableMapping):
        return rebuilt
    copied = copy(value)
    for key, part in rebuilt.items():
        if isinstance(key, _Attribute):
            object.__setattr__(copied, key, part)
        else:
            copied[key] = part
    return copied


def hollow(tensor: Tensor) -> bool:
    """Return whether a tensor has a shape, but no values."""
    return tensor.is_meta or isinstance(tensor, torch._subclasses.FakeTensor)
